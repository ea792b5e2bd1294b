"""Tickers that are others than the last delivery said, without a change that the vendor told.

A company that renames itself is told in `ticker_changes`, or is one of few. A ticker that was another living security's
until last night, which has another one today, is an exchange: rows of the list have been shifted, or a name has been
laid on the wrong security.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipeline.quality.deliveries import ended_codes, known_rows, listed, stops
from pipeline.quality.texts import among
from pipeline.settings import DeliveryRules
from pipeline.sources.knowledge import without_the_future


def living_tickers(frames: Mapping[str, pd.DataFrame], instant: np.datetime64) -> dict[str, str]:
    """Vendor code -> ticker of the securities of a delivery (tables by name) that had not ended by an instant (UTC)."""
    known = {name: known_rows(frames[name], instant) for name in ("securities", "delistings")}
    rows = without_the_future(known["securities"], frames["ticker_changes"], instant)
    rows = rows.sort_values(["first_session", "known_from"], na_position="first", kind="stable")
    last = rows.drop_duplicates("vendor_code", keep="last")
    living = last[~among(last["vendor_code"], ended_codes(known, instant))]
    return dict(zip(living["vendor_code"].astype(str), living["ticker"].astype(str), strict=True))


def rewritten_tickers(
    before: Mapping[str, str],
    now: Mapping[str, str],
    changes: pd.DataFrame,
    through: str,
    at: int,
    rules: DeliveryRules,
) -> pd.DataFrame:
    """A stop at the session `at` where tickers were exchanged, or too many are others than they were.

    before, now: `living_tickers` of the delivery when `through` was published and of today's; changes: the table
    `ticker_changes` of today. A change that it tells is none of the vendor's slips.
    """
    told = set(zip(changes["vendor_code"].astype(str), changes["old_ticker"].astype(str), strict=True))
    both = before.keys() & now.keys()
    others = {code for code in both if now[code] != before[code] and (code, before[code]) not in told}
    held = {before[code]: code for code in others}
    exchanged = {code for code in others if held.get(now[code], code) != code}
    rows = []
    for who, bound, says in (
        (exchanged, 0.0, "have the ticker that another security had"),
        (others - exchanged, rules.tickers, "have another ticker"),
    ):
        share = len(who) / max(len(both), 1)
        if who and (bound == 0 or (len(who) > rules.few_tickers and share > bound)):
            names = listed([f"{before[code]} is now {now[code]} ({code})" for code in sorted(who)])
            text = (
                f"securities: {len(who):,} of {len(both):,} {says} when {through} was published, and ticker_changes "
                f"does not say so: {names}"
            )
            rows.append((share, bound, text))
    return stops("tickers_rewritten", rows, at)
