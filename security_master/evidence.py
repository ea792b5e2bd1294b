"""The rows that a source delivered, as text, merged with those of earlier batches.

Facts are derived from these rows alone (and from decisions), so two masters that hold the same rows say the same. A row
is identified by its table's key and its `known_from`. Delivered again, it adds nothing; delivered again with other
content and the same `known_from`, it replaces the old one and a revision is recorded.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from security_master.dates import date_texts, instant_texts
from security_master.errors import ExplainedError
from security_master.frames import read_frame

_TEXT, _DATE, _INSTANT, _REAL, _INTEGER = "text", "date", "instant", "real", "integer"


class ConflictingRows(ExplainedError, ValueError):
    """Two different rows with one key and one `known_from` in a single delivery."""


@dataclass(frozen=True)
class RowTable:
    """A delivered table: the name of its frame, its columns and the key that makes two rows versions of one fact."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def stored(self) -> str:
        return f"{self.name}_row"

    @property
    def stored_columns(self) -> list[str]:
        return [*self.columns, "known_from", "known_assumed", "batch_id"]


ROW_TABLES = {
    table.name: table
    for table in (
        RowTable(
            "securities",
            dict.fromkeys(["vendor_code", "ticker", "name", "type", "exchange", "currency"], _TEXT)
            | {"first_session": _DATE, "last_session": _DATE}
            | dict.fromkeys(["share_class_figi", "composite_figi", "isin", "cusip", "cik"], _TEXT)
            | {"first_bar": _DATE},
            ("vendor_code", "first_session"),
        ),
        RowTable(
            "ticker_changes",
            {"vendor_code": _TEXT, "effective_date": _DATE, "old_ticker": _TEXT, "new_ticker": _TEXT},
            ("vendor_code", "effective_date"),
        ),
        RowTable(
            "classification",
            {"vendor_code": _TEXT, "valid_from": _DATE, "fs_industry_code": _TEXT, "gics_sub_industry": _TEXT},
            ("vendor_code", "valid_from"),
        ),
        RowTable(
            "shares",
            {"vendor_code": _TEXT, "period_end": _DATE, "filed_at": _INSTANT, "shares": _REAL},
            ("vendor_code", "period_end", "filed_at"),
        ),
        RowTable(
            "splits",
            {"vendor_code": _TEXT, "ex_date": _DATE, "ratio_new": _INTEGER, "ratio_old": _INTEGER, "kind": _TEXT},
            ("vendor_code", "ex_date"),
            {"kind": "split"},
        ),
        RowTable(
            "spin_offs",
            {"vendor_code": _TEXT, "ex_date": _DATE, "child_code": _TEXT, "child_ratio": _REAL, "value": _REAL},
            ("vendor_code", "ex_date", "child_code"),
        ),
        RowTable(
            "delistings",
            {
                "vendor_code": _TEXT,
                "last_session": _DATE,
                "reason": _TEXT,
                "cash": _REAL,
                "successor_code": _TEXT,
                "successor_ratio": _REAL,
            },
            ("vendor_code", "last_session"),
        ),
    )
}


@dataclass(frozen=True)
class Revision:
    """A row that was delivered again with the same key and `known_from` but other content."""

    table: str
    key: str
    was: str


@dataclass
class Evidence:
    """All rows by table, each frame sorted by key and known_from, and what the last merge did."""

    frames: dict[str, pd.DataFrame]
    new_rows: dict[str, int]
    revisions: list[Revision]

    def __getitem__(self, table: str) -> pd.DataFrame:
        return self.frames[table]


def stored_rows(connection: sqlite3.Connection) -> dict[str, pd.DataFrame]:
    """The rows held by a master."""
    return {name: read_frame(connection, table.stored, table.stored_columns) for name, table in ROW_TABLES.items()}


