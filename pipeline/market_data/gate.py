"""The gate of a run: faults of whole deliveries stop it, unless somebody decided about them.

A run asks once, after its facts are made and before anything is computed, for all sessions that it computes.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from pipeline.market_data.point_in_time import Facts
from pipeline.quality.decisions import WHOLE_SESSION
from pipeline.quality.findings import concat_findings
from pipeline.quality.session_rules import BatchFault, batch_findings, shifted_codes
from pipeline.settings import SessionRules


def delivery_faults(facts: Facts, ranges: Iterable[tuple[int, int]], rules: SessionRules) -> pd.DataFrame:
    """Findings that stop a run: about a whole session, or about all dates of a security.

    ranges: [first, last] of the sessions (ordinals) to look at, each by itself.
    """
    frames = [facts.splits, facts.dividends, facts.spin_offs]
    events = pd.concat([frame[["sec_id", "ex"]] for frame in frames], ignore_index=True)
    found = []
    for first, last in ranges:
        found.append(batch_findings(facts.prices, events, first, last, rules))
        found.append(shifted_codes(facts.findings, first, last, rules))
    return concat_findings(found)


def refuse_undecided(findings: pd.DataFrame, decisions: pd.DataFrame | None) -> None:
    """Raise BatchFault with the findings that stop a run and that nobody decided about.

    decisions: `sec_id session decision visible` (`pipeline.quality.decisions`), None for none. One decides about the
    findings of its own session, and of no other.
    """
    faults = findings[findings["outcome"] == "stop"]
    if decisions is not None and len(faults):
        decided = pd.MultiIndex.from_frame(decisions[["sec_id", "session"]].astype({"sec_id": "str"}))
        about = pd.MultiIndex.from_arrays([faults["sec_id"].replace("", WHOLE_SESSION), faults["session"]])
        faults = faults[~about.isin(decided)]
    if len(faults):
        raise BatchFault(faults.reset_index(drop=True))
