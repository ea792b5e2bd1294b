"""Total return of one share held from one valid close to the next.

Start with one share bought at `p0`. On each ex-date, in this order: cash per share held before a split of that day,
the split, cash per share held after it. Then `r = (units * p1 + cash) / p0 - 1`. Cash is not reinvested before the next
close and earns nothing. A spin-off is cash worth the child's shares. Nothing with a later ex-date enters.

`total_return` is the definition in exact fractions. `accrue` walks the events of many cells at once in float64, and
`growth` turns its result into returns; a cell's result does not depend on which other cells are computed with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import FOR_EVER
from pipeline.datasets.return_flags import ReturnFlag
from pipeline.market_data.point_in_time import Facts
from pipeline.quality.bars import close_of

_PRE, _SPLIT, _POST = 0, 1, 2
_SHIFT = 20  # ordinals are below 2**20


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
    """
    if not (0 < p0 < np.inf and 0 < p1 < np.inf):
        raise ValueError(f"closes must be positive and finite, found {p0} and {p1}")
    units, cash = Fraction(1), Fraction(0)
    phase = {("cash", "pre"): _PRE, ("split", "pre"): _SPLIT, ("split", "post"): _SPLIT, ("cash", "post"): _POST}
    for event in sorted(events, key=lambda e: (e.ex, phase[e.kind, e.basis])):
        if event.kind == "split":
            if event.value <= 0:
                raise ValueError(f"a split ratio must be positive, found {event.value}")
            units *= Fraction(event.value)
        else:
            cash += units * Fraction(event.value)
    return float((units * Fraction(p1) + cash) / Fraction(p0) - 1)


class Accrued(NamedTuple):
    """What one share became between two sessions, per cell: `num/den` shares and `cash`.

    events:   (n,) how many events lie between
    splits:   (n,) bool, one of them is a split or a spin-off factor
    problem:  (n,) ReturnFlag code of an event that cannot be valued, 0 for none
    """

    num: NDArray[np.float64]
    den: NDArray[np.float64]
    cash: NDArray[np.float64]
    events: NDArray[np.int32]
    splits: NDArray[np.bool_]
    problem: NDArray[np.int16]

    def spread(self, to: NDArray[np.bool_]) -> Accrued:
        """These cells at the True places of `to`, and cells without an event at the others."""
        n = len(to)
        whole = Accrued(
            np.ones(n), np.ones(n), np.zeros(n), np.zeros(n, np.int32), np.zeros(n, bool), np.zeros(n, np.int16)
        )
        for field in self._fields:
            getattr(whole, field)[to] = getattr(self, field)
        return whole


