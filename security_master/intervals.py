"""Who holds a name on a day: an interval join over spans that do not overlap for one name."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from security_master.dates import dates_of

Rows = NDArray[np.int64]


class Holders:
    """Spans [start, end) of owners, by name (a ticker, a vendor code).

    spans: columns `name`, valid_from, valid_to (ISO text) and sec_id; for one name no two spans overlap.
    """

    def __init__(self, spans: pd.DataFrame, name: str) -> None:
        self.names = pd.Index(sorted(set(spans[name])), dtype=object)
        code = self.names.get_indexer(pd.Index(spans[name])).astype(np.int64)
        start, end = (dates_of(spans[column]).astype(np.int64) for column in ("valid_from", "valid_to"))
        order = np.lexsort((start, code))
        self._code, self._start, self._end = code[order], start[order], end[order]
        self._key = _key(self._code, self._start)
        self._sec_ids = np.append(spans["sec_id"].to_numpy(dtype=object)[order], "")

    def find(self, names: pd.Categorical, dates: ArrayLike, ahead_days: int = 0) -> NDArray[np.object_]:
        """sec_id of the holder of each name (n,) on each date (n,), "" for none.

        ahead_days: where nobody holds it, one who will within that many days counts.
        """
        days = np.asarray(dates).astype("datetime64[D]")
        if len(days) != len(names):
            raise ValueError(f"expected one date for each name, found {len(days)} dates and {len(names)} names")
        if len(self._code) == 0:
            return np.full(len(days), "", dtype=object)
        known = self.names.get_indexer(pd.Index(names.categories.astype(object))).astype(np.int64)
        asked, day = np.append(known, -1)[names.codes], days.astype(np.int64)
        day[np.isnat(days)] = np.iinfo(np.int32).min
        row = np.searchsorted(self._key, _key(asked, day), side="right") - 1
        held = (row >= 0) & (self._code[row] == asked) & (day < self._end[row])
        if ahead_days:
            following = np.minimum(row + 1, len(self._code) - 1)
            soon = ~held & (self._code[following] == asked) & (self._start[following] > day)
            soon &= self._start[following] - day <= ahead_days
            row, held = np.where(soon, following, row), held | soon
        return self._sec_ids[np.where(held, row, -1)]


def _key(code: Rows, day: Rows) -> Rows:
    """One integer that sorts by code, then by day. Days before 1970 are negative, hence the shift."""
    return (code << 32) + (day + (1 << 31))
