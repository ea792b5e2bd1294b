"""The `files` source: a directory with one CSV or Parquet file per table (docs/sources.md)."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pipeline.sources.cells import Place, SourceError
from pipeline.sources.specs import KNOWN_FROM, TABLES
from pipeline.sources.tables import Notice, RawTable, SourceTables, check_tables

FORMATS = (".csv", ".parquet")


class FilesSource:
    """Tables in a directory: `<table>.csv` or `<table>.parquet`; other files are ignored, with a notice."""

    name = "files"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def load(self) -> SourceTables:
        """Read and check everything. Raises SourceError, naming file, row and column, before anything is returned."""
        try:
            names = [Path(name) for name in os.listdir(self.path)]
        except OSError as error:
            problem = f"{error.strerror}; source_path must name the directory with the tables"
            raise SourceError(problem, str(self.path)) from error
        tables = check_tables(self._raw_tables(), str(self.path))
        others = [name.name for name in names if name.suffix in FORMATS and name.stem not in TABLES]
        ignored = [Notice(name, "no table of docs/sources.md, ignored", 0, 0) for name in sorted(others)]
        return replace(tables, notices=(*tables.notices, *ignored))

    def _raw_tables(self) -> Iterator[RawTable]:
        for name in TABLES:
            found = [path for path in (self.path / f"{name}{suffix}" for suffix in FORMATS) if path.exists()]
            if len(found) == 2:
                both = " and ".join(path.name for path in found)
                raise SourceError(f"two files for one table: {both}; keep one", str(self.path))
            if found:
                yield _read(name, found[0])


def _read(name: str, path: Path) -> RawTable:
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}; expected a file of {path.suffix[1:]} that we may read"
        raise SourceError(problem, str(path)) from error
    digest = hashlib.sha256(content).hexdigest()
    wanted = [*(column.name for column in TABLES[name].columns), KNOWN_FROM.name]
    if path.suffix == ".csv":
        return RawTable(name, _read_csv(content, path.name, wanted), Place(path.name, 2), digest)
    return RawTable(name, _read_parquet(content, path.name, wanted), Place(path.name, 1), digest)


def _read_csv(content: bytes, file: str, wanted: list[str]) -> pa.Table:
    """All columns as text, so that NA, NULL, TRUE and 000123 stay what they are."""
    try:
        text_head = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise SourceError(f"byte {error.start} is not UTF-8; save the file as UTF-8", file, row) from error
    header = next(csv.reader(io.StringIO(text_head[: text_head.find("\n") + 1] or text_head)), [])
    if not header:
        raise SourceError("the file is empty; expected a header row with the column names", file)
    del text_head
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(content.rstrip(b"\r\n") + b"\n"),
            read_options=pyarrow.csv.ReadOptions(use_threads=False),  # errors then say the row
            parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(f"not a table of comma-separated values: {error}", file, _row_of(str(error))) from error
    return _select(table, wanted)


def _read_parquet(content: bytes, file: str, wanted: list[str]) -> pa.Table:
    try:
        return _select(pyarrow.parquet.read_table(pa.BufferReader(content)), wanted)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"not a Parquet file: {error}", file) from error


def _select(table: pa.Table, wanted: list[str]) -> pa.Table:
    """The declared columns only; a repeated one stays repeated, so that the check sees it."""
    return table.select([k for k, name in enumerate(table.column_names) if name in wanted])


def _row_of(message: str) -> int | None:
    """The row in Arrow's message "CSV parse error: Row #3: Expected 2 columns, got 1"."""
    _, found, rest = message.partition("Row #")
    return int(rest.split(":")[0]) if found else None
