"""The SQLite file: creating it, opening it, and its numbered versions.

`schema_NNNN.sql` holds what version N adds to version N-1. A file of an older version is read by migrating a copy; one
of a newer version is refused.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

from security_master.errors import ExplainedError

_FOLDER = Path(__file__).parent


class MasterNotFound(ExplainedError, FileNotFoundError):
    """There is no master where one was looked for."""


class SchemaVersionError(ExplainedError, RuntimeError):
    """A file whose schema version this code does not know."""


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


@cache
def primary_key(table: str) -> str:
    """Columns of the primary key, "" for none."""
    rows = _empty().execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,))
    return ", ".join(str(name) for (name,) in rows)


@cache
def row_order(table: str) -> str:
    """What orders the rows of a table as they lie in the file: `rowid`, or the primary key where there is none."""
    (without_rowid,) = _empty().execute("SELECT wr FROM pragma_table_list WHERE name = ?", (table,)).fetchone()
    return primary_key(table) if without_rowid else "rowid"


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
    """Open a master of the current version for reading. Raises MasterNotFound, SchemaVersionError."""
    if not path.exists():
        raise MasterNotFound(f"no security master at {path}; make one with `erm3 security build`")
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    found, expected = version_of(connection), current_version()
    if found != expected:
        connection.close()
        hint = "rebuild it with `erm3 security build`" if found < expected else "update this program"
        raise SchemaVersionError(f"{path}: schema version {found}, this program reads {expected}; {hint}")
    return connection


def open_migrated_copy(path: Path) -> sqlite3.Connection:
    """A copy in memory, brought to the current version. Raises MasterNotFound, SchemaVersionError."""
    if not path.exists():
        raise MasterNotFound(f"no security master at {path}; make one with `erm3 security build`")
    source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    if version_of(source) > current_version():
        raise SchemaVersionError(f"{path}: schema version {version_of(source)} is newer than {current_version()}")
    copy = sqlite3.connect(":memory:", isolation_level=None)
    source.backup(copy)
    source.close()
    migrate(guard(copy))
    return copy


def as_current(path: Path, scratch: Path) -> Path:
    """A master file of the current version: `path` itself, or a migrated copy at `scratch`. Raises as opening one."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
        if version_of(file) == current_version():
            return path
    with closing(open_migrated_copy(path)) as copy, closing(sqlite3.connect(scratch)) as file:
        copy.backup(file)
    return scratch
