"""The files source on a directory of real data: it loads, and nothing in it is repaired."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.sources import FilesSource
from tests.gates import smallest

REAL_DATA = Path(__file__).parents[3] / "shared" / "data" / "us_equities"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no real data beside the project (../shared/data/us_equities)"),
]


def test_loading_costs_little_more_than_reading_the_prices() -> None:
    """Four times as much: reading, checking and sorting all tables."""

    def ratio() -> float:
        began = time.process_time()
        FilesSource(REAL_DATA).load()
        loaded = time.process_time()
        pd.read_parquet(REAL_DATA / "prices.parquet")
        return (loaded - began) / (time.process_time() - loaded)

    assert smallest(ratio, 15) < 15


def test_real_data_loads_and_as_known_follows_the_calendar() -> None:
    tables = FilesSource(REAL_DATA).load()
    assert len(tables.prices) > 2_800_000
    assert tables.origins["prices"].duplicates == 0
    assert set(tables.securities["type"]) == {"common", "etf"}
    then = tables.as_known(np.datetime64("2019-01-02T21:15"))
    assert then.prices["date"].max() == np.datetime64("2019-01-02")
    assert then.shares["filed_at"].max() <= np.datetime64("2019-01-02T21:15")
    assert (then.splits["known_from"] <= np.datetime64("2019-01-02T21:15")).all()
