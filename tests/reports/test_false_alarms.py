"""How often rules speak on real history: each night that would have stopped was looked at."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.reports.false_alarms import false_alarms
from pipeline.settings import DataRules
from pipeline.sources.files import FilesSource

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


def test_four_nights_of_twenty_years_stop_and_crashes_pass(real_data):
    rows = false_alarms(FilesSource(real_data).load(), DataRules())
    rows = rows[rows["date"] <= np.datetime64("2026-03-13")]  # the raw closes of stocks end there
    stopped = rows.loc[rows["outcome"] == "stop", "date"].astype(str).unique().tolist()
    assert stopped == ["2009-07-16", "2009-07-17", "2014-07-17", "2014-07-18"]
    assert (rows["rule"] == "etf_off_market").sum() <= 60
    assert (rows["rule"] == "market_correlation").sum() <= 5
    days = rows["date"].astype(str)
    assert not days.isin(["2008-10-13", "2020-03-16", "2025-04-09"]).any()
