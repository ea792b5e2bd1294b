"""Small tables for tests of the security master, in the form that sources deliver them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.sources import FilesSource
from security_master import BuildReport, SecurityMaster, build_master

WORLD = Path(__file__).parent / "world"

_DATES = {"first_session", "last_session", "effective_date", "valid_from", "period_end", "ex_date"}
_NUMBERS = {"shares", "child_ratio", "value", "cash", "successor_ratio"}
_TEXT_DEFAULTS = {
    "securities": {
        "name": "",
        "type": "common",
        "exchange": "NYSE",
        "currency": "USD",
        "share_class_figi": "",
        "composite_figi": "",
        "isin": "",
        "cusip": "",
        "cik": "",
    },
    "classification": {"gics_sub_industry": ""},
    "delistings": {"successor_code": ""},
}
_OTHER_DEFAULTS: dict[str, dict[str, Any]] = {
    "securities": {"last_session": None},
    "spin_offs": {"value": np.nan},
    "delistings": {"cash": np.nan, "successor_ratio": np.nan},
}


def evening(day: str) -> str:
    """The close of a session, as an instant."""
    return f"{day}T21:00:00"


def table(name: str, *rows: dict[str, Any]) -> pd.DataFrame:
    """Rows as a typed table; `known` (an instant) is required of each row, other columns have defaults."""
    columns: dict[str, list[Any]] = {}
    filled = []
    for row in rows:
        full = {**_TEXT_DEFAULTS.get(name, {}), **_OTHER_DEFAULTS.get(name, {}), **row}
        if name == "securities":
            full.setdefault("ticker", full["vendor_code"])
        filled.append(full)
    for row in filled:
        for column in row:
            columns.setdefault(column, [])
    for column in columns:
        columns[column] = [row.get(column) for row in filled]
    data: dict[str, Any] = {}
    for column, values in columns.items():
        if column == "known":
            data["known_from"] = np.array(values, dtype="datetime64[us]")
        elif column == "filed_at":
            data[column] = np.array(values, dtype="datetime64[us]")
        elif column in _DATES:
            data[column] = np.array([v or "NaT" for v in values], dtype="datetime64[s]")
        elif column in _NUMBERS:
            data[column] = np.array(values, dtype=float)
        elif column in ("ratio_new", "ratio_old"):
            data[column] = np.array(values, dtype=np.int64)
        else:
            data[column] = pd.Series(values, dtype="str")
    return pd.DataFrame(data).assign(known_assumed=False)


def listing(code: str, first: str, last: str | None = None, known: str | None = None, **columns: Any) -> dict[str, Any]:
    """A row of `securities`, known at the close of its first session unless said otherwise."""
    return {
        "vendor_code": code,
        "first_session": first,
        "last_session": last,
        "known": known or evening(first),
        **columns,
    }


def change(code: str, day: str, old: str, new: str, known: str | None = None) -> dict[str, Any]:
    """A row of `ticker_changes`, known in the morning of its day unless said otherwise."""
    return {
        "vendor_code": code,
        "effective_date": day,
        "old_ticker": old,
        "new_ticker": new,
        "known": known or f"{day}T10:00:00",
    }


def delisting(code: str, last: str, reason: str, known: str | None = None, **columns: Any) -> dict[str, Any]:
    return {"vendor_code": code, "last_session": last, "reason": reason, "known": known or evening(last), **columns}


def build(path: Path, batch_id: str = "first", **tables: Any) -> tuple[SecurityMaster, BuildReport]:
    """A master made of tables (frames, or lists of rows) or of keywords of build_master."""
    keywords = {k: tables.pop(k) for k in list(tables) if k in _KEYWORDS}
    frames = {k: v if isinstance(v, pd.DataFrame) else table(k, *v) for k, v in tables.items()}
    report = build_master(path, frames, batch_id=batch_id, **keywords)
    return SecurityMaster.open(path), report


_KEYWORDS = ("previous", "decisions", "first_bars", "copies", "max_lost_share", "keep_ids")


def world_tables() -> Any:
    """The world of real name changes, as the `files` source delivers it."""
    return FilesSource(WORLD).load()
