"""Answers of EODHD to rows. The answers are made up, in the forms of recorded ones; test_recorded.py has those."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from pipeline.vendors.eodhd.bars import amount_of
from pipeline.vendors.eodhd.parse import (
    Change,
    Listed,
    Mapped,
    WrongAnswer,
    parse_bars,
    parse_bulk_bars,
    parse_changes,
    parse_dividends,
    parse_fundamentals,
    parse_id_mapping,
    parse_list,
    parse_splits,
    parse_user,
    ticker_of,
)
from pipeline.vendors.values import Unreadable, decimal, ratio

DAY = dt.date(2026, 9, 29)


def bar(**cells: Any) -> dict[str, Any]:
    return {
        "date": "2026-09-29",
        "open": 10,
        "high": 11.5,
        "low": 9,
        "close": 11,
        "adjusted_close": 11,
        "volume": 5,
    } | cells


def body(*rows: Any) -> bytes:
    return json.dumps(list(rows)).encode()


def test_bars_are_numbers_whole_or_not_and_in_text_too() -> None:
    for one in (bar(), bar(open="10", close="11.0", volume="5")):
        frame, rejects = parse_bars(body(one))
        assert rejects == []
        row = frame.iloc[0]
        assert (row["open"], row["high"], row["close"], row["volume"]) == (10.0, 11.5, 11.0, 5.0)
        assert str(row["date"].date()) == "2026-09-29"


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"close": None}, "no close"),
        ({"close": "NA"}, "no close"),
        ({"close": "eleven"}, "'eleven' is no number"),
        ({"date": "0000-00-00"}, "no date"),
        ({"date": "29.09.2026"}, "is no date"),
    ],
)
def test_a_bar_that_says_no_price_is_a_reject_with_its_row_and_the_others_stay(cells: dict[str, Any], why: str) -> None:
    frame, rejects = parse_bars(body(bar(date="2026-09-28"), bar(**cells), bar(date="2026-09-30")))
    assert len(frame) == 2
    assert [(row, why in said) for row, said in rejects] == [(1, True)]


def test_a_missing_volume_is_no_number_and_a_warning_row_is_no_bar() -> None:
    frame, rejects = parse_bars(body(bar(volume=None), {"warning": "Data is limited by one year"}))
    assert frame["volume"].isna().tolist() == [True]
    assert rejects == []
    assert parse_bars(b"[]")[0].empty
    assert parse_bars(b"{}")[0].empty


def test_rows_of_a_day_are_judged_one_by_one_and_repetitions_count_once() -> None:
    us = bar(code="AAPL", exchange_short_name="US")
    frame, rejects = parse_bulk_bars(
        body(us, us, bar(code="AAPL", exchange_short_name="F"), bar(code="NA", exchange_short_name="US"))
    )
    assert frame["code"].tolist() == ["AAPL", "NA"]
    assert rejects == [(1, "stands twice"), (2, "another exchange than US, or no code")]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("7.000000/1.000000", Fraction(7)),
        ("1.000000/20.000000", Fraction(1, 20)),
        ("1.684140/1.000000", Fraction(84207, 50000)),
        ("112.859314/100.000000", Fraction(56429657, 50000000)),
        ("1324.000000/1000.000000", Fraction(331, 250)),
    ],
)
def test_splits_are_exact_fractions_new_over_old(said: str, found: Fraction) -> None:
    assert ratio(said) == found
    rows = parse_splits(body({"date": "2026-09-29", "split": said}))
    assert [(row.ex_date, row.ratio) for row in rows.found] == [(DAY, found)]


@pytest.mark.parametrize("said", ["0.000000/1.000000", "2", "", "a/b", "1/1"])
def test_a_split_that_is_none_is_a_reject(said: str) -> None:
    rows = parse_splits(body({"date": "2026-09-29", "split": said}))
    assert (rows.found, len(rows.rejects)) == ([], 1)


def test_dividends_of_a_symbol_are_numbers_and_of_a_day_texts() -> None:
    own = {"date": "2012-08-09", "recordDate": None, "period": "Quarterly", "value": 0.0946, "unadjustedValue": 2.6488}
    (paid,) = parse_dividends(body(own | {"currency": "USD"})).found
    assert (paid.code, paid.ex_date, amount_of(paid), paid.value) == (
        "",
        dt.date(2012, 8, 9),
        Decimal("2.6488"),
        Decimal("0.0946"),
    )
    of_day = {"code": "ABC", "exchange": "US", "date": "2026-09-29", "dividend": "0.20800", "currency": "USD",
              "recordDate": "", "period": "None", "unadjustedValue": "0.2080000000"}  # fmt: skip
    (paid,) = parse_dividends(body(of_day)).found
    assert (paid.code, amount_of(paid), paid.record_date, paid.period) == ("ABC", Decimal("0.208"), None, "")


@pytest.mark.parametrize(
    "cells", [{"value": None, "unadjustedValue": ""}, {"value": -1}, {"value": "x"}, {"date": None}]
)
def test_a_dividend_without_an_amount_or_a_date_is_a_reject(cells: dict[str, Any]) -> None:
    rows = parse_dividends(body({"date": "2026-09-29", "value": 1, "currency": "USD"} | cells))
    assert (rows.found, len(rows.rejects)) == ([], 1)


def test_lists_keep_the_tickers_that_look_like_nothing() -> None:
    nano = {"Code": "NA", "Name": "Nano", "Exchange": "NASDAQ", "Currency": "USD", "Type": "Common Stock"}
    rows = parse_list(body(nano | {"Isin": None}, {"Code": "", "Name": "x"}))
    assert rows.found == [Listed("NA", "Nano", "NASDAQ", "USD", "Common Stock", "")]
    assert rows.rejects == [(1, "no Code")]


def test_symbol_changes_come_in_the_order_of_their_dates() -> None:
    change = {
        "exchange": "US",
        "old_symbol": "CBTX",
        "new_symbol": "STEL",
        "company_name": "Stellar",
        "effective": "2022-10-03",
    }
    rows = parse_changes(
        body(change, change | {"effective": "2022-08-01", "old_symbol": "A"}, change | {"exchange": "LSE"})
    )
    assert rows.found[1] == Change("CBTX", "STEL", dt.date(2022, 10, 3), "Stellar")
    assert rows.found[0].old == "A"
    assert len(rows.rejects) == 1


def test_fundamentals_may_lack_keys_and_say_zero_shares() -> None:
    said = parse_fundamentals(
        b'{"General":{"Code":"ABC","CIK":"320193","GicSubIndustry":null},"SharesStats":{"SharesOutstanding":0}}'
    )
    assert (said.cik, said.shares, said.gics_sub_industry) == ("0000320193", None, "")
    assert parse_fundamentals(b'{"General":{"Code":"SPY","CIK":""},"ETF_Data":{}}').cik == ""
    assert parse_fundamentals(b'{"General":{"Code":"A"},"SharesStats":{"SharesOutstanding":"1400"}}').shares == 1400
    with pytest.raises(WrongAnswer):
        parse_fundamentals(b"1234")  # what a filter on a leaf gives


def test_ids_are_read_under_either_spelling() -> None:
    lower = {
        "data": [
            {"symbol": "AAPL.US", "isin": "US0378331005", "figi": "BBG000B9XRY4", "cusip": "037833100", "cik": "320193"}
        ]
    }
    upper = {
        "data": [
            {
                "Code": "AAPL",
                "Exchange": "US",
                "ISIN": "US0378331005",
                "FIGI": "BBG000B9XRY4",
                "CUSIP": "037833100",
                "CIK": 320193,
            }
        ]
    }
    expected = [Mapped("AAPL", "US0378331005", "BBG000B9XRY4", "037833100", "0000320193")]
    for answer in (lower, upper):
        assert parse_id_mapping(json.dumps(answer).encode()).found == expected


def test_the_users_answer_says_units_and_their_day() -> None:
    assert parse_user(
        b'{"apiRequests":3301,"apiRequestsDate":"2026-09-28","dailyRateLimit":100000,"extraLimit":500}'
    ) == (
        3301,
        "2026-09-28",
        100_500,
    )


@pytest.mark.parametrize("said", [None, "", "NA", "None", "0000-00-00"])
def test_nothing_is_said_in_many_ways(said: object) -> None:
    assert decimal(said) is None


def test_a_truth_is_no_number() -> None:
    with pytest.raises(Unreadable):
        decimal(True)


@pytest.mark.parametrize(
    ("code", "ticker"), [("BRK-B", "BRK.B"), ("ABC_old", "ABC"), ("ABC_old1", "ABC"), ("NA", "NA"), ("X-WS", "X-WS")]
)
def test_codes_have_tickers_behind_them(code: str, ticker: str) -> None:
    assert ticker_of(code) == ticker
