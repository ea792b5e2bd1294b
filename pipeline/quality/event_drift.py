"""Splits, dividends and spin-offs that the vendor rewrote after they were read: `pipeline.quality.drift` for events.

An event is compared by what it says ("split 2:1"). Gone is one that no row says any more, whenever that row became
known; added is one that was not read, although it counts as known by then. A row with a later `known_from` is a
declared event or correction, and no drift.
"""

from __future__ import annotations

from collections.abc import Collection
from math import isnan

import numpy as np
import pandas as pd

from pipeline.quality.drift import KEY, too_many
from pipeline.quality.findings import concat_findings, findings_frame, no_findings
from pipeline.settings import DriftRules

DELIVERED_EVENTS = "delivered_events.parquet"
WARM_UP_EVENTS = "delivered_warm_up_events.parquet"
NO_EVENT = "no event"


def told_events(
    splits: pd.DataFrame, dividends: pd.DataFrame, spin_offs: pd.DataFrame, first: int, last: int
) -> pd.DataFrame:
    """What is told of the sessions [first, last], of three tables of `Facts`: sec_id, session, says, visible."""
    split, paid, parted = (frame[frame["ex"].between(first, last)] for frame in (splits, dividends, spin_offs))
    says = [
        *_texts("split {}:{}", split, "ratio_new", "ratio_old"),
        *_texts("dividend of {} {} ({}, {}-split)", paid, "amount", "currency", "kind", "basis"),
        *_texts("spin-off of {}, value {}", parted, "child_ratio", "value"),
    ]
    rows = pd.concat([frame[["sec_id", "ex", "visible"]] for frame in (split, paid, parted)], ignore_index=True)
    rows = rows.rename(columns={"ex": "session"}).assign(says=pd.array(says, "str"))
    return rows.astype({"sec_id": "str"})[[*KEY, "says", "visible"]]


def _texts(pattern: str, rows: pd.DataFrame, *columns: str) -> list[str]:
    values = ([_text(value) for value in rows[name].tolist()] for name in columns)
    return [pattern.format(*row) for row in zip(*values, strict=True)]


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "not stated" if isnan(value) else f"{value:.10g}"


def read_events(told: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    """Of `told_events` what a run kept for the sessions [first, last], as known at the last one."""
    rows = told[told["session"].between(first, last) & (told["visible"] <= last)]
    return rows[[*KEY, "says"]].drop_duplicates().sort_values([*KEY, "says"], ignore_index=True)


def event_drift(
    before: pd.DataFrame,
    told: pd.DataFrame,
    span: tuple[int, int],
    known_at: int,
    at: int,
    rules: DriftRules,
    of_warm_up: bool = False,
    left: Collection[str] = (),
) -> pd.DataFrame:
    """One finding for each security and session of `span` whose events were rewritten, and one that stops the session
    `at` when there are too many.

    before: `read_events` of an earlier delivery; told: `told_events` of this one. known_at: session at which it was
    read. left: securities that have ended and that the vendor left out of all tables.
    """
    before = before[before["session"].between(*span) & ~before["sec_id"].isin(list(left))]
    told = told[told["session"].between(*span)]
    was, now = (pd.MultiIndex.from_frame(frame[[*KEY, "says"]]) for frame in (before, told))
    added = told[~now.isin(was) & (told["visible"] <= known_at).to_numpy()]
    changed = pd.concat([before.loc[~was.isin(now), KEY], added[KEY]]).drop_duplicates().sort_values(KEY)
    if changed.empty:
        return no_findings()
    then, today = (_said(frame, changed) for frame in (before, told))
    read = "read for the warm-up" if of_warm_up else "published"
    rewritten = findings_frame(
        sec_id=changed["sec_id"].to_numpy(),
        session=changed["session"].to_numpy(),
        rule="rewritten_event",
        observed=np.nan,
        expected=np.nan,
        evidence=[f"{one} when it was {read}; now {other}" for one, other in zip(then, today, strict=True)],
        detected_at=at,
        index=range(len(changed)),
    )
    compared = len(before[KEY].drop_duplicates())
    if len(changed) <= max(rules.events, rules.share * compared):
        return rewritten
    return concat_findings([rewritten, too_many(len(changed), compared, "events", at, rules, of_warm_up)])


def _said(rows: pd.DataFrame, at: pd.DataFrame) -> list[str]:
    """What the rows say of each security and session, in one text."""
    rows = rows.drop_duplicates([*KEY, "says"]).sort_values("says")
    texts = rows.groupby(KEY)["says"].agg(", ".join)
    return texts.reindex(pd.MultiIndex.from_frame(at[KEY])).fillna(NO_EVENT).tolist()
