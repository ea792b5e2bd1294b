"""Look-ups in delivered bars: the bars of a security, its close at a session, its last close before an event."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def closes_before(prices: pd.DataFrame, events: pd.DataFrame) -> NDArray[np.float64]:
    """Last close before each event's ex-date, as first printed; NaN for none. (n,)

    prices: those of `Facts`; events: frame with `sec_id` and `ex`, in any order.
    """
    printed = prices[(prices["visible"] <= prices["session"]) & (prices["close"] > 0)]
    bars = pd.DataFrame(
        {
            "owner": printed["sec_id"].cat.codes.to_numpy(np.int64),
            "session": printed["session"].to_numpy(np.int64),
            "close": printed["close"].to_numpy(),
        }
    ).sort_values("session", kind="stable")
    wanted = pd.DataFrame(
        {
            "owner": prices["sec_id"].cat.categories.get_indexer(pd.Index(events["sec_id"])),  # -1 owns no bar
            "session": events["ex"].to_numpy(np.int64),
            "event": np.arange(len(events)),
        }
    ).sort_values("session", kind="stable")
    found = pd.merge_asof(wanted, bars, on="session", by="owner", allow_exact_matches=False)
    close = np.empty(len(events))
    close[found["event"]] = found["close"]
    return close


def bars_of(prices: pd.DataFrame, sec_id: str) -> pd.DataFrame:
    """The bars of one security, sorted by session and `visible` (`prices` of `Facts`)."""
    codes = prices["sec_id"].cat.codes.to_numpy()
    code = prices["sec_id"].cat.categories.get_indexer(pd.Index([sec_id])).astype(codes.dtype)[0]
    if code < 0:
        return prices.iloc[:0]
    return prices.iloc[np.searchsorted(codes, code) : np.searchsorted(codes, code, side="right")]


def close_of(prices: pd.DataFrame, sec_id: str, session: int, known_at: int, max_age: int = 0) -> float:
    """Raw close of a security as known at an ordinal: of `session`, or up to `max_age` sessions earlier; else NaN."""
    bars = bars_of(prices, sec_id)
    age = session - bars["session"].to_numpy()
    close = bars["close"].to_numpy()
    fit = (age >= 0) & (age <= max_age) & (bars["visible"].to_numpy() <= known_at) & (close > 0) & np.isfinite(close)
    return float(close[fit][-1]) if fit.any() else np.nan


def first_close_of(prices: pd.DataFrame, sec_id: str, after: int, known_at: int) -> float:
    """First raw close of a security on the sessions (after, known_at], as known at `known_at`; NaN for none."""
    bars = bars_of(prices, sec_id)
    session, close = bars["session"].to_numpy(), bars["close"].to_numpy()
    fit = (session > after) & (session <= known_at) & (bars["visible"].to_numpy() <= known_at)
    fit &= (close > 0) & np.isfinite(close)
    if not fit.any():
        return np.nan
    return float(close[fit & (session == session[fit][0])][-1])
