"""A session's open, high, low and volume around the close."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.sources.simulated.factors import SESSIONS_A_YEAR
from pipeline.sources.simulated.walk import to_tick
from pipeline.sources.streams import stream

VOLUME_OF_WEEKDAY = np.array([1.04, 0.98, 0.95, 0.98, 1.05])
VOLUME_OF_HALF_DAY = 0.45
MEDIAN_TURNOVER = 0.0015
"""Shares that change hands on a quiet day, of those outstanding."""

Array = NDArray[np.float64]


def bars(
    seed: int, key: str, first: int, close: Array, returns: Array, outstanding: Array, vol: float
) -> tuple[Array, Array, Array, Array]:
    """(open, high, low, volume) of the sessions from ordinal `first` on, each (T,).

    close: exact closes; returns: true total returns; outstanding: share counts; vol: annual volatility.
    low <= open, close <= high holds after rounding to ticks.
    """
    T = len(close)
    daily = vol / np.sqrt(SESSIONS_A_YEAR)
    draws = stream(seed, "trading", key).standard_normal((T, 4))
    moved = np.nan_to_num(returns)
    during = 0.6 * np.log1p(moved) + 0.3 * daily * draws[:, 0]
    opened = close * np.exp(-during)
    high = np.maximum(opened, close) * np.exp(0.35 * daily * np.abs(draws[:, 1]))
    low = np.minimum(opened, close) * np.exp(-0.35 * daily * np.abs(draws[:, 2]))
    turnover = MEDIAN_TURNOVER * np.exp(0.35 * draws[:, 3]) * (1 + 3 * np.abs(moved) / daily)
    volume = np.floor(outstanding * turnover * volume_pattern()[first : first + T])
    return to_tick(opened), to_tick(high), to_tick(low), np.maximum(volume, 1.0)


@cache
def volume_pattern() -> Array:
    """Usual volume of every session of the calendar: by weekday, less on a half day."""
    calendar = xnys()
    weekday = (calendar.sessions.astype(np.int64) + 3) % 7
    pattern = VOLUME_OF_WEEKDAY[weekday]
    closing_hour = (calendar.closes - calendar.sessions) / np.timedelta64(1, "h")
    return np.where(closing_hour < 19.5, VOLUME_OF_HALF_DAY * pattern, pattern)
