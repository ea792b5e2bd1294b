"""The SQLite file: creating it, opening it, and its numbered versions.

`schema_NNNN.sql` holds what version N adds to version N-1. A file of an older version is read by migrating a copy; one
of a newer version is refused.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from security_master.errors import ExplainedError

_FOLDER = Path(__file__).parent


class MasterNotFound(ExplainedError, FileNotFoundError):
    """There is no master where one was looked for."""


class SchemaVersionError(ExplainedError, RuntimeError):
    """A file whose schema version this code does not know."""


class MasterDamaged(ExplainedError, RuntimeError):
    """A file that stands where a security master belongs and is none, or not a whole one."""


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What SQLite cannot read becomes MasterDamaged."""
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> MasterDamaged:
    return MasterDamaged(
        f"{path} is no whole security master: {why}. Put a whole copy back (`erm3 repair` does for a published root); "
        "without one, move the file away and run `erm3 security build` again"
    )


class _Cursor(sqlite3.Cursor):
    connection: _Reader

    def execute(self, *query: Any) -> _Cursor:
        with _reading(self.connection.path):
            super().execute(*query)
        return self

    def fetchone(self) -> Any:
        with _reading(self.connection.path):
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with _reading(self.connection.path):
            return super().fetchall()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return iter(self.fetchall())


class _Reader(sqlite3.Connection):
    """A connection whose every reading says which file is damaged. Threads may share it."""

    path: Path

    def execute(self, *query: Any) -> _Cursor:
        return super().cursor(_Cursor).execute(*query)


def _reader(path: Path, database: str | None = None) -> _Reader:
    """A connection to read `path`, or to what was copied from it into `database`."""
    address = database or f"{path.resolve().as_uri()}?mode=ro"
    with _reading(path):
        connection = sqlite3.connect(address, uri=True, isolation_level=None, factory=_Reader, check_same_thread=False)
    connection.path = path
    return connection


def migrations() -> list[tuple[int, str]]:
    """(version, SQL) of every numbered schema file, in order."""
    found = [
        (int(m[1]), p) for p in _FOLDER.glob("schema_*.sql") if (m := re.fullmatch(r"schema_(\d{4})\.sql", p.name))
    ]
    steps = [(version, path.read_text(encoding="utf-8")) for version, path in sorted(found)]
    if [version for version, _ in steps] != list(range(1, len(steps) + 1)):
        raise SchemaVersionError(f"schema files in {_FOLDER} are not numbered 1, 2, ...: {[v for v, _ in steps]}")
    return steps


def current_version() -> int:
    return migrations()[-1][0]


@cache
def _empty() -> sqlite3.Connection:
    """An empty master in memory, to be asked how its tables are declared."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    migrate(connection)
    return connection


@cache
def _all_column_types() -> dict[str, dict[str, str]]:
    tables = [name for (name,) in _empty().execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    rows = {name: _empty().execute(f"PRAGMA table_info({name})").fetchall() for name in tables}
    return {name: {str(row[1]): str(row[2]) for row in found} for name, found in rows.items()}


def column_types(table: str) -> dict[str, str]:
    """Columns of a table and their SQLite types: TEXT, INTEGER or REAL."""
    return _all_column_types()[table]


def guard(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Set what every writing connection needs; the append-only rules do not hold without it."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA recursive_triggers = ON")
    return connection


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an empty or older database to the current version, each step in its own transaction."""
    for version, sql in migrations():
        if version > version_of(connection):
            try:
                connection.executescript(f"BEGIN;\n{sql}\nPRAGMA user_version = {version};\nCOMMIT;")
            except sqlite3.Error:
                connection.rollback()
                raise


def create(path: Path) -> sqlite3.Connection:
    """A new, empty master at `path`, open for writing. Raises FileExistsError."""
    if path.exists():
        raise FileExistsError(f"{path} exists; a master is written to a new file and moved into place")
    connection = guard(sqlite3.connect(path, isolation_level=None))
    migrate(connection)
    return connection


def open_existing(path: Path) -> sqlite3.Connection:
    """Open a master of the current version for reading. Raises MasterNotFound, MasterDamaged, SchemaVersionError."""
    if not path.exists():
        raise MasterNotFound(f"no security master at {path}; make one with `erm3 security build`")
    connection = _reader(path)
    found, expected = _version_in(path, connection), current_version()
    if found != expected:
        connection.close()
        hint = "rebuild it with `erm3 security build`" if found < expected else "update this program"
        raise SchemaVersionError(f"{path}: schema version {found}, this program reads {expected}; {hint}")
    return connection


def open_as_current(path: Path) -> sqlite3.Connection:
    """Open a master for reading, one of an older version as a copy in memory that is brought to the current one.

    Raises as `open_existing` for a file that is no master.
    """
    if not path.exists():
        raise MasterNotFound(f"no security master at {path}; make one with `erm3 security build`")
    source = _reader(path)
    if (found := _version_in(path, source)) == current_version():
        return source
    with closing(source):
        if found > current_version():
            raise SchemaVersionError(
                f"{path}: schema version {found} is newer than {current_version()}; update this program"
            )
        copy = _reader(path, ":memory:")
        with _reading(path):
            source.backup(copy)
    migrate(guard(copy))
    return copy


def _version_in(path: Path, connection: sqlite3.Connection) -> int:
    """The version of a file that exists: never 0, which an emptied or a foreign database has."""
    found = version_of(connection)
    if found == 0:
        connection.close()
        raise _damaged(path, "an empty file, or a database of another program")
    return found


def as_current(path: Path, scratch: Path) -> Path:
    """A master file of the current version: `path` itself, or a migrated copy at `scratch`. Raises as opening one."""
    with closing(_reader(path)) as file:
        if version_of(file) == current_version():
            return path
    with closing(open_as_current(path)) as copy, closing(sqlite3.connect(scratch)) as file:
        copy.backup(file)
    return scratch
