"""EODHD as a vendor: access, plan, completeness, tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from pipeline.landing.fetcher import Access, Bundle
from pipeline.landing.ledger import Quota
from pipeline.landing.requests import FetchError, Request
from pipeline.quality.decisions import how_to_accept
from pipeline.settings import Settings
from pipeline.vendors.contract import EVER, Below, Landed, Need, Spent, VendorTables, columns_of, received
from pipeline.vendors.eodhd import endpoints as ask
from pipeline.vendors.eodhd.bars import dividend_rows, price_rows, rate_rows, split_rows
from pipeline.vendors.eodhd.delivered import Delivered
from pipeline.vendors.eodhd.listings import change_rows, episodes, security_rows
from pipeline.vendors.eodhd.parse import parse_user
from pipeline.vendors.eodhd.plan import Plan
from pipeline.vendors.eodhd.whose import Whose

TOKEN = "ERM3_EODHD_TOKEN"
UNITS_A_DAY = 100_000


class Eodhd:
    """The vendor of prices, events and listings."""

    name = "eodhd"
    units: int | None = UNITS_A_DAY

    def access(self, settings: Settings, environment: Mapping[str, str]) -> Access:
        token = environment.get(TOKEN, "").strip()
        if not token:
            raise FetchError(
                f"source 'eodhd' needs its key in the environment variable {TOKEN}; it is set nowhere else"
            )
        return Access(
            self.name,
            settings.fetching.urls.get(self.name, "https://eodhd.com/api").rstrip("/"),
            Quota(settings.fetching.units.get(self.name, UNITS_A_DAY)),
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "gzip"},
            secrets=(token,) if token != "demo" else (),
            timeout=settings.fetching.timeout_seconds,
        )

    def usage(self) -> tuple[Request, Callable[[bytes], Spent]]:
        return ask.user(), parse_user

    def plan(self, need: Need, landed: Landed, settings: Settings, below: Below) -> list[Bundle]:
        return Plan(need, Delivered(landed, settings)).next()

    def missing(self, session: dt.date, landed: Landed, settings: Settings) -> list[str]:
        delivered = Delivered(landed, settings)
        days = [day for day in delivered.days if day.session == session]
        found = []
        if not days:
            found.append(f"no bars of {session} were delivered")
        elif all(day.why for day in days):
            found.append(f"the bars of {session} are not whole: {days[-1].why}. {how_to_accept(session)}")
        for endpoint, what in ((ask.DAY_SPLITS, "splits"), (ask.DAY_DIVIDENDS, "dividends")):
            if not any(ask.day_of(line) == session for line in landed.of(endpoint)):
                found.append(f"the {what} of {session} were not delivered")
        return found

    def coverage(self, landed: Landed, settings: Settings) -> dict[dt.date, float]:
        days = Delivered(landed, settings).days
        return {day.session: day.coverage for day in days}

    def tables(self, landed: Landed, settings: Settings, below: Below) -> VendorTables:
        """prices, securities, splits, dividends, ticker_changes, classification, shares. No delistings: EODHD has no
        reasons, and a wrong one would make a return."""
        delivered = Delivered(landed, settings)
        whose = Whose(delivered)
        splits = split_rows(delivered, whose)
        prices = price_rows(delivered, whose, splits)
        result = VendorTables(rejects=delivered.rejects)
        if prices.empty:
            return result
        found = episodes(delivered, whose, prices)
        securities = security_rows(delivered, found)
        native = dict(zip(securities["vendor_code"], securities["currency"], strict=True))
        listed = set(securities["vendor_code"])
        rates = rate_rows(delivered)
        tables = {
            "securities": securities,
            "prices": prices,
            "splits": splits[splits["vendor_code"].isin(listed)],
            "dividends": dividend_rows(delivered, whose, frozenset(rates["currency"]), native),
            "ticker_changes": change_rows(delivered, found),
            "fx_rates": rates,
            "classification": classification_rows(delivered, securities),
            "shares": share_rows(delivered, securities),
        }
        tables["dividends"] = tables["dividends"][tables["dividends"]["vendor_code"].isin(listed)]
        result.columns = columns_of(tables)
        return result


def classification_rows(delivered: Delivered, securities: pd.DataFrame) -> pd.DataFrame:
    """GICS sub-industries by code: the first one from the first session on, a later one from the day it was read."""
    first = securities.drop_duplicates("vendor_code").set_index("vendor_code")["first_session"].fillna(EVER)
    latest: dict[str, str] = {}
    rows = []
    for line, said in delivered.fundamentals:
        name = said.gics_sub_industry
        if not name or latest.get(said.code) == name or said.code not in first.index:
            continue
        known = delivered.landed.known_from(line)
        begins = first[said.code] if said.code not in latest else np.datetime64(line.received_at[:10], "s")
        latest[said.code] = name
        rows.append((said.code, begins, name, known))
    return pd.DataFrame(rows, columns=["vendor_code", "valid_from", "gics_sub_industry", "known_from"])


def share_rows(delivered: Delivered, securities: pd.DataFrame) -> pd.DataFrame:
    """The counts stated on the day of the answer, known from its receipt; none of the past is made up of them."""
    listed = set(securities["vendor_code"])
    rows: dict[tuple[str, np.datetime64], tuple[object, ...]] = {}
    for line, said in delivered.fundamentals:
        if said.shares is not None and said.code in listed:
            day = np.datetime64((said.updated or dt.date.fromisoformat(line.received_at[:10])), "s")
            known = received(line)
            rows.setdefault((said.code, day), (said.code, day, known, float(said.shares), known))
    return pd.DataFrame(rows.values(), columns=["vendor_code", "period_end", "filed_at", "shares", "known_from"])
