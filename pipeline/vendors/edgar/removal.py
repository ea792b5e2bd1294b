"""Removals from listing: Form 25-NSE, per security."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from pipeline.vendors.edgar.parse import accepted_at

_MONTHS = tuple(calendar.month_name)[1:]
_DAY = rf"({'|'.join(_MONTHS)})\s+(\d{{1,2}}),\s+(\d{{4}})"
_SUSPENDED = re.compile(rf"suspended\s+(?:from\s+trading\s+)?(?:before\s+the\s+open\w*\s+)?on\s+{_DAY}", re.I)
_CASH = re.compile(r"(?:USD|US\$|\$)\s?([\d,]+(?:\.\d+)?)(?!\s*(?:par|billion|million))", re.I)
_RATIO = re.compile(
    r"(\d*\.?\d+)\s+(?:of\s+)?(?:a\s+)?(?:newly\s+issued\s+)?shares?\s+of\s+(?:common\s+stock\s+of\s+)?"
    r"([A-Z][\w&.,' ]*?)(?:\s+(?:Class\s+\w\s+)?(?:Common|Ordinary)\s+(?:Stock|Shares)|[.;])"
)
_COMMON = re.compile(r"common\s+(?:stock|shares?|units?)|ordinary\s+shares?|capital\s+stock|depositary\s+shares", re.I)
_OTHER = re.compile(
    r"\b(notes?|bonds?|debentures?|preferred|preference|warrants?|rights?|trust preferred|due 20\d\d|%)", re.I
)
_EXCHANGED = re.compile(r"each share|exchanged for|converted into", re.I)
REASONS = {"a3": "merger", "b": "exchange_drop", "c": "voluntary"}


class Removal(NamedTuple):
    """A removal. provision: a1 to a4, b, c or "". suspended: first session without trading, None where none is said.

    cash: US dollars a share; ratio, successor: shares of whom. Each is None or "" where the wording does not tell.
    """

    cik: str
    description: str
    common: bool
    provision: str
    accepted: dt.datetime
    suspended: dt.date | None
    cash: Decimal | None
    ratio: Decimal | None
    successor: str

    @property
    def reason(self) -> str:
        return REASONS.get(self.provision, "unknown")


def parse_removal(body: bytes) -> Removal | None:
    """A Form 25-NSE in full (`.txt`); None for another document."""
    page = body.decode("utf-8", "replace")
    if "<notificationOfRemoval>" not in page:
        return None
    header = re.search(r"<ACCEPTANCE-DATETIME>(\d{14})", page)
    filed = re.search(r"FILED AS OF DATE:\s*(\d{8})", page)
    day = dt.date.fromisoformat(filed.group(1) if filed else header.group(1)[:8] if header else "19000101")
    issuer = re.search(r"<issuer>.*?<cik>\s*(\d+)\s*</cik>", page, re.S)
    described = _inner(page, "descriptionClassSecurity")
    exhibit = " ".join(re.sub(r"<[^>]+>", " ", page.partition("</notificationOfRemoval>")[2]).split())
    ratio = _RATIO.search(exhibit)
    return Removal(
        cik=issuer.group(1).zfill(10) if issuer else "",
        description=described,
        common=bool(_COMMON.search(described)) and not _OTHER.search(described),
        provision=_provision(_inner(page, "ruleProvision")),
        accepted=accepted_at(header.group(1) if header else "", day),
        suspended=_suspended(exhibit),
        cash=_amount(exhibit),
        ratio=Decimal(ratio.group(1)) if ratio else None,
        successor=" ".join(ratio.group(2).split()) if ratio else "",
    )


def _inner(page: str, name: str) -> str:
    found = re.search(rf"<{name}>\s*(.*?)\s*</{name}>", page, re.S)
    return " ".join(found.group(1).split()) if found else ""


def _provision(said: str) -> str:
    found = re.search(r"12d2-2\s*\((\w)\)(?:\s*\((\d)\))?", said)
    return "" if not found else found.group(1).lower() + (found.group(2) or "")


def _suspended(exhibit: str) -> dt.date | None:
    found = _SUSPENDED.search(exhibit)
    if found is None:
        return None
    month, day, year = found.groups()
    try:
        return dt.date(int(year), _MONTHS.index(month.title()) + 1, int(day))
    except ValueError:
        return None


def _amount(exhibit: str) -> Decimal | None:
    """Cash a share, where the sentence about the exchange of shares says one amount and no other."""
    sentences = [s for s in re.split(r"(?<=[a-z])\. ", exhibit) if _EXCHANGED.search(s)]
    found = {amount for s in sentences for amount in _CASH.findall(s)}
    if len(found) != 1:
        return None
    try:
        return Decimal(found.pop().replace(",", ""))
    except InvalidOperation:
        return None