def delivered_rows(
    tables: Mapping[str, pd.DataFrame], batch_id: str, first_bars: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    """The delivered tables as text rows; absent tables and columns are empty. Raises ConflictingRows.

    first_bars: date of the first price by vendor code; kept where the source states no first session.
    """
    return {name: _delivered(tables.get(name), table, batch_id, first_bars) for name, table in ROW_TABLES.items()}


def merge(stored: dict[str, pd.DataFrame] | None, delivered: dict[str, pd.DataFrame]) -> Evidence:
    """Stored and delivered rows together; a delivered row wins over a stored one of the same key and known_from."""
    frames, new_rows, revisions = {}, {}, []
    for name, table in ROW_TABLES.items():
        new = delivered[name]
        old = stored[name] if stored is not None else new.iloc[:0]
        frames[name], new_rows[name], changed = _merge(old, new, table)
        revisions += changed
    return Evidence(frames, new_rows, revisions)


def counted_rows(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """The rows as facts are derived from them: an event that names another company counts once that one is known."""
    securities = evidence["securities"]
    first_known = securities.groupby("vendor_code")["known_from"].min()
    counted = dict(evidence.frames)
    for name, column in (("delistings", "successor_code"), ("spin_offs", "child_code")):
        rows = counted[name]
        other = rows[column].map(first_known).fillna("").astype(object)
        known = [max(own, named) for own, named in zip(rows["known_from"], other, strict=True)]
        counted[name] = rows.assign(known_from=pd.Series(known, index=rows.index, dtype=object))
    return counted


def row_hashes(frame: pd.DataFrame, columns: list[str]) -> NDArray[np.uint64]:
    """A 64-bit hash of each row's columns, the same for the same values everywhere."""
    return pd.util.hash_pandas_object(frame[columns], index=False).to_numpy().astype(np.uint64)


def row_digest(frame: pd.DataFrame, table: RowTable) -> list[str]:
    """16 hex digits for each row's content."""
    return [f"{value:016x}" for value in row_hashes(frame, [*table.columns, "known_from"])]


def _delivered(
    frame: pd.DataFrame | None, table: RowTable, batch_id: str, first_bars: Mapping[str, str]
) -> pd.DataFrame:
    if frame is None:
        frame = pd.DataFrame({"vendor_code": pd.Series([], dtype="str")})
    n = len(frame)
    data: dict[str, Any] = {}
    for name, kind in table.columns.items():
        if name == "first_bar":
            continue
        given = frame[name] if name in frame.columns else None
        if kind == _TEXT:
            default = table.defaults.get(name, "")
            data[name] = [default] * n if given is None else [str(v).strip() for v in given.fillna(default).tolist()]
        elif kind == _DATE:
            data[name] = [""] * n if given is None else date_texts(given.to_numpy())
        elif kind == _INSTANT:
            data[name] = instant_texts(given.to_numpy()) if given is not None else [""] * n
        elif kind == _INTEGER:
            data[name] = given.to_numpy(np.int64) if given is not None else np.zeros(n, np.int64)
        else:
            data[name] = given.to_numpy(float) if given is not None else np.full(n, np.nan)
    if n and "known_from" not in frame.columns:
        raise ValueError(f"table {table.name!r}: every row needs known_from, the instant at which it became knowable")
    data["known_from"] = instant_texts(frame["known_from"].to_numpy()) if n else []
    assumed = frame["known_assumed"].to_numpy(bool) if "known_assumed" in frame.columns else np.zeros(n, bool)
    data["known_assumed"] = assumed.astype(np.int64)
    if table.name == "securities":
        data["first_bar"] = [
            "" if first else first_bars.get(code, "")
            for code, first in zip(data["vendor_code"], data["first_session"], strict=True)
        ]
    data["batch_id"] = [batch_id] * n
    rows = _typed(pd.DataFrame(data, columns=table.stored_columns), table)
    rows = rows.drop_duplicates(subset=[*table.columns, "known_from"], ignore_index=True)
    key = [*table.key, "known_from"]
    twice = rows.duplicated(subset=key, keep=False)
    if twice.any():
        clash = rows[twice].sort_values(key).iloc[:2].to_dict("records")
        raise ConflictingRows(
            f"table {table.name!r}: two different rows with one key and one known_from: {clash[0]} and {clash[1]}; "
            "give the correction a later known_from"
        )
    return rows


def _typed(frame: pd.DataFrame, table: RowTable) -> pd.DataFrame:
    types: dict[str, Any] = {"known_from": object, "batch_id": object, "known_assumed": np.int64}
    for name, kind in table.columns.items():
        types[name] = {_REAL: np.float64, _INTEGER: np.int64}.get(kind, object)
    return frame.astype(types)


def _merge(old: pd.DataFrame, new: pd.DataFrame, table: RowTable) -> tuple[pd.DataFrame, int, list[Revision]]:
    key = [*table.key, "known_from"]
    content = [*table.columns, "known_from"]
    if table.name == "securities" and len(old) and len(new):
        new = _with_stored_first_bar(old, new, key)
    both = pd.concat([old, new], ignore_index=True) if len(old) else new
    delivered = np.arange(len(both)) >= len(old)
    known = both.duplicated(subset=[*content, "known_assumed"], keep="first").to_numpy()
    both, delivered = both[~known], delivered[~known]
    replaced = both.duplicated(subset=key, keep="last").to_numpy()
    revisions = [
        Revision(table.name, json.dumps([row[k] for k in key]), json.dumps({c: _plain(row[c]) for c in content}))
        for row in both[replaced].sort_values(key).to_dict("records")
    ]
    added = int(delivered.sum())
    both = both[~replaced].sort_values(key, ignore_index=True, kind="stable")
    return both, added, revisions


def _with_stored_first_bar(old: pd.DataFrame, new: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """A first bar that is not delivered again stays as it was."""
    stored = {tuple(row): bar for *row, bar in old[[*key, "first_bar"]].itertuples(index=False) if bar}
    if not stored:
        return new
    kept = [bar or stored.get(tuple(row), "") for *row, bar in new[[*key, "first_bar"]].itertuples(index=False)]
    return new.assign(first_bar=kept)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
