"""Bars of many answers as versions: what was said first of each, and each correction of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.vendors.contract import ALWAYS

OHLC = ("open", "high", "low", "close")
VOLUME_SHARE = 1e-4
"""Two volumes are one, said twice, when they differ by no more than this: the vendor rounds what splits divided."""


class BarParts:
    """Bars of histories and days, one after the other, as columns of numbers."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._columns: dict[str, list[NDArray[Any]]] = {
            name: [] for name in ("vendor_code", "date", *OHLC, "volume", "known_from", "order")
        }

    def add(
        self,
        codes: str | NDArray[np.object_],
        bars: pd.DataFrame | Mapping[str, NDArray[Any]],
        volume: NDArray[Any],
        known: pd.Timestamp,
    ) -> None:
        """codes: of all rows, or of each; bars: columns `date` and OHLC; known: NaT for the default."""
        n, order = len(volume), len(self._columns["order"])
        if isinstance(codes, str):
            number = np.full(n, self._codes.setdefault(codes, len(self._codes)), np.int32)
        else:
            number = np.array([self._codes.setdefault(code, len(self._codes)) for code in codes], np.int32)
        instant = np.datetime64("NaT", "us") if pd.isna(known) else known.to_datetime64().astype("datetime64[us]")
        given = {name: np.asarray(bars[name]) for name in ("date", *OHLC)}
        given |= {"vendor_code": number, "volume": volume, "known_from": np.full(n, instant),
                  "order": np.full(n, order, np.int32)}  # fmt: skip
        for name, column in self._columns.items():
            column.append(given[name])

    def frame(self) -> pd.DataFrame:
        """All rows; `vendor_code` is categorical, in the order of the alphabet."""
        made: dict[str, Any] = {}
        for name, column in self._columns.items():
            made[name] = np.concatenate(column) if column else np.zeros(0)
            column.clear()
        names = sorted(self._codes)
        rank = np.empty(len(names), np.int32)
        rank[[self._codes[name] for name in names]] = np.arange(len(names))
        codes = rank[made["vendor_code"].astype(np.int32)]
        made["vendor_code"] = pd.Categorical.from_codes(codes, pd.Index(names, dtype=object))
        made["date"] = made["date"].astype("datetime64[s]")
        made["known_from"] = made["known_from"].astype("datetime64[us]")
        return pd.DataFrame(made)


def versions(rows: pd.DataFrame) -> pd.DataFrame:
    """What was said first of each bar, and every later row that says something else. `vendor_code` is categorical."""
    code, date = rows["vendor_code"].cat.codes.to_numpy(), rows["date"].to_numpy()
    known = rows["known_from"].fillna(ALWAYS).to_numpy()
    at = np.lexsort((rows["order"].to_numpy(), known, date, code))
    same_key = _repeats(code[at]) & _repeats(date[at])
    superseded = np.append(same_key[1:] & _repeats(known[at])[1:], False)  # of one instant the last one counts
    at = at[~superseded[: len(at)]]
    same_key = _repeats(code[at]) & _repeats(date[at])
    said = same_key
    for name in OHLC:
        values = rows[name].to_numpy()[at]
        said[1:] &= (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    volume = rows["volume"].to_numpy()[at]
    with np.errstate(invalid="ignore"):
        near = np.abs(volume[1:] - volume[:-1]) <= np.maximum(1.0, VOLUME_SHARE * np.abs(volume[:-1]))
    said[1:] &= near | (np.isnan(volume[1:]) & np.isnan(volume[:-1]))
    return rows.drop(columns="order").iloc[at[~said]].reset_index(drop=True)


def _repeats(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an element equals the one before it."""
    found = np.zeros(len(values), bool)
    found[1:] = values[1:] == values[:-1]
    return found
