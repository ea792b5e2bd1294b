"""The contents of a master as frames, and the one way in which they become a file.

A file is always written whole, in one transaction, its tables and rows in one order, and moved into place: a reader
sees the old file or the new one, and the same contents make the same bytes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
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

_STAGES = (TABLES[: TABLES.index(SNAPSHOTS[0])], SNAPSHOTS, TABLES[TABLES.index(SNAPSHOTS[-1]) + 1 :])
"""The tables in transactions of their own."""

_CLOSED = "universe_membership_closed"
"""The trigger that refuses members of a recorded snapshot."""

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
    added: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write a master to `path`, replacing a file there. Nothing is replaced when a constraint refuses a row.

    before: the master, perhaps the one at `path`, from which tables that are not in `contents` are taken over; they
    never leave the database. added: more rows of such tables, which are in the order of their primary key.
    """
    with at_file(path):
        _write(path, contents, before, added)


def _write(
    path: Path, contents: Mapping[str, pd.DataFrame], before: Path | None, added: Mapping[str, pd.DataFrame] | None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(path.name + ".building")
    migrated = path.with_name(path.name + ".migrated")
    for scratch in (staged, migrated):
        scratch.unlink(missing_ok=True)
    connection = schema.create(staged)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        if before is not None:
            connection.execute("ATTACH ? AS before", (str(schema.as_current(before, migrated)),))
        # The guard of closed snapshots would be asked once for each of millions of members. It is there again before
        # anybody else sees the file; in its place, more members of a recorded snapshot are refused once.
        guard = connection.execute("SELECT sql FROM main.sqlite_schema WHERE name = ?", (_CLOSED,)).fetchone()[0]
        connection.execute(f"DROP TRIGGER {_CLOSED}")
        for tables in _STAGES:
            # What is taken over was checked when it was first written; looking up all references would cost as much
            # as all the rest.
            checked = any(table in contents for table in tables)
            connection.execute(f"PRAGMA foreign_keys = {'ON' if checked else 'OFF'}")
            connection.execute("BEGIN")
            for table in tables:
                if table in contents:
                    _insert(connection, table, contents[table])
                else:
                    _take_over(connection, table, (added or {}).get(table))
            connection.execute("COMMIT")
        connection.execute(guard)
        connection.close()
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(staged, path)
    finally:
        connection.close()
        for scratch in (staged, migrated):
            scratch.unlink(missing_ok=True)


def _take_over(connection: sqlite3.Connection, table: str, added: pd.DataFrame | None) -> None:
    """Fill a table from the attached master `before`, and with more rows."""
    names, order = ", ".join(columns_of(table)), schema.row_order(table)
    rows = f"SELECT {names} FROM before.{table}"
    if added is not None:
        connection.execute(f"CREATE TEMP TABLE added AS SELECT {names} FROM {table} LIMIT 0")
        _insert(connection, table, added, into="temp.added")
        if table == "universe_membership":
            _refuse_members(connection)
        rows += f" UNION ALL SELECT {names} FROM temp.added"  # with an ORDER BY the two are merged
        order = schema.primary_key(table)
    connection.execute(f"INSERT INTO main.{table} ({names}) {rows} ORDER BY {order}")
    connection.execute("DROP TABLE IF EXISTS temp.added")


def _refuse_members(connection: sqlite3.Connection) -> None:
    """Members to be added that are no security, or that come after their snapshot was recorded."""
    for members, problem in (
        ("SELECT sec_id FROM temp.added EXCEPT SELECT sec_id FROM main.security", "members that are no security"),
        ("SELECT sec_id FROM temp.added NATURAL JOIN before.universe_snapshot", "new members, and is recorded already"),
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
