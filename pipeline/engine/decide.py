"""A person's decision about a cell or about a session's delivery, recorded with name and reason: from every face."""

from __future__ import annotations

from datetime import datetime

from pipeline.calendar import xnys
from pipeline.quality.decisions import WHOLE_SESSION, QualityDecision, Verdict, WrongDecision, append_decision
from pipeline.read import published_master


def decide(
    root: str, verdict: Verdict, security: str, session: str, by: str, reason: str, now: datetime, rule: str = ""
) -> QualityDecision:
    """Record it; what was written. security: ticker of the session, permanent id, or `*` for the whole delivery.

    now: UTC, naive; from then on it is in force. Raises WrongDecision, UnknownTicker, and ValueError for a closed day.
    """
    xnys().ordinal(session)  # a closed day is a mistake that should be heard of now
    sec_id = security if security == WHOLE_SESSION else _identify(root, security, session)
    made = QualityDecision(sec_id, session, verdict, now.isoformat(timespec="seconds"), by, reason, rule)
    append_decision(root, made)
    return made


def _identify(root: str, security: str, session: str) -> str:
    """Permanent id of a ticker as of a session, or the id itself."""
    with published_master(root) as master:
        if security in set(master.roster()["sec_id"]):
            return security
        sec_id = master.resolve(security, session)
    if not sec_id:
        raise WrongDecision(f"{security} was no ticker on {session}; give the permanent id, see `erm3 quality list`")
    return str(sec_id)
