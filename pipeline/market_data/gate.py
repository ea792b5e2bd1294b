"""The gate of a run: faults of whole deliveries stop it, unless somebody decided about them."""

from __future__ import annotations

import pandas as pd

from pipeline.market_data.point_in_time import Facts
from pipeline.quality.decisions import WHOLE_SESSION
from pipeline.quality.findings import concat_findings
from pipeline.quality.session_rules import BatchFault, batch_findings, shifted_codes
from pipeline.settings import SessionRules


def refuse_batch_faults(
    facts: Facts, first: int, last: int, rules: SessionRules, decisions: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Faults of the deliveries of [first, last] that somebody decided about. Raises BatchFault for any other."""
    faults = delivery_faults(facts, first, last, rules)
    refuse_undecided(faults, decisions)
    return faults


def refuse_undecided(faults: pd.DataFrame, decisions: pd.DataFrame | None) -> None:
    """Raise BatchFault for the faults, of a whole session or of all dates of a security, that nobody decided about."""
    if decisions is not None and len(faults):
        decided = decisions[["sec_id", "session"]].astype({"sec_id": "str"})
        sessions = decided.loc[decided["sec_id"] == WHOLE_SESSION, "session"]
        whole = (faults["sec_id"] == "") & faults["session"].isin(sessions)
        single = (faults["sec_id"] != "") & faults["sec_id"].isin(decided["sec_id"])
        faults = faults[~(whole | single)].reset_index(drop=True)
    if len(faults):
        raise BatchFault(faults)


def delivery_faults(facts: Facts, first: int, last: int, rules: SessionRules) -> pd.DataFrame:
    """Findings that stop the sessions [first, last]: about a whole session, or about all dates of a security."""
    frames = [facts.splits, facts.dividends, facts.spin_offs]
    events = pd.concat([frame[["sec_id", "ex"]] for frame in frames], ignore_index=True)
    shifted = shifted_codes(facts.findings, first, last, rules)
    return concat_findings([batch_findings(facts.prices, events, first, last, rules), shifted])
