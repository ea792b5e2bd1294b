"""A directory is looked at as a whole; what has one meaning is read, and what is wrong is said at once."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from pipeline.sources import FilesSource, SourceError
from pipeline.sources.checked import check_directory


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def same(directory: Path, before: dict[str, pd.DataFrame]) -> None:
    for name, frame in FilesSource(directory).load().frames.items():
        pd.testing.assert_frame_equal(frame, before[name])


def in_capitals(path: Path) -> None:
    header, rest = path.read_text().split("\n", 1)
    path.write_text(header.upper() + "\n" + rest)


def with_tabs(path: Path) -> None:
    path.write_text(path.read_text().replace(",", "\t"))


def with_semicolons(path: Path) -> None:
    path.write_text(path.read_text().replace(",", ";"))


def from_windows(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))


def packed(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name(path.name.capitalize()))


def in_parts(path: Path) -> None:
    frame, parts = pd.read_csv(path, dtype=str, keep_default_na=False), path.with_suffix(".parquet")
    path.unlink()
    parts.mkdir()
    frame.iloc[:2].to_parquet(parts / "part-0.parquet")
    frame.iloc[2:].to_parquet(parts / "part-1.parquet")


@pytest.mark.parametrize(
    "form", [in_capitals, with_tabs, with_semicolons, from_windows, packed, renamed], ids=lambda form: form.__name__
)
def test_a_file_that_has_one_meaning_is_read_as_what_it_means(directory: Path, form) -> None:
    before = FilesSource(directory).load().frames
    for table in ("prices", "securities", "dividends"):
        form(directory / f"{table}.csv")
    same(directory, before)
    assert check_directory(directory).faults == []


def test_a_directory_of_parquet_parts_is_one_table(directory: Path) -> None:
    before = FilesSource(directory).load().frames
    in_parts(directory / "splits.csv")
    same(directory, before)


def test_an_empty_directory_named_as_a_table_and_a_cut_archive_are_sentences(directory: Path) -> None:
    (directory / "shares.csv").rename(directory / "unused.txt")
    (directory / "shares.parquet").mkdir()
    with pytest.raises(SourceError, match=r"without a file \*\.parquet"):
        FilesSource(directory).load()
    (directory / "shares.parquet").rmdir()
    (directory / "shares.csv.gz").write_bytes(gzip.compress(b"vendor_code,period_end,shares\n")[:-9])
    with pytest.raises(SourceError, match="not packed with gzip, or cut"):
        FilesSource(directory).load()


@pytest.mark.parametrize(
    ("table", "old", "new", "says"),
    [
        ("prices", "2020-01-06", "01/06/2020", "row 4, column 'date'"),
        ("prices", ",1000", ',"1,000"', "row 2, column 'volume'"),
        ("dividends", "0.25", "25%", "row 2, column 'amount'"),
    ],
)
def test_what_has_two_meanings_is_refused_with_its_cell(directory: Path, table, old, new, says) -> None:
    change(directory / f"{table}.csv", old, new)
    (fault,) = check_directory(directory).faults
    assert f"{table}.csv, {says}" in str(fault)
    assert new.strip(',"') in str(fault)
    assert "expected" in str(fault)


def test_all_faults_of_a_directory_are_said_at_once_and_none_of_a_whole_one(directory: Path) -> None:
    whole = check_directory(directory)
    assert whole.faults == []
    prices = next(table for table in whole.tables if table.table == "prices")
    assert (prices.rows, prices.first, prices.last, prices.securities) == (6, "2020-01-02", "2020-01-08", 3)

    change(directory / "prices.csv", "2020-01-06", "01/06/2020")
    change(directory / "prices.csv", "20,20,20,20,100", "20,20,20,twenty,100")
    change(directory / "splits.csv", "AAA", "ZZZ")
    change(directory / "shares.csv", "vendor_code,", "vendorcode,")
    (directory / "classification.csv").rename(directory / "clasification.csv")
    checked = check_directory(directory)
    said = [str(fault) for fault in checked.faults]
    for wanted in (
        "prices.csv, row 4, column 'date'",
        "prices.csv, row 5, column 'close'",
        "unknown vendor_code 'ZZZ'",
        "rename 'vendorcode', if that is meant",
    ):
        assert any(wanted in one for one in said), (wanted, said)
    assert len(said) == 4
    assert any("clasification.csv" in hint and "is classification meant?" in hint for hint in checked.hints)
    assert any(hint.startswith("no classification: sector and subsector betas") for hint in checked.hints)


def test_the_required_tables_and_the_directory_itself_are_named(tmp_path: Path) -> None:
    assert {fault.problem.split(";")[0] for fault in check_directory(tmp_path).faults}
    assert len(check_directory(tmp_path).faults) == 2
    with pytest.raises(SourceError, match="source_path must name the directory"):
        check_directory(tmp_path / "nowhere")