@dataclass(frozen=True, eq=False)
class EventTable:
    """Events of a roster, sorted by (security, ex, phase). A row is in force at t when `visible <= t < until`.

    key: (m,) int64, security << 20 | ex; counts: sorted keys of all rows, for quick presence tests.
    """

    key: NDArray[np.int64]
    phase: NDArray[np.int8]
    num: NDArray[np.float64]
    den: NDArray[np.float64]
    cash: NDArray[np.float64]
    problem: NDArray[np.int16]
    visible: NDArray[np.int32]
    until: NDArray[np.int32]

    def accrue(
        self,
        security: NDArray[np.integer],
        after: NDArray[np.integer],
        upto: NDArray[np.integer],
        known_at: NDArray[np.integer] | None = None,
    ) -> Accrued:
        """Walk the events with ex in (after, upto] that are known at `known_at` (default `upto`), for (n,) cells."""
        known_at = upto if known_at is None else known_at
        n = len(security)
        base = security.astype(np.int64) << _SHIFT
        lo = np.searchsorted(self.key, base | after.astype(np.int64), side="right")
        hi = np.searchsorted(self.key, base | upto.astype(np.int64), side="right")
        cell = np.repeat(np.arange(n), hi - lo)
        row = np.arange(len(cell)) - np.repeat(np.cumsum(hi - lo) - (hi - lo), hi - lo) + np.repeat(lo, hi - lo)
        in_force = (self.visible[row] <= known_at[cell]) & (known_at[cell] < self.until[row])
        cell, row = cell[in_force], row[in_force]
        num, den, cash = np.ones(n), np.ones(n), np.zeros(n)
        events = np.bincount(cell, minlength=n).astype(np.int32)
        splits, problem = np.zeros(n, bool), np.zeros(n, np.int16)
        turn = np.arange(len(cell)) - (np.cumsum(events) - events)[cell]
        for k in range(int(events.max(initial=0))):
            c, e = cell[turn == k], row[turn == k]
            is_split = self.phase[e] == _SPLIT
            cash[c] += np.where(is_split, 0.0, self.cash[e] * num[c] / den[c])
            num[c] *= self.num[e]
            den[c] *= self.den[e]
            splits[c] |= is_split
            problem[c] = np.maximum(problem[c], self.problem[e])
        return Accrued(num, den, cash, events, splits, problem)

    def running_count(self, n: int, first: int, last: int) -> NDArray[np.int32]:
        """(n, last-first+1) running count of events by ex-date, whether known yet or not."""
        security, ex = self.key >> _SHIFT, self.key & ((1 << _SHIFT) - 1)
        inside = (ex >= first) & (ex <= last)
        counts = np.zeros((n, last - first + 1), np.int32)
        np.add.at(counts, (security[inside], ex[inside] - first), 1)
        return np.cumsum(counts, axis=1, dtype=np.int32)

    def sizes(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Of every row: security, ex, |log ratio| and cash."""
        return self.key >> _SHIFT, self.key & ((1 << _SHIFT) - 1), np.abs(np.log(self.num / self.den)), self.cash

    def splits(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int32]]:
        """Of every split: security, ex, log ratio and `visible`."""
        at = self.phase == _SPLIT
        key = self.key[at]
        return key >> _SHIFT, key & ((1 << _SHIFT) - 1), np.log(self.num[at] / self.den[at]), self.visible[at]

    def rows_of(self, begin: int, end: int) -> EventTable:
        """The events of the securities [begin, end), renumbered from 0."""
        lo, hi = np.searchsorted(self.key, np.array([begin, end], np.int64) << _SHIFT)
        part = {name: getattr(self, name)[lo:hi] for name in self.__dataclass_fields__}
        return EventTable(**part | {"key": part["key"] - (np.int64(begin) << _SHIFT)})


def growth(p0: NDArray[np.float64], p1: NDArray[np.float64], accrued: Accrued) -> NDArray[np.float64]:
    """Returns of cells with closes `p0` and `p1`; NaN where an event cannot be valued."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        r = (p1 * accrued.num / accrued.den + accrued.cash) / p0 - 1.0
    r[accrued.problem != 0] = np.nan
    return r


def event_table(facts: Facts, sec_ids: NDArray[np.object_], fx_max_age: int) -> EventTable:
    """All splits, dividends and spin-offs of `sec_ids`, in the money of each security.

    fx_max_age: sessions that an exchange rate may be old on an ex-date.
    """
    position = pd.Index(sec_ids)
    parts = [
        _splits(facts.splits, position),
        _dividends(facts, position, fx_max_age),
        _spin_offs(facts, position),
    ]
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows = rows.sort_values(["security", "ex", "phase", "visible", "num", "den", "cash"], ignore_index=True)
    key = (rows["security"].to_numpy(np.int64) << _SHIFT) | rows["ex"].to_numpy(np.int64)
    return EventTable(
        key=key,
        phase=rows["phase"].to_numpy(np.int8),
        num=rows["num"].to_numpy(np.float64),
        den=rows["den"].to_numpy(np.float64),
        cash=rows["cash"].to_numpy(np.float64),
        problem=rows["problem"].to_numpy(np.int16),
        visible=rows["visible"].to_numpy(np.int32),
        until=rows["until"].to_numpy(np.int32),
    )


_COLUMNS = ["security", "ex", "phase", "num", "den", "cash", "problem", "visible", "until"]


def _of_roster(frame: pd.DataFrame, position: pd.Index[Any], key: list[str]) -> pd.DataFrame:
    """Rows of the roster with `security` (position) and `until`: where the next version of their key takes over."""
    security = position.get_indexer(pd.Index(frame["sec_id"]))
    rows = frame[security >= 0].assign(security=security[security >= 0])
    moments = rows[[*key, "visible"]].drop_duplicates().sort_values([*key, "visible"])
    following = moments.groupby(key, sort=False, observed=True)["visible"].shift(-1)
    moments["until"] = following.fillna(FOR_EVER).astype(np.int32)
    return rows.merge(moments, on=[*key, "visible"], how="left")


def _splits(splits: pd.DataFrame, position: pd.Index[Any]) -> pd.DataFrame:
    rows = _of_roster(splits, position, ["sec_id", "ex", "kind"])
    return rows.assign(
        phase=_SPLIT,
        num=rows["ratio_new"].astype(float),
        den=rows["ratio_old"].astype(float),
        cash=0.0,
        problem=0,
    )[_COLUMNS]


def _dividends(facts: Facts, position: pd.Index[Any], fx_max_age: int) -> pd.DataFrame:
    rows = _of_roster(facts.dividends, position, ["sec_id", "ex", "kind"])
    paid, quoted = rows["currency"].to_numpy(object), rows["quoted"].to_numpy(object)
    foreign = paid != quoted
    rate = np.ones(len(rows))
    if foreign.any():
        abroad = rows[foreign]
        moment = np.maximum(abroad["ex"], abroad["visible"]).to_numpy()
        ex = abroad["ex"].to_numpy()
        paid_usd = _rates(facts.fx_rates, paid[foreign], ex, moment, fx_max_age)
        quoted_usd = _rates(facts.fx_rates, quoted[foreign], ex, moment, fx_max_age)
        rate[foreign] = paid_usd / quoted_usd
    known = np.isfinite(rate)
    return rows.assign(
        phase=np.where(rows["basis"] == "pre", _PRE, _POST),
        num=1.0,
        den=1.0,
        cash=np.where(known, rows["amount"] * rate, 0.0),
        problem=np.where(known, 0, int(ReturnFlag.NO_FX_RATE)),
    )[_COLUMNS]


def _rates(
    fx: pd.DataFrame,
    currency: NDArray[np.object_],
    ex: NDArray[np.integer],
    moment: NDArray[np.integer],
    max_age: int,
) -> NDArray[np.float64]:
    """USD for one unit on each ex-date: the latest rate not older than `max_age` that was known at `moment`."""
    rates = np.where(currency == "USD", 1.0, np.nan)
    for name in sorted(set(currency) - {"USD"}):
        rows = fx[fx["currency"] == name].sort_values(["session", "visible"])
        session, visible, rate = (rows[column].to_numpy() for column in ("session", "visible", "usd_rate"))
        for k in np.flatnonzero(currency == name):
            fit = (session <= ex[k]) & (session >= ex[k] - max_age) & (visible <= moment[k])
            if fit.any():
                rates[k] = rate[fit][-1]
    return rates


def _spin_offs(facts: Facts, position: pd.Index[Any]) -> pd.DataFrame:
    """A spin-off as cash: the child's first regular close on the ex-date, else the value that the row states."""
    rows = _of_roster(facts.spin_offs, position, ["sec_id", "ex"])
    value = rows["value"].to_numpy(float).copy()
    for k, row in enumerate(rows.to_dict("records")):
        close = close_of(facts.prices, row["child_sec_id"], row["ex"], max(row["ex"], row["visible"]))
        if np.isfinite(close):
            value[k] = row["child_ratio"] * close
    known = np.isfinite(value)
    return rows.assign(
        phase=_PRE,
        num=1.0,
        den=1.0,
        cash=np.where(known, value, 0.0),
        problem=np.where(known, 0, int(ReturnFlag.NO_SPIN_OFF_VALUE)),
    )[_COLUMNS]
