"""The vectorised pass: every cell of a block as if no row were late and no move outlying.

`ordinary_returns` makes an immutable result of a grid of bars; single cells are looked at again in
`pipeline.returns.single_cells`, which reads it and changes nothing in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.bars import Grid
from pipeline.returns.cells import Found
from pipeline.returns.roster import Roster
from pipeline.returns.total_return import AccruedCells, growth
from pipeline.settings import SCALE, DataRules, OutlierRules


@dataclass(frozen=True, eq=False)
class Ordinary:
    """Arrays (n, T) over the cells of `grid`.

    priced:       there is a close or a back-adjusted one
    events_until: running count of events by ex-date, known yet or not
    ret, flag:    return (NaN for none) and ReturnFlag of each cell, right where nothing is late or outlying
    """

    grid: Grid
    roster: Roster
    rules: DataRules
    priced: NDArray[np.bool_]
    events_until: NDArray[np.int32]
    ret: NDArray[np.float64]
    flag: NDArray[np.int16]
    found: tuple[Found, ...]

    def scale(self, row: int, column: int) -> float:
        """Robust daily scale before a column: 1.4826 times the median size of the returns of the last
        `scale_sessions`, or of the last `calm_sessions` if that is larger (a crisis has its own scale); 0 where too
        few are known."""
        rules = self.rules.outliers
        before = self.ret[row, max(0, column - rules.scale_sessions) : column]
        sizes = np.abs(before[np.isfinite(before)])
        if len(sizes) < rules.scale_minimum:
            return 0.0
        return SCALE * max(_upper_median(sizes), _upper_median(sizes[-rules.calm_sessions :]))


class _Moves(NamedTuple):
    """Cells (row, column) with the column of the priced cell before, where their return starts. Each (m,)."""

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    base: NDArray[np.int32]

    def where(self, keep: NDArray[np.bool_]) -> _Moves:
        return _Moves(self.row[keep], self.column[keep], self.base[keep])

    def ends(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values at the base and at the cell itself."""
        return values[self.row, self.base], values[self.row, self.column]


def ordinary_returns(grid: Grid, roster: Roster, rules: DataRules) -> Ordinary:
    """Returns of all cells from their own close, or back-adjusted close, and the priced cell before."""
    has_close, has_vendor = np.isfinite(grid.close), np.isfinite(grid.vendor_close)
    priced = has_close | has_vendor
    columns = np.arange(grid.span.width, dtype=np.int32)
    seen = np.maximum.accumulate(np.where(priced, columns, np.int32(-1)), axis=1)
    base = np.full(priced.shape, np.int32(-1))
    base[:, 1:] = seen[:, :-1]
    comparable = priced & (base >= 0) & (columns - base <= rules.max_gap)
    anchor = np.maximum(base, 0)
    from_close = comparable & has_close & np.take_along_axis(has_close, anchor, axis=1)
    from_vendor = comparable & ~from_close & has_vendor & np.take_along_axis(has_vendor, anchor, axis=1)

    ret, flag = np.full(priced.shape, np.nan), _missing_flags(grid, roster, seen, rules.listed_sessions)
    flag[priced & ~comparable] = ReturnFlag.GAP_TOO_LONG
    flag[priced & (columns + grid.span.start == roster.first_price[:, None])] = ReturnFlag.FIRST_SESSION
    flag[comparable & ~from_close & ~from_vendor] = ReturnFlag.NOT_COMPARABLE

    moves = _moves(from_vendor, base)
    at, gap = (moves.row, moves.column), moves.column - moves.base
    before, now = moves.ends(grid.vendor_close)
    ret[at] = now / before - 1.0
    flag[at] = np.where(gap == 1, ReturnFlag.VENDOR_RATIO, ReturnFlag.VENDOR_RATIO_OVER_GAP)

    moves = _moves(from_close, base)
    at, gap = (moves.row, moves.column), moves.column - moves.base
    events_until = roster.events.running_count(len(roster.sec_ids), grid.span.start, grid.span.last)
    accrued = _accrued(moves, roster, events_until, grid.span.start)
    ret[at] = growth(*moves.ends(grid.close), accrued)
    plain = np.where(accrued.events > 0, ReturnFlag.WITH_EVENTS, ReturnFlag.ORDINARY)
    plain = np.where(gap > 1, ReturnFlag.OVER_GAP, plain)
    flag[at] = np.where(accrued.problem != 0, accrued.problem, plain)
    found = (*_problems(moves, accrued), *_vendor_disagrees(grid, moves, ret[at], accrued, rules.outliers))
    return Ordinary(grid, roster, rules, priced, events_until, ret, flag, found)


