"""Since when a session knew a security as listed."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from pipeline.calendar import Calendar


def first_listed(listings: pd.DataFrame, calendar: Calendar, delay_minutes: int, types: Collection[str]) -> pd.Series:
    """By sec_id the ordinal of the first session that knew the security as listed with one of `types`; ascending, then
    by sec_id. A run of any session adds securities in this order, so that a night and a backfill agree."""
    rows = listings[listings["sec_type"].isin(types)]
    begun = np.maximum(
        calendar.on_or_after(rows["valid_from"].to_numpy()),
        calendar.visible_from(rows["known_from"].to_numpy(), delay_minutes),
    )
    known = begun < calendar.visible_from(rows["known_to"].to_numpy(), delay_minutes)
    first = pd.Series(begun[known], index=rows["sec_id"].to_numpy()[known]).groupby(level=0).min()
    return first.iloc[np.lexsort((first.index.to_numpy(dtype=str), first.to_numpy()))]
