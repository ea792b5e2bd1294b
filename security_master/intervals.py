"""Who holds a name on a day: an interval join over spans that do not overlap for one name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from security_master.dates import dates_of

Rows = NDArray[np.int64]


class Holders:
    """Spans [start, end) of owners, by name (a ticker, a vendor code). For one name no two spans overlap."""

    def __init__(
        self, names: Sequence[str], sec_ids: Sequence[str], valid_from: Sequence[str], valid_to: Sequence[str]
    ) -> None:
        self._code_of: dict[str, int] = {}
        code = np.array([self._code_of.setdefault(name, len(self._code_of)) for name in names], dtype=np.int64)
        start, end = dates_of(valid_from).astype(np.int64), dates_of(valid_to).astype(np.int64)
        order = np.lexsort((start, code))
        self._code, self._start, self._end = code[order], start[order], end[order]
        self._key = _key(self._code, self._start)
        self._sec_ids = np.append(np.array(sec_ids, dtype=object)[order], "")

    @classmethod
    def of_codes(cls, listings: pd.DataFrame) -> Holders:
        """Holders of vendor codes, from rows of `listing`."""
        columns = ("vendor_code", "sec_id", "valid_from", "valid_to")
        return cls(*(listings[column].tolist() for column in columns))

    def find(self, names: pd.Categorical, dates: ArrayLike, ahead_days: int = 0) -> NDArray[np.object_]:
        """sec_id of the holder of each name (n,) on each date (n,), "" for none.

        ahead_days: where nobody holds it, one who will within that many days counts.
        """
        days = np.asarray(dates).astype("datetime64[D]")
        if len(days) != len(names):
            raise ValueError(f"expected one date for each name, found {len(days)} dates and {len(names)} names")
        if len(self._code) == 0:
            return np.full(len(days), "", dtype=object)
        known = np.array([self._code_of.get(str(name), -1) for name in names.categories], dtype=np.int64)
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
