"""What a build costs grows with the rows, not with their square."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.bench import master


@pytest.mark.slow
def test_four_times_the_securities_cost_little_more_than_four_times_the_build(tmp_path: Path) -> None:
    found = []
    for n in (1_500, 6_000):
        directory = tmp_path / str(n)
        directory.mkdir()
        found.append(master.measure(directory, n))
    small, large = found
    assert large["rows"] > 3.5 * small["rows"]
    for step in ("build", "build again"):
        assert large[step] < 7 * small[step], f"{step}: {small[step]:.1f} s, then {large[step]:.1f} s"  # squares: 16


def test_the_generated_tables_hold_what_makes_a_build_dear(tmp_path: Path) -> None:
    found = master.measure(tmp_path, 400)
    rows = master.write_tables(tmp_path, 400)
    assert found["rows"] == sum(rows.values())
    assert rows["shares"] > 20 * rows["securities"] == 20 * 400
    assert min(rows["ticker_changes"], rows["splits"], rows["delistings"]) > 40
    listed = pd.read_parquet(tmp_path / "securities.parquet")
    assert listed["ticker"].duplicated().sum() > 20  # tickers that went to somebody else
    assert listed["vendor_code"].duplicated().sum() > 5  # codes too
