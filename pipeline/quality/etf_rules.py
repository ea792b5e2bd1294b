"""Factor ETFs held against what their own market did that day.

An ETF follows the stocks that it is made for: the market ETF all of them, another one those of its sector or subsector,
weighted by capitalisation. How far it strays on an ordinary day is known from the sessions before; on a day on which
the stocks differ more among themselves it may stray further, and never less than the stocks leave their mean uncertain
(a takeover in a sector of five). Where too few caps are known all stocks weigh alike, in that history, too: it would
be narrower than such a session is. The market ETF is held against those of the sectors, too, by the weights that
explained it best before: all that a stock is regressed on rests on it.

A verdict about a session looks at that session and at `lookback(rules)` before it: a night and a backfill agree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.settings import SCALE, EtfRules

Floats = NDArray[np.float64]

CODES = 10_000
"""More than the largest industry code."""


class Off(NamedTuple):
    """An ETF that did not follow: its row and column, its return, what it was held against, the distance between them
    over the usual one, and a sentence with the figures."""

    row: int
    column: int
    ret: float
    expected: float
    distance: float
    says: str


@dataclass(frozen=True, eq=False)
class Baskets:
    """What the stocks of each ETF did: (E, T) weighted mean of their returns, its standard error, their number.

    even: (E, T) their mean if all weigh alike; weighted: (T,) whether their caps were known. spread: (T,) 1.4826 times
    the median distance of all stocks to their median.
    """

    mean: Floats
    even: Floats
    error: Floats
    weighted: NDArray[np.bool_]
    names: NDArray[np.int64]
    spread: Floats


def rule_of(one: Off, market: int) -> str:
    """The rule that an ETF broke. market: row of the market ETF."""
    return "market_etf_off" if one.row == market else "etf_off_market"


def without_a_return(ret: Floats, close: Floats, begin: int) -> list[int]:
    """Columns from `begin` on at which an ETF (T,) has no return although it had a price before."""
    had = np.maximum.accumulate(np.isfinite(close) | np.isfinite(ret))
    return [t for t in range(max(begin, 1), len(ret)) if had[t - 1] and np.isnan(ret[t])]


def lookback(rules: EtfRules) -> int:
    """Sessions before a judged one that its verdict may look at."""
    return max(rules.family_sessions, 2 * rules.sessions)


def groups_of(
    industry: NDArray[np.integer], homes: Sequence[Mapping[int, int]], market: int
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Of each ETF its row and (n, T) which stocks are of its sector, or of its subsector; all for the market ETF.

    industry: (n, T) codes, 0 for none; homes: row of an ETF by industry code, -1 for none; market: row of that ETF.
    """
    tables = []
    for home in homes:
        table = np.full(CODES, -1, np.int64)
        for code, row in home.items():
            table[code] = row
        tables.append(table[industry])
    yield market, np.ones(industry.shape, bool)
    for row in np.unique(tables):
        if row not in (-1, market):
            yield int(row), np.logical_or.reduce([table == row for table in tables])


