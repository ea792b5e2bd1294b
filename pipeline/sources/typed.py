"""One table as delivered (`RawTable`) to one typed table (`TypedTable`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.calendar import LAST_SESSION
from pipeline.sources.cells import Codes, Place, SourceError, read_dates, read_instants, read_numbers, read_text
from pipeline.sources.specs import KNOWN_FROM, TABLES, Column, TableSpec


@dataclass(frozen=True)
class RawTable:
    """One table as delivered. sha256: of the delivered bytes; place: the file, and the number of its first data row.

    others: names of the delivered columns that no table of this name has, which are not read.
    """

    name: str
    cells: pa.Table
    place: Place
    sha256: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class TypedTable:
    """One table with typed columns, rows in the delivered order. codes: its `vendor_code`-like columns."""

    spec: TableSpec
    frame: pd.DataFrame
    codes: dict[str, Codes]
    place: Place
    sha256: str


def type_table(raw: RawTable) -> TypedTable:
    """The declared columns of a table, typed; `known_from` is NaT where it was not delivered.

    Raises SourceError for a missing or repeated column, a wrong type, and a cell that cannot be read or is not allowed.
    """
    spec, place = TABLES[raw.name], raw.place
    for fault in _header_faults(raw):
        raise fault
    arrays: dict[str, Any] = {}
    codes: dict[str, Codes] = {}
    for column in _columns(spec):
        read = _read(raw, column)
        if isinstance(read, Codes):
            if column.code or column.name == "vendor_code":
                codes[column.name] = read
            read = read.category() if raw.name == "prices" else read.text()
        arrays[column.name] = read
    frame = pd.DataFrame(arrays, copy=False)
    if spec.dated:
        frame["known_assumed"] = frame["known_from"].isna()
    return TypedTable(spec, frame, codes, place, raw.sha256)


def all_faults(raw: RawTable) -> list[SourceError]:
    """What `type_table` would fail with, of the header and of each column: the first cell of each that is wrong."""
    found = list(_header_faults(raw))
    for column in _columns(TABLES[raw.name]):
        if raw.cells.column_names.count(column.name) == 1:
            try:
                _read(raw, column)
            except SourceError as fault:
                found.append(fault)
    return found


def _columns(spec: TableSpec) -> tuple[Column, ...]:
    return (*spec.columns, KNOWN_FROM) if spec.dated else spec.columns


def _header_faults(raw: RawTable) -> Iterator[SourceError]:
    names, file = raw.cells.column_names, raw.place.file
    for column in _columns(TABLES[raw.name]):
        if names.count(column.name) > 1:
            yield SourceError("the column stands there twice; keep one", file, column=column.name)
        if column.required and column.name not in names:
            found = ", ".join((*names, *raw.others)) or "no columns"
            near = get_close_matches(column.name, raw.others, n=1)
            meant = f"; rename {near[0]!r}, if that is meant" if near else ""
            yield SourceError(f"the column is missing; found {found}{meant}", file, column=column.name)
    if raw.name == "classification" and not {"fs_industry_code", "gics_sub_industry"} & set(names):
        problem = "the column is missing, and gics_sub_industry too; give one of them"
        yield SourceError(problem, file, column="fs_industry_code")


def _read(raw: RawTable, column: Column) -> Any:
    """The cells of one column, typed; text as `Codes`. An absent column is one of empty cells."""
    place, absent = raw.place, pa.chunked_array([pa.nulls(raw.cells.num_rows)])
    cells = raw.cells.column(column.name) if column.name in raw.cells.column_names else absent
    if column.kind == "text":
        return read_text(column, cells, place)
    if column.kind == "date":
        return _within_calendar(column, read_dates(column, cells, place), place)
    if column.kind in ("instant", "date_or_instant"):
        return read_instants(column, cells, place)
    return read_numbers(column, cells, place)


def made_table(name: str, columns: Mapping[str, Any]) -> RawTable:
    """A table made in memory as a RawTable. columns: numpy arrays, lists or categoricals; NaN is a missing number."""
    spec = TABLES[name]
    cells = pa.table(
        {key: _arrow(KNOWN_FROM if key == KNOWN_FROM.name else spec[key], columns[key]) for key in columns}
    )
    digest = hashlib.sha256()
    for key, column in zip(columns, cells.columns, strict=True):
        digest.update(key.encode())
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                digest.update(buffer or b"")
            if pa.types.is_dictionary(chunk.type):
                digest.update("\n".join(chunk.dictionary.to_pylist()).encode())
    return RawTable(name, cells, Place(f"table {name}", 1), digest.hexdigest())


def _within_calendar(column: Column, dates: Any, place: Place) -> Any:
    late = dates > np.datetime64(LAST_SESSION)
    if late.any():
        at = int(late.argmax())
        problem = (
            f"found {dates.astype('datetime64[D]')[at]}, expected a date up to {LAST_SESSION}, where the calendar ends"
        )
        place.fail(problem + "; leave the cell empty for 'never'", column.name, at)
    return dates


def _arrow(column: Column, values: Any) -> pa.Array:
    if isinstance(values, pd.Categorical):
        codes = pa.array(values.codes.astype(np.int32))
        return pa.DictionaryArray.from_arrays(codes, pa.array(list(values.categories), pa.string()))
    if column.kind in ("instant", "date_or_instant"):
        return pa.array(np.asarray(values, "datetime64[us]")).cast(pa.timestamp("us", tz="UTC"))
    if column.kind == "date":
        return pa.array(np.asarray(values, "datetime64[s]"))
    if column.kind == "text":
        return pa.array(list(values), pa.string())
    return pa.array(np.asarray(values, np.float64), from_pandas=False)
