"""How often rules speak on real history: each night that would have stopped was looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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


def test_four_nights_of_twenty_years_stop_and_crashes_pass(real_data):
    rows = false_alarms(FilesSource(real_data).load(), DataRules())
    rows = rows[rows["date"] <= np.datetime64("2026-03-13")]  # the raw closes of stocks end there
    stopped = rows.loc[rows["outcome"] == "stop", "date"].astype(str).unique().tolist()
    assert stopped == ["2009-07-16", "2009-07-17", "2014-07-17", "2014-07-18"]
    assert (rows["rule"] == "etf_off_market").sum() <= 60
    assert (rows["rule"] == "market_correlation").sum() <= 5
    days = rows["date"].astype(str)
    assert not days.isin(["2008-10-13", "2020-03-16", "2025-04-09"]).any()


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
