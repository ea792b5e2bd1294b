"""Cells as delivered (Arrow columns) to typed numpy arrays, with errors that name file, row and column.

Text is read once per distinct value: a column of a million dates is parsed a few thousand times.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.outside.visible import first_unseen
from pipeline.sources.specs import Column
from security_master.errors import ExplainedError

EMPTY = "the cell is empty, expected a value; fill it or remove the row"
EXCHANGE_ZONE = ZoneInfo("America/New_York")

Array = NDArray[Any]


class SourceError(ExplainedError, ValueError):
    """A source cannot be used as it is.

    file: name of the file, or of the table that was made in memory. row: counted from 1, and the header of a CSV file
    is its row 1. Row and column are None where the fault is not in one cell.
    """

    def __init__(self, problem: str, file: str, row: int | None = None, column: str | None = None) -> None:
        self.file, self.row, self.column, self.problem = file, row, column, problem
        where = [file]
        if row is not None:
            where.append(f"row {row}")
        if column is not None:
            where.append(f"column {column!r}")
        super().__init__(f"{', '.join(where)}: {problem}")


@dataclass(frozen=True)
class Place:
    """Where the rows of an array stand: `file`, and the row number of element 0."""

    file: str
    first_row: int

    def fail(self, problem: str, column: str | None = None, at: int | None = None) -> NoReturn:
        """Raise SourceError for the cell of element `at`."""
        raise SourceError(problem, self.file, None if at is None else self.first_row + int(at), column)


@dataclass(frozen=True)
class Codes:
    """A text column as codes into its distinct values; `values[codes]` is the column, a missing cell is ``""``."""

    codes: NDArray[np.int32]
    values: list[str]

    def text(self) -> pd.Series:
        return pd.Series(np.array(self.values, dtype=object)[self.codes], dtype="str")

    def category(self) -> pd.Categorical:
        distinct = sorted(set(self.values))
        place = {value: k for k, value in enumerate(distinct)}
        ranks = np.array([place[value] for value in self.values], dtype=np.int32)
        return pd.Categorical.from_codes(ranks[self.codes], categories=pd.Index(distinct, dtype="str"))

    def map(self, of_value: Array) -> Array:
        """`of_value[k]` belongs to the distinct value k."""
        return of_value[self.codes]

    def first(self, wanted: list[bool] | NDArray[np.bool_]) -> int | None:
        """Index of the first cell whose distinct value is wanted; None when no cell's is."""
        hits = np.asarray(wanted, bool)
        if not hits.any():
            return None
        cells = hits[self.codes]
        return int(cells.argmax()) if cells.any() else None


def read_text(column: Column, cells: pa.ChunkedArray, place: Place) -> Codes:
    """A text column; an empty cell becomes the column's default.

    SourceError: other types, values not listed, characters that nobody can see.
    """
    coded = _coded(column, cells, place)
    at = coded.first([first_unseen(value) is not None for value in coded.values])
    if at is not None:
        found = coded.values[coded.codes[at]]
        problem = f"found {found!a} with {first_unseen(found)}, which nobody can see; expected plain text"
        place.fail(f"{problem}; take it out of the cell", column.name, at)
    values = [value or column.default for value in coded.values]
    if column.required:
        at = coded.first([value == "" for value in values])
        if at is not None:
            place.fail(EMPTY, column.name, at)
        at = coded.first([value != value.strip() for value in values])
        if at is not None:
            place.fail(f"found {values[coded.codes[at]]!r}, expected no blanks around it", column.name, at)
    if column.values is not None:
        at = coded.first([value != "" and value not in column.values for value in values])
        if at is not None:
            listed = sorted(column.values)
            allowed = ", ".join(listed) if len(listed) < 20 else "an ISO 4217 code such as USD, EUR or GBP"
            place.fail(f"found {values[coded.codes[at]]!r}, expected {allowed}", column.name, at)
    return Codes(coded.codes, values)


