"""Which ETFs a stock has at each session, and what follows from that.

Windows are fitted wholly with the ETFs of their last session. A *stretch* is a range of wanted sessions over which a
stock keeps its ETFs: its windows can share their sums.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.model.compiled import Bools2D, Codes, Codes1D, Codes2D, Floats2D, Ints, Ints2D, kernel
from pipeline.model.reasons import DegenerateReason

_SAME_ETF = int(DegenerateReason.SAME_ETF)
_NO_ETF = int(DegenerateReason.NO_ETF)
_LEVEL_ABOVE = int(DegenerateReason.LEVEL_ABOVE)

# Sessions that nobody wants inside a stretch are computed along and dropped, unless they are more than this.
LONGEST_SKIP = 64


class Stocks(NamedTuple):
    """The stocks of a tile.

    r:                 (n, T) returns, NaN missing
    sector, subsector: (n, T') rows of the ETFs, -1 none
    wanted:            (n, T') cells to compute
    """

    r: Floats2D
    sector: Codes2D
    subsector: Codes2D
    wanted: Bools2D


class Span(NamedTuple):
    """The published sessions [start, stop) of T'; first: the ordinal of column 0 of the returns."""

    first: int
    start: int
    stop: int


class Stretch(NamedTuple):
    """Sessions [begin, end) of T' over which one stock keeps its ETFs."""

    stock: int
    begin: int
    end: int


class Ladder(NamedTuple):
    """How many levels have an ETF of their own, and the `DegenerateReason` of the others."""

    depth: int
    why_no_sector: int
    why_no_subsector: int


@kernel
def ladder(market: int, sector: int, subsector: int) -> Ladder:
    """The levels of a stock with these ETFs (rows, -1 none): a level without an ETF of its own ends the ladder."""
    if sector < 0 or sector == market:
        above = _NO_ETF if sector < 0 else _SAME_ETF
        if subsector < 0:
            return Ladder(1, above, _NO_ETF)
        if subsector in (market, sector):
            return Ladder(1, above, _SAME_ETF)
        return Ladder(1, above, _LEVEL_ABOVE)
    if subsector < 0:
        return Ladder(2, 0, _NO_ETF)
    if subsector in (market, sector):
        return Ladder(2, 0, _SAME_ETF)
    return Ladder(3, 0, 0)


@kernel
def one_assignment(sector: Codes1D, subsector: Codes1D) -> bool:
    """Whether all sessions have the first one's ETFs."""
    differs = 0
    for t in range(sector.size):
        differs |= (sector[t] ^ sector[0]) | (subsector[t] ^ subsector[0])
    return differs == 0


@kernel
def next_stretch(stocks: Stocks, i: int, start: int, stop: int) -> Stretch:
    """The next stretch of stock i in [start, stop); begin == stop when there is none.

    A few unwanted sessions inside a stretch are cheaper to compute than to skip.
    """
    sector, subsector, wanted = stocks.sector[i], stocks.subsector[i], stocks.wanted[i]
    begin = start
    while begin < stop and not wanted[begin]:
        begin += 1
    if begin == stop:
        return Stretch(i, stop, stop)
    all_wanted = 0
    for t in range(begin, stop):
        all_wanted += wanted[t]
    if all_wanted == stop - begin and one_assignment(sector[begin:stop], subsector[begin:stop]):
        return Stretch(i, begin, stop)
    end = begin + 1
    t = begin + 1
    while t < stop and t - end < LONGEST_SKIP:
        if wanted[t]:
            if sector[t] != sector[begin] or subsector[t] != subsector[begin]:
                break
            end = t + 1
        t += 1
    return Stretch(i, begin, end)


@kernel
def _mark_pairs(stocks: Stocks, marks: Ints2D) -> int:
    """marks[sector + 1, subsector + 1] = 1 for each pair that a wanted cell has; returns a row out of range, or -1."""
    rows, sessions = marks.shape[0] - 1, stocks.wanted.shape[1]
    for i in range(stocks.wanted.shape[0]):
        _, begin, end = next_stretch(stocks, i, 0, sessions)
        while begin < sessions:
            s, u = stocks.sector[i, begin], stocks.subsector[i, begin]
            if not (-1 <= s < rows and -1 <= u < rows):
                return i
            marks[s + 1, u + 1] = 1
            _, begin, end = next_stretch(stocks, i, end, sessions)
    return -1


def pairs_in_use(stocks: Stocks, n_etf: int) -> tuple[Codes, Ints]:
    """The (subsector, sector) pairs of the wanted cells, (P, 2), and the table [sector + 1, subsector + 1] -> P.

    Raises ValueError for a code that is no row of the ETFs.
    """
    marks = np.zeros((n_etf + 1, n_etf + 1), np.int64)
    bad = _mark_pairs(stocks, marks)
    if bad >= 0:
        raise ValueError(
            f"sector and subsector are rows of etf (-1 for none, below {n_etf}); stock {bad} has another value"
        )
    at = np.argwhere(marks)
    marks[at[:, 0], at[:, 1]] = np.arange(len(at))
    return np.ascontiguousarray((at - 1)[:, ::-1].astype(np.int16)), marks
