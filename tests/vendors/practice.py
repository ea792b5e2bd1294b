"""A fake vendor that runs, and the settings that ask it: what tests of fetching and of nights share."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.calendar import xnys
from pipeline.fake_vendor.market import FakeMarket
from pipeline.fake_vendor.server import FakeVendor, serve
from pipeline.landing.clock import SteppedClock
from pipeline.landing.fetcher import Fetcher, FetchReport
from pipeline.landing.requests import Line, Request
from pipeline.landing.zone import LandingZone
from pipeline.settings import Settings, SimulatedMarket
from pipeline.vendors.contract import BACKFILL, NIGHT, Need
from pipeline.vendors.fetching import fetch, ledger_of
from pipeline.vendors.layers import LandedSource, open_vendor

FIRST = "2021-07-01"
TOKEN, CONTACT = "s3cret-token-of-practice", "Practice Company practice@example.com"


@cache
def market() -> FakeMarket:
    """Slot 1 of it, BIDE, is renamed to IBED on 2022-08-11; slot 6, TEXA, splits 1:8 on 2022-08-16."""
    return FakeMarket(SimulatedMarket(stocks=32, first_session=FIRST, last_session="2022-09-30"))


def session(number: int) -> dt.date:
    """A session of the market, 0 being its first."""
    day: dt.date = xnys().sessions[xnys().ordinal(FIRST) + number].item()
    return day


def morning_after(day: dt.date, hour: int = 9, minute: int = 20) -> dt.datetime:
    """05:20 in New York on the day after a session."""
    return dt.datetime.combine(day + dt.timedelta(days=1), dt.time(hour, minute), dt.UTC)


@dataclass
class Practice:
    """A server, and who asks it."""

    vendor: FakeVendor
    url: str
    settings: Settings
    clock: SteppedClock
    first: dt.date

    def at(self, instant: dt.datetime) -> None:
        """The time it is, for the vendor and for us."""
        self.vendor.control("/__clock", f'{{"now": "{instant.isoformat()}"}}'.encode())
        self.clock.set(instant)

    def faults(self, *rules: dict[str, Any]) -> None:
        self.vendor.faults.set(list(rules))

    @property
    def environment(self) -> dict[str, str]:
        return {"ERM3_EODHD_TOKEN": TOKEN, "ERM3_TIINGO_TOKEN": TOKEN}

    def backfill(self, end: dt.date, settings: Settings | None = None) -> dict[str, FetchReport]:
        need = Need(BACKFILL, self.first, end)
        return fetch(settings or self.settings, need, self.clock, self.environment)

    def night(self, day: dt.date) -> dict[str, FetchReport]:
        return fetch(self.settings, Need(NIGHT, day, day), self.clock, self.environment)

    def fetcher(self, batch: str = "night-20220805", **options: Any) -> Fetcher:
        zone = LandingZone(self.settings.raw_root)
        access = open_vendor("eodhd").access(self.settings, self.environment)
        made = {"night": True, "chance": lambda: 0.5, **options}
        return Fetcher(zone, ledger_of(self.settings), access, self.clock, batch, **made)

    def ask(self, request: Request, report: FetchReport | None = None) -> Line:
        """One request by a fetcher of its own, landed."""
        fetcher = self.fetcher()
        line = fetcher.get(request, report)
        fetcher.zone.flush()
        return line

    def source(self) -> LandedSource:
        return LandedSource(self.settings)


@contextmanager
def practice(root: Path, now: dt.datetime, of: FakeMarket | None = None, **settings: Any) -> Iterator[Practice]:
    """A running fake vendor at `now`, and settings whose root is `root`. of: another market than `market()`."""
    of = of or market()
    vendor = FakeVendor(of, now, token=TOKEN)
    server = serve(vendor)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    given = {
        "urls": {"eodhd": f"{base}/api", "edgar": base, "nasdaq": base, "tiingo": base},
        "contact": CONTACT,
        **settings.pop("fetching", {}),
    }
    made = Settings(root=str(root), fetching=given, **{"source": "eodhd", **settings})
    try:
        yield Practice(vendor, base, made, SteppedClock(now), of.first)
    finally:
        server.shutdown()
        server.server_close()
    assert vendor.broken == []