def read_dates(column: Column, cells: pa.ChunkedArray, place: Place) -> Array:
    """A column of plain dates as datetime64[s]; missing: NaT."""
    if _is_text(cells.type):
        coded = _coded(column, cells, place)
        parsed = _parse_values(coded, _parse_date, "a plain date YYYY-MM-DD", column, place)
        dates = coded.map(np.array(parsed, dtype="datetime64[s]"))
    elif pa.types.is_date(cells.type):
        dates = _numpy(pc.cast(cells, pa.date32())).astype("datetime64[s]")
    elif pa.types.is_timestamp(cells.type) and cells.type.tz is None:
        stamps = _numpy(cells)
        dates = stamps.astype("datetime64[D]").astype("datetime64[s]")
        _require(~(stamps == dates) & ~np.isnat(stamps), stamps, "a plain date without a time of day", column, place)
    elif pa.types.is_null(cells.type):
        dates = np.full(len(cells), "NaT", dtype="datetime64[s]")
    else:
        _wrong_type(column, cells, place, "plain dates (date32, or text YYYY-MM-DD)")
    _require_present(np.isnat(dates), column, place)
    return dates


def read_instants(column: Column, cells: pa.ChunkedArray, place: Place) -> Array:
    """A column of instants as naive-UTC datetime64[us]; missing: NaT. A naive instant is an error.

    For `date_or_instant` a plain date stands for the end of that day in New York.
    """
    dates_allowed = column.kind == "date_or_instant"
    expected = "an instant with its zone, such as 2024-05-01T20:30:00Z" + (
        ", or a plain date YYYY-MM-DD" if dates_allowed else ""
    )
    if _is_text(cells.type):
        coded = _coded(column, cells, place)
        parse = _parse_date_or_instant if dates_allowed else _parse_instant
        parsed = _parse_values(coded, parse, expected, column, place)
        instants = coded.map(np.array(parsed, dtype="datetime64[us]"))
    elif pa.types.is_timestamp(cells.type) and cells.type.tz is not None:
        instants = _numpy(cells).astype("datetime64[us]")
    elif dates_allowed and (pa.types.is_date(cells.type) or pa.types.is_timestamp(cells.type)):
        stamps = _numpy(cells if pa.types.is_timestamp(cells.type) else pc.cast(cells, pa.date32()))
        days = stamps.astype("datetime64[D]")
        _require(~(stamps == days) & ~np.isnat(stamps), stamps, expected, column, place)
        instants = end_of_day(days)
    elif pa.types.is_null(cells.type):
        instants = np.full(len(cells), "NaT", dtype="datetime64[us]")
    elif pa.types.is_timestamp(cells.type):
        stamps = _numpy(cells)
        _require(~np.isnat(stamps), stamps, expected, column, place)
        instants = stamps.astype("datetime64[us]")
    else:
        _wrong_type(column, cells, place, "instants (a timestamp with its zone, or text)")
    _require_present(np.isnat(instants), column, place)
    return instants


def read_numbers(column: Column, cells: pa.ChunkedArray, place: Place) -> Array:
    """A column of numbers as float64 (`integer`: int64); missing: NaN. Bounds of the column are checked."""
    kind = cells.type
    if _is_text(kind):
        numbers = _parse_numbers(column, cells, place)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = _numpy(cells if pa.types.is_float64(kind) else pc.cast(cells, pa.float64(), safe=False))
    elif pa.types.is_null(kind):
        numbers = np.full(len(cells), np.nan)
    else:
        _wrong_type(column, cells, place, "numbers")
    _require_present(np.isnan(numbers), column, place)
    there = ~np.isnan(numbers)
    if column.kind == "integer":
        whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)
        bad = there & ~(whole & (numbers > (column.above or 0)))
        _require(bad, numbers, "a positive integer", column, place)
        return numbers.astype(np.int64)
    if column.above is not None:
        bad = there & ~(np.isfinite(numbers) & (numbers > column.above))
        _require(bad, numbers, f"a number above {column.above:g}", column, place)
    if column.at_least is not None:
        bad = there & ~(np.isfinite(numbers) & (numbers >= column.at_least))
        _require(bad, numbers, f"a number not below {column.at_least:g}", column, place)
    return numbers


