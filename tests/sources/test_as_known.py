"""`as_known` shows what a reader at an instant would have had, and nothing later."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.sources import FilesSource
from pipeline.sources.specs import TABLES
from pipeline.sources.tables import SourceTables


@pytest.fixture
def tables(directory: Path) -> SourceTables:
    return FilesSource(directory).load()


def test_rows_known_later_are_gone_and_rows_known_then_stay(tables: SourceTables) -> None:
    then = tables.as_known("2020-01-06T21:00:00Z")
    assert len(then.prices) == 4  # the price of that day comes a quarter of an hour later
    assert len(tables.as_known("2020-01-06T21:15:00Z").prices) == 5
    assert len(then.splits) == 1
    assert len(then.dividends) == 2
    assert then.delistings.empty
    assert len(then.shares) == 2
    for name, spec in TABLES.items():
        if spec.dated:
            assert (then.frames[name]["known_from"] <= pd.Timestamp("2020-01-06 21:00")).all()
        assert list(then.frames[name].columns) == spec.names


def test_the_last_session_is_unknown_until_it_has_closed(tables: SourceTables) -> None:
    before = tables.as_known("2020-01-08T20:59:59Z").securities
    after = tables.as_known("2020-01-08T21:00:00Z").securities
    assert before["last_session"].isna().all()
    assert after["last_session"].tolist()[1] == pd.Timestamp("2020-01-08")


def test_the_ticker_is_the_one_before_changes_not_yet_known(tables: SourceTables) -> None:
    assert tables.securities["ticker"].tolist() == ["AAA", "BBB", "NA"]
    assert tables.as_known("2020-01-06T20:59:00Z").securities["ticker"].tolist() == ["ABC", "BBB", "NA"]
    assert tables.as_known("2020-01-06T21:00:00Z").securities["ticker"].tolist() == ["AAA", "BBB", "NA"]


def test_several_changes_are_undone_in_order(directory: Path) -> None:
    (directory / "ticker_changes.csv").write_text(
        "vendor_code,effective_date,old_ticker,new_ticker\nAAA,2020-01-07,B,AAA\nAAA,2020-01-03,A,B\n"
    )
    tables = FilesSource(directory).load()
    at = {
        when: tables.as_known(f"{when}T12:00:00Z").securities["ticker"].iloc[0]
        for when in ("2020-01-08", "2020-01-06", "2020-01-03")
    }
    assert at == {"2020-01-08": "AAA", "2020-01-06": "B", "2020-01-03": "B"}
    assert tables.as_known("2020-01-02T21:00:00Z").securities["ticker"].iloc[0] == "B"  # announced at that close


def test_rows_about_securities_not_yet_known_are_gone(directory: Path) -> None:
    path = directory / "securities.csv"
    path.write_text(path.read_text() + "NEW,NEW,Newcomer,common,NYSE,USD,2020-01-07,,0000000009\n")
    shares = directory / "shares.csv"
    shares.write_text(shares.read_text() + "NEW,2019-12-31,2020-01-03,5000\n")
    spin = directory / "spin_offs.csv"
    spin.write_text(spin.read_text().replace("NA,0.5", "NEW,0.5"))
    tables = FilesSource(directory).load()
    before, after = tables.as_known("2020-01-07T20:59:00Z"), tables.as_known("2020-01-07T21:00:00Z")
    assert "NEW" not in set(before.shares["vendor_code"])
    assert before.spin_offs.empty
    assert "NEW" not in set(before.prices["vendor_code"].cat.categories)
    assert "NEW" in set(after.shares["vendor_code"])
    assert len(after.spin_offs) == 1


def test_a_correction_is_unseen_before_it_is_known(directory: Path) -> None:
    (directory / "splits.csv").write_text(
        "vendor_code,ex_date,ratio_new,ratio_old,known_from\n"
        "AAA,2020-01-06,12,1,2020-01-03T21:00:00Z\nAAA,2020-01-06,20,1,2020-01-09T21:00:00Z\n"
    )
    tables = FilesSource(directory).load()
    assert tables.as_known("2020-01-09T20:00:00Z").splits["ratio_new"].tolist() == [12]
    assert tables.as_known("2020-01-09T21:00:00Z").splits["ratio_new"].tolist() == [12, 20]


def test_an_unknown_correction_of_a_known_ticker_change_undoes_nothing(directory: Path) -> None:
    (directory / "ticker_changes.csv").write_text(
        "vendor_code,effective_date,old_ticker,new_ticker,known_from\n"
        "AAA,2020-01-07,ABC,AAA,\nAAA,2020-01-07,ABD,AAA,2020-01-20T12:00:00Z\n"
    )
    tables = FilesSource(directory).load()
    assert tables.as_known("2020-01-08T12:00:00Z").securities["ticker"].iloc[0] == "AAA"


def test_knowing_in_two_steps_is_knowing_at_once(tables: SourceTables) -> None:
    early, late = np.datetime64("2020-01-03T21:15"), np.datetime64("2020-01-07T21:15")
    for name, frame in tables.as_known(early).frames.items():
        pd.testing.assert_frame_equal(frame, tables.as_known(late).as_known(early).frames[name], check_exact=True)


def test_an_instant_without_a_zone_is_refused(tables: SourceTables) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        tables.as_known(datetime(2020, 1, 6, 21))  # noqa: DTZ001
