"""What kind of security was listed where, on a date and as known at an instant.

`listings` is `SecurityMaster.listings()`: one row for each stretch that was ever believed, with its `sec_type`,
`currency` and `exchange`, valid in [valid_from, valid_to) and believed in [known_from, known_to).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pipeline.calendar import Calendar

ATTRIBUTES = ["sec_type", "currency", "exchange"]


def attributes(listings: pd.DataFrame, sec_ids: ArrayLike, dates: ArrayLike, instants: ArrayLike) -> pd.DataFrame:
    """ATTRIBUTES of each security (n,) on each date as known at each instant (UTC): those of its last stretch that had
    begun; "" where none is known."""
    asked = pd.DataFrame(
        {
            "sec_id": np.asarray(sec_ids, dtype=object),
            "date": np.asarray(dates, "datetime64[s]"),
            "instant": np.asarray(instants, "datetime64[us]"),
        }
    )
    asked["row"] = np.arange(len(asked))
    rows = asked.merge(listings.astype({"sec_id": object}), on="sec_id")
    rows = rows[
        (rows["valid_from"] <= rows["date"])
        & (rows["known_from"] <= rows["instant"])
        & (rows["instant"] < rows["known_to"])
    ]
    last = rows.sort_values(["row", "valid_from"]).drop_duplicates("row", keep="last").set_index("row")[ATTRIBUTES]
    return last.reindex(asked["row"]).fillna("").reset_index(drop=True)


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


def of_type(
    listings: pd.DataFrame, sec_ids: NDArray[np.object_], date: object, instant: object, types: Collection[str]
) -> NDArray[np.bool_]:
    """(n,) whether each security was of one of `types` on a date, as known at an instant: `attributes` of one date."""
    day, known = np.datetime64(str(date), "s"), np.datetime64(str(instant), "us")
    begun = (listings["valid_from"].to_numpy() <= day) & (listings["known_from"].to_numpy() <= known)
    rows = listings[begun & (known < listings["known_to"].to_numpy())]
    rows = rows.iloc[np.argsort(rows["valid_from"].to_numpy(), kind="stable")]
    at = pd.Index(sec_ids, dtype=object).get_indexer(pd.Index(rows["sec_id"], dtype=object))
    found = np.zeros(len(sec_ids), dtype=bool)
    found[at[at >= 0]] = rows["sec_type"].isin(types).to_numpy()[at >= 0]  # the last stretch of a security stays
    return found
