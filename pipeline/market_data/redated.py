"""One event under an old and a new date, further apart than `duplicate_days`: it counts on the one that the close
followed.

Two equal splits or large payouts within some weeks may be two. They are one where the close followed one of the dates
and not the other; where it followed both, or neither, nothing is decided here. Everything is known with the bar of the
second date.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.settings import CleaningRules
from pipeline.sources.tables import BarsOf

Row = dict[str, Any]
Effect = Callable[[Row, float], float]
"""Log move that an event makes, from its row and the close before."""


class Redated(NamedTuple):
    """Of two equal events the one (its position) that the close did not follow, and the other; known_from: the instant
    that tells."""

    at: int
    row: Row
    other: Row
    known_from: pd.Timestamp


def split_effect(row: Row, _: float) -> float:
    return -log(row["ratio_new"] / row["ratio_old"])


def cash_effect(row: Row, close: float) -> float:
    return log(1 - row["amount"] / close) if 0 < row["amount"] < close else 0.0


def redated(
    events: pd.DataFrame, what: Sequence[str], effect: Effect, bars_of: BarsOf, rules: CleaningRules
) -> list[Redated]:
    """Events that are another one under a date that the close did not follow. what: columns of equal events."""
    rows = events.reset_index(drop=True).reset_index(names="at").sort_values([*what, "ex_date", "known_from"])
    near = rows.duplicated(list(what)) & (rows["ex_date"].diff() <= pd.Timedelta(days=rules.redated_days))
    near &= rows["ex_date"].diff() > pd.Timedelta(days=rules.duplicate_days)
    if not near.any():
        return []
    bars = bars_of(set(rows["vendor_code"][near]))
    bars = bars[bars["close"] > 0]
    bars = bars.sort_values(["date", "known_from"]).drop_duplicates(["vendor_code", "date"])
    of_code = {str(code): own.set_index("date") for code, own in bars.groupby("vendor_code", observed=True)}
    found, at = [], np.flatnonzero(near.to_numpy())
    pairs = (rows.iloc[of].to_dict("records") for of in (at - 1, at))
    for records in zip(*pairs, strict=True):
        pair = [{str(k): v for k, v in row.items()} for row in records]
        own = of_code.get(str(pair[0]["vendor_code"]))
        if own is None:  # nobody priced it
            continue
        told = [_followed(row, own, effect, rules.redated_effect) for row in pair]
        if None in told or told[0] == told[1]:
            continue
        wrong, right = pair if told[1] else pair[::-1]
        known = max(pair[1]["known_from"], own["known_from"].get(pair[1]["ex_date"], pair[1]["known_from"]))
        found.append(Redated(int(wrong["at"]), wrong, right, known))
    return found


def _followed(row: Row, bars: pd.DataFrame, effect: Effect, least: float) -> bool | None:
    """Whether the close moved by the event on its date; None where it is too small to tell, or a close is missing."""
    closes: pd.Series[float] = bars["close"]
    before, on_date = closes[bars.index < row["ex_date"]], closes[bars.index == row["ex_date"]]
    if before.empty or on_date.empty:
        return None
    last, now = float(before.iloc[-1]), float(on_date.iloc[0])
    expected = effect(row, last)
    return None if abs(expected) < least else abs(log(now / last) - expected) < abs(expected) / 2
