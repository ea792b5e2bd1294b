"""The `files` source: a directory with one CSV or Parquet file per table (docs/sources.md).

What has one meaning is read as it is: names of files and columns in capitals, CSV with `;` or tabs, packed with gzip,
a directory of Parquet parts. What has two is refused by the typing of the cells.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pipeline.sources.cells import Place, SourceError
from pipeline.sources.kept.parts import PRICES, NotKept, kept_prices
from pipeline.sources.specs import KNOWN_FROM, TABLES
from pipeline.sources.tables import Notice, RawTable, SourceTables, check_tables

FORMATS = (".csv", ".csv.gz", ".parquet")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


class FilesSource:
    """Tables in a directory: `<table>.csv`, `.csv.gz` or `.parquet`; other files are ignored, with a notice."""

    name = "files"

    def __init__(self, path: str | Path, keep: Path | None = None, since: np.datetime64 | None = None) -> None:
        """keep: where this machine keeps parsed bars; since: day before which bars are read only where asked for."""
        self.path, self.keep, self.since = Path(path), keep, since

    def load(self) -> SourceTables:
        """Read and check everything. Raises SourceError, naming file, row and column, before anything is returned.

        What is kept and unchanged counts as read. With a fault all is read again, to say where it is.
        """
        names, found = self.others(), self.found()
        tables = self._with_kept(found) or check_tables((self.read(name, found) for name in found), str(self.path))
        ignored = [Notice(name, "no table of docs/sources.md, ignored", 0, 0) for name in names]
        return replace(tables, notices=(*tables.notices, *ignored))

    def found(self) -> dict[str, list[Path]]:
        """The files of each table that is there, in the order of `TABLES`; more than one is an error of `read`."""
        files = self._files()
        of_table = {name: [path for path in files if table_of(path.name) == name] for name in TABLES}
        return {name: paths for name, paths in of_table.items() if paths}

    def others(self) -> list[str]:
        """Names of the files that look like tables and are none."""
        return [path.name for path in self._files() if table_of(path.name) not in (None, *TABLES)]

    def read(self, name: str, found: dict[str, list[Path]]) -> RawTable:
        """One table as it is delivered, by the names that docs/sources.md gives. Raises SourceError."""
        if len(found[name]) > 1:
            both = " and ".join(path.name for path in found[name])
            raise SourceError(f"two files for one table: {both}; keep one", str(self.path))
        path = found[name][0]
        return _raw(name, path.name, _contents(path))

    def _with_kept(self, found: dict[str, list[Path]]) -> SourceTables | None:
        """The tables with the prices that are kept; None where they cannot be, or only the last ones are not enough."""
        files = found.get(PRICES, [])
        if self.keep is None or self.since is None or len(files) != 1 or not _is_parquet(files[0].name):
            return None
        path = files[0]
        parts = [path / name for name in _names(path)] if path.is_dir() else [path]
        try:
            kept = kept_prices(self.keep, parts, path.name, self.since, partial(_raw, PRICES, path.name))
            return check_tables((self.read(name, found) for name in found if name != PRICES), str(self.path), kept)
        except (SourceError, NotKept):
            return None

    def _files(self) -> list[Path]:
        try:
            return [self.path / name for name in sorted(os.listdir(self.path))]
        except OSError as error:
            problem = f"{error.strerror}; source_path must name the directory with the tables"
            raise SourceError(problem, str(self.path)) from error


def table_of(file: str) -> str | None:
    """The table that a file name speaks of, declared or not; None for a name of another kind."""
    return next((file[: -len(end)].lower() for end in FORMATS if file.lower().endswith(end)), None)


def _is_parquet(file: str) -> bool:
    return file.lower().endswith(".parquet")


def _names(folder: Path) -> list[str]:
    """The parts of a table in a directory, in their order."""
    return [part.name for part in sorted(folder.glob("*.parquet"))]


def _raw(name: str, file: str, parts: Mapping[str, bytes]) -> RawTable:
    """One table from the bytes of its file, or of the parts of it. Raises SourceError."""
    digest = hashlib.sha256(b"".join(parts.values())).hexdigest()
    if _is_parquet(file):
        cells, first_row = _read_parquet(parts, file), 1
    else:
        cells, first_row = _read_csv(_unpacked(parts[file], file), file, name), 2
    declared = declared_columns(name)
    others = [column for column in cells.column_names if column.strip().lower() not in declared]
    return RawTable(name, _select(cells, name), Place(file, first_row), digest, tuple(others))


def _contents(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of the parts in a directory called `<table>.parquet`, by name."""
    try:
        if path.is_dir() and _is_parquet(path.name):
            parts = {name: (path / name).read_bytes() for name in _names(path)}
            if not parts:
                raise SourceError("a directory without a file *.parquet; expected a table, or its parts", str(path))
            return parts
        return {path.name: path.read_bytes()}
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}; expected a file of {path.suffix[1:]} that we may read"
        raise SourceError(problem, str(path)) from error


