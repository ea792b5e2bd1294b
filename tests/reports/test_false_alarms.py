"""How often rules speak on real history: each night that would have stopped was looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.calendar import xnys
from pipeline.market_data.cleaning import clean_events
from pipeline.market_data.delivery import master_of
from pipeline.market_data.point_in_time import Facts, build_facts
from pipeline.quality.event_drift import event_drift, read_events, told_events
from pipeline.reports.false_alarms import false_alarms
from pipeline.settings import DataRules
from pipeline.sources.files import FilesSource
from pipeline.sources.tables import SourceTables
from security_master import BuildReport, SecurityMaster

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

YEAR = 252
"""Sessions of events that a night holds against those of the night before."""


NO_CLOSES = "2026-03-16"
"""From there on the real sample has a vendor's back-adjusted closes and neither raw ones nor volumes."""
WRONG_CLOSES = {"2009-07-16": ["SPY"], "2014-07-17": ["XLB", "XLF", "XLI", "XLK", "XLP", "XLV"]}
"""Closes of the real sample that are of another hour or day (docs/returns.md has the figures)."""


def stops(rows: pd.DataFrame) -> list[tuple[str, str]]:
    rows = rows[rows["outcome"] == "stop"]
    return list(zip(rows["date"].astype(str), rows["rule"], strict=True))


def test_five_nights_of_twenty_years_stop_each_with_a_fault_and_crashes_pass(real_data):
    rows = false_alarms(FilesSource(real_data).load(), DataRules())
    wrong = ["2009-07-16", "2009-07-17", "2014-07-17", "2014-07-18"]
    assert stops(rows) == [(day, "market_etf_off") for day in wrong] + [(NO_CLOSES, "no_volume")]
    assert (rows["rule"] == "etf_off_market").sum() <= 45
    assert (rows["rule"] == "market_correlation").sum() <= 6
    days = rows["date"].astype(str)
    assert not days.isin(["2008-10-13", "2020-03-16", "2025-04-09"]).any()


def test_who_withholds_the_wrong_closes_is_stopped_once_for_each_fault(real_data):
    """Nothing stops on the way back, and the sector ETFs alone were wrong in 2014."""
    tables = FilesSource(real_data).load()
    day = tables.prices["date"].astype(str).str[:10]
    wrong = pd.Series(False, index=tables.prices.index)
    for date, tickers in WRONG_CLOSES.items():
        wrong |= (day == date) & tables.prices["vendor_code"].isin(tickers)
    assert wrong.sum() == 7
    rows = false_alarms(replace(tables, prices=tables.prices[~wrong].reset_index(drop=True)), DataRules())
    assert stops(rows) == [("2009-07-16", "market_etf_off"), (NO_CLOSES, "no_volume")]
    assert rows.loc[rows["outcome"] == "stop", "evidence"].iloc[0] == "no return"


def facts_of(tables: SourceTables, session: int, path: Path, previous: Path | None) -> tuple[Facts, BuildReport]:
    """What a night makes of what was known at its session."""
    rules, calendar = DataRules(), xnys()
    instant = calendar.knowledge_instants([session], rules.vendor_delay_minutes)[0]
    known = clean_events(tables.as_known(instant), rules.cleaning)
    report = master_of(path, known, str(session), previous=previous, max_lost_share=1.0, keep_ids=True)
    with SecurityMaster.open(path) as master:
        return build_facts(known, master, calendar, rules), report


def test_no_event_reads_differently_one_night_later_on_any_of_a_dozen_nights(real_data, tmp_path):
    """A year of events at each of them: what is rewritten is the vendor's doing and not that of the cleaning."""
    tables, rules = FilesSource(real_data).load(), DataRules().drift
    first, last = xnys().ordinal("2008-01-03"), xnys().ordinal("2026-03-12")
    compared, found = 0, []
    for t in range(first, last, (last - first) // 12):
        before, _ = facts_of(tables, t, tmp_path / f"{t}.sqlite", None)
        after, report = facts_of(tables, t + 1, tmp_path / f"{t + 1}.sqlite", tmp_path / f"{t}.sqlite")
        span = t - YEAR, t
        read, told = (
            told_events(one.splits, one.dividends, one.spin_offs, span[0], until)
            for one, until in ((before, t), (after, t + 1))
        )
        kept = read_events(read, *span)
        compared += len(kept)
        found.append(event_drift(kept, told, span, t, t + 1, rules, of_warm_up=True, left=report.left))
    assert compared > 10_000
    assert pd.concat(found)["evidence"].tolist() == []
