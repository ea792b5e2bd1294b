"""What a build costs grows with the rows, not with their square."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp

import pandas as pd
import pytest

from tests.bench import master
from tests.gates import smallest


@pytest.mark.slow
def test_four_times_the_securities_cost_little_more_than_four_times_the_build(tmp_path: Path) -> None:
    def ratio() -> float:
        small, large = (master.measure(Path(mkdtemp(dir=tmp_path)), n) for n in (1_500, 6_000))
        assert large["rows"] > 3.5 * small["rows"]
        return max(large[step] / small[step] for step in ("build", "build again"))

    assert smallest(ratio, 7) < 7  # squares: 16


def test_the_generated_tables_hold_what_makes_a_build_dear(tmp_path: Path) -> None:
    found = master.measure(tmp_path, 400)
    rows = master.write_tables(tmp_path, 400)
    assert found["rows"] == sum(rows.values())
    assert rows["shares"] > 20 * rows["securities"] == 20 * 400
    assert min(rows["ticker_changes"], rows["splits"], rows["delistings"]) > 40
    listed = pd.read_parquet(tmp_path / "securities.parquet")
    assert listed["ticker"].duplicated().sum() > 20  # tickers that went to somebody else
    assert listed["vendor_code"].duplicated().sum() > 5  # codes too
