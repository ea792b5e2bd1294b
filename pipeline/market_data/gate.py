"""The gate of a run: faults of whole deliveries stop it, unless somebody decided about them.

A run asks once, after its facts are made and before anything is computed, for all sessions that it computes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.market_data.point_in_time import Facts
from pipeline.quality.decisions import WHOLE_SESSION
from pipeline.quality.deliveries import Names
from pipeline.quality.findings import RULES, concat_findings
from pipeline.quality.session_rules import BatchFault, batch_findings, shifted_codes
from pipeline.settings import SessionRules

SAID_WITH = {"missing_members": "coverage"}
"""A rule, and another one whose answer holds for it: that few names have a price, and that members have none."""

PRICES = "prices of the session"
"""What a person answers who withholds the prices of a session."""


def delivery_faults(
    facts: Facts, ranges: Iterable[tuple[int, int]], rules: SessionRules, named: Names = list
) -> pd.DataFrame:
    """Findings that stop a run: about a whole session, or about all dates of a security.

    ranges: [first, last] of the sessions (ordinals) to look at, each by itself. named: permanent ids -> how a person
    calls them.
    """
    frames = [facts.splits, facts.dividends, facts.spin_offs]
    events = pd.concat([frame[["sec_id", "ex"]] for frame in frames], ignore_index=True)
    found = []
    for first, last in ranges:
        found.append(batch_findings(facts.prices, events, first, last, rules, named))
        found.append(shifted_codes(facts.findings, first, last, rules))
    return concat_findings(found)


def refuse_undecided(findings: pd.DataFrame, decisions: pd.DataFrame | None) -> None:
    """Raise BatchFault with the findings that stop a run and that nobody decided about.

    decisions: `sec_id session decision rule visible` (`pipeline.quality.decisions`), None for none. One decides about
    the findings of its own session and of the rule that it names, and of no other; one that withholds the prices of a
    session answers every rule about its prices.
    """
    faults = findings[findings["outcome"] == "stop"].reset_index(drop=True)
    if decisions is not None and len(faults):
        faults = faults[~_answered(faults, decisions)].reset_index(drop=True)
    if len(faults):
        raise BatchFault(faults)


def _answered(faults: pd.DataFrame, decisions: pd.DataFrame) -> NDArray[np.bool_]:
    """(n,) whether a person decided about each fault."""
    rule = decisions["rule"] if "rule" in decisions else pd.Series("", index=decisions.index)
    withheld = (decisions["sec_id"] == WHOLE_SESSION) & (decisions["decision"] == "confirm")
    said = set(zip(decisions["sec_id"], decisions["session"], rule.where(~withheld, PRICES), strict=True))
    answered = []
    for fault in faults.to_dict("records"):
        answers = [
            "",
            fault["rule"],
            SAID_WITH.get(fault["rule"], fault["rule"]),
            *([PRICES] if RULES[fault["rule"]].level == "panel" else []),
        ]
        who = fault["sec_id"] or WHOLE_SESSION
        answered.append(any((who, fault["session"], answer) in said for answer in answers))
    return np.array(answered, bool)
