"""Five years of 300 names and ten nights in which everything goes wrong once, with a process killed thirty times.

Nothing wrong becomes a fact, nothing is lost, each fault is named in a report; and the landed bytes give the same
stores again, the whole of them and those of any instant.
"""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.calendar import xnys
from pipeline.engine import operations
from pipeline.engine.night import GaveUp, nightly
from pipeline.fake_vendor.market import FakeMarket
from pipeline.landing.clock import SteppedClock
from pipeline.landing.zone import LandingZone
from pipeline.query import open_family
from pipeline.settings import AuditBounds, Settings, SimulatedMarket
from pipeline.sources import SourceTables
from pipeline.vendors.contract import BACKFILL, Need
from pipeline.vendors.fetching import fetch
from pipeline.vendors.layers import LandedSource
from tests.engine.published_market import differences, published
from tests.vendors.practice import CONTACT, TOKEN, Practice, morning_after, practice

pytestmark = pytest.mark.slow

STOCKS = int(os.environ.get("MARATHON_STOCKS", "300"))
FIRST = os.environ.get("MARATHON_FIRST", "2018-01-02")
LAST = dt.date(2023, 2, 27)
NIGHTS, KILLS = 10, 30
LAYERS = {"sources": ("eodhd", "edgar"), "factor_sets": ("SPY_uni_mc_500",), "audit": AuditBounds(recomputed_cells=1)}
SEED = int(os.environ.get("MARATHON_SEED", "20261129"))

BARS, EVENTS = "/eod-bulk-last-day/US?date={day}&fmt=json$", "&type=dividends$"
HISTORY, LISTS, CHANGES = "/eod/", "/exchange-symbol-list", "/symbol-change-history"
INDEX, ISSUER, FACTS = "/daily-index/", "/submissions/CIK", "/companyfacts/"

FAULTS: dict[str, tuple[str, str, Any]] = {
    "401": (CHANGES, "refuses the key", None),
    "402": (BARS, "QUOTA: You exceeded", None),
    "403": ("/div/", "PLAN", None),
    "404": (HISTORY, "NOT_FOUND", None),
    "422": (LISTS, "calls the request wrong", None),
    "429": (BARS, "THROTTLED", 2),
    "500": (LISTS, "status 500", None),
    "502": (EVENTS, "status 502", None),
    "503": (BARS, "status 503", None),
    "delay": (BARS, "ReadTimeout", 12),
    "close_mid_body": (BARS, "RemoteProtocolError", None),
    "truncate_json": (BARS, "no JSON", None),
    "gzip_corrupt": (BARS, "DecodingError", None),
    "empty_200": (BARS, "SUSPECT_EMPTY", None),
    "error_200": (BARS, "ERROR_IN_200", None),
    "warning_row": (BARS, "PARTIAL", None),
    "warning_field": (HISTORY, "PARTIAL", None),
    "html_200": (BARS, "Bad Gateway", None),
    "duplicate_rows": (BARS, "stands twice", None),
    "shuffled_rows": (HISTORY, "out of order", None),
    "missing_day": (BARS, "SUSPECT_EMPTY", "{day}"),
    "string_numbers": (BARS, "close:text", None),
    "null_ohlc": (BARS, "no close", None),
    "float_volume": (BARS, "no whole numbers", None),
    "fractional_split": ("/splits/", "splits asked before and after it differ", None),
    "zero_date": (BARS, "no date", None),
    "content_length_wrong": (BARS, "RemoteProtocolError", None),
    "stale_day": (BARS, "rows of other days", None),
    "partial_bulk": (BARS, "expected 95%", 0.6),
    "wrong_exchange_rows": (BARS, "another exchange than US", None),
    "wrong_symbol_body": (HISTORY, "should be a list", None),
    "old_twin": (LISTS, "_old", None),
    "spun_raw": (HISTORY, "bars adjusted for something", 0.89),
    "shape_changed": (BARS, "isin_code:text", None),
    "clock_flip": (ISSUER, "acceptance times are not those read before", None),
    "thousands": (FACTS, "in units of 1,000", None),
    "notes_form25": (ISSUER, "no stock", None),
    "xml_404": (INDEX, "NOT_FOUND", None),
    "403_agent": (INDEX, "refuses the key or the contact", None),
}
"""By fault: which request it hits, the words of a report that name it, and its argument."""
PASSES = ("duplicate_rows", "string_numbers", "null_ohlc", "float_volume", "zero_date", "wrong_exchange_rows",
          "shape_changed")  # fmt: skip
"""After these the bars of the day count, and nobody asks for them again in that night."""


def session(number: int) -> dt.date:
    """A session after the history, 1 being the first night's."""
    found: dt.date = xnys().sessions[xnys().ordinal(LAST) + number].item()
    return found


