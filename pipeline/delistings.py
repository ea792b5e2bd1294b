"""What a holder got when a security left the exchange, and when that is booked.

A delisting return is `V / P - 1` with P the last good close and V what one share became: cash, shares of a successor at
their close of the last session, both, or the first traded price after a removal. Without evidence it is imputed from
the reason. It is booked as the return of its own session, the first after the last one (or the one on which it became
known, if later), so that it compounds with the last ordinary return and is never added to it. After it there is
nothing.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FOR_EVER = np.int32(2**31 - 1)

PERFORMANCE = frozenset({"exchange_drop", "bankruptcy", "unknown"})
"""Reasons that count as performance delistings (CRSP 500, 520-584)."""

SUCCESSOR_MAX_AGE = 5
"""Sessions that the successor's close may be older than the last session."""


class Delisting(NamedTuple):
    """One delisting as it is booked.

    last:    last session of trading; booking: session of the delisting return; resumes: first session of a new listing
    value:   what one share became, NaN unknown
    reason, exchange: as delivered
    """

    last: int
    booking: int
    resumes: int
    value: float
    reason: str
    exchange: str

    @property
    def performance(self) -> bool:
        return self.reason in PERFORMANCE

    @property
    def imputed(self) -> float:
        """Delisting return without evidence: -30 % on NYSE and AMEX (Shumway 1997), -55 % on Nasdaq (Shumway and
        Warther 1999) for performance reasons, nothing otherwise."""
        if not self.performance:
            return 0.0
        return -0.55 if "NAS" in self.exchange.upper() else -0.30


def resumptions(delistings: pd.DataFrame, prices: pd.DataFrame, max_gap: int) -> NDArray[np.int32]:
    """For each row of `delistings` the first session of a new listing: a bar with volume after a silence of more than
    `max_gap` sessions since the last one; FOR_EVER where there is none. Shorter than that, bars are a stale tail."""
    resumes = np.full(len(delistings), FOR_EVER)
    for k, row in enumerate(delistings.to_dict("records")):
        bars = bars_of(prices, row["sec_id"])
        bars = bars[(bars["session"] > row["last"]) & (bars["visible"] <= bars["session"])]
        silence = np.diff(bars["session"].to_numpy(), prepend=row["last"])
        found = np.flatnonzero((silence > max_gap) & ~(bars["volume"].to_numpy() <= 0))
        if len(found):
            resumes[k] = bars["session"].iloc[found[0]]
    return resumes


def booked_delistings(
    delistings: pd.DataFrame, prices: pd.DataFrame, sec_ids: NDArray[np.object_]
) -> dict[int, list[Delisting]]:
    """By position in `sec_ids`, the delistings in their order, each in the version that was known at its booking."""
    position = {sec_id: i for i, sec_id in enumerate(sec_ids)}
    booked: dict[int, list[Delisting]] = {}
    rows = delistings[delistings["sec_id"].isin(position)].sort_values(["sec_id", "last", "visible"])
    for _, versions in groupby(rows.to_dict("records"), key=itemgetter("sec_id", "last")):
        known = list(versions)
        last = int(known[0]["last"])
        booking = max(last + 1, int(known[0]["visible"]))
        row = [version for version in known if version["visible"] <= booking][-1]
        delisting = Delisting(
            last=last,
            booking=booking,
            resumes=int(row["resumes"]),
            value=_consideration(prices, row, booking),
            reason=row["reason"],
            exchange=row["exchange"],
        )
        booked.setdefault(position[row["sec_id"]], []).append(delisting)
    return booked


def _consideration(prices: pd.DataFrame, row: dict[Any, Any], known_at: int) -> float:
    cash, successor, ratio = float(row["cash"]), row["successor_sec_id"], float(row["successor_ratio"])
    if not successor or np.isnan(ratio):
        return cash
    close = close_of(prices, successor, int(row["last"]), known_at, SUCCESSOR_MAX_AGE)
    return (0.0 if np.isnan(cash) else cash) + ratio * close


def bars_of(prices: pd.DataFrame, sec_id: str) -> pd.DataFrame:
    """The bars of one security, sorted by session and `visible` (`prices` of `Facts`)."""
    codes = prices["sec_id"].cat.codes.to_numpy()
    code = prices["sec_id"].cat.categories.get_indexer(pd.Index([sec_id])).astype(codes.dtype)[0]
    if code < 0:
        return prices.iloc[:0]
    return prices.iloc[np.searchsorted(codes, code) : np.searchsorted(codes, code, side="right")]


def close_of(prices: pd.DataFrame, sec_id: str, session: int, known_at: int, max_age: int = 0) -> float:
    """Raw close of a security as known at an ordinal: of `session`, or up to `max_age` sessions earlier; else NaN."""
    bars = bars_of(prices, sec_id)
    age = session - bars["session"].to_numpy()
    close = bars["close"].to_numpy()
    fit = (age >= 0) & (age <= max_age) & (bars["visible"].to_numpy() <= known_at) & (close > 0) & np.isfinite(close)
    return float(close[fit][-1]) if fit.any() else np.nan