def baskets(ret: Floats, cap: Floats, groups: Iterable[tuple[int, NDArray[np.bool_]]], etfs: int) -> Baskets:
    """What the stocks of each ETF did.

    ret, cap: (n, T) returns and market caps; a return is weighted by the cap of the session before, or all alike where
    fewer than half of them have one. groups: of each ETF its row and (n, T) which stocks it is made for; etfs: their
    number. The mean is as uncertain as its stocks lie apart from their median: one of them may be most of it.
    """
    before = np.full_like(cap, np.nan)
    before[:, 1:] = cap[:, :-1]
    there = np.isfinite(ret)
    known = there & np.isfinite(before)
    enough = 2 * known.sum(0) >= there.sum(0)
    weight = np.where(enough, np.where(known, before, 0.0), there)
    shape = etfs, ret.shape[1]
    mean, even, error = (np.full(shape, np.nan) for _ in range(3))
    names = np.zeros(shape, np.int64)
    full = np.where(there, ret, 0.0)
    for row, members in groups:
        stocks = np.flatnonzero(members.any(1))
        mine = np.where(members[stocks], weight[stocks], 0.0)
        moves = np.where(mine > 0, ret[stocks], np.nan)
        names[row] = (mine > 0).sum(0)
        all_of_them = (members[stocks] & there[stocks]).sum(0)
        even[row] = np.where(members[stocks], full[stocks], 0.0).sum(0) / np.where(all_of_them, all_of_them, np.nan)
        some = names[row] > 0
        mine, moves, total = mine[:, some], moves[:, some], mine[:, some].sum(0)
        mean[row, some] = np.nansum(mine * moves, axis=0) / total
        error[row, some] = np.sqrt(np.nansum((mine * (moves - np.nanmedian(moves, axis=0))) ** 2, axis=0)) / total
    spread = np.full(ret.shape[1], np.nan)
    some = there.any(0)
    spread[some] = SCALE * np.nanmedian(np.abs(ret[:, some] - np.nanmedian(ret[:, some], axis=0)), axis=0)
    return Baskets(mean, even, error, enough, names, spread)


def without_a_price(close: Floats, begin: int) -> list[tuple[int, int]]:
    """(row, column) of who has no close (E, T) and had one the session before, from column `begin` on.

    >>> without_a_price(np.array([[1.0, np.nan, np.nan], [1.0, 2.0, np.nan], [1.0, 2.0, 3.0]]), 1)
    [(0, 1), (1, 2)]
    """
    lost = np.isfinite(close[:, :-1]) & np.isnan(close[:, 1:])
    return [(int(row), int(column) + 1) for row, column in np.argwhere(lost) if column + 1 >= begin]


def off_their_market(
    ret: Floats,
    close: Floats,
    stocks: Baskets,
    market: int,
    sectors: Collection[int],
    begin: int,
    rules: EtfRules,
    kept: Collection[tuple[int, int]],
) -> list[Off]:
    """ETFs that did not follow their stocks, session by session from column `begin` on.

    ret, close: (E, T) of the ETFs, NaN where a return was withheld before. market, sectors: rows of the market ETF and
    of those that it is held against. kept: (row, column) that a person has released. What is off is no part of the
    history of a later column, unless it is kept.
    """
    ret = ret.copy()
    priced = np.isfinite(close) | np.isfinite(ret)  # a vendor's ratio of closes has no close
    gap, error = _gaps(ret, priced, stocks.mean, stocks.error)
    even = gap if stocks.weighted[begin:].all() else _gaps(ret, priced, stocks.even, stocks.error)[0]
    found = []
    for t in range(begin, ret.shape[1]):
        past = slice(max(0, t - rules.sessions), t)
        history = np.abs((gap if stocks.weighted[t] else even)[:, past])  # a session's own ruler
        off = _off_stocks(ret, gap, error, history, stocks, market, t, rules)
        doubtful = [one.row for one in off]
        if market not in doubtful and t and priced[market, t - 1]:  # of one session, as those of the others
            others = priced[:, t - 1] & np.isin(np.arange(len(ret)), list(set(sectors) - {market, *doubtful}))
            off += _off_family(ret, stocks, market, others, t, rules)
        for one in off:
            if (one.row, t) not in kept:
                ret[one.row, t] = gap[one.row, t] = even[one.row, t] = np.nan
                found.append(one)
    return found


def _gaps(ret: Floats, priced: NDArray[np.bool_], mean: Floats, of_mean: Floats) -> tuple[Floats, Floats]:
    """(E, T) return of each ETF less that of its stocks since its last price, and the standard error of the latter."""
    gap, error = ret - mean, of_mean.copy()
    late = np.isfinite(ret[:, 1:]) & ~priced[:, :-1]
    for row, unpriced in np.argwhere(late):
        t = unpriced + 1
        before = np.flatnonzero(priced[row, :t])
        since = slice(before[-1] + 1 if len(before) else t, t + 1)
        gap[row, t] = ret[row, t] - np.expm1(np.log1p(mean[row, since]).sum())
        error[row, t] = np.sqrt((of_mean[row, since] ** 2).sum())
    return gap, error


