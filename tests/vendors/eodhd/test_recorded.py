"""Recorded answers of the vendor, which its terms keep out of this project: RECORDED_EODHD names their folder."""

from __future__ import annotations

import datetime as dt
import json
import os
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.landing.classify import classify
from pipeline.landing.requests import Class
from pipeline.vendors.eodhd import endpoints as ask
from pipeline.vendors.eodhd.bars import amount_of
from pipeline.vendors.eodhd.parse import (
    parse_bars,
    parse_dividends,
    parse_fundamentals,
    parse_id_mapping,
    parse_list,
    parse_splits,
)

FOLDER = os.environ.get("RECORDED_EODHD", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="RECORDED_EODHD names no folder with recorded answers")
DAY = dt.date(2026, 9, 29)


def recorded(name: str) -> bytes:
    (path,) = Path(FOLDER).glob(f"{name}*")
    return path.read_bytes()


def http(name: str) -> tuple[int, dict[str, str], bytes]:
    response = json.loads(recorded(name))["response"]
    return response["status"], {k.lower(): v for k, v in response["headers"].items()}, response["body"].encode()


def test_dividends_of_a_day() -> None:
    rows = parse_dividends(recorded("bulk_dividends__US__2026-09-29"))
    paid = {row.code: row for row in rows.found}
    assert rows.rejects == []
    assert all(row.ex_date == DAY for row in rows.found)
    assert (amount_of(paid["ABLD"]), paid["ABLD"].period, paid["ABLD"].currency) == (Decimal("0.208"), "", "USD")
    assert (amount_of(paid["ALNPF"]), amount_of(paid["ALNPY"])) == (Decimal("0.15259"), Decimal("0.00024"))
    assert paid["ABOT"].record_date is None
    assert paid["ADTTF"].record_date == dt.date(2026, 9, 30)


def test_splits_of_a_day() -> None:
    rows = parse_splits(recorded("bulk_splits__US__2026-09-29"))
    ratios = {row.code: row.ratio for row in rows.found}
    assert len(rows.found) == 15
    assert rows.rejects == []
    assert (ratios["AGRZ"], ratios["CDT"], ratios["TKOMF"]) == (Fraction(1, 20), Fraction(1, 25), Fraction(15))


def test_dividends_of_a_symbol() -> None:
    rows = parse_dividends(recorded("div__AAPL.US__2026-09"))
    assert rows.rejects == []
    first, second = rows.found[:2]
    assert (first.ex_date, amount_of(first), first.record_date) == (
        dt.date(2024, 2, 9),
        Decimal("0.24"),
        dt.date(2024, 2, 12),
    )
    assert (second.ex_date, amount_of(second)) == (dt.date(2024, 5, 10), Decimal("0.25"))


def test_bars_of_a_symbol() -> None:
    frame, rejects = parse_bars(recorded("eod__CEZ.PR__2026-09"))
    assert rejects == []
    assert frame["date"].dt.strftime("%m-%d").tolist() == ["09-22", "09-23", "09-24", "09-25", "09-29"]
    assert frame["close"].tolist() == [1363, 1350, 1350, 1349, 1342]
    assert frame["volume"].tolist() == [24761, 141557, 62462, 69503, 160995]


def test_fundamentals() -> None:
    said = parse_fundamentals(recorded("fundamentals__AAPL.US__2026-09"))
    assert (said.code, said.cik, said.isin, said.cusip) == ("AAPL", "0000320193", "US0378331005", "037833100")
    assert (said.figi, said.shares, said.updated) == ("BBG000B9XRY4", 14_594_180_000, DAY)


def test_a_symbol_list() -> None:
    rows = parse_list(recorded("exchange-symbol-list__AU__2025-10-05"))
    assert rows.rejects == []
    first = rows.found[0]
    assert (first.code, first.type, first.currency, first.isin) == ("0P00007962", "FUND", "AUD", "")
    assert next(row for row in rows.found if row.code == "0P00007GCA").isin == "AU60VAN01046"


def test_an_id_mapping() -> None:
    status, headers, body = http("id-mapping__AAPL.US__2026-07")
    assert classify(status, headers, body, ask.user()).kind is Class.OK
    (row,) = parse_id_mapping(body).found
    assert (row.code, row.isin, row.figi, row.cusip, row.cik) == (
        "AAPL", "US0378331005", "BBG000B9XRY4", "037833100", "0000320193",
    )  # fmt: skip


def test_a_refusal() -> None:
    assert classify(*http("error_401__eod"), ask.user()).kind is Class.AUTH
