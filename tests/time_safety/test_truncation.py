"""Whatever happens after a session's knowledge instant, what is published up to that session has the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.engine import execution
from tests.engine.published_market import Delivered, sessions
from tests.time_safety.world import (
    END,
    START,
    Publication,
    differences,
    instant,
    pipeline,
    poisoned,
    read,
    settings_for,
    world,
)

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
    "2018-09-25": "bars of a stock whose listing becomes known in the evening, after the close's delay",
    "2018-09-26": "the first session that knows a stock listed weeks ago",
    "2019-01-18": "a spun-off child trades, and nobody knows whose bars these are",
    "2019-03-12": "a company goes on under a code that nobody knows to be its own",
    "2019-03-14": "the first session that knows the company under its other code",
    "2019-04-22": "an ETF trades that is not known to be listed",
    "2019-05-09": "a company trades again, and nobody knows of it",
    "2018-07-12": "bars go on after an end that nobody knows of",
    "2018-07-23": "the first session that knows of a merger weeks ago",
    "2018-08-08": "another company's bars, under a code that nobody knows to be its own",
    "2018-08-15": "the first session that knows who has taken a code over",
}

LEARNT_LATE_BY_NIGHT = [
    pytest.param("2018-09-25", "2018-09-27", marks=pytest.mark.slow),
    pytest.param("2019-03-12", "2019-03-14", marks=pytest.mark.slow),
    pytest.param("2019-05-09", "2019-05-13", marks=pytest.mark.slow),
    ("2018-07-19", "2018-07-24"),
    pytest.param("2018-08-13", "2018-08-16", marks=pytest.mark.slow),
]
"""Nights around which listings, an end and a takeover become known late."""


def cuts(quick: int) -> list[object]:
    """Every cut; every fourth one, from `quick` on, without the mark `slow`."""
    return [
        pytest.param(day, id=f"{day}: {why}".replace(" ", "_"), marks=[] if k % 4 == quick else [pytest.mark.slow])
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


@pytest.mark.parametrize(("first", "last"), LEARNT_LATE_BY_NIGHT)
def test_nights_that_learn_late_who_is_listed_publish_what_a_backfill_does(
    first: str, last: str, full: Publication, tmp_path: Path
):
    nights = sessions(first, last)
    pipeline(world().as_known(instant(nights[0])), nights[0], tmp_path)
    for night in nights[1:]:
        tables = world().as_known(instant(night))
        execution.execute(settings_for(tmp_path), night, night, source=Delivered(tables))
    assert differences(read(tmp_path), full, last) == []


@pytest.mark.slow
@pytest.mark.parametrize("session", sessions(START, END)[::7])
def test_neither_a_cut_nor_a_garbled_future_shows_at_any_seventh_session(
    session: str, full: Publication, tmp_path: Path
):
    part = pipeline(world().as_known(instant(session)), session, tmp_path / "cut")
    assert differences(part, full, session) == []
    part = pipeline(poisoned(world(), session), session, tmp_path / "garbled")
    assert differences(part, full, session) == []