def _off_stocks(
    ret: Floats,
    gap: Floats,
    error: Floats,
    history: Floats,
    stocks: Baskets,
    market: int,
    t: int,
    rules: EtfRules,
) -> list[Off]:
    ordinary = SCALE * _medians(history)
    usual = np.maximum(ordinary * _turmoil(stocks.spread, t, rules), error[:, t])
    floor = np.where(np.arange(len(ret)) == market, rules.market_floor, rules.floor)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.abs(gap[:, t]) / usual
        bad = (distance > rules.sigmas) & (np.abs(gap[:, t]) > floor)
    bad &= (np.isfinite(history).sum(1) >= rules.least) & (stocks.names[:, t] >= rules.names)
    found = []
    for row in np.flatnonzero(bad):
        expected = ret[row, t] - gap[row, t]
        says = (
            f"{ret[row, t]:+.2%}, its {stocks.names[row, t]} stocks {expected:+.2%}; "
            f"{usual[row]:.2%} apart is usual on such a day, this is {distance[row]:.1f} times as much"
        )
        found.append(Off(int(row), t, float(ret[row, t]), float(expected), float(distance[row]), says))
    return found


def _off_family(
    ret: Floats, stocks: Baskets, market: int, others: NDArray[np.bool_], t: int, rules: EtfRules
) -> list[Off]:
    """The market ETF against others (E,), with the weights that explained it best before."""
    past = slice(max(0, t - rules.family_sessions), t)
    others = others & np.isfinite(ret[:, t]) & (np.isfinite(ret[:, past]).mean(axis=1) >= rules.family_whole)
    use = np.isfinite(ret[others, past]).all(0) & np.isfinite(ret[market, past])
    if not np.isfinite(ret[market, t]) or others.sum() < rules.names or use.sum() < 3 * others.sum():
        return []
    x, y = ret[others, past][:, use].T, ret[market, past][use]
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    freedom = np.sqrt(len(y) / (len(y) - x.shape[1]))
    usual = SCALE * float(np.median(np.abs(y - x @ weights))) * freedom * _turmoil(stocks.spread, t, rules)
    expected = float(ret[others, t] @ weights)
    gap = float(ret[market, t]) - expected
    if not (abs(gap) > rules.family_floor and abs(gap) > rules.sigmas * usual):
        return []
    names, mean = stocks.names[market, t], stocks.mean[market, t]
    of_stocks = f", its {names} stocks {mean:+.2%}" if np.isfinite(mean) else ""
    says = (
        f"{ret[market, t]:+.2%}, by {others.sum()} sector ETFs {expected:+.2%}{of_stocks}; "
        f"{usual:.2%} apart is usual on such a day, this is {abs(gap) / usual:.1f} times as much"
    )
    return [Off(market, t, float(ret[market, t]), expected, abs(gap) / usual, says)]


def _turmoil(spread: Floats, t: int, rules: EtfRules) -> float:
    """By how much the stocks differ more among themselves than usual, 1 at least."""
    before = spread[max(0, t - rules.sessions) : t]
    before = before[np.isfinite(before)]
    usual = float(np.median(before)) if len(before) else 0.0
    return max(1.0, float(spread[t]) / usual) if usual > 0 and np.isfinite(spread[t]) else 1.0


def _medians(values: Floats) -> Floats:
    """Median of the finite values of each row, NaN for none."""
    finite = np.isfinite(values)
    counts, ordered = finite.sum(1), np.sort(np.where(finite, values, np.inf), axis=1)
    rows, found = np.flatnonzero(counts), np.full(len(values), np.nan)
    n = counts[rows]
    found[rows] = (ordered[rows, (n - 1) // 2] + ordered[rows, n // 2]) / 2
    return found
