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

from pipeline.quality.bars import close_of
from pipeline.settings import DelistingRules

PERFORMANCE = frozenset({"exchange_drop", "bankruptcy", "unknown"})
"""Reasons that count as performance delistings (CRSP 500, 520-584)."""


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

    def imputed(self, rules: DelistingRules) -> float:
        """Delisting return without evidence: by exchange for performance reasons, nothing otherwise."""
        if not self.performance:
            return 0.0
        return rules.imputed_nasdaq if "NAS" in self.exchange.upper() else rules.imputed


def booked_delistings(
    delistings: pd.DataFrame, prices: pd.DataFrame, sec_ids: NDArray[np.object_], rules: DelistingRules
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
            value=_consideration(prices, row, booking, rules.successor_max_age),
            reason=row["reason"],
            exchange=row["exchange"],
        )
        booked.setdefault(position[row["sec_id"]], []).append(delisting)
    return booked


def _consideration(prices: pd.DataFrame, row: dict[Any, Any], known_at: int, max_age: int) -> float:
    cash, successor, ratio = float(row["cash"]), row["successor_sec_id"], float(row["successor_ratio"])
    if not successor or np.isnan(ratio):
        return cash
    close = close_of(prices, successor, int(row["last"]), known_at, max_age)
    return (0.0 if np.isnan(cash) else cash) + ratio * close
