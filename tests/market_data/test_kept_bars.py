"""A night that reads only the last bars, and of the others what is asked for, has the facts of one that reads all."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.calendar import xnys
from pipeline.market_data.cleaning import CleanTables, clean_events
from pipeline.market_data.delivery import copies, cut, first_bars, master_of
from pipeline.market_data.point_in_time import build_facts
from pipeline.quality.deliveries import counted
from pipeline.quality.older_closes import year_digests
from pipeline.returns.panel import lookback
from pipeline.settings import DataRules, SimulatedMarket
from pipeline.sources import FilesSource, SimulatedSource, SourceTables
from pipeline.sources.planted_faults.plant import plant_faults
from security_master import SecurityMaster
from tests.laid import lay
from tests.time_safety.world import world

RULES = DataRules()
NASTY = ("2018-10-10", "2019-01-22", "2019-02-13", "2019-03-13", "2019-05-10", "2019-05-15")
"""Sessions of `world` on which something old becomes known."""


@cache
def spoiled() -> SourceTables:
    """A market with vendors' errors of all kinds."""
    market = SimulatedMarket(stocks=60, first_session="2018-01-02", last_session="2019-12-31")
    return plant_faults(SimulatedSource(market).load(), seed=5)[0]


def understood(source: FilesSource, master: Path, first: int, last: int) -> tuple[CleanTables, dict[str, Any]]:
    """What a run over [first, last] makes of a delivery."""
    tables = source.load()
    clean = clean_events(tables, RULES.cleaning)
    if not master.exists():
        master_of(master, clean, "first")
    with SecurityMaster.open(master) as known:
        facts = build_facts(clean, known, xnys(), RULES, None, (first, last))
    made = cut(facts, first - lookback(RULES), last)
    frames = {name: getattr(made, name) for name in ("splits", "dividends", "spin_offs", "delistings", "securities")}
    frames |= {f"clean {name}": getattr(clean, name) for name in ("splits", "dividends", "shares", "delistings")}
    frames["prices"] = made.prices.astype({"sec_id": "str"})
    frames["findings"] = facts.findings[facts.findings["detected_at"].between(first, last)].reset_index(drop=True)
    frames["clean findings"] = clean.findings
    calendar, instant = xnys(), xnys().knowledge_instants([last], 15)[0]
    others = {
        "first bars": {str(code): day for code, day in first_bars(clean).items()},
        "copies": copies(clean),
        "counts": counted(tables, instant),
        "years": year_digests(tables.prices, calendar.sessions[last - 30], instant, tables.earlier),
        "years of long ago": year_digests(tables.prices, calendar.sessions[last - 130], instant, tables.earlier),
        "years as known before": year_digests(
            tables.prices, calendar.sessions[last - 130], calendar.closes[last - 130], tables.earlier
        ),
        "origins": {name: replace(origin, sha256="") for name, origin in tables.origins.items()},
    }
    return clean, frames | others


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, other[name], check_exact=True, obj=name)
        else:
            assert value == other[name], name


def compare(tables: SourceTables, sessions: list[tuple[str, str]], place: Path) -> int:
    """Runs over ranges of sessions with and without kept bars; how many findings they made."""
    laid, master, found = lay(place / "tables", tables.frames), place / "master.sqlite", 0
    for day, until in sessions:
        first, last = xnys().ordinal(day), xnys().ordinal(until)
        since = xnys().sessions[first - lookback(RULES) - 1]
        _, whole = understood(FilesSource(laid), master, first, last)
        clean, kept = understood(FilesSource(laid, place / "machine", since), master, first, last)
        assert clean.earlier is not None
        assert len(clean.prices) + int(clean.earlier.summary["rows"].sum()) == len(tables.prices)
        assert_same(kept, whole)
        found += len(whole["findings"])
    return found


@pytest.mark.parametrize("day", ["2018-03-01", NASTY[3]])
def test_late_corrections_listings_and_renames_are_found_without_reading_all_bars(day, tmp_path):
    compare(world(), [(day, day)], tmp_path)


@pytest.mark.slow
def test_every_night_of_a_nasty_market_has_the_facts_of_all_bars(tmp_path):
    calendar = xnys()
    days = [str(day) for day in calendar.between("2018-07-02", "2019-05-20")]
    ranges = [(day, day) for day in days[::12]] + [(day, day) for day in NASTY] + [("2019-02-01", "2019-03-20")]
    assert compare(world(), ranges, tmp_path) > 0


@pytest.mark.slow
def test_every_night_of_a_market_full_of_errors_has_the_facts_of_all_bars(tmp_path):
    days = [str(day) for day in xnys().between("2018-10-01", "2019-12-31")]
    assert compare(spoiled(), [(day, day) for day in days[::12]], tmp_path) > 10


def test_a_run_of_any_range_may_ask_for_all_bars_as_a_restatement_does(tmp_path):
    laid = lay(tmp_path / "tables", world().frames)
    tables = FilesSource(laid, tmp_path / "machine", np.datetime64("2019-01-15")).load()
    assert tables.earlier is not None
    clean, whole = (clean_events(one, RULES.cleaning) for one in (tables, FilesSource(laid).load()))
    master_of(tmp_path / "master.sqlite", clean, "first")
    with SecurityMaster.open(tmp_path / "master.sqlite") as master:
        for instant in (None, np.datetime64("2019-05-01T22:00")):
            ours, theirs = (build_facts(one, master, xnys(), RULES, instant) for one in (clean, whole))
            pd.testing.assert_frame_equal(ours.prices, theirs.prices, check_exact=True)
            pd.testing.assert_frame_equal(ours.findings, theirs.findings, check_exact=True)
    with pytest.raises(ValueError, match="load them whole"):
        tables.as_known(np.datetime64("2019-01-15T22:00"))
