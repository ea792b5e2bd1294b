"""Dates of questions."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, NamedTuple

from pipeline.query.errors import BadQuestion
from security_master.dates import date_text

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class On(NamedTuple):
    """A day that was asked about: `day` (D) as ISO text, the position of the last session at or before it."""

    day: str
    session: int


def iso_day(value: Any) -> str:
    """A date, a datetime, a datetime64 or `YYYY-MM-DD` as ISO text. Raises BadQuestion for anything else."""
    if isinstance(value, str) and not _ISO.fullmatch(value):
        raise BadQuestion(f"{value[:40]!r} is no date; write it like 2024-03-01", code="invalid_date")
    try:
        day = date_text(value)
    except ValueError as error:
        raise BadQuestion(str(error), code="invalid_date") from error
    if not day:
        raise BadQuestion("no date was given; write it like 2024-03-01", code="invalid_date")
    return day


def years_before(day: str, years: int) -> str:
    """The same date some years before; 28 February for the 29th.

    >>> years_before("2024-02-29", 1), years_before("2024-02-29", 4)
    ('2023-02-28', '2020-02-29')
    """
    then = date.fromisoformat(day)
    try:
        return then.replace(year=then.year - years).isoformat()
    except ValueError:
        return then.replace(year=then.year - years, day=28).isoformat()


def month_before(day: str) -> str:
    """The same day of the month before, or that month's last.

    >>> month_before("2024-03-31"), month_before("2024-01-15")
    ('2024-02-29', '2023-12-15')
    """
    then = date.fromisoformat(day)
    year, month = (then.year, then.month - 1) if then.month > 1 else (then.year - 1, 12)
    last = (date(year + month // 12, month % 12 + 1, 1) - date(year, month, 1)).days
    return date(year, month, min(then.day, last)).isoformat()
