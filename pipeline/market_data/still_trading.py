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
    delistings: pd.DataFrame, securities: pd.DataFrame, bars_of: BarsOf, rules: CleaningRules
) -> tuple[pd.DataFrame, list[Contradiction]]:
    """`delistings` with a withdrawing version of each row that a bar contradicts, and these bars."""
    open_ = delistings["cash"].isna() & delistings["successor_ratio"].isna() & (delistings["successor_code"] == "")
    if not open_.any():
        return delistings, []
    bars = bars_of(set(delistings.loc[open_, "vendor_code"]))
    bars = bars[["vendor_code", "date", "close", "volume", "known_from"]]
    bars = bars[bars["close"] > 0].sort_values(["vendor_code", "date", "known_from"], kind="stable")
    bars = bars.drop_duplicates(["vendor_code", "date"])  # the first print
    of_code = {str(code): rows for code, rows in bars.groupby("vendor_code", observed=True)}
    begun = securities.groupby("vendor_code")["first_session"].apply(list).to_dict()
    found = []
    for at in np.flatnonzero(open_.to_numpy()).tolist():
        row = {str(name): value for name, value in delistings.iloc[at].items()}
        following = [first for first in begun.get(row["vendor_code"], []) if first > row["last_session"]]
        mine = of_code.get(row["vendor_code"], bars.iloc[:0])
        mine = mine[mine["date"] < min(following)] if following else mine
        contradiction = _first_contradiction(at, row, mine, rules)
        if contradiction is not None:
            found.append(contradiction)
    return _withdrawn(delistings, found), found


def _first_contradiction(at: int, row: Row, bars: pd.DataFrame, rules: CleaningRules) -> Contradiction | None:
    """The first bar after the last session that was traded as before; None where there is none."""
    until = bars[bars["date"] <= row["last_session"]].tail(rules.usual_sessions)
    if until.empty:
        return None
    usual = float(until["volume"].median())
    close, volume = float(until["close"].iloc[-1]), float(until["volume"].iloc[-1])
    first_close = close
    for bar in bars[bars["date"] > row["last_session"]].to_dict("records"):
        repeated = bar["close"] == close and (bar["volume"] == volume or np.isnan(bar["volume"]))
        close, volume = bar["close"], bar["volume"]
        if repeated or not _traded(volume, usual, row["reason"], rules):
            continue
        if row["reason"] in REMOVALS or abs(np.log(close / first_close)) <= rules.same_company:
            return Contradiction(at, row, {str(name): value for name, value in bar.items()}, first_close)
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
