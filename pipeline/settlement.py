"""Which ex-date a record date means: the first session whose trades settle after it.

Trades settled three days after the session until 2017-09-04, two until 2024-05-27, and settle one day after it since.
So the ex-date was two sessions before the record date, then one, and is the record date itself now. Banks, and with
them settlement, have two holidays a year on which the exchange is open.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.calendar import xnys

_T3 = 3
_ERAS = ((np.datetime64("2017-09-05"), 2), (np.datetime64("2024-05-28"), 1))


def ex_sessions(record_dates: Any) -> NDArray[np.int64]:
    """Ordinal of the ex-date for each record date; a date without a session counts as the session before it."""
    record = xnys().on_or_before(np.asarray(record_dates, "datetime64[D]"))
    return np.searchsorted(_settlement(), record, side="right")


@cache
def _settlement() -> NDArray[np.int64]:
    """Ordinal of the session on which trades of each session settle, a large number beyond the calendar."""
    days = xnys().sessions.astype("datetime64[D]")
    lag = np.full(len(days), _T3)
    for start, sessions in _ERAS:
        lag[days >= start] = sessions
    settling = np.flatnonzero(~_bank_holidays(days))
    later = np.searchsorted(settling, np.arange(len(days)), side="right") + lag - 1
    return np.append(settling, np.full(_T3 + 1, len(days) + _T3))[later]


def _bank_holidays(days: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """Columbus Day (the second Monday of October) and Veterans Day (11 November, on a Sunday the day after)."""
    month = days.astype("datetime64[M]")
    day = (days - month).astype(int) + 1
    month_of_year = month.astype(int) % 12 + 1
    monday = (days.astype(int) + 3) % 7 == 0
    columbus = (month_of_year == 10) & monday & (day >= 8) & (day <= 14)
    return columbus | ((month_of_year == 11) & ((day == 11) | ((day == 12) & monday)))
