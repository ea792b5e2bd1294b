"""Dates and instants as the master stores them: ISO text, which sorts as it reads.

A date is `YYYY-MM-DD`; an instant is UTC with microseconds, `YYYY-MM-DDTHH:MM:SS.ffffffZ`. Intervals are half-open.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from security_master.errors import ExplainedError

BEGINNING = "0001-01-01"
"""Start of an interval whose start is not known."""
END = "9999-12-31"
"""End of an interval whose end is not known."""
NEVER = "9999-12-31T00:00:00.000000Z"
"""`known_to` of what is still believed."""

_NEW_YORK = ZoneInfo("America/New_York")
_EARLIEST_CLOSE = 13
"""Hour at which a session closes at the earliest (half days). No knowledge instant of another session lies between
this and the true close, so it stands for the close wherever knowledge is compared with a session's."""


class NotADate(ExplainedError, ValueError):
    """A date or an instant that cannot be read, or an instant without its time zone."""


def date_text(value: Any) -> str:
    """A date, datetime64, Timestamp or ISO text as `YYYY-MM-DD`; "" for a missing one. Raises NotADate."""
    if value is None or value != value or (isinstance(value, str) and value == ""):
        return ""
    if isinstance(value, np.datetime64):
        return "" if np.isnat(value) else str(value.astype("datetime64[D]"))
    text = value if isinstance(value, str) else str(value)[:10]
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise NotADate(f"{value!r} is no date; write it like 2024-03-01") from error


def instant_text(value: Any) -> str:
    """An instant as ISO UTC text. A numpy datetime is UTC; anything else must say its zone. Raises NotADate."""
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[us]")) + "Z"
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise NotADate(f"{value!r} is no instant; write it like 2024-03-01T21:15:00Z") from error
    if moment.tzinfo is None:
        raise NotADate(f"instant {value!r} has no time zone; write it like 2024-03-01T21:15:00Z")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def date_texts(values: Any) -> list[str]:
    """Many dates as text, "" for NaT."""
    days = np.asarray(values).astype("datetime64[D]")
    texts = np.datetime_as_string(days)
    return np.where(np.isnat(days), "", texts).tolist()


def instant_texts(values: Any) -> list[str]:
    """Many instants (datetime64, UTC) as text."""
    return [text + "Z" for text in np.datetime_as_string(np.asarray(values).astype("datetime64[us]")).tolist()]


def dates_of(texts: Any) -> NDArray[np.datetime64]:
    """datetime64[D] of ISO dates; "" becomes NaT."""
    array = np.asarray(texts, dtype="U10")
    return np.where(array == "", "NaT", array).astype("datetime64[D]")


def instants_of(texts: Any) -> NDArray[np.datetime64]:
    """datetime64[us] of ISO instants."""
    return np.asarray(texts, dtype="U26").astype("datetime64[us]")


def day_after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def days_between(earlier: str, later: str) -> int:
    return (date.fromisoformat(later) - date.fromisoformat(earlier)).days


@cache
def close_of(day: str) -> str:
    """An instant on `day` by which its session is known to be over; see _EARLIEST_CLOSE."""
    local = datetime.combine(date.fromisoformat(day), datetime.min.time(), _NEW_YORK).replace(hour=_EARLIEST_CLOSE)
    return local.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def new_york_dates(instants: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The dates in New York at instants (UTC), datetime64[D]."""
    import pandas as pd  # which who asks for a ticker does not need

    local = pd.DatetimeIndex(instants).tz_localize("UTC").tz_convert(_NEW_YORK).tz_localize(None)
    return local.to_numpy("datetime64[D]")


@cache
def new_york_date(instant: str) -> str:
    """The date in New York at an instant."""
    return datetime.fromisoformat(instant).astimezone(_NEW_YORK).date().isoformat()