def end_of_day(days: Array) -> Array:
    """The instant (naive UTC, datetime64[us]) at which each plain date ends in New York; NaT stays NaT."""
    distinct, where = np.unique(days.astype("datetime64[D]"), return_inverse=True)
    ends = [
        None
        if np.isnat(day)
        else dt.datetime.combine(day.item() + dt.timedelta(days=1), dt.time(), EXCHANGE_ZONE)
        .astimezone(dt.UTC)
        .replace(tzinfo=None)
        for day in distinct
    ]
    return np.array(ends, dtype="datetime64[us]")[where]


def _coded(column: Column, cells: pa.ChunkedArray, place: Place) -> Codes:
    kind = cells.type
    if pa.types.is_null(kind):
        return Codes(np.zeros(len(cells), np.int32), [""])
    if not _is_text(kind):
        _wrong_type(column, cells, place, "text")
    if pa.types.is_dictionary(kind):
        whole = cells.unify_dictionaries().combine_chunks()
    else:
        whole = cells.combine_chunks().dictionary_encode()
    if isinstance(whole, pa.ChunkedArray):  # an empty column has no chunk
        return Codes(np.zeros(0, np.int32), [""])
    values = [value or "" for value in whole.dictionary.to_pylist()]
    codes = pc.fill_null(whole.indices.cast(pa.int32()), len(values)).to_numpy(zero_copy_only=False)
    return Codes(codes.astype(np.int32, copy=False), [*values, ""])


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _numpy(cells: pa.ChunkedArray) -> Array:
    return np.asarray(cells.to_numpy())


def _parse_values(coded: Codes, parse: Any, expected: str, column: Column, place: Place) -> list[Any]:
    parsed = []
    for value in coded.values:
        try:
            parsed.append(parse(value) if value else None)
        except ValueError:
            at = coded.first([value == other for other in coded.values])
            if at is not None:
                place.fail(f"found {value!r}, expected {expected}", column.name, at)
            parsed.append(None)  # a dictionary entry that no row uses
    return parsed


def _parse_date(value: str) -> dt.date:
    if len(value) != 10:
        raise ValueError
    return dt.date.fromisoformat(value)


def _parse_instant(value: str) -> dt.datetime:
    instant = dt.datetime.fromisoformat(value)
    if instant.tzinfo is None:
        raise ValueError
    return instant.astimezone(dt.UTC).replace(tzinfo=None)


def _parse_date_or_instant(value: str) -> dt.datetime:
    if len(value) == 10:
        return end_of_day(np.array([_parse_date(value)], dtype="datetime64[D]"))[0].item()
    return _parse_instant(value)


def _parse_numbers(column: Column, cells: pa.ChunkedArray, place: Place) -> Array:
    coded_free = pc.cast(cells, pa.string()) if pa.types.is_dictionary(cells.type) else cells
    blank = pc.equal(coded_free, "")
    filled = pc.if_else(blank, pa.scalar(None, coded_free.type), coded_free)
    try:
        return _numpy(pc.cast(filled, pa.float64()))
    except pa.ArrowInvalid:
        for at, value in enumerate(filled.to_pylist()):
            try:
                pc.cast(pa.array([value], pa.string()), pa.float64())
            except pa.ArrowInvalid:
                place.fail(f"found {value!r}, expected a number", column.name, at)
        raise


def _require(bad: NDArray[np.bool_], found: Array, expected: str, column: Column, place: Place) -> None:
    if bad.any():
        at = int(bad.argmax())
        value = found[at]
        place.fail(f"found {value if not isinstance(value, np.floating) else float(value)!s}, expected {expected}",
                   column.name, at)  # fmt: skip


def _require_present(missing: NDArray[np.bool_], column: Column, place: Place) -> None:
    if column.required and missing.any():
        place.fail(EMPTY, column.name, int(missing.argmax()))


def _wrong_type(column: Column, cells: pa.ChunkedArray, place: Place, expected: str) -> NoReturn:
    place.fail(f"the column's type is {cells.type}, expected {expected}", column.name)