def _unpacked(content: bytes, file: str) -> bytes:
    if not file.lower().endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"not packed with gzip, or cut: {error}; deliver it again", file) from error


def _separator(header: str, name: str) -> str:
    """What stands between the columns of a header: of `,` `;` tab the one that makes most declared columns of it."""
    declared = set(declared_columns(name))

    def known(mark: str) -> int:
        return len(declared & {column.strip().lower() for column in next(csv.reader([header], delimiter=mark), [])})

    return max(SEPARATORS, key=known)  # the comma, where none does


def _read_csv(content: bytes, file: str, name: str) -> pa.Table:
    """All columns as text, so that NA, NULL, TRUE and 000123 stay what they are."""
    try:
        text_head = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise SourceError(f"byte {error.start} is not UTF-8; save the file as UTF-8", file, row) from error
    line = (text_head[: text_head.find("\n") + 1] or text_head).rstrip("\r\n")
    separator = _separator(line, name)
    header = next(csv.reader(io.StringIO(line), delimiter=separator), [])
    if not header:
        raise SourceError("the file is empty; expected a header row with the column names", file)
    del text_head
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(content.rstrip(b"\r\n") + b"\n"),
            read_options=pyarrow.csv.ReadOptions(use_threads=False),  # errors then say the row
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=separator, ignore_empty_lines=False, newlines_in_values=True
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        problem = f"not a table of {SEPARATORS[separator]}-separated values: {error}"
        raise SourceError(problem, file, _row_of(str(error))) from error
    return table


def _read_parquet(parts: Mapping[str, bytes], file: str) -> pa.Table:
    tables = []
    for name, content in parts.items():
        try:
            tables.append(pyarrow.parquet.read_table(pa.BufferReader(content)))
        except (pa.ArrowException, OSError) as error:
            where = file if name == file else f"{file}/{name}"
            raise SourceError(f"not a Parquet file: {error}", where) from error
    try:
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise SourceError(f"the parts have different columns: {error}; write them with one schema", file) from error


def _select(table: pa.Table, name: str) -> pa.Table:
    """The declared columns under their declared names, whatever their case.

    A repeated one stays repeated, so that the check sees it.
    """
    declared = declared_columns(name)
    at = [k for k, column in enumerate(table.column_names) if column.strip().lower() in declared]
    names = [table.column_names[k].strip().lower() for k in at]
    return table.select(at).rename_columns(names) if at else table.select([])


def declared_columns(name: str) -> list[str]:
    """Names of the columns that a table may have."""
    return [*(column.name for column in TABLES[name].columns), KNOWN_FROM.name]


def _row_of(message: str) -> int | None:
    """The row in Arrow's message "CSV parse error: Row #3: Expected 2 columns, got 1"."""
    _, found, rest = message.partition("Row #")
    return int(rest.split(":")[0]) if found else None
