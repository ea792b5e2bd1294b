"""Whatever happens after a session's knowledge instant, what is published up to that session has the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.published_market import sessions
from tests.time_safety.world import END, START, Publication, differences, instant, pipeline, poisoned, world

CUTS = {
    "2018-05-04": "the first published session: every window is warm-up",
    "2018-05-24": "the eve of a first session, inside the warm-up",
    "2018-05-25": "a first session, inside the warm-up",
    "2018-06-18": "the eve of a split that was announced weeks ago",
    "2018-06-19": "a split with a dividend on one day; the first session of the ETF XLC",
    "2018-06-20": "the session after a split",
    "2018-06-29": "a month end, and a first session",
    "2018-07-02": "the first session of a month: new universes apply",
    "2018-07-03": "a half day",
    "2018-07-19": "XLC has min_obs returns: it takes over from its proxy",
    "2018-07-30": "a filing after the close",
    "2018-09-19": "the eve of a price correction",
    "2018-10-02": "the session after a split that nobody knows of yet; the last ones of a halt",
    "2018-11-14": "a last session before a merger",
    "2018-12-20": "the eve of a listing under a dead company's code and ticker",
    "2019-01-14": "the eve of a spin-off and of a listing",
    "2019-02-12": "the eve of a ticker change, and of other types and currencies",
}


def cuts(quick: int) -> list[object]:
    """Every cut; every third one, from `quick` on, without the mark `slow`."""
    return [
        pytest.param(day, id=f"{day}: {why}".replace(" ", "_"), marks=[] if k % 3 == quick else [pytest.mark.slow])
        for k, (day, why) in enumerate(CUTS.items())
    ]


@pytest.mark.parametrize("session", cuts(quick=2))
def test_a_world_that_ends_gives_the_same_rows(session: str, full: Publication, tmp_path: Path):
    part = pipeline(world().as_known(instant(session)), session, tmp_path)
    assert differences(part, full, session) == []


@pytest.mark.parametrize("session", cuts(quick=0))
def test_a_garbled_future_gives_the_same_rows(session: str, full: Publication, tmp_path: Path):
    part = pipeline(poisoned(world(), session), session, tmp_path)
    assert differences(part, full, session) == []


@pytest.mark.slow
@pytest.mark.parametrize("session", sessions(START, END)[::7])
def test_neither_a_cut_nor_a_garbled_future_shows_at_any_seventh_session(
    session: str, full: Publication, tmp_path: Path
):
    part = pipeline(world().as_known(instant(session)), session, tmp_path / "cut")
    assert differences(part, full, session) == []
    part = pipeline(poisoned(world(), session), session, tmp_path / "garbled")
    assert differences(part, full, session) == []
