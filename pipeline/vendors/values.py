"""Cells of vendors' answers: what is not said, numbers, dates and exact ratios."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

NOTHING = frozenset({"", "NA", "N/A", "None", "null", "0000-00-00"})
VENUES = {
    "NYSE": "NYSE",
    "NASDAQ": "NASDAQ",
    "NYSE ARCA": "ARCA",
    "NYSE MKT": "AMEX",
    "AMEX": "AMEX",
    "BATS": "BATS",
}
"""The venues of the model's universe, as vendors and as we call them."""
LARGEST = 2**53 - 1
"""Whole numbers beyond this are not exact in a table."""


class Unreadable(ValueError):
    """A cell that says something, but nothing that can be read. The message is the reason of a reject."""


def exact(body: bytes) -> Any:
    """A JSON body whose decimals are exact."""
    return json.loads(body, parse_float=Decimal)


def said(value: Any) -> Any:
    """The value, or None for the ways in which vendors say nothing."""
    return None if isinstance(value, str) and value.strip() in NOTHING else value


def text(value: Any) -> str:
    found = said(value)
    return "" if found is None else str(found).strip()


def decimal(value: Any) -> Decimal | None:
    """A number, exact. Raises Unreadable for text that is none, and for an infinite one."""
    found = said(value)
    if found is None:
        return None
    if isinstance(found, bool):
        raise Unreadable(f"{found} is no number")
    try:
        number = Decimal(str(found).strip().replace(",", ""))
    except InvalidOperation:
        raise Unreadable(f"{found!r} is no number") from None
    if not number.is_finite():
        raise Unreadable(f"{found!r} is no finite number")
    return number


def number(value: Any) -> float:
    """A number as a float, NaN where nothing is said. Raises Unreadable."""
    found = decimal(value)
    return math.nan if found is None else float(found)


def date(value: Any) -> dt.date | None:
    """A plain date; of an instant its date part. Raises Unreadable."""
    found = said(value)
    if found is None:
        return None
    try:
        return dt.date.fromisoformat(str(found)[:10])
    except ValueError:
        raise Unreadable(f"{found!r} is no date") from None


def ratio(value: Any) -> Fraction:
    """`new/old` as an exact fraction: "112.859314/100.000000" is 56429657/50000000. Raises Unreadable."""
    parts = str(value).replace(":", "/").split("/")
    new, old = (decimal(part) for part in parts) if len(parts) == 2 else (None, None)
    if new is None or old is None or new <= 0 or old <= 0:
        raise Unreadable(f"{value!r} is no ratio new/old")
    found = Fraction(new) / Fraction(old)
    if max(found.numerator, found.denominator) > LARGEST:
        found = found.limit_denominator(10**9)
    return found
