"""Rules about single bars; the panel leaves out what they quarantine."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.settings import BarRules


def rejected_closes(bars: pd.DataFrame, rules: BarRules) -> NDArray[np.bool_]:
    """Bars whose close is a number that cannot be a price. Bars of one security stand together, by session."""
    close = bars["close"].to_numpy()
    with np.errstate(invalid="ignore"):
        impossible = ~np.isnan(close) & ~((close > 0) & np.isfinite(close))
        sentinel = close >= rules.sentinel
    if sentinel.any():  # a stock that really trades there has traded near there
        owner, session = bars["sec_id"].cat.codes.to_numpy(), bars["session"].to_numpy()
        for k in np.flatnonzero(sentinel & ~impossible):
            near = (owner == owner[k]) & (session < session[k]) & (session >= session[k] - rules.sentinel_sessions)
            impossible[k] = not (close[near & (close < rules.sentinel)] >= rules.sentinel_if_below).any()
    return impossible


def shared_closes(prices: pd.DataFrame, first: int, last: int, back: int, rules: BarRules) -> NDArray[np.int64]:
    """Rows of `prices` in [first, last] whose close several securities have in that session after closes far from it:
    a vendor's test of its feed.

    prices: those of `Facts`, of all securities; back: sessions that a close before may lie back. As first printed.
    """
    session = prices["session"].to_numpy()
    at = np.flatnonzero((session >= first - back) & (session <= last) & (prices["visible"].to_numpy() <= session))
    owner, session, close = prices["sec_id"].cat.codes.to_numpy()[at], session[at], prices["close"].to_numpy()[at]
    with np.errstate(invalid="ignore", divide="ignore"):
        far = np.abs(np.diff(np.log(close))) > np.log(rules.shared_factor)
    far &= (np.diff(owner) == 0) & (np.diff(session) <= back) & (np.diff(session) > 0) & (session[1:] >= first)
    moved = np.flatnonzero(far) + 1
    if len(moved) < rules.shared_names:
        return np.empty(0, np.int64)
    same = pd.DataFrame({"session": session[moved], "close": close[moved]})
    several = same.groupby(["session", "close"])["close"].transform("size").to_numpy() >= rules.shared_names
    return at[moved[several]]


def without_placeholders(bars: pd.DataFrame) -> pd.DataFrame:
    """Bars in which an open, high or low that is no price (0, -1, infinite) is not known: it says nothing of the
    close. A high below its low is no range, and neither is known."""
    known = {name: bars[name].to_numpy().astype(float, copy=True) for name in ("open", "high", "low")}
    for values in known.values():
        with np.errstate(invalid="ignore"):
            values[~((values > 0) & np.isfinite(values))] = np.nan
    with np.errstate(invalid="ignore"):
        crossed = known["low"] > known["high"]
    known["low"][crossed] = known["high"][crossed] = np.nan
    return bars.assign(**known)


def inconsistent_bars(bars: pd.DataFrame, rules: BarRules) -> NDArray[np.bool_]:
    """Bars that break `low <= open, close <= high`; a missing field breaks nothing."""
    slack = 1 + rules.ohlc_tolerance
    opened, high, low, close = (bars[name].to_numpy() for name in ("open", "high", "low", "close"))
    with np.errstate(invalid="ignore"):
        return (
            (low > high * slack)
            | (low > opened * slack)
            | (low > close * slack)
            | (opened > high * slack)
            | (close > high * slack)
        )


def closes_outside_range(bars: pd.DataFrame, factor: float) -> NDArray[np.bool_]:
    """Closes more than `factor` outside the [low, high] of their own bar."""
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    with np.errstate(invalid="ignore"):
        return (close > factor * high) | (close * factor < low)


def impossible_volumes(bars: pd.DataFrame) -> NDArray[np.bool_]:
    """(n,) of bars: negative or infinite; none at all is not impossible."""
    volume = bars["volume"].to_numpy()
    with np.errstate(invalid="ignore"):
        return ~np.isnan(volume) & ~((volume >= 0) & np.isfinite(volume))


def stale_closes(close: NDArray[np.float64], volume: NDArray[np.float64], rules: BarRules) -> NDArray[np.bool_]:
    """(n, T) cells from the `stale_sessions`-th on of a run of one close without volume, or with one volume, in
    sessions without gaps: a feed that fills itself repeats the last bar whole."""
    repeats = np.zeros(close.shape, bool)
    untraded = (volume[:, 1:] == 0) | (volume[:, 1:] == volume[:, :-1])
    repeats[:, 1:] = (close[:, 1:] == close[:, :-1]) & untraded
    stale = repeats.copy()
    for back in range(1, rules.stale_sessions):
        stale[:, back:] &= repeats[:, :-back]
        stale[:, :back] = False
    return stale
