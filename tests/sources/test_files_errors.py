"""Every fault that docs/sources.md calls an error names its file, row and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources import FilesSource, SourceError

Spoil = Callable[[str, str, str], Path]

FAULTS = {
    "missing required column": ("prices", "date,", "day,", None, "date", "missing"),
    "missing key column of an optional table": ("splits", "ex_date", "when", None, "ex_date", "missing"),
    "repeated column": ("prices", "open,high", "close,high", None, "close", "twice"),
    "neither industry column": (
        "classification",
        "fs_industry_code,gics_sub_industry",
        "sector,name",
        None,
        "fs_industry_code",
        "gics_sub_industry",
    ),
    "empty identifier": ("prices", "AAA,2020-01-03", ",2020-01-03", 3, "vendor_code", "empty"),
    "empty ticker": ("securities", "BBB,BBB,Beta", "BBB,,Beta", 3, "ticker", "empty"),
    "blanks around a ticker": ("ticker_changes", "ABC,", "ABC ,", 2, "old_ticker", "blanks"),
    "empty date": ("prices", "AAA,2020-01-03", "AAA,", 3, "date", "empty"),
    "empty amount": ("dividends", "2020-01-03,0.25", "2020-01-03,", 2, "amount", "empty"),
    "impossible date": ("prices", "2020-01-06", "2020-02-30", 4, "date", "2020-02-30"),
    "date in another order": ("prices", "2020-01-06", "06/01/2020", 4, "date", "YYYY-MM-DD"),
    "instant where a date belongs": ("splits", "2020-01-06", "2020-01-06T00:00:00Z", 2, "ex_date", "plain date"),
    "date after the calendar": (
        "securities",
        "2020-01-02,2020-01-08",
        "2020-01-02,9999-12-31",
        3,
        "last_session",
        "2035",
    ),
    "unparsable price": ("prices", "10.25", "10,25".replace(",", ";"), 3, "close", "10;25"),
    "text for a price": ("prices", "10.25", "n/a", 3, "close", "n/a"),
    "unlisted type": ("securities", "Beta,common", "Beta,stock", 3, "type", "common"),
    "unlisted kind": ("dividends", "EUR,special", "EUR,extra", 3, "kind", "special"),
    "unlisted basis": ("dividends", "special,pre", "special,before", 3, "basis", "post"),
    "unlisted reason": ("delistings", "merger", "takeover", 2, "reason", "bankruptcy"),
    "unlisted role": ("factor_etfs", "market", "index", 2, "role", "subsector"),
    "unknown currency of a dividend": ("dividends", "EUR", "EURO", 3, "currency", "EURO"),
    "pence are no currency": ("securities", "NASDAQ,USD", "NASDAQ,GBX", 3, "currency", "ISO 4217"),
    "foreign dividend without a rate": ("dividends", "EUR", "CAD", 3, "currency", "fx_rates"),
    "unknown code in prices": ("prices", "BBB,2020-01-02", "BBX,2020-01-02", 5, "vendor_code", "BBX"),
    "unknown code in shares": ("shares", "BBB", "CCC", 3, "vendor_code", "CCC"),
    "unknown child": ("spin_offs", "NA,0.5", "NB,0.5", 2, "child_code", "NB"),
    "unknown successor": ("delistings", "AAA,1.5", "ZZZ,1.5", 2, "successor_code", "ZZZ"),
    "ratio of zero": ("splits", ",2,1", ",0,1", 2, "ratio_new", "positive integer"),
    "negative ratio": ("splits", ",2,1", ",2,-1", 2, "ratio_old", "positive integer"),
    "fractional ratio": ("splits", ",2,1", ",1.5,1", 2, "ratio_new", "positive integer"),
    "child ratio of zero": ("spin_offs", "NA,0.5", "NA,0", 2, "child_ratio", "above 0"),
    "successor ratio of zero": ("delistings", "AAA,1.5", "AAA,0", 2, "successor_ratio", "above 0"),
    "negative dividend": ("dividends", "0.25", "-0.25", 2, "amount", "-0.25"),
    "infinite dividend": ("dividends", "0.25", "inf", 2, "amount", "inf"),
    "negative cash": ("delistings", "5.5", "-5.5", 2, "cash", "-5.5"),
    "negative spin-off value": ("spin_offs", "3.5", "-3.5", 2, "value", "-3.5"),
    "negative shares": ("shares", "2000000", "-2000000", 3, "shares", "-2000000"),
    "exchange rate of zero": ("fx_rates", "1.1162", "0", 2, "usd_rate", "above 0"),
    "last session before the first": ("securities", "2020-01-08", "2020-01-01", 3, "last_session", "2020-01-02"),
    "delisted before listed": ("delistings", "2020-01-08", "2019-12-31", 2, "last_session", "2020-01-02"),
    "naive filing instant": ("shares", "T22:31:00Z", "T22:31:00", 3, "filed_at", "zone"),
    "duplicate key with other values": (
        "prices",
        "AAA,2020-01-03,10.5,11,10,10.25",
        "AAA,2020-01-02,10.5,11,10,10.25",
        3,
        "date",
        "row 2",
    ),
    "ragged row": ("prices", "AAA,2020-01-03,10.5,11,10,10.25,1100", "AAA,2020-01-03,10.5", 3, None, "7 columns"),
    "blank row": ("prices", "AAA,2020-01-03,10.5,11,10,10.25,1100", "", 3, None, ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_that_names_file_row_and_column(fault: str, spoil: Spoil) -> None:
    table, old, new, row, column, hint = FAULTS[fault]
    path = spoil(table, old, new)
    with pytest.raises(SourceError) as caught:
        FilesSource(path).load()
    error = caught.value
    assert error.file == f"{table}.csv"
    assert error.row == row
    assert column is None or error.column == column
    assert f"{table}.csv" in str(error)
    assert hint in str(error)
    assert row is None or f"row {row}" in str(error)


def test_the_unspoiled_directory_loads(directory: Path) -> None:
    assert len(FilesSource(directory).load().prices) == 6


@pytest.mark.parametrize("known_from", ["2020-01-03T21:15:00", "2020-01-03", "soon"])
def test_a_known_from_without_a_zone_is_an_error(directory: Path, known_from: str) -> None:
    text = "vendor_code,ex_date,ratio_new,ratio_old,known_from\nAAA,2020-01-06,2,1,2020-01-03T21:00:00Z\n"
    (directory / "splits.csv").write_text(text + f"AAA,2020-01-07,2,1,{known_from}\n")
    with pytest.raises(SourceError, match=r"splits\.csv, row 3, column 'known_from'.*zone"):
        FilesSource(directory).load()


@pytest.mark.parametrize("table", ["securities", "prices"])
def test_a_missing_required_table_is_an_error(directory: Path, table: str) -> None:
    (directory / f"{table}.csv").unlink()
    with pytest.raises(SourceError, match=table) as caught:
        FilesSource(directory).load()
    assert caught.value.file == str(directory)


def test_two_files_for_one_table_are_an_error(directory: Path) -> None:
    pd.read_csv(directory / "splits.csv").to_parquet(directory / "splits.parquet")
    with pytest.raises(SourceError, match=r"splits\.csv and splits\.parquet"):
        FilesSource(directory).load()


def test_bytes_that_are_not_utf8_are_an_error(directory: Path) -> None:
    path = directory / "securities.csv"
    path.write_bytes(path.read_bytes().replace(b"Beta", b"B\xe9ta"))
    with pytest.raises(SourceError, match="UTF-8") as caught:
        FilesSource(directory).load()
    assert (caught.value.file, caught.value.row) == ("securities.csv", 3)


def test_an_empty_file_and_a_missing_directory_are_errors(directory: Path) -> None:
    (directory / "splits.csv").write_text("")
    with pytest.raises(SourceError, match=r"splits\.csv: the file is empty"):
        FilesSource(directory).load()
    with pytest.raises(SourceError, match="source_path must name the directory"):
        FilesSource(directory / "elsewhere").load()


def test_listings_of_one_code_that_overlap_are_an_error(directory: Path) -> None:
    path = directory / "securities.csv"
    path.write_text(path.read_text() + "BBB,BBB,New Beta,common,NYSE,USD,2020-01-08,,0000000009\n")
    with pytest.raises(SourceError, match="two companies at once") as caught:
        FilesSource(directory).load()
    assert (caught.value.row, caught.value.column) == (5, "first_session")


def test_a_second_listing_needs_the_first_ones_last_session(directory: Path) -> None:
    path = directory / "securities.csv"
    path.write_text(path.read_text() + "AAA,AAA,New Alpha,common,NYSE,USD,2020-02-03,,0000000009\n")
    with pytest.raises(SourceError, match="two companies at once"):
        FilesSource(directory).load()
    path.write_text(path.read_text().replace("2020-02-03", ""))
    with pytest.raises(SourceError, match="each needs its first_session"):
        FilesSource(directory).load()


def test_two_rows_with_one_key_and_one_known_from_are_an_error(directory: Path) -> None:
    text = "vendor_code,ex_date,ratio_new,ratio_old,known_from\nAAA,2020-01-06,2,1,2020-01-03T21:00:00Z\n"
    (directory / "splits.csv").write_text(text + "AAA,2020-01-06,3,1,2020-01-03T16:00:00-05:00\n")
    with pytest.raises(SourceError, match=r"splits\.csv, row 3, column 'ex_date'.*row 2"):
        FilesSource(directory).load()


PARQUET_FAULTS = {
    "identifiers as numbers": ("vendor_code", pa.array([1, 2]), None, "int64"),
    "dates as numbers": ("ex_date", pa.array([20200106, 20200107]), None, "int64"),
    "dates with a zone": ("ex_date", pa.array([0, 1], pa.timestamp("us", tz="UTC")), None, "timestamp"),
    "dates with a time": ("ex_date", pa.array([0, 3600], pa.timestamp("s")), 2, "time of day"),
    "numbers as booleans": ("ratio_new", pa.array([True, False]), None, "bool"),
    "a missing number": ("ratio_new", pa.array([2, None]), 2, "empty"),
    "instants without a zone": ("known_from", pa.array([None, 0], pa.timestamp("us")), 2, "zone"),
}


@pytest.mark.parametrize("fault", PARQUET_FAULTS)
def test_a_parquet_fault_names_row_and_column(fault: str, directory: Path) -> None:
    column, cells, row, hint = PARQUET_FAULTS[fault]
    good = {
        "vendor_code": pa.array(["AAA", "AAA"]),
        "ex_date": pa.array(["2020-01-06", "2020-01-07"]),
        "ratio_new": pa.array([2, 3]),
        "ratio_old": pa.array([1, 1]),
    }
    (directory / "splits.csv").unlink()
    pq.write_table(pa.table(good | {column: cells}), directory / "splits.parquet")
    with pytest.raises(SourceError, match=hint) as caught:
        FilesSource(directory).load()
    assert (caught.value.file, caught.value.row, caught.value.column) == ("splits.parquet", row, column)


def test_a_file_that_is_no_parquet_is_an_error(directory: Path) -> None:
    (directory / "splits.csv").rename(directory / "splits.parquet")
    with pytest.raises(SourceError, match="not a Parquet file") as caught:
        FilesSource(directory).load()
    assert caught.value.file == "splits.parquet"
