"""Total return of one share held from one valid close to the next: the definition, and the arithmetic of many cells.

Start with one share bought at `p0`. On each ex-date, in this order: cash per share held before a split of that day,
the split, cash per share held after it. Then `r = (units * p1 + cash) / p0 - 1`. Cash is not reinvested before the next
close and earns nothing. A spin-off is cash worth the child's shares. Nothing with a later ex-date enters.

`total_return` is the definition in exact fractions. `growth` is the same in float64, from what the events between two
closes made of one share (`pipeline.returns.events` accrues them for many cells at once).
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

PRE, SPLIT, POST = 0, 1, 2
"""Order of the events of one ex-date."""

_PHASE = {("cash", "pre"): PRE, ("split", "pre"): SPLIT, ("split", "post"): SPLIT, ("cash", "post"): POST}


class Event(NamedTuple):
    """One event of one ex-date. `value`: shares after for one before (split), or money per share (cash)."""

    kind: Literal["split", "cash"]
    value: Fraction | float
    basis: Literal["pre", "post"] = "pre"
    ex: int = 0


def total_return(p0: float, p1: float, events: Iterable[Event] = ()) -> float:
    """Return of one share from close `p0` to close `p1` with the events between, rounded once.

    Events are walked by ex-date; on one ex-date cash with basis `pre`, then splits, then cash with basis `post`.
    Raises ValueError for prices that are not positive and finite, and for a ratio that is not positive.

    A share bought at 100 splits two for one, and on the same day each new share is paid 0.50. At a close of 50.50 two
    shares and 1.00 are worth 102; had the cash been meant for a share before the split, it were 101.50:

    >>> split = Event("split", Fraction(2, 1))
    >>> total_return(100.0, 50.5, [split, Event("cash", 0.5, basis="post")])
    0.02
    >>> total_return(100.0, 50.5, [split, Event("cash", 0.5, basis="pre")])
    0.015

    The order of the list does not matter, that of the ex-dates does: cash that goes ex a session before the split.

    >>> total_return(100.0, 50.5, [split._replace(ex=2), Event("cash", 0.5, basis="post", ex=1)])
    0.015
    """
    if not (0 < p0 < np.inf and 0 < p1 < np.inf):
        raise ValueError(f"closes must be positive and finite, found {p0} and {p1}")
    units, cash = Fraction(1), Fraction(0)
    for event in sorted(events, key=lambda e: (e.ex, _PHASE[e.kind, e.basis])):
        if event.kind == "split":
            if event.value <= 0:
                raise ValueError(f"a split ratio must be positive, found {event.value}")
            units *= Fraction(event.value)
        else:
            cash += units * Fraction(event.value)
    return float((units * Fraction(p1) + cash) / Fraction(p0) - 1)


class Accrued(NamedTuple):
    """What one share became between two sessions: `num/den` shares and `cash`.

    events:   how many events lie between
    splits:   one of them is a split or a spin-off factor
    problem:  ReturnFlag code of an event that cannot be valued, 0 for none
    """

    num: float = 1.0
    den: float = 1.0
    cash: float = 0.0
    events: int = 0
    splits: bool = False
    problem: int = 0


class AccruedCells(NamedTuple):
    """`Accrued` of n cells: the same fields as arrays (n,)."""

    num: NDArray[np.float64]
    den: NDArray[np.float64]
    cash: NDArray[np.float64]
    events: NDArray[np.int32]
    splits: NDArray[np.bool_]
    problem: NDArray[np.int16]

    def cell(self, k: int) -> Accrued:
        """What accrued in one of the cells."""
        return Accrued(*(values[k].item() for values in self))

    def spread(self, to: NDArray[np.bool_]) -> AccruedCells:
        """These cells at the True places of `to`, and cells without an event at the others."""
        n = len(to)
        whole = AccruedCells(
            np.ones(n), np.ones(n), np.zeros(n), np.zeros(n, np.int32), np.zeros(n, bool), np.zeros(n, np.int16)
        )
        for field in self._fields:
            getattr(whole, field)[to] = getattr(self, field)
        return whole


@overload
def growth_factor(p0: float, p1: float, accrued: Accrued) -> float: ...
@overload
def growth_factor(p0: NDArray[np.float64], p1: NDArray[np.float64], accrued: AccruedCells) -> NDArray[np.float64]: ...
def growth_factor(p0, p1, accrued):  # type: ignore[no-untyped-def]
    """1 + return from close `p0` to close `p1`, of one cell or of (n,) cells: the same operations, so the same bits."""
    return (p1 * accrued.num / accrued.den + accrued.cash) / p0


def growth(p0: NDArray[np.float64], p1: NDArray[np.float64], accrued: AccruedCells) -> NDArray[np.float64]:
    """Returns (n,) of cells with closes `p0` and `p1`; NaN where an event cannot be valued."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        r = growth_factor(p0, p1, accrued) - 1.0
    r[accrued.problem != 0] = np.nan
    return r
