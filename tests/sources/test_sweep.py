"""Every table and column that may be absent or empty: what comes of it is tables, or a sentence that names the place.

All the way that a delivery goes before a session is computed: reading, cleaning, the security master, the facts.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipeline.reports.dry_run import dry_run
from pipeline.settings import DataRules
from pipeline.sources import FilesSource
from pipeline.sources.specs import KNOWN_FROM, TABLES
from security_master.errors import ExplainedError
from tests.sources.conftest import TABLES as TEXTS
from tests.sources.conftest import lines

SOME = {"text": "X", "date": "2020-01-06", "number": "1", "integer": "1", "instant": "2020-01-06T21:15:00Z"}
DELIVERED = sorted(TABLES)
COLUMNS = [
    (table, column.name)
    for table, spec in TABLES.items()
    for column in (*spec.columns, *([KNOWN_FROM] if spec.dated else []))
]


def rows_of(table: str) -> list[dict[str, str]]:
    """The rows of the small world with all columns that are declared; those of a table that it lacks are made up."""
    spec = TABLES[table]
    names = [column.name for column in spec.columns]
    if table not in TEXTS:
        return [dict.fromkeys(names, "X") | {"sector_etf": "SPY", "subsector_etf": ""}]
    header, *rest = (line.split(",") for line in lines(table))
    return [dict.fromkeys(names, "") | dict(zip(header, row, strict=True)) for row in rest]


def write(directory: Path, table: str, rows: list[dict[str, str]], names: list[str]) -> None:
    (directory / f"{table}.csv").write_text(
        "\n".join([",".join(names), *(",".join(row.get(name, "") for name in names) for row in rows)]) + "\n"
    )


def goes_through_or_says_why(directory: Path) -> str:
    """The sentence that refuses a delivery, "" when it goes through. Any other error is a fault of the program."""
    try:
        dry_run(FilesSource(directory).load(), DataRules())
    except ExplainedError as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("table", DELIVERED)
def test_a_table_may_be_absent_unless_it_is_required(directory: Path, table: str) -> None:
    (directory / f"{table}.csv").unlink(missing_ok=True)
    said = goes_through_or_says_why(directory)
    needed = {"securities", "prices", "fx_rates"}  # a dividend in euro needs its rate
    assert bool(said) == (table in needed), said
    assert not said or table in said


@pytest.mark.parametrize("table", DELIVERED)
@pytest.mark.parametrize("rows", [0, 1])
def test_a_table_may_have_no_row_and_one_row(directory: Path, table: str, rows: int) -> None:
    names = [column.name for column in TABLES[table].columns]
    write(directory, table, rows_of(table)[:rows], names)
    said = goes_through_or_says_why(directory)
    assert not said or ".csv" in said or table in said, said


@pytest.mark.parametrize("table", DELIVERED)
def test_a_file_without_a_byte_is_named(directory: Path, table: str) -> None:
    (directory / f"{table}.csv").write_bytes(b"")
    assert goes_through_or_says_why(directory).startswith(f"SourceError: {table}.csv: the file is empty")


@pytest.mark.parametrize(
    ("table", "name", "how"),
    [
        pytest.param(
            table, name, how, marks=[] if (k + 3 * j) % 6 == 0 else [pytest.mark.slow]
        )  # a third of them, one way
        for k, (table, name) in enumerate(COLUMNS)
        for j, how in enumerate(("absent", "one filled"))
    ],
)
def test_a_column_may_be_absent_or_empty_unless_it_is_required(
    directory: Path, table: str, name: str, how: str
) -> None:
    spec, rows = TABLES[table], rows_of(table)
    column = KNOWN_FROM if name == KNOWN_FROM.name else spec[name]
    names = [other.name for other in spec.columns if other.name != name] + ([name] if how != "absent" else [])
    filled = next((row[name] for row in rows if row.get(name)), SOME.get(column.kind, "2020-01-06"))
    if column.values is not None and filled not in column.values:
        filled = sorted(column.values)[0]
    if column.code:
        filled = "NA"
    for k, row in enumerate(rows):
        row[name] = filled if how == "one filled" and k == 0 else ""
    write(directory, table, rows, names)
    said = goes_through_or_says_why(directory)
    if column.required and (how != "one filled" or len(rows) > 1):
        assert f"{table}.csv" in said
        assert repr(name) in said or "missing" in said
    else:
        assert not said or f"{table}.csv" in said or table in said or name in said, said


OPTIONAL = [
    (table, name)
    for table, name in COLUMNS
    if name not in (KNOWN_FROM.name, "fs_industry_code", "currency")  # euro without a currency are dollars
    and not TABLES[table][name].required
]


@pytest.mark.parametrize("table", sorted({table for table, _ in OPTIONAL}))
def test_optional_columns_of_empty_cells_are_absent_ones(directory: Path, table: str) -> None:
    assert_empty_is_absent(directory, table, {name for other, name in OPTIONAL if other == table})


@pytest.mark.slow
@pytest.mark.parametrize(("table", "name"), OPTIONAL, ids=str)
def test_an_optional_column_of_empty_cells_is_an_absent_one(directory: Path, table: str, name: str) -> None:
    assert_empty_is_absent(directory, table, {name})


def assert_empty_is_absent(directory: Path, table: str, emptied: set[str]) -> None:
    names, rows = [column.name for column in TABLES[table].columns], rows_of(table)
    write(directory, table, [row | dict.fromkeys(emptied, "") for row in rows], names)
    empty = FilesSource(directory).load()
    write(directory, table, rows, [name for name in names if name not in emptied])
    absent = FilesSource(directory).load()
    for other, frame in empty.frames.items():
        pd.testing.assert_frame_equal(frame, absent.frames[other])


@pytest.mark.parametrize("kept", ["", "first_session"])
def test_a_delisting_needs_no_first_session(directory: Path, kept: str) -> None:
    names = [c.name for c in TABLES["securities"].columns if c.name != "first_session" or kept]
    rows = [row | {"first_session": ""} for row in rows_of("securities")]
    write(directory, "securities", rows, names)
    assert goes_through_or_says_why(directory) == ""
