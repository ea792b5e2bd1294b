"""Delisting returns of a block, each booked on its own session."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import numpy as np

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.cells import CellReturn, Found
from pipeline.returns.delistings import Delisting
from pipeline.returns.ordinary import Ordinary
from pipeline.returns.single_cells import NOT_A_BASE, judged
from pipeline.returns.total_return import growth_factor


def delisting_returns(ordinary: Ordinary) -> Iterator[CellReturn]:
    """The delisting returns that are booked within [span.first, span.last]."""
    span = ordinary.grid.span
    for i, delistings in ordinary.roster.delistings.items():
        for one in delistings:
            if not (span.first <= one.booking <= span.last):
                continue
            t, found = one.booking - span.start, []
            if one.resumes <= one.booking and (i, t) not in ordinary.grid.after_removal:
                continue
            ret, flag = _delisting_return(ordinary, i, t, one)
            if flag == ReturnFlag.DELISTING_IMPUTED:
                evidence = f"{one.reason} on {one.exchange or 'an unknown exchange'}, no value known"
                found.append(Found(i, t, "delisting_imputed", ret, np.nan, evidence))
            if one.booking > one.last + 1:
                evidence = f"last session {one.last} became known at {one.booking}"
                found.append(Found(i, t, "late_delisting", one.booking - one.last, 1.0, evidence))
            yield CellReturn((i, t), ret, flag, tuple(found))


def _delisting_return(ordinary: Ordinary, i: int, t: int, one: Delisting) -> tuple[float, ReturnFlag]:
    """From the last good close, judged as of its own session, to what a share became.

    A delisting that became known late is booked after bars that were published as its company's: the last of these is
    the close that the return compounds with.
    """
    grid, rules, value = ordinary.grid, ordinary.rules, one.value
    if np.isnan(value) and one.performance:
        value = grid.after_removal.get((i, t), np.nan)
    if np.isnan(value):
        return one.imputed(rules.delistings), ReturnFlag.DELISTING_IMPUTED
    end = one.last - grid.span.start
    for base in range(t - 1, max(end - rules.listed_sessions, -1), -1):
        if not isfinite(grid.close[i, base]):
            continue
        judgement = judged(ordinary, i, base)
        if judgement is not None and judgement.flag in NOT_A_BASE:
            continue
        accrued = ordinary.roster.events.accrue_cell(i, base + grid.span.start, one.booking, one.booking)
        if accrued.problem:
            return np.nan, ReturnFlag(accrued.problem)
        return growth_factor(float(grid.close[i, base]), value, accrued) - 1.0, ReturnFlag.DELISTING
    return np.nan, ReturnFlag.GAP_TOO_LONG
