"""The symbol directory: what a listed symbol is, and since when that is known."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from pipeline.landing.clock import stamp
from pipeline.landing.requests import Class, Line
from pipeline.landing.zone import LandingZone
from pipeline.settings import Settings
from pipeline.vendors.contract import BACKFILL, Landed, Need
from pipeline.vendors.fetching import fetch
from pipeline.vendors.nasdaq.directory import by_code, parse_directory, spellings
from pipeline.vendors.nasdaq.vendor import DIRECTORY, Nasdaq
from pipeline.vendors.values import Unreadable
from tests.vendors.practice import morning_after, practice, session

LISTED = b"""Symbol|Security Name|Market Category|Test Issue|Financial Status|Round Lot Size|ETF|NextShares
AAPL|Apple Inc. - Common Stock|Q|N|N|100|N|N
ACGLO|Arch Capital Group Ltd. - Depositary Shares Each Representing Preferred Share|Q|N|N|100|N|N
NA|Nano Labs Ltd - Class A Ordinary Shares|G|N|N|100|N|N
QQQ|Invesco QQQ Trust, Series 1|G|N|N|100|Y|N
ZVZZT|NASDAQ TEST STOCK|G|Y|N|100||N
File Creation Time: 1127202621:31|||||||
"""
OTHER = b"""ACT Symbol|Security Name|Exchange|CQS Symbol|ETF|Round Lot Size|Test Issue|NASDAQ Symbol
ABR$D|Arbor Realty Trust 6.375% Series D Cumulative Redeemable Preferred Stock|N|ABRpD|N|100|N|ABR-D
BRK.B|Berkshire Hathaway Inc. Class B|N|BRK.B|N|100|N|BRK.B
GOLD|Some Trust|P|GOLD||100|N|GOLD
File Creation Time: 1127202621:31||||||
"""


def test_both_files_are_read_with_flags_that_may_be_blank() -> None:
    nasdaq = {listing.symbols[0]: listing for listing in parse_directory(LISTED)}
    assert list(nasdaq) == ["AAPL", "ACGLO", "NA", "QQQ", "ZVZZT"]
    assert {name: listing.type for name, listing in nasdaq.items()} == {
        "AAPL": "", "ACGLO": "preferred", "NA": "", "QQQ": "etf", "ZVZZT": "other",
    }  # fmt: skip
    assert nasdaq["ZVZZT"].etf is None
    preferred, berkshire, gold = parse_directory(OTHER)
    assert preferred.symbols == ("ABR$D", "ABRpD", "ABR-D")
    assert (preferred.type, berkshire.type, gold.type, gold.etf) == ("preferred", "", "", None)


@pytest.mark.parametrize("body", [b"", b"<html>", LISTED.rpartition(b"File")[0], b"a|b\n1|2\n"])
def test_a_body_that_is_cut_or_something_else_is_refused(body: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_directory(body)


@pytest.mark.parametrize(
    ("symbol", "codes"),
    [("ABR$D", ["ABR-PD", "ABR-P-D"]), ("ABRpD", ["ABR-PD", "ABR-P-D"]), ("BRK.B", ["BRK-B"]), ("AAPL", ["AAPL"]),
     ("ABR-D", [])],
)  # fmt: skip
def test_symbols_have_other_spellings_as_codes_and_a_preferred_is_no_share_class(symbol: str, codes: list[str]) -> None:
    assert list(spellings(symbol)) == codes


def test_a_code_of_two_listings_is_nobodys() -> None:
    assert set(by_code(parse_directory(LISTED + b""))) == {"AAPL", "ACGLO", "NA", "QQQ", "ZVZZT"}
    twice = LISTED.replace(b"NA|Nano", b"QQQ|Nano")
    assert "QQQ" not in by_code(parse_directory(twice))


def test_the_files_of_the_fake_vendor_are_fetched_and_say_which_are_funds(tmp_path: Path) -> None:
    day = session(276)
    with practice(tmp_path, morning_after(day), sources=("eodhd", "nasdaq")) as vendor:
        done = fetch(vendor.settings, Need(BACKFILL, day, day), vendor.clock, vendor.environment, only="nasdaq")[
            "nasdaq"
        ]
        assert (done.requests, done.failed) == (2, {})
        zone = LandingZone(vendor.settings.raw_root)
        found = by_code(row for line in zone.lines() for row in parse_directory(zone.body(line)))
        funds = {code for code, listing in found.items() if listing.type == "etf"}
        assert {"SPY", "XLE"} <= funds
        assert "BIDE" in found.keys() - funds


@pytest.mark.parametrize("night", [False, True])
def test_a_fund_that_is_listed_as_common_stock_is_one_from_the_reading_on(tmp_path: Path, night: bool) -> None:
    zone, at = LandingZone(tmp_path), dt.datetime(2026, 11, 28, 9, tzinfo=dt.UTC)
    batch = "night-20261127" if night else "backfill-20260101-20261127"
    key = "nasdaq/dynamic/SymDir/nasdaqlisted.txt"
    zone.land(Line("nasdaq", DIRECTORY, key, stamp(at), stamp(at), 200, 0, "", Class.OK, 1, batch, "", ""), LISTED)
    nothing = pd.NaT
    rows = pd.DataFrame(
        [("AAPL", "common", nothing, nothing, nothing), ("QQQ", "common", nothing, nothing, nothing)],
        columns=["vendor_code", "type", "first_session", "last_session", "known_from"],
    )
    rows = rows.astype(dict.fromkeys(("first_session", "last_session", "known_from"), "datetime64[us]"))
    made = Nasdaq().tables(Landed(zone, zone.lines()), Settings(), {"securities": rows})
    found = pd.DataFrame(made.columns["securities"])
    assert set(found["vendor_code"]) == {"QQQ"}
    if night:
        assert found["type"].tolist() == ["common", "etf"]
        assert found["known_from"].tolist()[1] == pd.Timestamp("2026-11-28 09:00")
    else:
        assert found["type"].tolist() == ["etf"]
    assert "QQQ is no common stock: etf" in made.rejects[0].why
