"""Look-ups in delivered bars: the bars of a security, its close at a session, its last close before an event."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_SHIFT = 32
"""Bits of a session in the key of a bar, which is its security and its session."""


class BarsOf(NamedTuple):
    """The bars of one security, sorted by session and `visible`. Each (m,)."""

    session: NDArray[np.int32]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    visible: NDArray[np.int32]


class Bars:
    """The bars of single securities, found without a pass over those of all. prices: those of `Facts`."""

    def __init__(self, prices: pd.DataFrame) -> None:
        names, codes = prices["sec_id"].cat.categories, prices["sec_id"].cat.codes.to_numpy()
        self._place = {name: k for k, name in enumerate(names)}
        starts = np.searchsorted(codes, np.arange(len(names)).astype(codes.dtype))
        self._edges = [*starts.tolist(), len(codes)]
        self._columns = [prices[name].to_numpy() for name in BarsOf._fields]

    def of(self, sec_id: str) -> BarsOf:
        """Of a security; none of one that has none."""
        place = self._place.get(sec_id)
        part = slice(0, 0) if place is None else slice(self._edges[place], self._edges[place + 1])
        return BarsOf(*(column[part] for column in self._columns))


def closes_before(prices: pd.DataFrame, events: pd.DataFrame) -> NDArray[np.float64]:
    """Last close before each event's ex-date, as first printed; NaN for none. (n,)

    prices: those of `Facts`; events: frame with `sec_id` and `ex`, in any order.
    """
    session, every_close = prices["session"].to_numpy(), prices["close"].to_numpy()
    printed = np.flatnonzero((prices["visible"].to_numpy() <= session) & (every_close > 0))
    key = (prices["sec_id"].cat.codes.to_numpy()[printed].astype(np.int64) << _SHIFT) | session[printed]
    owner = prices["sec_id"].cat.categories.get_indexer(pd.Index(events["sec_id"])).astype(np.int64)
    wanted = (owner << _SHIFT) | events["ex"].to_numpy(np.int64)  # the owner -1 comes before all bars
    before = np.searchsorted(key, wanted) - 1
    found = before >= 0
    found[found] = key[before[found]] >> _SHIFT == owner[found]
    close = np.full(len(events), np.nan)
    close[found] = every_close[printed[before[found]]]
    return close


def close_of(bars: BarsOf, session: int, known_at: int, max_age: int = 0) -> float:
    """Raw close of a security as known at an ordinal: of `session`, or up to `max_age` sessions earlier; else NaN."""
    age, close = session - bars.session, bars.close
    fit = (age >= 0) & (age <= max_age) & (bars.visible <= known_at) & (close > 0) & np.isfinite(close)
    return float(close[fit][-1]) if fit.any() else np.nan


def first_close_of(bars: BarsOf, after: int, known_at: int) -> float:
    """First raw close of a security on the sessions (after, known_at], as known at `known_at`; NaN for none."""
    session, close = bars.session, bars.close
    fit = (session > after) & (session <= known_at) & (bars.visible <= known_at)
    fit &= (close > 0) & np.isfinite(close)
    if not fit.any():
        return np.nan
    return float(close[fit & (session == session[fit][0])][-1])