def planted(rng: random.Random) -> dict[int, list[dict[str, Any]]]:
    """Each fault once, at a random night: rules by night, those last after which nobody asks again."""
    nights = dict(zip(PASSES, rng.sample(range(1, NIGHTS + 1), len(PASSES)), strict=True))
    found: dict[int, list[dict[str, Any]]] = {}
    for fault, (match, _, argument) in sorted(FAULTS.items(), key=lambda entry: entry[0] in PASSES):
        night = nights.get(fault) or rng.randint(1, NIGHTS)
        day = str(session(night))
        argument = argument.format(day=day) if isinstance(argument, str) else argument
        found.setdefault(night, []).append({"match": match.format(day=day), "fault": fault, "argument": argument})
    return found


def fetch_in_a_process(settings: dict[str, Any], start: dt.datetime, first: dt.date) -> None:
    """A first history, asked for in a process that may be killed at any moment."""
    need, environment = Need(BACKFILL, first, LAST), {"ERM3_EODHD_TOKEN": TOKEN}
    for report in fetch(Settings(**settings), need, SteppedClock(start), environment).values():
        assert not report.stopped, report.stopped


@dataclass
class Raced:
    """What is left after the marathon."""

    vendor: Practice
    control: SourceTables
    instants: dict[int, dt.datetime] = field(default_factory=dict)
    kills: int = 0

    @property
    def reports(self) -> str:
        folder = Path(self.vendor.settings.raw_root) / "nights"
        return "\n".join(path.read_text() for path in sorted(folder.glob("*.json")))


