"""The events of a roster in one sorted table, which accrues them for many cells at once.

A cell's result does not depend on which other cells are computed with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import FOR_EVER
from pipeline.datasets.return_flags import ReturnFlag
from pipeline.market_data.point_in_time import Facts
from pipeline.quality.bars import Bars, close_of
from pipeline.returns.currencies import rates
from pipeline.returns.total_return import POST, PRE, SPLIT, Accrued, AccruedCells
from security_master.universe import STOCK_TYPES

_SHIFT = 20  # ordinals are below 2**20


@dataclass(frozen=True, eq=False)
class EventTable:
    """Events of a roster, sorted by (security, ex, phase). A row is in force at t when `visible <= t < until`.

    key:    (m,) int64, security << 20 | ex, with the security's position in the roster
    phase:  PRE, SPLIT or POST; num, den: shares after and before a split; cash: money per share
    problem: ReturnFlag of an event that cannot be valued, 0 for none
    """

    key: NDArray[np.int64]
    phase: NDArray[np.int8]
    num: NDArray[np.float64]
    den: NDArray[np.float64]
    cash: NDArray[np.float64]
    problem: NDArray[np.int16]
    visible: NDArray[np.int32]
    until: NDArray[np.int32]

    @property
    def security(self) -> NDArray[np.int64]:
        return self.key >> _SHIFT

    @property
    def ex(self) -> NDArray[np.int64]:
        return self.key & ((1 << _SHIFT) - 1)

    def accrue(
        self,
        security: NDArray[np.integer],
        after: NDArray[np.integer],
        upto: NDArray[np.integer],
        known_at: NDArray[np.integer] | None = None,
    ) -> AccruedCells:
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
            is_split = self.phase[e] == SPLIT
            cash[c] += np.where(is_split, 0.0, self.cash[e] * num[c] / den[c])
            num[c] *= self.num[e]
            den[c] *= self.den[e]
            splits[c] |= is_split
            problem[c] = np.maximum(problem[c], self.problem[e])
        return AccruedCells(num, den, cash, events, splits, problem)

    def accrue_cell(self, security: int, after: int, upto: int, known_at: int) -> Accrued:
        """`accrue` for one cell."""
        return self.accrue(np.array([security]), np.array([after]), np.array([upto]), np.array([known_at])).cell(0)

    def running_count(self, n: int, first: int, last: int) -> NDArray[np.int32]:
        """(n, last-first+1) running count of events by ex-date, whether known yet or not."""
        security, ex = self.security, self.ex
        inside = (ex >= first) & (ex <= last)
        counts = np.zeros((n, last - first + 1), np.int32)
        np.add.at(counts, (security[inside], ex[inside] - first), 1)
        return np.cumsum(counts, axis=1, dtype=np.int32)

    def sizes(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Of every row: security, ex, |log ratio| and cash."""
        return self.security, self.ex, np.abs(np.log(self.num / self.den)), self.cash

    def splits(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int32]]:
        """Of every split: security, ex, log ratio and `visible`."""
        at = self.phase == SPLIT
        return self.security[at], self.ex[at], np.log(self.num[at] / self.den[at]), self.visible[at]

    def rows_of(self, begin: int, end: int) -> EventTable:
        """The events of the securities [begin, end), renumbered from 0."""
        lo, hi = np.searchsorted(self.key, np.array([begin, end], np.int64) << _SHIFT)
        part = {name: getattr(self, name)[lo:hi] for name in self.__dataclass_fields__}
        return EventTable(**part | {"key": part["key"] - (np.int64(begin) << _SHIFT)})


def event_table(facts: Facts, sec_ids: NDArray[np.object_], fx_max_age: int) -> EventTable:
    """All splits, dividends and spin-offs of `sec_ids`, in the money of each security.

    fx_max_age: sessions that an exchange rate may be old on an ex-date.
    """
    position = pd.Index(sec_ids)
    parts = [
        _splits(facts, position),
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


def _splits(facts: Facts, position: pd.Index[Any]) -> pd.DataFrame:
    """Splits, and spin-offs that came as an odd split. What its child is worth is not in the ratio, which the vendor
    made from another price than the close: where a stock lists on the ex-date, the return is not known."""
    rows = _of_roster(facts.splits, position, ["sec_id", "ex", "kind"])
    unnamed = (rows["kind"] == "spin_off") & (rows["ratio_new"] != rows["ratio_old"])
    listed = rows["ex"].isin(_debuts(facts)) if unnamed.any() else False
    return rows.assign(
        phase=SPLIT,
        num=rows["ratio_new"].astype(float),
        den=rows["ratio_old"].astype(float),
        cash=0.0,
        problem=np.where(unnamed & listed, int(ReturnFlag.NO_SPIN_OFF_VALUE), 0),
    )[_COLUMNS]


def _debuts(facts: Facts) -> NDArray[np.int64]:
    """Sessions on which a stock had its first bar, on time; the first session of the data is nobody's debut."""
    bars = facts.prices[facts.prices["visible"] <= facts.prices["session"]]
    stocks = facts.securities.loc[facts.securities["sec_type"].isin(STOCK_TYPES), "sec_id"]
    first = bars.groupby("sec_id", observed=True)["session"].min()
    first = first[first.index.isin(stocks)]
    return first[first > first.min()].unique().astype(np.int64)


def _dividends(facts: Facts, position: pd.Index[Any], fx_max_age: int) -> pd.DataFrame:
    rows = _of_roster(facts.dividends, position, ["sec_id", "ex", "kind"])
    paid, quoted = rows["currency"].to_numpy(object), rows["quoted"].to_numpy(object)
    foreign = paid != quoted
    rate = np.ones(len(rows))
    if foreign.any():
        abroad = rows[foreign]
        moment = np.maximum(abroad["ex"], abroad["visible"]).to_numpy()
        ex = abroad["ex"].to_numpy()
        paid_usd = rates(facts.fx_rates, paid[foreign], ex, moment, fx_max_age)
        quoted_usd = rates(facts.fx_rates, quoted[foreign], ex, moment, fx_max_age)
        rate[foreign] = paid_usd / quoted_usd
    known = np.isfinite(rate)
    return rows.assign(
        phase=np.where(rows["basis"] == "pre", PRE, POST),
        num=1.0,
        den=1.0,
        cash=np.where(known, rows["amount"] * rate, 0.0),
        problem=np.where(known, 0, int(ReturnFlag.NO_FX_RATE)),
    )[_COLUMNS]


def _spin_offs(facts: Facts, position: pd.Index[Any]) -> pd.DataFrame:
    """A spin-off as cash: the child's first regular close on the ex-date, else the value that the row states."""
    rows = _of_roster(facts.spin_offs, position, ["sec_id", "ex", "child"])
    value = rows["value"].to_numpy(float).copy()
    bars = Bars(facts.prices)
    for k, row in enumerate(rows.to_dict("records")):
        close = close_of(bars.of(row["child_sec_id"]), row["ex"], max(row["ex"], row["visible"]))
        if np.isfinite(close):
            value[k] = row["child_ratio"] * close
    known = np.isfinite(value)
    return rows.assign(
        phase=PRE,
        num=1.0,
        den=1.0,
        cash=np.where(known, value, 0.0),
        problem=np.where(known, 0, int(ReturnFlag.NO_SPIN_OFF_VALUE)),
    )[_COLUMNS]