def _moves(cells: NDArray[np.bool_], base: NDArray[np.int32]) -> _Moves:
    row, column = np.nonzero(cells)
    return _Moves(row, column, base[row, column])


def _missing_flags(grid: Grid, roster: Roster, seen: NDArray[np.int32], listed_sessions: int) -> NDArray[np.int16]:
    """Flags of cells without a price. seen: (n, T) last priced column up to each cell, -1 for none."""
    columns = np.arange(grid.span.width, dtype=np.int32)
    listed = (seen >= 0) & (columns - seen <= listed_sessions)
    since = columns + grid.span.start - roster.listed_from[:, None]
    listed |= (roster.listed_from[:, None] >= 0) & (since >= 0) & (since <= listed_sessions)
    flag = np.where(listed, ReturnFlag.NO_PRICE, ReturnFlag.NOT_LISTED).astype(np.int16)
    flag = np.where(grid.why != 0, grid.why, flag)
    flag[grid.delisted] = ReturnFlag.NOT_LISTED
    return flag


def _accrued(moves: _Moves, roster: Roster, events_until: NDArray[np.int32], start: int) -> AccruedCells:
    """What accrued over each move; most have no event between."""
    row, column, base = moves
    eventful = events_until[row, column] != events_until[row, base]
    some = moves.where(eventful)
    return roster.events.accrue(some.row, some.base + start, some.column + start).spread(eventful)


def _problems(moves: _Moves, accrued: AccruedCells) -> list[Found]:
    says = "an event of this return cannot be valued"
    return [
        Found(int(moves.row[k]), int(moves.column[k]), ReturnFlag(int(code)).name.lower(), np.nan, np.nan, says)
        for k, code in enumerate(accrued.problem.tolist())
        if code
    ]


def _vendor_disagrees(
    grid: Grid, moves: _Moves, ret: NDArray[np.float64], accrued: AccruedCells, rules: OutlierRules
) -> list[Found]:
    """Returns from closes that the back-adjusted closes contradict, where there are both.

    A back-adjusted ratio is not the total return: it divides by `close - cash` (returns by either count as equal).
    """
    vendor_before, vendor_now = moves.ends(grid.vendor_close)
    both = np.isfinite(vendor_before) & np.isfinite(vendor_now) & (moves.column + grid.span.start >= grid.span.first)
    moves, ours = moves.where(both), 1.0 + ret[both]
    theirs = vendor_now[both] / vendor_before[both]
    before, now = moves.ends(grid.close)
    with np.errstate(invalid="ignore", divide="ignore"):
        divided = now * accrued.num[both] / accrued.den[both] / (before - accrued.cash[both])
        bad = (np.abs(theirs - ours) > rules.disagreement) & (np.abs(theirs - divided) > rules.disagreement)
    found = []
    for k in np.flatnonzero(bad).tolist():
        evidence = f"{ours[k] - 1:+.2%} from closes and events, {theirs[k] - 1:+.2%} from back-adjusted closes"
        cell = int(moves.row[k]), int(moves.column[k])
        found.append(Found(*cell, "vendor_disagrees", ours[k] - 1, theirs[k] - 1, evidence))
    return found


def _upper_median(sizes: NDArray[np.float64]) -> float:
    """Always one of the values, so that no rounding enters."""
    middle = len(sizes) // 2
    return float(np.partition(sizes, middle)[middle])
