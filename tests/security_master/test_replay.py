"""Replay: asking the full master what was known at an instant is asking a master that was built at that instant."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.knowledge import closes_of
from security_master import SecurityMaster, build_master
from tests.security_master.tables import world_tables

FIRST, LAST = np.datetime64("2002-01-01"), np.datetime64("2026-01-01")


@cache
def full() -> tuple[Any, SecurityMaster]:
    tables = world_tables()
    path = Path(mkdtemp()) / "full.sqlite"
    build_master(path, tables.frames, batch_id="full")
    return tables, SecurityMaster.open(path)


@cache
def rebuilt(instant: np.datetime64) -> SecurityMaster:
    """A master of the rows known by an instant."""
    path = Path(mkdtemp()) / "then.sqlite"
    build_master(path, full()[0].as_known(instant).frames, batch_id="then")
    return SecurityMaster.open(path)


def instants_of_change() -> list[np.datetime64]:
    """The instants at which something becomes known, and the moments just before and after."""
    tables, _ = full()
    known = np.unique(np.concatenate([f["known_from"].to_numpy() for f in tables.frames.values() if "known_from" in f]))
    known = known[known < np.datetime64("2030")]
    step = np.timedelta64(1, "us")
    return [k + d for k in known for d in (-step, 0 * step, step)]


def tickers() -> list[str]:
    return sorted(set(full()[1]._store.table("ticker_map")["ticker"]))


def _outside_last_sessions(instant: np.datetime64) -> bool:
    """Not within the last hours of a listing: a last session counts as over from the earliest closing hour on."""
    tables, _ = full()
    closes = closes_of(tables.securities["last_session"].dropna())
    return not ((closes - np.timedelta64(3, "h") <= instant) & (instant < closes)).any()


INSTANTS = st.one_of(
    st.sampled_from(instants_of_change()).filter(_outside_last_sessions),
    st.integers(0, int((LAST - FIRST) / np.timedelta64(1, "D"))).map(
        lambda days: np.datetime64(FIRST + np.timedelta64(days, "D"), "us") + np.timedelta64(22, "h")
    ),
)
DATES = st.one_of(
    st.integers(0, int((LAST - FIRST) / np.timedelta64(1, "D"))).map(lambda days: FIRST + np.timedelta64(days, "D")),
    st.sampled_from(instants_of_change()).map(lambda instant: instant.astype("datetime64[D]")),
)


@settings(max_examples=20, deadline=None)
@given(instant=INSTANTS, date=DATES)
def test_every_ticker_on_a_date_as_known_at_an_instant_is_what_was_answered_then(
    instant: np.datetime64, date: np.datetime64
) -> None:
    _, master = full()
    then = rebuilt(instant)
    asked = pd.DataFrame({"ticker": tickers(), "date": date})
    pd.testing.assert_frame_equal(
        master.resolve_many(asked, known_as_of=instant, mode="any"), then.resolve_many(asked, mode="any")
    )


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(instant=INSTANTS, date=DATES)
def test_rosters_labels_histories_and_lineages_replay_too(instant: np.datetime64, date: np.datetime64) -> None:
    _, master = full()
    then = rebuilt(instant)
    roster = then.roster()
    pd.testing.assert_frame_equal(master.roster(known_as_of=instant), roster)
    sec_ids = roster["sec_id"].to_numpy(object)
    for ours, theirs in zip(master.labels(sec_ids, date, instant), then.labels(sec_ids, date), strict=True):
        assert ours.tolist() == theirs.tolist()
    for sec_id in sec_ids[:: max(len(sec_ids) // 5, 1)]:
        ours, theirs = (m.history(sec_id, known_as_of=k) for m, k in ((master, instant), (then, None)))
        said = ["what", "value", "detail", "valid_from", "valid_to", "known_from"]
        pd.testing.assert_frame_equal(ours[said], theirs[said])
        ours, theirs = (m.lineage(sec_id, known_as_of=k) for m, k in ((master, instant), (then, None)))
        pd.testing.assert_frame_equal(ours, theirs)


@settings(max_examples=6, deadline=None)
@given(instant=INSTANTS)
def test_classes_and_share_counts_replay_too(instant: np.datetime64) -> None:
    _, master = full()
    then = rebuilt(instant)
    sec_ids = then.roster()["sec_id"].tolist()
    sessions = np.arange(FIRST, instant.astype("datetime64[D]"), 30)
    instants = np.minimum(sessions.astype("datetime64[us]") + np.timedelta64(22, "h"), instant)
    for panel in ("classification_panel", "shares_panel"):
        extra = (400,) if panel == "shares_panel" else ()
        ours = getattr(master, panel)(sec_ids, sessions, instants, *extra)
        np.testing.assert_array_equal(ours, getattr(then, panel)(sec_ids, sessions, instants, *extra))