def kill_and_go_on(vendor: Practice, rng: random.Random) -> int:
    """Fetch a history in processes that are killed at random moments, until one is left alone and ends."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.vendors.fetching", "pipeline.vendors.eodhd", "pipeline.vendors.edgar"])
    given = vendor.settings.model_dump(exclude={"rules"})
    kills = 0
    for attempt in range(KILLS + 1):
        start = vendor.clock.now() + dt.timedelta(minutes=attempt)
        process = context.Process(target=fetch_in_a_process, args=(given, start, vendor.first))
        process.start()
        if attempt < KILLS:
            time.sleep(rng.uniform(0.05, 3.0))
            kills += process.is_alive()
            process.kill()
        process.join()
    assert process.exitcode == 0
    return kills


@pytest.fixture(scope="module")
def world() -> FakeMarket:
    made = FakeMarket(SimulatedMarket(stocks=STOCKS, first_session=FIRST, last_session=str(session(NIGHTS + 10))))
    assert len(made.companies) > STOCKS
    return made


@pytest.fixture(scope="module")
def raced(world: FakeMarket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raced]:
    rng = random.Random(SEED)
    place = tmp_path_factory.mktemp("marathon")
    with practice(place / "control", morning_after(LAST), world, **LAYERS) as calm:
        calm.backfill(LAST)
        for night in range(1, NIGHTS + 1):
            calm.at(morning_after(session(night)))
            reports = calm.night(session(night))
            assert not any(report.stopped for report in reports.values())
        control = calm.source().load()
    options: dict[str, Any] = {**LAYERS, "fetching": {"timeout_seconds": 10.0}}  # on a busy machine too
    with practice(place / "root", morning_after(LAST), world, **options) as vendor:
        made = Raced(vendor, control, kills=kill_and_go_on(vendor, rng))
        begin = xnys().sessions[xnys().ordinal(LAST) - 20].item()
        list(operations.backfill(vendor.settings, begin, LAST))
        faults = planted(rng)
        twin = sorted(c.ticker_on(LAST) for c in world.companies if c.type == "common" and c.last is None)[0]
        for night in range(1, NIGHTS + 1):
            vendor.at(morning_after(session(night)))
            rules = [
                rule | {"argument": twin} if rule["fault"] == "old_twin" else rule for rule in faults.get(night, [])
            ]
            left = [vars(rule) for rule in vendor.vendor.faults.rules if rule.times]  # nobody asked for these so far
            vendor.faults(*left, *rules)
            for _ in range(4):  # who is called mends what the message says, and starts again
                try:
                    nightly(vendor.settings, vendor.clock, vendor.environment)
                    break
                except GaveUp:
                    vendor.clock.sleep(60)
            made.instants[night] = vendor.clock.now()
        yield made


def latest(tables: SourceTables) -> pd.DataFrame:
    """What counts of each bar in the end."""
    prices = tables.prices.astype({"vendor_code": "str"})
    return prices.drop_duplicates(["vendor_code", "date"], keep="last").set_index(["vendor_code", "date"]).sort_index()


def test_the_process_was_killed_while_it_fetched_and_no_body_is_half(raced: Raced) -> None:
    assert raced.kills >= KILLS * 0.8
    assert LandingZone(raced.vendor.settings.raw_root).verify()[0] == []


def test_each_fault_happened_and_is_named_in_a_report(raced: Raced) -> None:
    happened = {line.fault for line in raced.vendor.vendor.log if line.fault}
    rare = {"fractional_split"} if STOCKS < 100 else set()  # of few stocks none that splits may be read again
    assert set(FAULTS) - happened - rare == set()
    reports = raced.reports
    assert [fault for fault in happened & set(FAULTS) if FAULTS[fault][1] not in reports] == []


def test_nothing_is_lost(raced: Raced) -> None:
    found, expected = latest(raced.vendor.source().load()), latest(raced.control)
    codes = found.index.get_level_values(0)
    assert sorted(set(codes) - set(expected.index.get_level_values(0))) == []
    assert expected.index.difference(found.index).tolist() == []
    same = found.loc[expected.index]
    assert (same["close"] == expected["close"]).all()
    assert ((same["volume"] - expected["volume"]).abs() <= 1 + 2e-3 * expected["volume"]).all()


def test_nothing_wrong_is_a_fact(raced: Raced) -> None:
    """No version of a bar, a split, a dividend, a count or a removal says what no calm night said."""
    found = raced.vendor.source().load()
    for table, key, values in (
        ("prices", ["vendor_code", "date"], ["open", "high", "low", "close"]),
        ("splits", ["vendor_code", "ex_date"], ["ratio_new", "ratio_old"]),
        ("dividends", ["vendor_code", "ex_date"], ["amount"]),
        ("delistings", ["vendor_code"], ["last_session", "reason"]),
    ):
        columns = [*key, *values]
        mine, calm = (
            getattr(tables, table).astype({"vendor_code": "str"})[columns].drop_duplicates()
            for tables in (found, raced.control)
        )
        both = mine.merge(calm, on=columns, how="left", indicator=True)
        assert both[both["_merge"] == "left_only"].to_dict("records") == [], table
    filed = found.shares[found.shares["filed_at"] != found.shares["known_from"]]  # without what EODHD says of today
    key = ["vendor_code", "period_end"]  # a flipped clock gives another time of filing, never an earlier one
    counts = filed.merge(raced.control.shares, on=key, suffixes=("", "_calm"))
    right = (counts["shares"] / counts["shares_calm"]).between(0.99, 1.01)
    assert len(counts.loc[right, key].drop_duplicates()) == len(filed[key].drop_duplicates()) > 0


def test_every_session_is_published_with_all_its_returns(raced: Raced) -> None:
    root = published(raced.vendor.settings.root)
    days = root["ds_daily"]["teo"]
    assert days[-1] == np.datetime64(session(NIGHTS))
    known = np.isfinite(root["ds_daily"]["return"]).sum(axis=1)
    assert known[-NIGHTS:].min() >= known[-NIGHTS - 1] - STOCKS // 100  # some die meanwhile


def test_the_landed_bytes_give_the_same_stores_again(raced: Raced, tmp_path: Path) -> None:
    live = raced.vendor.settings
    again = live.model_copy(update={"root": str(tmp_path / "again"), "raw": live.raw_root})
    first = published(live.root)["ds_daily"]["teo"][0]
    list(operations.backfill(again, first, session(NIGHTS)))
    assert differences(published(live.root), published(again.root)) == []


@pytest.mark.parametrize("night", [4, 8])
def test_what_was_landed_by_an_instant_gives_what_was_published_then(raced: Raced, tmp_path: Path, night: int) -> None:
    live = raced.vendor.settings
    then = live.model_copy(update={"root": str(tmp_path / "then"), "raw": live.raw_root})
    source = LandedSource(then, known_as_of=raced.instants[night])
    first = published(live.root)["ds_daily"]["teo"][0]
    list(operations.backfill(then, first, session(night), source=source))
    mine, theirs = published(then.root), published(live.root, through=session(night))
    for store, arrays in theirs.items():  # names that came later are at the end of the axis
        sizes = mine[store]
        theirs[store] = {name: a[tuple(slice(0, n) for n in sizes[name].shape)] for name, a in arrays.items()}
    assert differences(mine, theirs, ignore=("ticker", "unique_ticker")) == []
    names, day = open_family(live.root).names, str(session(night))  # who is renamed later has the ticker of that day
    symbols, tickers = mine["ds_daily"]["symbol"].tolist(), mine["ds_daily"]["ticker"].tolist()
    assert tickers == [names.ticker(symbol, day) for symbol in symbols]


def test_neither_key_nor_contact_is_in_a_file(raced: Raced) -> None:
    for path in Path(raced.vendor.settings.root).rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert TOKEN.encode() not in data, path
        assert CONTACT.encode() not in data, path
