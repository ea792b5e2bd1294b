"""What a holder got when a security left the exchange, and when that is booked.

A delisting return is `V / P - 1` with P the last good close and V what one share became: cash, shares of a successor at
their close of the last session (at their first close, where they list only then), both, or the first traded price after
a removal. A consideration that cannot be valued in full is none: a part of it would be a loss that nobody had. Without
evidence the return is imputed from the reason. It is booked as the return of its own session, the first after the last
one (or the one on which it became known, if later), so that it compounds with the last ordinary return and is never
added to it. After it there is nothing, unless the security trades on.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.quality.bars import Bars, close_of, first_close_of
from pipeline.quality.texts import among
from pipeline.settings import DelistingRules
from pipeline.sources.specs import REMOVALS
from security_master.listings import WITHDRAWN


class Delisting(NamedTuple):
    """One delisting as it is booked.

    last:    last session of trading; booking: session of the delisting return
    resumes: session from which the security trades again: that of the booking where trading contradicts the row
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
        return self.reason in REMOVALS

    def imputed(self, rules: DelistingRules) -> float:
        """Delisting return without evidence: by exchange for performance reasons, nothing otherwise."""
        if not self.performance:
            return 0.0
        return rules.imputed_nasdaq if "NAS" in self.exchange.upper() else rules.imputed


def booked_delistings(
    delistings: pd.DataFrame, prices: pd.DataFrame, sec_ids: NDArray[np.object_], rules: DelistingRules
) -> dict[int, list[Delisting]]:
    """By position in `sec_ids`, the delistings in their order, each in the version that was known at its booking."""
    position, bars = {sec_id: i for i, sec_id in enumerate(sec_ids)}, Bars(prices)
    booked: dict[int, list[Delisting]] = {}
    rows = delistings[among(delistings["sec_id"], position)].sort_values(["sec_id", "last", "visible"])
    for _, versions in groupby(rows.to_dict("records"), key=itemgetter("sec_id", "last")):
        known = list(versions)
        last = int(known[0]["last"])
        booking = max(last + 1, int(known[0]["visible"]))
        at_booking = [version for version in known if version["visible"] <= booking]
        withdrawn = at_booking[-1]["reason"] == WITHDRAWN
        stated = [version for version in at_booking if version["reason"] != WITHDRAWN]
        if not stated:
            continue
        row = stated[-1]
        delisting = Delisting(
            last=last,
            booking=booking,
            resumes=booking if withdrawn else int(row["resumes"]),
            value=_consideration(bars, row, booking, rules),
            reason=row["reason"],
            exchange=row["exchange"],
        )
        booked.setdefault(position[row["sec_id"]], []).append(delisting)
    return booked


def _consideration(bars: Bars, row: dict[Any, Any], booking: int, rules: DelistingRules) -> float:
    """What one share became, as known at the booking; NaN where a part of it cannot be valued."""
    cash, successor, ratio = float(row["cash"]), row["successor_sec_id"], float(row["successor_ratio"])
    last, max_age = int(row["last"]), rules.successor_max_age
    if np.isnan(ratio):
        shares_too = row["successor_code"] or row["reason"] == "merger"
        before = close_of(bars.of(row["sec_id"]), last, booking, max_age)
        return np.nan if shares_too and cash < (1 - rules.cash_short) * before else cash
    if not successor:
        return np.nan
    close = close_of(bars.of(successor), last, booking, max_age)
    if np.isnan(close):
        close = first_close_of(bars.of(successor), last, booking)
    return (0.0 if np.isnan(cash) else cash) + ratio * close
