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

Contents = dict[str, pd.DataFrame]


def columns_of(table: str) -> list[str]:
    """The columns of a table but for the row number, which follows from the order."""
    return [name for name in schema.column_types(table) if name != "row_id"]


def frame_of_rows(table: str, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows of a table, in the order of its columns, as a frame."""
    names = columns_of(table)
    values: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return schema.typed_frame(dict(zip(names, values, strict=True)), table)


def read_contents(connection: sqlite3.Connection) -> Contents:
    """Every table of an open master, rows in the order of writing."""
    return {table: schema.read_frame(connection, table, columns_of(table)) for table in TABLES}


def write_master(path: Path, contents: Mapping[str, pd.DataFrame]) -> None:
    """Write contents to `path`, replacing a file there. Nothing is replaced when a constraint refuses a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(path.name + ".building")
    staged.unlink(missing_ok=True)
    connection = schema.create(staged)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for table in TABLES:
            _insert(connection, table, contents[table])
        connection.execute("COMMIT")
        connection.close()
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(staged, path)
    finally:
        connection.close()
        staged.unlink(missing_ok=True)


def _insert(connection: sqlite3.Connection, table: str, frame: pd.DataFrame) -> None:
    if frame.empty:
        return
    names = columns_of(table)
    marks = ", ".join("?" * len(names))
    values = zip(*(_plain(frame[name]) for name in names), strict=True)
    connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", values)


def _plain(column: pd.Series) -> list[Any]:
    """Python values, None for NaN."""
    values = column.tolist()
    return [None if value != value else value for value in values] if column.dtype == float else values
