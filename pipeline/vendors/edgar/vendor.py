"""EDGAR as a vendor: it says more about the securities of the layers below, and lists none itself."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pipeline.landing.fetcher import Access, Bundle
from pipeline.landing.ledger import Quota
from pipeline.landing.requests import FetchError
from pipeline.settings import Settings
from pipeline.vendors.contract import BACKFILL, Below, Landed, Need, VendorTables, columns_of
from pipeline.vendors.edgar import endpoints as ask
from pipeline.vendors.edgar.issuers import Issuers
from pipeline.vendors.edgar.parse import parse_index
from pipeline.vendors.rounds import Rounds

COUNTED = frozenset({"10-K", "10-K/A", "10-Q", "10-Q/A", "20-F", "20-F/A", "40-F", "40-F/A", "10-KT"})
REMOVED = frozenset({"25-NSE", "25-NSE/A"})
EARLIER = dt.timedelta(days=400)
"""Filings so long before the first session still say how many shares there were on it."""
MOST_DAYS = 60
"""Calendar days off after which the indexes between are not read one by one any more."""
REQUESTS_A_MINUTE = 540.0
"""The SEC allows ten a second over all machines of one contact."""
ENOUGH = 10_000_000
"""Units of a day: the SEC has no quota."""


class Edgar:
    """The source of dated share counts, delistings, and industries by SIC."""

    name = "edgar"
    units: int | None = None

    def access(self, settings: Settings, environment: Mapping[str, str]) -> Access:
        contact = (settings.fetching.contact or "").strip()
        if "@" not in contact:
            raise FetchError(
                "source 'edgar' needs who asks, for the User-Agent that the SEC wants: set fetching.contact in "
                "erm3.toml, or ERM3_FETCHING__CONTACT, to `Company contact@example.com`"
            )
        given = settings.fetching.urls.get(self.name, "").rstrip("/")
        www = given or "https://www.sec.gov"
        return Access(
            self.name,
            given or "https://data.sec.gov",
            Quota(settings.fetching.units.get(self.name, ENOUGH), kept=0.0, per_minute=REQUESTS_A_MINUTE),
            headers={"User-Agent": contact, "Accept-Encoding": "gzip"},
            secrets=(contact,),
            hosts={"/Archives": www, "/files": www},
            timeout=settings.fetching.timeout_seconds,
        )

    def usage(self) -> None:
        """The SEC counts nothing."""

    def plan(self, need: Need, landed: Landed, settings: Settings, below: Below) -> list[Bundle]:
        if below is None:
            return []
        return _Plan(need, landed, Issuers(landed, below)).next()

    def missing(self, session: dt.date, landed: Landed, settings: Settings) -> list[str]:
        """Filings have no hour by which a day is whole."""
        return []

    def coverage(self, landed: Landed, settings: Settings) -> dict[dt.date, float]:
        return {}

    def tables(self, landed: Landed, settings: Settings, below: Below) -> VendorTables:
        """shares, delistings, classification, for the codes of `below` whose issuer is known."""
        result = VendorTables()
        if below is None:
            return result
        issuers = Issuers(landed, below)
        frames = {
            "shares": issuers.share_rows(),
            "delistings": issuers.delisting_rows(),
            "classification": issuers.classification_rows(industries()),
        }
        result.columns, result.rejects = columns_of(frames), issuers.rejects
        return result


class _Plan(Rounds):
    """What EDGAR is asked."""

    def __init__(self, need: Need, landed: Landed, issuers: Issuers) -> None:
        super().__init__(need, landed)
        self.issuers = issuers

    def next(self) -> list[Bundle]:
        return self.first_open(
            [self.tickers, self.everybody, self.older_pages, self.removals, self.covers]
            if self.need.kind == BACKFILL
            else [self.tickers, self.day, self.who_filed, self.older_pages, self.removals, self.covers]
        )

    def tickers(self) -> list[Bundle]:
        """Once, where a security that is listed has no issuer."""
        return [] if self.is_answered(ask.tickers()) or not self.issuers.unknown else [[ask.tickers()]]

    def everybody(self) -> list[Bundle]:
        return [[ask.submissions(cik), ask.facts(cik)] for cik in sorted(self.issuers.codes)]

    def day(self) -> list[Bundle]:
        """The indexes of the weekdays since the first history was read that no night has."""
        first = next((line.received_at[:10] for line in self.landed.of(ask.SUBMISSIONS)), str(self.need.end))
        since = min(dt.date.fromisoformat(first), self.need.end)
        days = [self.need.end - dt.timedelta(days=back) for back in range(MOST_DAYS)]
        asked = [ask.index(day) for day in days if day.weekday() < 5 and day >= since]
        return [[request] for request in asked if not self.is_answered(request)]

    def who_filed(self) -> list[Bundle]:
        """Issuers that by an index filed a report or were removed, and whose file was not read since; and new ones."""
        filed = dict.fromkeys(self.issuers.codes, "")
        for line in self.landed.of(ask.INDEX):
            for row in self.landed.parsed(line, parse_index):
                if row.form in COUNTED | REMOVED and row.cik in filed:
                    filed[row.cik] = line.received_at
        bundles = [
            [request for request in (ask.submissions(cik), ask.facts(cik)) if not self.is_answered(request, since)]
            for cik, since in sorted(filed.items())
        ]
        return [bundle for bundle in bundles if bundle]

    def older_pages(self) -> list[Bundle]:
        """Further pages of issuers whose latest one does not reach back far enough."""
        since = self.need.start - EARLIER
        pages = [
            page
            for cik, said in sorted(self.issuers.latest.items())
            if said.filings and min(f.filed for f in said.filings) > since
            for page in said.older
        ]
        return [[request] for page in pages if not self.is_answered(request := ask.older(page))]

    def removals(self) -> list[Bundle]:
        return self._documents(REMOVED, ask.FILING)

    def covers(self) -> list[Bundle]:
        """Covers of issuers with several listed classes: nothing else says how many of each there are."""
        return self._documents(COUNTED, ask.COVER)

    def _documents(self, forms: frozenset[str], endpoint: str) -> list[Bundle]:
        found: list[Bundle] = []
        for cik in sorted(self.issuers.latest):
            if endpoint == ask.COVER and not self.issuers.has_classes(cik):
                continue
            for filing in self.issuers.filings(cik):
                if filing.form not in forms or filing.filed < self.need.start - EARLIER:
                    continue
                if endpoint == ask.FILING:
                    request = ask.filing(cik, filing.accession)
                elif filing.document.endswith((".htm", ".html")):
                    request = ask.cover(cik, filing.accession, filing.document)
                else:
                    continue
                if not self.is_answered(request):
                    found.append([request])
        return found


@cache
def industries() -> dict[int, str]:
    """SIC to our industry code."""
    with open(Path(__file__).with_name("sic_to_industry.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        sic: row["fs_industry_code"] for row in rows for sic in range(int(row["sic_first"]), int(row["sic_last"]) + 1)
    }
