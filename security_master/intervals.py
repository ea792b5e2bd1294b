"""Who holds a name on a day: an interval join over spans that do not overlap for one name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from security_master.dates import NEVER, dates_of

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
        self._order = np.append(order, -1)
        self._sec_ids = np.append(np.array(sec_ids, dtype=object), "")

    @classmethod
    def of_codes(cls, listings: pd.DataFrame) -> Holders:
        """Holders of vendor codes, from rows of `listing`."""
        columns = ("vendor_code", "sec_id", "valid_from", "valid_to")
        return cls(*(listings[column].tolist() for column in columns))

    def find(self, names: pd.Categorical, dates: ArrayLike, ahead_days: int = 0) -> NDArray[np.object_]:
        """sec_id of the holder of each name (n,) on each date (n,), "" for none; see `spans`."""
        return self._sec_ids[self.spans(names, dates, ahead_days)]

    def spans(self, names: pd.Categorical, dates: ArrayLike, ahead_days: int = 0) -> Rows:
        """Position of the span, in the order given, that holds each name (n,) on each date (n,), -1 for none.

        ahead_days: where nobody holds it, one who will within that many days counts.
        """
        asked, day = self._asked(names, dates)
        if len(self._code) == 0:
            return np.full(len(day), -1)
        row = np.searchsorted(self._key, _key(asked, day), side="right") - 1
        held = (row >= 0) & (self._code[row] == asked) & (day < self._end[row])
        if ahead_days:
            following = np.minimum(row + 1, len(self._code) - 1)
            soon = ~held & (self._code[following] == asked) & (self._start[following] > day)
            soon &= self._start[following] - day <= ahead_days
            row, held = np.where(soon, following, row), held | soon
        return self._order[np.where(held, row, -1)]

    def nearest(self, names: pd.Categorical, dates: ArrayLike) -> Rows:
        """As `spans`; where nobody holds a name, the span of the next one who will, or of the last one who did."""
        asked, day = self._asked(names, dates)
        if len(self._code) == 0:
            return np.full(len(day), -1)
        row = np.searchsorted(self._key, _key(asked, day), side="right") - 1
        held = (row >= 0) & (self._code[row] == asked) & (day < self._end[row])
        following = np.minimum(row + 1, len(self._code) - 1)
        row = np.where(~held & (self._code[following] == asked), following, row)
        return self._order[np.where((row >= 0) & (self._code[row] == asked), row, -1)]

    def _asked(self, names: pd.Categorical, dates: ArrayLike) -> tuple[Rows, Rows]:
        """Number of each name, -1 for one that nobody ever had, and its date as days."""
        days = np.asarray(dates).astype("datetime64[D]")
        if len(days) != len(names):
            raise ValueError(f"expected one date for each name, found {len(days)} dates and {len(names)} names")
        known = np.array([self._code_of.get(str(name), -1) for name in names.categories], dtype=np.int64)
        day = days.astype(np.int64)
        day[np.isnat(days)] = np.iinfo(np.int32).min
        return np.append(known, -1)[names.codes], day


def _key(code: Rows, day: Rows) -> Rows:
    """One integer that sorts by code, then by day. Days before 1970 are negative, hence the shift."""
    return (code << 32) + (day + (1 << 31))


def standing_beliefs(listings: pd.DataFrame) -> pd.DataFrame:
    """The stretches in which a vendor code is a security's, as believed now, with the instant since which.

    listings: all rows of `listing`, whenever believed. Columns vendor_code, sec_id, valid_from, valid_to, known_from;
    a stretch is cut where its parts became known at different instants. A belief that ended and came back (a company
    that left, and is listed again) counts from its return.
    """
    columns = ["valid_from", "valid_to", "known_from", "known_to"]
    beliefs: dict[tuple[str, str], list[tuple[str, ...]]] = defaultdict(list)
    for code, sec_id, *belief in listings[["vendor_code", "sec_id", *columns]].itertuples(index=False, name=None):
        beliefs[code, sec_id].append(tuple(belief))
    rows = [(*owner, *part) for owner, group in beliefs.items() for part in _standing_parts(group)]
    return pd.DataFrame(rows, columns=["vendor_code", "sec_id", *columns[:3]], dtype=object)


def _standing_parts(beliefs: list[tuple[str, ...]]) -> list[tuple[str, str, str]]:
    """(valid_from, valid_to, known_from) of what is still believed of one security under one code."""
    parts: list[tuple[str, str, str]] = []
    for start, end in pairwise(sorted({day for belief in beliefs for day in belief[:2]})):
        here = sorted((known_from, known_to) for a, b, known_from, known_to in beliefs if a <= start and end <= b)
        if here and here[-1][1] == NEVER:
            since = _unbroken_since(here)
            if parts and parts[-1][1:] == (start, since):
                start = parts.pop()[0]
            parts.append((start, end, since))
    return parts


def _unbroken_since(beliefs: list[tuple[str, str]]) -> str:
    """When the last of some beliefs (known_from, known_to), in order, began, or the ones that it followed at once."""
    since = beliefs[-1][0]
    for known_from, known_to in beliefs[-2::-1]:
        if known_to < since:
            break
        since = min(since, known_from)
    return since
