"""Tiingo: bars with their events, tickers that two companies had, and a night, over HTTP against the fake vendor."""

from __future__ import annotations

import datetime as dt
import io
import json
import zipfile
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.engine import operations
from pipeline.engine.night import nightly
from pipeline.landing.requests import FetchError
from pipeline.landing.zone import LandingZone
from pipeline.query import open_family
from pipeline.settings import Settings
from pipeline.vendors.layers import landed
from pipeline.vendors.tiingo.parse import parse_daily, parse_supported
from pipeline.vendors.tiingo.vendor import Tiingo
from pipeline.vendors.values import Unreadable
from tests.vendors.practice import TOKEN, market, morning_after, practice, session

NAMES = ("CEFI", "TEXA", "DOPE", "KUPI")
LAST = session(277)


def bar(day: str, **cells: Any) -> dict[str, Any]:
    return {"date": f"{day}T00:00:00.000Z", "open": 9.5, "high": 11, "low": 9, "close": 10, "volume": 100,
            "adjClose": 5, "divCash": 0.0, "splitFactor": 1.0} | cells  # fmt: skip


def test_bars_carry_their_dividends_and_splits_whatever_the_form_of_the_date() -> None:
    rows = [
        bar("2026-01-05", splitFactor=0.333333),
        bar("2026-01-02", divCash=0.25),
        {**bar("2026-01-06"), "date": "2026-01-06"},
        bar("2026-01-07", close=None),
        bar("2026-01-02", close=7),
    ]
    found = parse_daily(json.dumps(rows).encode())
    assert found.bars["date"].dt.strftime("%d").tolist() == ["02", "05", "06"]
    assert found.bars["close"].tolist() == [10, 10, 10]
    assert found.splits == ((dt.date(2026, 1, 5), Fraction(1, 3)),)
    assert found.dividends == ((dt.date(2026, 1, 2), Decimal("0.25")),)
    assert found.rejects == ((3, "no close"), (4, "a second bar of its day"))
    with pytest.raises(Unreadable):
        parse_daily(b'{"detail":"Not found."}')


def test_the_list_has_tickers_that_look_like_nothing_and_some_twice() -> None:
    text = """ticker,exchange,assetType,priceCurrency,startDate,endDate
TRUE,NYSE,Stock,USD,2014-08-15,2026-11-27
NA,NASDAQ,Stock,USD,,
ABC,NYSE,Stock,USD,2001-01-02,2009-05-29
ABC,NASDAQ,Stock,USD,2012-03-01,2026-11-27
"""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("supported_tickers.csv", text)
    rows = parse_supported(packed.getvalue())
    assert [row.ticker for row in rows] == ["TRUE", "NA", "ABC", "ABC"]
    assert (rows[1].first, rows[2].last) == (None, dt.date(2009, 5, 29))
    with pytest.raises(Unreadable, match="no zipped list"):
        parse_supported(b"<html>")


def test_without_a_key_or_names_nothing_is_asked() -> None:
    with pytest.raises(FetchError, match="ERM3_TIINGO_TOKEN"):
        Tiingo().access(Settings(source="tiingo"), {})
    with pytest.raises(FetchError, match=r"500 symbols a month: name the tickers in fetching\.names"):
        Tiingo().access(Settings(source="tiingo"), {"ERM3_TIINGO_TOKEN": "key"})


def test_a_history_and_a_night_give_the_markets_own_bars_and_events(tmp_path: Path) -> None:
    night = session(278)
    with practice(tmp_path, morning_after(LAST), source="tiingo", fetching={"names": NAMES}) as vendor:
        assert vendor.backfill(LAST)["tiingo"].failed == {}
        vendor.at(morning_after(night))
        vendor.faults({"match": "/tiingo/daily/CEFI", "fault": "502"})
        report = vendor.night(night)["tiingo"]
        assert (report.failed, next(iter(report.retried)).split("?")[0]) == ({}, "tiingo/tiingo/daily/CEFI/prices")
        zone = LandingZone(vendor.settings.raw_root)
        assert Tiingo().missing(night, landed(vendor.settings, "tiingo", zone), vendor.settings) == []
        assert vendor.night(night)["tiingo"].requests == 0
        tables, true = vendor.source().load(), vendor.vendor.market.tables
        assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    both = tables.prices.astype({"vendor_code": "str"}).merge(
        true.prices.astype({"vendor_code": "str"}), on=["vendor_code", "date"], suffixes=("", "_true")
    )
    assert len(both) == len(tables.prices) > 10_000
    assert (both["close"] == both["close_true"]).all()
    fresh = tables.prices[tables.prices["date"] == pd.Timestamp(night)]
    assert {"CEFI", "TEXA", "KUPI"} <= set(fresh["vendor_code"].astype(str))
    assert not fresh["known_assumed"].any()
    split = tables.splits.merge(true.splits, on=["vendor_code", "ex_date", "ratio_new", "ratio_old"])
    assert len(split) == len(tables.splits) == 3
    paid = tables.dividends.merge(true.dividends, on=["vendor_code", "ex_date"], suffixes=("", "_true"))
    assert len(paid) == len(tables.dividends) > 0


@pytest.mark.slow
def test_prices_of_the_free_rung_and_filings_are_published_and_a_night_follows(tmp_path: Path) -> None:
    night, begin = session(278), session(258)
    tickers = sorted({company.ticker_on(LAST) for company in market().companies if company.last is None})
    layers: dict[str, Any] = {"sources": ("tiingo", "edgar"), "factor_sets": ("SPY_uni_mc_50",)}
    with practice(tmp_path, morning_after(LAST), fetching={"names": tickers}, **layers) as vendor:
        reports = vendor.backfill(LAST)
        assert [(report.failed, report.stopped) for report in reports.values()] == [({}, ""), ({}, "")]
        list(operations.backfill(vendor.settings, begin, LAST))
        vendor.at(morning_after(night))
        done = nightly(vendor.settings, vendor.clock, vendor.environment)
        assert [(told.session, bool(told.publication)) for told in done.sessions] == [(str(night), True)]
        assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        true = vendor.vendor.market.tables.prices
    family = open_family(tmp_path)
    assert family.complete_through == str(night)
    closes = true[true["date"] == pd.Timestamp(night)].set_index("vendor_code")["close"]
    listed = "CEFI", "TEXA", "KUPI"
    priced = {ticker: family.ticker_returns(ticker)["price_close"][-1] for ticker in listed}
    assert priced == {ticker: np.float32(closes[ticker]) for ticker in listed}
    snapshot = family.metrics("TEXA")["metrics"]
    assert snapshot["market_cap"] > 0, "the count is that of its filings"
    assert snapshot["l2_sec_beta"] is not None, "its sector is that of the SIC code in its filings"
