"""Delisting rows that full trading contradicts: a rename, a move to another exchange, a removal that goes on over the
counter, a relisting under the same code.

Such a row is withdrawn from the instant of the first bar that contradicts it: one more version of it, with the reason
WITHDRAWN, known since that bar. Before, it was believed; so the security master, the universe and the returns follow
what was known at each instant, and a night decides as a backfill does. A row that says what a holder got stands: what
trades under the code then is another company, or its heir.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.settings import CleaningRules
from pipeline.sources.specs import REMOVALS
from pipeline.sources.tables import BarsOf
from security_master.listings import WITHDRAWN

Row = dict[str, Any]


class Contradiction(NamedTuple):
    """A delisting row, its position, and the bar that contradicts it."""

    at: int
    row: Row
    bar: Row
    last_close: float


def withdraw_contradicted(
    delistings: pd.DataFrame, securities: pd.DataFrame, last_bars: pd.Series, bars_of: BarsOf, rules: CleaningRules
) -> tuple[pd.DataFrame, list[Contradiction]]:
    """`delistings` with a withdrawing version of each row that a bar contradicts, and these bars.

    last_bars: by vendor code the date of its last bar; the others are asked for only where it came after the end.
    """
    open_ = delistings["cash"].isna() & delistings["successor_ratio"].isna() & (delistings["successor_code"] == "")
    open_ &= delistings["last_session"].to_numpy() < last_bars.reindex(delistings["vendor_code"]).to_numpy()
    if not open_.any():
        return delistings, []
    bars = bars_of(set(delistings.loc[open_, "vendor_code"]))
    bars = bars[["vendor_code", "date", "close", "volume", "known_from"]]
    bars = bars[bars["close"] > 0].sort_values(["vendor_code", "date", "known_from"], kind="stable")
    bars = bars.drop_duplicates(["vendor_code", "date"])  # the first print
    rows_of = bars.groupby("vendor_code", observed=True, sort=False).indices
    of_bars = _Bars(bars["date"].to_numpy(), bars["close"].to_numpy(), bars["volume"].to_numpy())
    asked = delistings[open_]
    begun: dict[str, list[pd.Timestamp]] = {code: [] for code in asked["vendor_code"]}
    listed = securities[securities["vendor_code"].isin(list(begun))]
    for code, first in zip(listed["vendor_code"], listed["first_session"], strict=True):
        begun[code].append(first)
    found = []
    for at, record in zip(np.flatnonzero(open_.to_numpy()).tolist(), asked.to_dict("records"), strict=True):
        row = {str(name): value for name, value in record.items()}
        mine = np.asarray(rows_of.get(row["vendor_code"], ()), np.int64)
        following = [first for first in begun[row["vendor_code"]] if first > row["last_session"]]
        if following:
            mine = mine[of_bars.date[mine] < min(following).to_datetime64()]
        contradiction = _first_contradiction(row, of_bars.at(mine), rules)
        if contradiction is not None:
            k, last_close = contradiction
            bar = bars.iloc[mine[k : k + 1]].to_dict("records")[0]
            found.append(Contradiction(at, row, {str(name): value for name, value in bar.items()}, last_close))
    return _withdrawn(delistings, found), found


class _Bars(NamedTuple):
    """First prints, each (m,); of one code by date."""

    date: NDArray[np.datetime64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]

    def at(self, rows: NDArray[np.int64]) -> _Bars:
        return _Bars(self.date[rows], self.close[rows], self.volume[rows])


def _first_contradiction(row: Row, bars: _Bars, rules: CleaningRules) -> tuple[int, float] | None:
    """The first bar (position) after the last session that was traded as before, and the last close until that session;
    None where there is none."""
    after = int(np.searchsorted(bars.date, row["last_session"].to_datetime64(), side="right"))
    if not after or after == len(bars.date):
        return None
    usual = float(pd.Series(bars.volume[max(after - rules.usual_sessions, 0) : after]).median())
    close, volume = float(bars.close[after - 1]), float(bars.volume[after - 1])
    last_close = close
    for k in range(after, len(bars.date)):
        repeated = bars.close[k] == close and (bars.volume[k] == volume or np.isnan(bars.volume[k]))
        close, volume = float(bars.close[k]), float(bars.volume[k])
        if repeated or not _traded(volume, usual, row["reason"], rules):
            continue
        if row["reason"] in REMOVALS or abs(np.log(close / last_close)) <= rules.same_company:
            return k, last_close
    return None


def _traded(volume: float, usual: float, reason: str, rules: CleaningRules) -> bool:
    """Whether a bar is one of trading: any after a removal, which may go on over the counter, else as much as usual."""
    if np.isnan(volume):
        return bool(np.isnan(usual))  # a feed without volumes
    return volume > 0 and (reason in REMOVALS or not volume < rules.full_trading * usual)


def _withdrawn(delistings: pd.DataFrame, found: list[Contradiction]) -> pd.DataFrame:
    """A row that was known before the bar gets a second version, one that came after it is withdrawn from its start."""
    later = [one for one in found if one.bar["known_from"] > one.row["known_from"]]
    late = {one.at for one in later}
    at_once = np.isin(np.arange(len(delistings)), [one.at for one in found if one.at not in late])
    table = delistings.assign(reason=delistings["reason"].mask(at_once, WITHDRAWN))
    if not later:
        return table
    rows = [one.row | {"reason": WITHDRAWN, "known_from": one.bar["known_from"]} for one in later]
    versions = pd.DataFrame(rows, columns=table.columns).astype(dict(table.dtypes))
    return pd.concat([table, versions], ignore_index=True)
