"""The judgement of single cells: those near an outlying move, a large event, a late row or a person's decision.

Each is judged on the window that ends at its own session, as known then (`pipeline.returns.outliers`). All other cells
keep what the vectorised pass made of them; judging them too would change nothing (tested).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.bars import FIELDS, Grid
from pipeline.returns.cells import Cell, CellReturn, Found
from pipeline.returns.ordinary import Ordinary
from pipeline.returns.outliers import judge
from pipeline.returns.total_return import Accrued
from pipeline.returns.window import Judgement, Window
from pipeline.settings import DataRules

NOT_A_BASE = (ReturnFlag.BAD_PRINT, ReturnFlag.LEVEL_BREAK, ReturnFlag.WITHHELD)
"""Flags of cells whose close was judged to be no price."""


def judged_returns(ordinary: Ordinary) -> Iterator[CellReturn]:
    """The cells from `span.first` on that need a judgement, by row and column, each with its own."""
    span, reach = ordinary.grid.span, _reach(ordinary.rules)
    for i, t in sorted(cells_to_judge(ordinary)):
        judgement = None
        if t + span.start >= span.first and not ordinary.grid.delisted[i, t]:
            judgement = judged(ordinary, i, t)
        if judgement is None:
            continue
        flag = judgement.flag
        if flag == ReturnFlag.GAP_TOO_LONG and ordinary.roster.first_price[i] >= t + span.start:
            flag = ReturnFlag.FIRST_SESSION
        lo = max(0, t - reach)
        notes = judgement.notes
        found = [Found(i, lo + n.at, n.rule, n.observed, n.expected, n.evidence, detected=t) for n in notes]
        yield CellReturn((i, t), judgement.ret, flag, tuple(found))


def judged(ordinary: Ordinary, i: int, t: int) -> Judgement | None:
    """The cell judged on its window as known at its session; None where there is no price."""
    rules = ordinary.rules
    window = window_of(ordinary, i, t)
    if not (isfinite(window.close[-1]) or isfinite(window.vendor_close[-1])):
        return None
    return judge(window, rules.outliers, rules.max_gap)


def window_of(ordinary: Ordinary, i: int, t: int) -> Window:
    """The sessions up to column `t` that can matter to it, as known at its session."""
    grid, events = ordinary.grid, ordinary.roster.events
    lo, start, session = max(0, t - _reach(ordinary.rules)), grid.span.start, t + grid.span.start
    counts = ordinary.events_until[i, lo : t + 1].tolist()

    def accrue(after: int, upto: int) -> Accrued:
        if upto < len(counts) and counts[after] == counts[upto]:
            return Accrued()
        return events.accrue_cell(i, lo + after + start, lo + upto + start, session)

    bars = _bars_as_known(grid, i, lo, t)
    decisions = ordinary.roster.decisions.get(i, [])
    return Window(
        close=bars["close"].tolist(),
        vendor_close=bars["total_return_close"].tolist(),
        volume=bars["volume"].tolist(),
        high=bars["high"].tolist(),
        low=bars["low"].tolist(),
        doubtful=grid.doubtful[i, lo : t + 1].tolist(),
        scale=cache(lambda at: ordinary.scale(i, lo + at)),
        verdict={
            one.session - start - lo: one.verdict
            for one in decisions
            if one.visible <= session and lo <= one.session - start <= t
        },
        accrue=accrue,
    )


def _reach(rules: DataRules) -> int:
    """Sessions before a cell that can matter to its judgement."""
    return rules.outliers.window(rules.max_gap)


def _bars_as_known(grid: Grid, i: int, lo: int, t: int) -> dict[str, NDArray[np.float64]]:
    """FIELDS of a row in the columns [lo, t], with the late rows that were visible at the session of `t`."""
    bars = {name: grid.field(name)[i, lo : t + 1] for name in FIELDS}
    if i not in grid.late:
        return bars
    late = grid.late[i]
    known = late[(late["visible"] <= t + grid.span.start) & late["column"].between(lo, t)]
    at = known["column"].to_numpy() - lo  # in the order of `visible`: the last one known stays
    for name, values in bars.items():
        bars[name] = values.copy()
        bars[name][at] = known[name].to_numpy()
    return bars


def cells_to_judge(ordinary: Ordinary) -> set[Cell]:
    """All cells whose judgement may differ from the vectorised pass; some of them lie before `span.first`."""
    return (
        near_outlying(ordinary)
        | near_large_events(ordinary)
        | near_late_rows(ordinary.grid, ordinary.rules)
        | near_decisions(ordinary)
    )


def near_outlying(ordinary: Ordinary) -> set[Cell]:
    """Outlying or doubtful cells, and the next priced ones whose judgement may still be open after them."""
    rules, width, reach = ordinary.rules.outliers, ordinary.grid.span.width, _reach(ordinary.rules)
    with np.errstate(invalid="ignore", divide="ignore"):
        move = np.log1p(ordinary.ret)
        outlying = (np.abs(move) > rules.event_jump) | (move < -rules.split_jump)
    open_for = max(rules.level_sessions, rules.misdated) + 1
    cells: set[Cell] = set()
    for i, t in np.argwhere(outlying | ordinary.grid.doubtful).tolist():
        end = min(t + reach, width - 1)
        following = (np.flatnonzero(ordinary.priced[i, t + 1 : end + 1]) + t + 1)[:open_for]
        cells.update((i, u) for u in [t, *following.tolist()])
    return cells


def near_large_events(ordinary: Ordinary) -> set[Cell]:
    """Cells from `misdated` sessions before a large event to those that follow it, or may follow a very large one."""
    rules, span, priced = ordinary.rules.outliers, ordinary.grid.span, ordinary.priced
    i, ex, factor, cash = ordinary.roster.events.sizes()
    eve = np.clip(ex - span.start - 1, 0, span.width - 1)
    before_ex = _last_close(ordinary.grid.close, i, eve, ordinary.rules.max_gap)
    waits = (factor >= rules.due_bill) | (cash >= 0.8 * rules.due_bill * before_ex)
    open_for = np.where(waits, rules.due_bill_sessions, rules.misdated)
    cells: set[Cell] = set()
    priced_until = np.cumsum(priced, axis=1, dtype=np.int32)
    for ahead in range(-rules.misdated, _reach(ordinary.rules) + 1):
        t = ex - span.start + ahead
        inside = np.flatnonzero((t - max(ahead, 0) >= 0) & (t < span.width))
        at_i, at_t = i[inside], t[inside]
        before = np.maximum(at_t - max(ahead, 0), 0)
        seen = priced[at_i, at_t]
        if ahead > 0:  # only the cells that see the event first, and those right after it
            earlier = priced_until[at_i, at_t - 1] - np.where(before > 0, priced_until[at_i, before - 1], 0)
            seen &= earlier <= open_for[inside]
        inside, at_i, at_t, before = inside[seen], at_i[seen], at_t[seen], before[seen]
        large = factor[inside] >= rules.material
        last_close = _last_close(ordinary.grid.close, at_i, before, ordinary.rules.max_gap)
        large |= cash[inside] >= 0.8 * rules.material * last_close
        cells.update(zip(at_i[large].tolist(), at_t[large].tolist(), strict=True))
    return cells


def _last_close(
    close: NDArray[np.float64], i: NDArray[np.integer], t: NDArray[np.integer], max_gap: int
) -> NDArray[np.float64]:
    """Last close up to each cell, at most `max_gap` sessions old; NaN for none. (m,)"""
    last = np.full(len(i), np.nan)
    for back in range(max_gap + 1):
        here = np.isnan(last) & (t - back >= 0)
        last[here] = close[i[here], t[here] - back]
    return last


def near_late_rows(grid: Grid, rules: DataRules) -> set[Cell]:
    """Cells that can see a row which became visible after its session."""
    end, reach = grid.span.width - 1, _reach(rules)
    return {
        (i, t)
        for i, late in grid.late.items()
        for column, visible in late[["column", "visible"]].to_numpy(np.int64).tolist()
        for t in range(max(visible - grid.span.start, 0), min(column + reach, end) + 1)
    }


def near_decisions(ordinary: Ordinary) -> set[Cell]:
    """Cells whose window holds a decision that is in force."""
    span, reach = ordinary.grid.span, _reach(ordinary.rules)
    return {
        (i, t)
        for i, decisions in ordinary.roster.decisions.items()
        for one in decisions
        for t in range(
            max(one.session, one.visible, span.start) - span.start,
            min(one.session - span.start + reach, span.width - 1) + 1,
        )
    }


def replaced(ordinary: Ordinary, cells: list[CellReturn]) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """Returns and flags (n, T) with single cells in place of the ordinary ones."""
    ret, flag = ordinary.ret.copy(), ordinary.flag.copy()
    for one in cells:
        ret[one.cell], flag[one.cell] = one.ret, one.flag
    return ret, flag
