"""What the files source delivers from a directory without faults."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.settings import Settings
from pipeline.sources import FilesSource, SimulatedSource
from pipeline.sources.specs import TABLES
from pipeline.vendors.layers import open_source
from tests.sources.conftest import lines


def instant(text: str) -> pd.Timestamp:
    return pd.Timestamp(text)


def test_every_table_has_its_columns_and_dtypes(directory: Path) -> None:
    tables = FilesSource(directory).load()
    kinds = {"text": "str", "date": "datetime64[s]", "number": "float64", "integer": "int64"}
    for name, spec in TABLES.items():
        frame = tables.frames[name]
        assert list(frame.columns) == spec.names
        for column in spec.columns:
            expected = kinds.get(column.kind, "datetime64[us]")
            if (name, column.name) == ("prices", "vendor_code"):
                expected = "category"
            assert str(frame[column.name].dtype) == expected, (name, column.name)
        if spec.dated:
            assert str(frame["known_from"].dtype) == "datetime64[us]"
            assert frame["known_assumed"].dtype == bool
            assert not frame["known_from"].isna().any()
    assert list(tables.prices["vendor_code"].cat.categories) == ["AAA", "BBB", "NA"]
    assert tables.taxonomy.empty


def test_absent_cells_get_the_documented_defaults(directory: Path) -> None:
    tables = FilesSource(directory).load()
    assert tables.dividends["kind"].tolist() == ["regular", "special"]
    assert tables.dividends["basis"].tolist() == ["post", "pre"]
    assert tables.securities["isin"].tolist() == ["", "", ""]
    assert tables.securities["currency"].tolist() == ["USD", "USD", "USD"]
    assert np.isnan(tables.prices["open"].iloc[-1])
    assert np.isnat(tables.securities["last_session"].to_numpy()[0])


@pytest.mark.parametrize("tickers", [["NA", "NULL", "nan"], ["TRUE", "FALSE", "ON"], ["007", "1e5", "#N/A"]])
def test_identifiers_that_look_like_something_else_stay_text(directory: Path, tickers: list[str]) -> None:
    rows = [f"{ticker},{ticker},{ticker},common,0000000042" for ticker in tickers]
    (directory / "securities.csv").write_text("\n".join(["vendor_code,ticker,name,type,cik", *rows]) + "\n")
    prices = [f"{ticker},2020-01-02,1.5" for ticker in tickers]
    (directory / "prices.csv").write_text("\n".join(["vendor_code,date,close", *prices]) + "\n")
    for table in TABLES.keys() - {"securities", "prices"}:
        (directory / f"{table}.csv").unlink(missing_ok=True)
    tables = FilesSource(directory).load()
    assert tables.securities["ticker"].tolist() == sorted(tickers)
    assert tables.securities["cik"].tolist() == ["0000000042"] * 3
    assert tables.prices["vendor_code"].tolist() == sorted(tickers)


def test_rows_without_known_from_get_the_default_of_their_table(directory: Path) -> None:
    """Hand-computed: closes are 21:00 UTC in January; 2020-01-01 is a holiday and 2020-01-04/05 a weekend."""
    tables = FilesSource(directory).load()
    known = {name: frame["known_from"].tolist() for name, frame in tables.frames.items() if "known_from" in frame}
    assert known["prices"][:3] == [
        instant("2020-01-02 21:15"),
        instant("2020-01-03 21:15"),
        instant("2020-01-06 21:15"),
    ]
    assert known["splits"] == [instant("2020-01-03 21:00")]
    assert known["dividends"] == [instant("2020-01-02 21:00"), instant("2020-01-06 21:00")]
    assert known["spin_offs"] == [instant("2020-01-06 21:00")]
    assert known["ticker_changes"] == [instant("2020-01-06 21:00")]
    assert known["classification"] == [instant("2019-12-31 21:00")] * 2
    assert known["securities"] == [instant("2020-01-02 21:00")] * 3
    assert known["delistings"] == [instant("2020-01-08 21:00")]
    assert known["shares"] == [instant("2020-01-04 05:00"), instant("2020-01-03 22:31")]
    assert known["fx_rates"] == [instant("2020-01-07 21:15")]
    assert all(frame["known_assumed"].all() for frame in tables.frames.values() if "known_from" in frame)


def test_a_listing_without_first_session_is_known_from_its_first_price(spoil: Callable[[str, str, str], Path]) -> None:
    tables = FilesSource(spoil("securities", "USD,2020-01-02,2020-01-08", "USD,,2020-01-08")).load()
    assert tables.securities.set_index("vendor_code")["known_from"]["BBB"] == instant("2020-01-02 21:00")


def test_a_given_known_from_is_kept_and_said_to_be_given(directory: Path) -> None:
    (directory / "splits.csv").write_text(
        "vendor_code,ex_date,ratio_new,ratio_old,known_from\n"
        "AAA,2020-01-06,3,1,2020-01-02T16:30:00-05:00\nAAA,2020-01-06,2,1,2020-01-08T21:30:00Z\nNA,2020-01-06,5,1,\n"
    )
    splits = FilesSource(directory).load().splits
    assert splits["known_from"].tolist() == [
        instant("2020-01-02 21:30"),
        instant("2020-01-08 21:30"),
        instant("2020-01-03 21:00"),
    ]
    assert splits["known_assumed"].tolist() == [False, False, True]
    assert splits["ratio_new"].tolist() == [3, 2, 5]


def test_a_correction_keeps_both_rows(directory: Path) -> None:
    path = directory / "prices.csv"
    path.write_text("vendor_code,date,close,known_from\nAAA,2020-01-02,99,2020-01-05T12:00:00Z\nAAA,2020-01-02,10.5,\n")
    prices = FilesSource(directory).load().prices
    assert prices["close"].tolist() == [10.5, 99.0]


def test_prices_that_cannot_be_true_are_data_and_pass(spoil: Callable[[str, str, str], Path]) -> None:
    for old, new in (("10.25", "-10.25"), ("5.125", "inf"), ("20,20,20,20,100", "0,0,0,0,-1294967296")):
        path = spoil("prices", old, new)
    prices = FilesSource(path).load().prices
    assert prices["close"].tolist() == [10.5, -10.25, np.inf, 0.0, 21.0, 7.0]
    assert prices["volume"].iloc[3] == -1294967296.0


def test_exact_duplicates_count_once_and_are_reported(directory: Path) -> None:
    clean = FilesSource(directory).load()
    for table in TABLES:
        path = directory / f"{table}.csv"
        if path.exists():
            path.write_text(path.read_text() + "\n".join(lines(table)[1:]) + "\n")
    twice = FilesSource(directory).load()
    for name, frame in clean.frames.items():
        pd.testing.assert_frame_equal(frame, twice.frames[name], check_exact=True)
        if len(frame):
            assert twice.origins[name].duplicates == len(frame)
            assert twice.origins[name].rows == 2 * len(frame)
            assert clean.origins[name].duplicates == 0
    first = {notice.table: notice.first_row for notice in twice.notices if "duplicates" in notice.what}
    assert first["prices"] == 8  # header, six rows, then the repetition


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_order_of_rows_changes_nothing(directory: Path, data: st.DataObject) -> None:
    clean = FilesSource(directory).load()
    originals = {
        table: (directory / f"{table}.csv").read_text() for table in TABLES if (directory / f"{table}.csv").exists()
    }
    try:
        for table in originals:
            header, *rows = lines(table)
            (directory / f"{table}.csv").write_text("\n".join([header, *data.draw(st.permutations(rows))]) + "\n")
        shuffled = FilesSource(directory).load()
    finally:
        for table, text in originals.items():
            (directory / f"{table}.csv").write_text(text)
    for name, frame in clean.frames.items():
        pd.testing.assert_frame_equal(frame, shuffled.frames[name], check_exact=True)


def test_parquet_and_csv_deliver_the_same_tables(directory: Path) -> None:
    from_csv = FilesSource(directory).load()
    typed = {
        "date": pa.date32(), "ex_date": pa.timestamp("ns"), "volume": pa.int64(), "close": pa.float32(),
        "vendor_code": pa.dictionary(pa.int8(), pa.string()), "first_session": pa.date32(),
    }  # fmt: skip
    for table in TABLES:
        path = directory / f"{table}.csv"
        if path.exists():
            options = pyarrow.csv.ConvertOptions(
                column_types={key: kind for key, kind in typed.items() if key != "vendor_code"}
                | {"cik": pa.string(), "fs_industry_code": pa.string()},
                null_values=[""],
            )
            cells = pyarrow.csv.read_csv(path, convert_options=options)
            if "vendor_code" in cells.column_names:
                at = cells.column_names.index("vendor_code")
                cells = cells.set_column(at, "vendor_code", cells.column(at).cast(typed["vendor_code"]))
            pq.write_table(cells, path.with_suffix(".parquet"))
            path.unlink()
    from_parquet = FilesSource(directory).load()
    for name, frame in from_csv.frames.items():
        pd.testing.assert_frame_equal(frame, from_parquet.frames[name], check_exact=True)


def test_codes_that_only_a_parquet_dictionary_names_are_no_fault(directory: Path) -> None:
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 2], pa.int32()), pa.array(["AAA", "GONE", "BBB"]))
    dates = pa.array(["2020-01-02", "2020-01-02"])
    (directory / "prices.csv").unlink()
    pq.write_table(pa.table({"vendor_code": codes, "date": dates}), directory / "prices.parquet")
    prices = FilesSource(directory).load().prices
    assert prices["vendor_code"].tolist() == ["AAA", "BBB"]
    assert prices["close"].isna().all()


def test_gics_names_are_mapped_and_unknown_ones_stay_unclassified_with_a_notice(directory: Path) -> None:
    (directory / "classification.csv").write_text(
        "vendor_code,valid_from,fs_industry_code,gics_sub_industry\n"
        "AAA,2020-01-02,,Semiconductors\nBBB,2020-01-02,4110,Semiconductors\nNA,2020-01-02,,Alchemy\n"
    )
    tables = FilesSource(directory).load()
    assert tables.classification["fs_industry_code"].tolist() == ["3210", "4110", ""]
    notice = next(notice for notice in tables.notices if notice.table == "classification")
    assert (notice.rows, notice.first_row) == (1, 4)
    assert "Alchemy" in notice.what


def test_an_unknown_name_is_told_with_the_nearest_one(directory: Path) -> None:
    (directory / "classification.csv").write_text(
        "vendor_code,valid_from,gics_sub_industry\nAAA,2020-01-02,Semi-conductors\n"
    )
    notices = FilesSource(directory).load().notices
    assert any("the nearest known name is 'Semiconductors'" in notice.what for notice in notices)


def test_origins_carry_file_name_and_hash_of_the_bytes(directory: Path) -> None:
    tables = FilesSource(directory).load()
    origin = tables.origins["prices"]
    assert origin.file == "prices.csv"
    assert origin.sha256 == hashlib.sha256((directory / "prices.csv").read_bytes()).hexdigest()
    assert origin.rows == 6
    assert "taxonomy" not in tables.origins


def test_other_files_and_columns_are_ignored(directory: Path) -> None:
    (directory / "index_membership.csv").write_text("anything\n")
    path = directory / "splits.csv"
    path.write_text(path.read_text().replace("ratio_old", "ratio_old,note").replace("2,1", "2,1,seven for one"))
    (directory / "dividend.csv").write_text("vendor_code,ex_date,amount\n")
    tables = FilesSource(directory).load()
    assert "note" not in tables.splits
    assert [notice.table for notice in tables.notices if "ignored" in notice.what] == [
        "dividend.csv",
        "index_membership.csv",
    ]


def test_windows_line_ends_a_byte_order_mark_and_quoted_line_breaks_are_read(directory: Path) -> None:
    path = directory / "securities.csv"
    text = path.read_text().replace("Beta", '"Beta,\r\nInc"').replace("\n", "\r\n").replace("\r\r", "\r")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n")
    assert FilesSource(directory).load().securities["name"].tolist() == ["Alpha", "Beta,\r\nInc", "Nacional"]


def test_open_source_makes_what_is_configured(directory: Path) -> None:
    source = open_source(Settings(source="files", source_path=str(directory)))
    assert isinstance(source, FilesSource)
    assert source.name == "files"
    assert isinstance(open_source(Settings(source="simulated")), SimulatedSource)
