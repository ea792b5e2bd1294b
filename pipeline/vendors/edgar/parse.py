"""Answers of EDGAR to rows: pure, offline."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.vendors.values import Unreadable, date, exact, text

NEW_YORK = ZoneInfo("America/New_York")


class Filing(NamedTuple):
    """One filing. accepted: naive UTC instant from which it counts as known; document: its primary document."""

    accession: str
    form: str
    accepted: dt.datetime
    filed: dt.date
    reported: dt.date | None
    document: str


class FormerName(NamedTuple):
    """first, last: filing dates under the name, None where they contradict each other."""

    name: str
    first: dt.date | None
    last: dt.date | None


class Submissions(NamedTuple):
    """An issuer with its filings, the latest first. older: names of further pages."""

    cik: str
    name: str
    sic: str
    tickers: tuple[str, ...]
    former_names: tuple[FormerName, ...]
    filings: tuple[Filing, ...]
    older: tuple[str, ...]


class Fact(NamedTuple):
    """One count of a filing. rank: 0 for the cover's, 1 for the balance sheet's, 2 for IFRS."""

    rank: int
    end: dt.date
    value: int
    accession: str
    form: str
    filed: dt.date


class Indexed(NamedTuple):
    """A line of a form index."""

    form: str
    company: str
    cik: str
    filed: dt.date
    path: str


TAGS = (
    ("dei", "EntityCommonStockSharesOutstanding"),
    ("us-gaap", "CommonStockSharesOutstanding"),
    ("ifrs-full", "NumberOfSharesOutstanding"),
)


def accepted_at(said: str, filed: dt.date) -> dt.datetime:
    """Naive UTC instant of an acceptance time.

    The `Z` cannot be trusted: some files are UTC, some New York clock. Read as New York clock it is never early, and
    at most five hours late. 00:00:00 means unknown, and the end of the day; without a time the day of filing ends.
    """
    digits = re.sub(r"\D", "", said)[:14]
    if len(digits) < 14 or digits.endswith("000000"):
        day = filed if len(digits) < 8 else dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
        local = dt.datetime.combine(max(day, filed) + dt.timedelta(days=1), dt.time(), NEW_YORK)
    else:
        local = dt.datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=NEW_YORK)
    return local.astimezone(dt.UTC).replace(tzinfo=None)


def parse_submissions(body: bytes) -> Submissions:
    """An issuer's file. `cik` may be padded or not; dates of former names may be out of order."""
    value = exact(body)
    filings = value.get("filings", {})
    return Submissions(
        cik=str(value["cik"]).zfill(10),
        name=text(value.get("name")),
        sic=text(value.get("sic")),
        tickers=tuple(str(ticker) for ticker in value.get("tickers") or ()),
        former_names=tuple(_former(row) for row in value.get("formerNames") or ()),
        filings=_filings(filings.get("recent", {})),
        older=tuple(page["name"] for page in filings.get("files") or ()),
    )


def parse_older(body: bytes) -> tuple[Filing, ...]:
    """An older page: bare columns. Pages overlap: who joins them goes by accession."""
    return _filings(exact(body))


def parse_facts(body: bytes) -> tuple[Fact, ...]:
    """The share counts of an issuer's facts, in the order of filing. `frame` and fiscal labels are ignored."""
    value = exact(body)
    found = []
    for rank, (taxonomy, tag) in enumerate(TAGS):
        units = value.get("facts", {}).get(taxonomy, {}).get(tag, {}).get("units", {})
        for row in units.get("shares", ()):
            end, filed = date(row.get("end")), date(row.get("filed"))
            count = row.get("val")
            if end is not None and filed is not None and isinstance(count, int) and count > 0:
                found.append(Fact(rank, end, count, row["accn"], text(row.get("form")), filed))
    return tuple(sorted(found, key=lambda fact: (fact.filed, fact.accession, fact.rank, fact.end)))


def parse_index(body: bytes) -> tuple[Indexed, ...]:
    """A form index: fixed width under a line of dashes; dates with or without dashes."""
    lines = body.decode("latin-1").splitlines()
    head = next((line for line in lines if line.startswith("Form Type")), None)
    begins = next((k for k, line in enumerate(lines) if line.startswith("-----")), None)
    if head is None or begins is None:
        raise Unreadable("no form index")
    columns = [head.index(name) for name in ("Form Type", "Company Name", "CIK", "Date Filed", "File Name")]
    found = []
    for line in lines[begins + 1 :]:
        cells = [line[a:b].strip() for a, b in zip(columns, [*columns[1:], None], strict=True)]
        if len(cells[3]) == 8:
            cells[3] = f"{cells[3][:4]}-{cells[3][4:6]}-{cells[3][6:]}"
        if cells[4]:
            filed = date(cells[3])
            assert filed is not None
            found.append(Indexed(cells[0], cells[1], cells[2].zfill(10), filed, cells[4]))
    return tuple(found)


def parse_tickers(body: bytes) -> dict[str, str]:
    """Ticker to CIK, as of now."""
    return {str(row["ticker"]): str(row["cik_str"]).zfill(10) for row in exact(body).values()}


def _filings(columns: dict[str, Any]) -> tuple[Filing, ...]:
    found = []
    for at, accession in enumerate(columns.get("accessionNumber", ())):
        filed = date(columns["filingDate"][at])
        assert filed is not None
        accepted = accepted_at(text(columns.get("acceptanceDateTime", [""] * (at + 1))[at]), filed)
        reported = date(columns["reportDate"][at]) if "reportDate" in columns else None
        document = columns["primaryDocument"][at] if "primaryDocument" in columns else ""
        found.append(Filing(accession, columns["form"][at], accepted, filed, reported, document))
    return tuple(found)


def _former(row: dict[str, Any]) -> FormerName:
    try:
        first, last = date(row.get("from")), date(row.get("to"))
    except Unreadable:
        first = last = None
    if first is not None and last is not None and last < first:
        first = last = None
    return FormerName(text(row.get("name")), first, last)
