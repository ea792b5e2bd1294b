"""Exchange sessions of XNYS, each with a fixed ordinal and its closing instant.

The *ordinal* of a session is its position in the calendar that starts on 1998-01-02. It never depends on the range that
a run asks for, so rolling windows can be anchored on it: a nightly run and a backfill then add the same numbers in the
same order. Dates are plain `datetime64[D]`; instants are UTC `datetime64[us]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import exchange_calendars
import numpy as np
from numpy.typing import ArrayLike, NDArray

from security_master.errors import ExplainedError

FIRST_SESSION = "1998-01-02"
LAST_SESSION = "2035-12-31"

Dates = NDArray[np.datetime64]
Ordinals = NDArray[np.int32]


class NotASession(ExplainedError, ValueError):
    """A date on which the exchange is closed, or one outside the calendar."""


@dataclass(frozen=True, eq=False)
class Calendar:
    """All sessions and their closes.

    sessions: (n,) datetime64[D], ascending; `sessions[k]` has ordinal k.
    closes:   (n,) datetime64[us], UTC instant of the regular close (early closes included).
    """

    sessions: Dates
    closes: Dates

    def ordinal(self, session: object) -> int:
        """Ordinal of one session. Raises NotASession, naming the nearest sessions."""
        day = np.datetime64(str(session)[:10], "D")
        k = int(np.searchsorted(self.sessions, day))
        if k >= len(self.sessions) or self.sessions[k] != day:
            around = ", ".join(str(d) for d in self.sessions[max(k - 1, 0) : k + 1])
            raise NotASession(f"{day} is not an XNYS session (nearest: {around})")
        return k

    def on_or_after(self, dates: ArrayLike) -> Ordinals:
        """Ordinal of the first session on or after each date."""
        return np.searchsorted(self.sessions, np.asarray(dates, "datetime64[D]"), side="left").astype(np.int32)

    def on_or_before(self, dates: ArrayLike) -> Ordinals:
        """Ordinal of the last session on or before each date; -1 before the calendar starts."""
        return (np.searchsorted(self.sessions, np.asarray(dates, "datetime64[D]"), side="right") - 1).astype(np.int32)

    def is_session(self, dates: ArrayLike) -> NDArray[np.bool_]:
        days = np.asarray(dates, "datetime64[D]")
        at = np.minimum(np.searchsorted(self.sessions, days), len(self.sessions) - 1)
        return np.asarray(self.sessions[at] == days)

    def between(self, start: object, end: object) -> Dates:
        """The sessions in [start, end], both included; either may be a closed day."""
        lo = int(self.on_or_after(np.datetime64(str(start)[:10], "D")))
        hi = int(self.on_or_before(np.datetime64(str(end)[:10], "D")))
        return self.sessions[lo : hi + 1]

    def knowledge_instants(self, ordinals: ArrayLike, delay_minutes: int) -> Dates:
        """The instant up to which facts may enter the values published for each session: its close plus the delay."""
        return self.closes[np.asarray(ordinals)] + np.timedelta64(delay_minutes, "m")

    def visible_from(self, known_from: ArrayLike, delay_minutes: int) -> Ordinals:
        """Ordinal of the first session whose knowledge instant is at or after each `known_from` (UTC)."""
        instants = np.asarray(known_from, "datetime64[us]") - np.timedelta64(delay_minutes, "m")
        return np.searchsorted(self.closes, instants, side="left").astype(np.int32)

    def month_ends(self, first: int, last: int) -> Ordinals:
        """Ordinals in [first, last] of each month's last session (the next session lies in another month)."""
        months = self.sessions[first : last + 2].astype("datetime64[M]")
        return (np.flatnonzero(months[1:] != months[:-1]) + first).astype(np.int32)


@cache
def xnys() -> Calendar:
    """The XNYS calendar. `exchange_calendars` knows the holidays, early closes and unscheduled closures."""
    known = exchange_calendars.get_calendar("XNYS", start=FIRST_SESSION, end=LAST_SESSION)
    sessions = known.sessions.to_numpy().astype("datetime64[D]")
    closes = known.closes.dt.tz_convert(None).to_numpy().astype("datetime64[us]")
    sessions.flags.writeable = closes.flags.writeable = False
    return Calendar(sessions, closes)


FOR_EVER = np.int32(2**31 - 1)


ALWAYS = 0
"""`visible` of a row that counts as known from the start."""


NO_SESSION = -1
"""A session that is missing, for example the last one of a security that still trades."""


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
    """Days on which banks rest and the exchange trades: Columbus Day and Veterans Day.

    Veterans Day on a Sunday moves to Monday; on a Saturday banks do not make up for it.
    """
    from pandas.tseries.holiday import Holiday, USColumbusDay, sunday_to_monday  # heavy, and only this needs it

    veterans_day = Holiday("Veterans Day", month=11, day=11, observance=sunday_to_monday)
    closed = [rule.dates(str(days[0]), str(days[-1])).to_numpy() for rule in (USColumbusDay, veterans_day)]
    return np.isin(days, np.concatenate(closed).astype("datetime64[D]"))
