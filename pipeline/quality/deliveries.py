"""What a delivery lacks of what the last one had: tables, rows, securities.

Beside the stores lies what the last delivery held (`TABLES_FILE`): of each table its rows, its securities and its last
date. A table that is not there any more, or has lost rows, is no table that never was: it is a finding that stops the
run until somebody accepts the delivery as it is. From then on the accepted delivery is what the next one is held to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.quality.findings import findings_frame
from pipeline.settings import DeliveryRules

TABLES_FILE = "delivered_tables.json"
SHOWN = 10
"""Names that a message shows at most."""

Counts = Mapping[str, Any]
"""Of a table: `rows`, `securities` (or currencies) that they speak of, `last` date, "" for none."""

DATES = ("date", "ex_date", "last_session", "effective_date", "filed_at", "valid_from", "first_session")


def counted(frames: Mapping[str, pd.DataFrame], instant: np.datetime64) -> dict[str, Counts]:
    """`Counts` of every table of a source (by name), of the rows that were known at an instant (UTC)."""
    return {name: _counts(frame, instant) for name, frame in frames.items()}


def _counts(frame: pd.DataFrame, instant: np.datetime64) -> Counts:
    if "known_from" in frame:
        known = frame["known_from"].to_numpy() <= instant
        frame = frame if known.all() else frame[known]
    owner = next(name for name in ("vendor_code", "currency", *frame.columns) if name in frame)
    dates = [frame[name].max() for name in DATES if name in frame][:1]
    last = f"{dates[0]:%Y-%m-%d}" if dates and dates[0] is not pd.NaT and len(frame) else ""
    return {"rows": len(frame), "securities": int(frame[owner].nunique()), "last": last}


def lost_tables(
    before: Mapping[str, Counts], now: Mapping[str, Counts], through: str, at: int, rules: DeliveryRules
) -> pd.DataFrame:
    """A finding at the session `at` for each table that is gone, or has lost rows or securities.

    before: what was delivered when the session `through` was published; now: what is delivered today.
    """
    rows = []
    for name, then in before.items():
        found = now.get(name, {"rows": 0, "securities": 0, "last": ""})
        if then["rows"] == 0 or not _lost(then, found, rules):
            continue
        had, has = (f"{one['rows']:,} rows of {one['securities']:,} names, last {one['last']}" for one in (then, found))
        says = f"{name}: {had}, when {through} was published; today {has if found['rows'] else 'none'}"
        rows.append((found["rows"] / then["rows"], 1 - rules.shrunk, says))
    return _stops("lost_table", rows, at)


def _lost(then: Counts, now: Counts, rules: DeliveryRules) -> bool:
    missing = {what: then[what] - now[what] for what in ("rows", "securities")}
    return now["rows"] == 0 or any(gone > max(rules.few, rules.shrunk * then[what]) for what, gone in missing.items())


def lost_securities(lost: Sequence[str], known: int, at: int, rules: DeliveryRules) -> pd.DataFrame:
    """A finding at the session `at` when a delivery is silent about too many of the `known` securities.

    lost: one text for each security that the last accepted delivery spoke of and this one does not.
    """
    share = len(lost) / max(known, 1)
    if share <= rules.lost_securities:
        return _stops("lost_securities", [], at)
    says = (
        f"securities: {len(lost):,} of {known:,} known securities ({share:.1%}) are not delivered any more, at most "
        f"{rules.lost_securities:.1%} may be missing: {listed(lost)}"
    )
    return _stops("lost_securities", [(share, rules.lost_securities, says)], at)


def moved_identifiers(moved: Sequence[str], at: int) -> pd.DataFrame:
    """A finding at the session `at` for each contradiction (a text) between delivered identifiers and known ids."""
    return _stops("moved_identifier", [(1.0, 0.0, f"securities: {says}") for says in moved], at)


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many follow."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _stops(rule: str, rows: Iterable[tuple[float, float, str]], at: int) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=["observed", "expected", "evidence"])
    return findings_frame(
        sec_id=[""] * len(frame),
        session=[at] * len(frame),
        rule=[rule] * len(frame),
        observed=frame["observed"],
        expected=frame["expected"],
        evidence=frame["evidence"],
        detected_at=[at] * len(frame),
        index=range(len(frame)),
    )
