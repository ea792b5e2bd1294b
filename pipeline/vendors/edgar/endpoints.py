"""The questions that EDGAR is asked."""

from __future__ import annotations

import datetime as dt

from pipeline.landing.requests import Line, Request

SOURCE = "edgar"
TICKERS = "company-tickers"
SUBMISSIONS, OLDER, FACTS, INDEX, FILING, COVER = (
    "submissions",
    "older-submissions",
    "companyfacts",
    "index",
    "filing",
    "cover",
)


def tickers() -> Request:
    """The tickers of now with their issuers."""
    return Request(SOURCE, TICKERS, "/files/company_tickers.json")


def submissions(cik: str) -> Request:
    return Request(SOURCE, SUBMISSIONS, f"/submissions/CIK{cik}.json")


def older(name: str) -> Request:
    return Request(SOURCE, OLDER, f"/submissions/{name}", may_be_empty=True)


def facts(cik: str) -> Request:
    """Every fact of an issuer; who never filed XBRL has none, and the answer is 404."""
    return Request(SOURCE, FACTS, f"/api/xbrl/companyfacts/CIK{cik}.json", may_be_empty=True)


def index(day: dt.date) -> Request:
    """Who filed what on a day."""
    quarter = (day.month - 1) // 3 + 1
    path = f"/Archives/edgar/daily-index/{day.year}/QTR{quarter}/form.{day:%Y%m%d}.idx"
    return Request(SOURCE, INDEX, path, form="text", may_be_empty=True)


def filing(cik: str, accession: str) -> Request:
    """A filing in full."""
    folder = accession.replace("-", "")
    return Request(SOURCE, FILING, f"/Archives/edgar/data/{int(cik)}/{folder}/{accession}.txt", form="text")


def cover(cik: str, accession: str, document: str) -> Request:
    """The primary document of a report."""
    folder = accession.replace("-", "")
    return Request(SOURCE, COVER, f"/Archives/edgar/data/{int(cik)}/{folder}/{document}", form="text")


def day_of(line: Line) -> dt.date:
    """The day of an index."""
    return dt.date.fromisoformat(line.request_key.rpartition("form.")[2][:8])


def cik_of(line: Line) -> str:
    """The issuer that a line was about."""
    if line.endpoint in (FILING, COVER):
        return line.request_key.split("/data/")[1].split("/")[0].zfill(10)
    return line.request_key.rpartition("CIK")[2][:10]


def accession_of(line: Line) -> str:
    """The accession number of the filing that a line was about."""
    folder = line.request_key.split("/data/")[1].split("/")[1]
    return f"{folder[:10]}-{folder[10:12]}-{folder[12:]}"
