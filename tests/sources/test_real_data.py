"""The files source on a directory of real data: it loads, quickly, and nothing in it is repaired."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.sources import FilesSource

REAL_DATA = Path(__file__).parents[3] / "shared" / "data" / "us_equities"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no real data beside the project (../shared/data/us_equities)"),
]


def test_real_data_loads_within_seconds_and_as_known_follows_the_calendar() -> None:
    start = time.perf_counter()
    tables = FilesSource(REAL_DATA).load()
    assert time.perf_counter() - start < 20
    assert len(tables.prices) > 2_800_000
    assert tables.origins["prices"].duplicates == 0
    assert set(tables.securities["type"]) == {"common", "etf"}
    then = tables.as_known(np.datetime64("2019-01-02T21:15"))
    assert then.prices["date"].max() == np.datetime64("2019-01-02")
    assert then.shares["filed_at"].max() <= np.datetime64("2019-01-02T21:15")
    assert (then.splits["known_from"] <= np.datetime64("2019-01-02T21:15")).all()
