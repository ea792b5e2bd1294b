"""The contents of a master as frames, and the one way in which they become a file.

A file is always written whole, in one transaction, its tables and rows in one order, and moved into place: a reader
sees the old file or the new one, and the same contents make the same bytes.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from security_master import schema
from security_master.errors import at_file
from security_master.frames import typed_frame

TABLES = (
    "meta",
    "load_batch",
    "security",
    "id_registry",
    "securities_row",
    "ticker_changes_row",
    "classification_row",
    "shares_row",
    "splits_row",
    "spin_offs_row",
    "delistings_row",
    "decision",
    "revision",
    "listing",
    "ticker_map",
    "xref",
    "classification_hist",
    "shares_hist",
    "corp_action",
    "delisting",
    "resolution_queue",
    "resolution_log",
    "universe_membership",
    "universe_snapshot",
    "taxonomy",
    "factor_etf",
)
"""Every table, in the order of writing: what is referred to comes first, and a snapshot after its members."""

SNAPSHOTS = ("universe_membership", "universe_snapshot")
"""The universes of each month: nearly all rows of a master, and never changed."""

_SCHEMA_VERSION = 210
"""SQLite's count of changes of the schema in every file: any number would do, if it is always the same."""

Contents = dict[str, pd.DataFrame]


def columns_of(table: str) -> list[str]:
    """The columns of a table but for the row number, which follows from the order."""
    return [name for name in schema.column_types(table) if name != "row_id"]


def frame_of_rows(table: str, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows of a table, in the order of its columns, as a frame."""
    names = columns_of(table)
    values: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return typed_frame(dict(zip(names, values, strict=True)), table)


def write_master(
    path: Path,
    contents: Mapping[str, pd.DataFrame],
    *,
    before: Path | None = None,
    members: pd.DataFrame | None = None,
) -> None:
    """Write a master to `path`, replacing a file there. Nothing is replaced when a constraint refuses a row.

    before: the master, perhaps the one at `path`, from which tables that are not in `contents` are taken over; they
    never leave the database. members: more rows of its `universe_membership`.
    """
    with at_file(path):
        _write(path, contents, before, members)


def _write(path: Path, contents: Mapping[str, pd.DataFrame], before: Path | None, members: pd.DataFrame | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged, packed, migrated = (path.with_name(path.name + end) for end in (".building", ".packed", ".migrated"))
    for scratch in (staged, packed, migrated):
        scratch.unlink(missing_ok=True)
    if before is not None:
        shutil.copyfile(schema.as_current(before, migrated), staged)
    connection = schema.create(staged) if before is None else sqlite3.connect(staged, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        _make_room(connection, contents, members)
        schema.guard(connection)
        connection.execute("BEGIN")
        for table in TABLES:
            if table in contents:
                _insert(connection, table, contents[table])
        connection.execute("COMMIT")
        # How its rows came, and how often its schema was touched on the way, does not show in what is written.
        connection.execute(f"PRAGMA schema_version = {_SCHEMA_VERSION}")
        connection.execute("VACUUM main INTO ?", (str(packed),))
        connection.close()
        with packed.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(packed, path)
    finally:
        connection.close()
        for scratch in (staged, packed, migrated):
            scratch.unlink(missing_ok=True)


def _make_room(connection: sqlite3.Connection, tables: Iterable[str], members: pd.DataFrame | None) -> None:
    """Empty the tables that are written anew, and give the snapshots more members.

    What stays was checked when it was first written: with the foreign keys off and without triggers nothing is checked
    again, row by row. The triggers are there again before anything else is written.
    """
    guards = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN")
    for name, _ in guards:
        connection.execute(f"DROP TRIGGER {name}")
    if members is not None:
        connection.execute("CREATE TEMP TABLE added AS SELECT * FROM main.universe_membership LIMIT 0")
        _insert(connection, "universe_membership", members, into="temp.added")
        _refuse_members(connection)
        connection.execute("INSERT INTO main.universe_membership SELECT * FROM temp.added")
    for table in tables:
        connection.execute(f"DELETE FROM main.{table}")
    for _, guard in guards:
        connection.execute(guard)
    connection.execute("COMMIT")


def _refuse_members(connection: sqlite3.Connection) -> None:
    """Members to be added that are no security, or that come after their snapshot was recorded."""
    for members, problem in (
        ("SELECT sec_id FROM temp.added EXCEPT SELECT sec_id FROM main.security", "members that are no security"),
        ("SELECT sec_id FROM temp.added NATURAL JOIN main.universe_snapshot", "new members, and is recorded already"),
    ):
        if found := connection.execute(f"{members} LIMIT 1").fetchone():
            raise sqlite3.IntegrityError(f"a snapshot has {problem}: {found[0]!r}")


def _insert(connection: sqlite3.Connection, table: str, frame: pd.DataFrame, into: str = "") -> None:
    if frame.empty:
        return
    names = columns_of(table)
    marks = ", ".join("?" * len(names))
    values = zip(*(_plain(frame[name]) for name in names), strict=True)
    connection.executemany(f"INSERT INTO {into or table} ({', '.join(names)}) VALUES ({marks})", values)


def _plain(column: pd.Series) -> list[Any]:
    """Python values, None for NaN."""
    values = column.tolist()
    return [None if value != value else value for value in values] if column.dtype == float else values
