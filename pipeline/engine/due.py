"""Which sessions are due at an instant, by the exchange's calendar and by what is published."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np

from pipeline.calendar import xnys
from pipeline.engine import family
from pipeline.read import read_manifest
from pipeline.settings import Settings
from pipeline.store.objects import StoreError
from security_master.errors import ExplainedError

NEW_YORK = "America/New_York"
DELIVERED_HOUR = 4
"""In New York: by then the events of the day before are there, and a night of a fetched source may begin."""


@dataclass(frozen=True)
class Due:
    """What is missing at an instant.

    published: last session for which every store has values. due: last session that may be computed by now.
    missing:   the sessions between.
    """

    published: date
    due: date
    missing: tuple[date, ...]


class NotReady(ExplainedError, RuntimeError):
    """The root is not in a state that a nightly run can continue. The message says what to do."""


def due_at(settings: Settings, now: datetime) -> Due:
    """What a root lacks at `now` (aware). Raises NotReady before a first backfill, or with a store that has none.

    A session is due when the day after it has begun in New York and its knowledge instant has passed; of a source that
    is fetched, when its delivery may be there (04:00), so that the night can fetch it before that instant.
    """
    try:
        manifest = read_manifest(settings.root)
    except StoreError:
        raise NotReady(f"nothing is published under {settings.root}: backfill the first range by hand") from None
    lacking = [name for name in family.stores(settings) if name not in manifest["stores"]]
    if lacking or manifest["complete_through"] is None:
        begins = min(store["first"] for store in manifest["stores"].values() if store["first"])
        raise NotReady(
            f"{', '.join(lacking)} has never been published. Backfill from {begins}, the first session of the other "
            "stores, so that its history is as long as theirs; the others stay as they are"
        )
    calendar = xnys()
    local = now.astimezone(ZoneInfo(NEW_YORK))
    if settings.fetched:
        local -= timedelta(hours=DELIVERED_HOUR)
    due = int(calendar.on_or_before(np.datetime64(local.date() - timedelta(days=1), "D")))
    if not settings.fetched:
        utc = np.datetime64(now.astimezone(ZoneInfo("UTC")).replace(tzinfo=None), "us")
        due = min(due, int(np.searchsorted(calendar.closes + delay(settings), utc, side="right")) - 1)
    published = calendar.ordinal(manifest["complete_through"])
    missing = tuple(calendar.sessions[published + 1 : due + 1].tolist())
    return Due(calendar.sessions[published].item(), calendar.sessions[due].item(), missing)


def delay(settings: Settings) -> np.timedelta64:
    """From a session's close to its knowledge instant."""
    return np.timedelta64(settings.rules.vendor_delay_minutes, "m")


def why_nothing(settings: Settings, now: datetime, due: Due) -> str:
    """Why no session is missing: the day that ended was none, or its data may not be known yet."""
    yesterday = now.astimezone(ZoneInfo(NEW_YORK)).date() - timedelta(days=1)
    calendar = xnys()
    if not calendar.is_session(np.datetime64(yesterday, "D")):
        return f"{yesterday} was no exchange session ({closed_because(yesterday)})."
    if due.due < yesterday and settings.fetched:
        hour = f"{DELIVERED_HOUR:02}:00"
        return f"The delivery of {yesterday} is complete from {hour} New York time on; start the nightly run later."
    if due.due < yesterday:
        instant = calendar.closes[calendar.ordinal(yesterday)] + delay(settings)
        local = instant.item().replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(NEW_YORK))
        return (
            f"{yesterday} may be computed from {local:%Y-%m-%d %H:%M} New York time on "
            f"(vendor_delay_minutes = {settings.rules.vendor_delay_minutes}); start the nightly run later."
        )
    return f"{yesterday} is published."


def closed_because(day: date) -> str:
    """The weekday of a weekend, the name of a holiday, or that the exchange was closed."""
    if day.weekday() >= 5:
        return f"a {day:%A}"
    month = timedelta(days=30)
    known = exchange_calendars.get_calendar("XNYS", start=str(day - month), end=str(day + month))
    named = known.regular_holidays.holidays(str(day), str(day), return_name=True)
    return str(named.iloc[0]) if len(named) else "the exchange was closed"
