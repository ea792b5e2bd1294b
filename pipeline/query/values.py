"""Values of a field: of one stock through time, or of all stocks at one session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.query.fields import BETAS, DAILY, HEDGE, LEVELS, Field

if TYPE_CHECKING:
    from pipeline.query.family import QueryFamily

YEAR = 252
LEAST = 126
"""Sessions of a trailing year, and how many of them must have a return."""


def through_time(family: QueryFamily, field: Field, symbol: str, first: int, last: int) -> NDArray:
    """(last - first,) of one stock at the sessions first <= k < last: float32 as stored, float64 where computed."""
    cells = family.cells(field.store)
    position = cells.position.get(symbol)
    if position is None:
        return np.full(last - first, np.nan, np.float32)
    if field.variable == "return" and field.computed:
        returns = cells.column("return", position, first - YEAR + 1, last)
        return trailing_year(returns)[0 if field.wire == "vol_252d_ann" else 1]
    return _made(field, cells.column(field.variable, position, first, last, field.level))


def at_session(family: QueryFamily, field: Field, session: int) -> NDArray:
    """(stocks,) at one session, along the axis of the field's store."""
    cells = family.cells(field.store)
    if field.variable == "return" and field.computed:
        returns = cells.block("return", session - YEAR + 1, session + 1, 0, len(cells.symbols))
        k = 0 if field.wire == "vol_252d_ann" else 1
        return np.array([trailing_year(column)[k][0] for column in returns.T])
    return _made(field, cells.day(field.variable, session, field.level))


def of_stock(family: QueryFamily, field: Field, symbol: str, session: int) -> np.generic | None:
    """One value; None for none."""
    cells = family.cells(field.store)
    position = cells.position.get(symbol)
    if position is None:
        return None
    if field.variable == "return" and field.computed:
        value = through_time(family, field, symbol, session, session + 1)[0]
    else:
        value = _made(field, np.asarray(cells.cell(field.variable, position, session, field.level)))[()]
    return None if value != value else value


def _made(field: Field, stored: NDArray) -> NDArray:
    """A field from what is stored of it."""
    if field.wire == "vol_23d":
        return np.sqrt(YEAR * stored.astype(np.float64))
    if field.wire == "lstar_level":
        return np.where(stored == 0, np.nan, stored).astype(np.float32)
    return stored


def trailing_year(returns: NDArray) -> tuple[NDArray, NDArray]:
    """(volatility, Sharpe ratio) of each window of 252 sessions, annualised.

    returns: (T + 251,), NaN for none; the results are (T,), NaN with fewer than 126 returns.

    >>> volatility, sharpe = trailing_year(np.tile([0.01, -0.01], 126))
    >>> volatility.round(4), sharpe.round(4)
    (array([0.1591]), array([0.]))
    """
    window = np.lib.stride_tricks.sliding_window_view(returns.astype(np.float64), YEAR)
    have = np.isfinite(window)
    n = have.sum(axis=1)
    enough = n >= LEAST
    count = np.where(enough, n, LEAST)
    mean = np.where(have, window, 0.0).sum(axis=1) / count
    squares = (np.where(have, window - mean[:, None], 0.0) ** 2).sum(axis=1)
    deviation = np.sqrt(squares / (count - 1))
    moved = enough & (deviation > 0)
    sharpe = np.divide(mean, deviation, out=np.full(len(n), np.nan), where=moved) * np.sqrt(YEAR)
    return np.where(enough, deviation * np.sqrt(YEAR), np.nan), sharpe


def compounded(returns: NDArray, least: int) -> NDArray:
    """(n,) prod(1 + r) - 1 of (sessions, n) returns, over those that are present; NaN for fewer than `least`."""
    have = np.isfinite(returns)
    grown = np.prod(np.where(have, 1.0 + returns.astype(np.float64), 1.0), axis=0) - 1.0
    return np.where(have.sum(axis=0) >= least, grown, np.nan)


def aligned(family: QueryFamily, store: str, symbols: list[str], values: NDArray) -> NDArray:
    """Values along the axis of a store, (n,) or (T, n), for the ids given; NaN where the store does not have one."""
    position = family.cells(store).position
    at = np.array([position.get(symbol, -1) for symbol in symbols], dtype=np.intp)
    out = values[..., at].astype(np.float64)
    out[..., at < 0] = np.nan
    return out


def etf_columns(family: QueryFamily, symbol: str, first: int, last: int) -> dict[str, NDArray]:
    """(sessions,) tickers of the ETFs used for a stock at each level; None where the level has no hedge ratio."""
    betas, hedge = family.cells(BETAS), family.cells(HEDGE)
    at, to = betas.position.get(symbol), hedge.position.get(symbol)
    out = {}
    for depth, level in enumerate(LEVELS, 1):
        names = np.full(last - first, None, object)
        if at is not None and to is not None:
            codes = betas.column("fact", at, first, last, level)
            ratio = hedge.column(f"L{depth}_{level}_HR", to, first, last)
            for code in np.unique(codes).tolist():
                names[(codes == code) & np.isfinite(ratio)] = family.etf_of_code[code]
        out[level] = names
    return out


def etfs_at(family: QueryFamily, symbol: str, session: int) -> dict[str, str | None]:
    """The ETFs used for a stock at a session, by level."""
    return {level: names[0] for level, names in etf_columns(family, symbol, session, session + 1).items()}


def listed(family: QueryFamily, symbol: str, first: int, last: int) -> NDArray[np.bool_]:
    """Whether a stock was listed at each session."""
    cells = family.cells(DAILY)
    return cells.column("return_flag", cells.position[symbol], first, last) != 0
