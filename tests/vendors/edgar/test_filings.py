"""EDGAR: counts, covers and removals, on recorded filings (public domain, trimmed) and on made-up ones."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.vendors.edgar.counts import counts
from pipeline.vendors.edgar.cover import parse_cover
from pipeline.vendors.edgar.parse import Fact, accepted_at, parse_facts, parse_index, parse_submissions, parse_tickers
from pipeline.vendors.edgar.removal import parse_removal
from pipeline.vendors.edgar.vendor import industries

RECORDED = Path(__file__).with_name("recorded")


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


def fact(end: str, value: int, filed: str, accession: str = "", form: str = "10-Q", rank: int = 0) -> Fact:
    return Fact(rank, dt.date.fromisoformat(end), value, accession or f"a-{filed}", form, dt.date.fromisoformat(filed))


def said(facts: list[Fact], **options: object) -> list[tuple[str, int]]:
    return [(str(count.end), round(count.shares)) for count in counts(facts, {}, **options)]  # type: ignore[arg-type]


def test_an_issuers_file_has_padded_ids_names_pages_and_times() -> None:
    apple = parse_submissions(recorded("submissions_apple_2026.json"))
    assert (apple.cik, apple.sic, apple.tickers) == ("0000320193", "3571", ("AAPL",))
    assert apple.former_names[1] == ("APPLE COMPUTER INC", dt.date(1994, 1, 26), dt.date(2007, 1, 4))
    assert apple.older == ("CIK0000320193-submissions-001.json",)
    quarter = next(f for f in apple.filings if f.accession == "0000320193-26-000006")
    assert (quarter.form, quarter.filed) == ("10-Q", dt.date(2026, 1, 30))
    assert str(quarter.accepted) == "2026-01-30 11:01:32"  # 06:01:32 in New York


def test_a_count_in_thousands_is_passed_over_for_its_cover_and_comparatives_say_nothing_new() -> None:
    found = said(list(parse_facts(recorded("facts_apple_2026.json"))))
    assert found == [
        ("2013-10-18", 899_738_000),
        ("2014-01-10", 891_989_000),
        ("2014-04-11", 861_381_000),  # of the filing whose balance sheet is in thousands
        ("2014-07-11", 5_987_867_000),
        ("2014-10-10", 5_864_840_000),
        ("2019-10-18", 4_443_265_000),
        ("2020-01-17", 4_375_480_000),
        ("2020-04-17", 4_334_335_000),
        ("2020-07-17", 4_275_634_000),
        ("2020-10-16", 17_001_802_000),
    ]


def test_rows_of_one_filing_in_thousands_do_not_confirm_each_other() -> None:
    before = fact("2013-12-28", 892_447_000, "2014-01-28", rank=1)
    thousands = [fact(end, n, "2014-04-24", rank=1) for end, n in (("2013-09-28", 899_213), ("2014-03-29", 861_745))]
    after = fact("2014-06-28", 861_000_000, "2014-07-23", rank=1)
    assert said([before, *thousands, after]) == [
        ("2013-12-28", 892_447_000), ("2014-03-29", 861_745_000), ("2014-06-28", 861_000_000),
    ]  # fmt: skip


def test_a_count_that_its_filing_gives_after_a_later_split_is_put_back_into_units_of_its_day() -> None:
    def twenty_for_one(end: dt.date, filed: dt.date) -> float:
        return 20.0 if end < dt.date(2022, 7, 18) <= filed else 1.0

    rows = [
        fact("2022-03-31", 658_763_000, "2022-04-27"),
        fact("2022-06-30", 13_078_000_000, "2022-07-27"),
        fact("2022-09-30", 12_971_000_000, "2022-10-26"),
    ]
    assert said(rows, ratio=twenty_for_one) == [
        ("2022-03-31", 658_763_000), ("2022-06-30", 653_900_000), ("2022-09-30", 12_971_000_000),
    ]  # fmt: skip


def test_of_one_day_the_first_filing_counts_and_an_amendment_corrects_it_in_the_same_units() -> None:
    first = fact("2019-09-28", 4_443_236_000, "2019-10-31")
    restated = fact("2019-09-28", 17_772_945_000, "2020-10-30")
    amended = fact("2019-09-28", 4_440_000_000, "2019-12-01", form="10-K/A")
    other_units = fact("2019-09-28", 17_760_000_000, "2020-11-01", form="10-K/A")
    assert said([first, restated, amended, other_units]) == [
        ("2019-09-28", 4_443_236_000), ("2019-09-28", 4_440_000_000),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "filed", "instant"),
    [
        ("2026-01-30T06:01:32.000Z", "2026-01-30", "2026-01-30T11:01:32"),
        ("20200213071218", "2020-02-13", "2020-02-13T12:12:18"),
        ("2020-07-01T17:31:00.000Z", "2020-07-01", "2020-07-01T21:31:00"),
        ("2003-05-12T00:00:00.000Z", "2003-05-12", "2003-05-13T04:00:00"),
        ("", "1999-01-04", "1999-01-05T05:00:00"),
    ],
)
def test_acceptance_is_read_as_new_yorks_clock_and_never_early(text: str, filed: str, instant: str) -> None:
    assert accepted_at(text, dt.date.fromisoformat(filed)) == dt.datetime.fromisoformat(instant)


def test_the_classes_of_a_cover_have_their_own_counts_and_symbols() -> None:
    found = {one.symbol: one for one in parse_cover(recorded("cover_googl_2025.xml"))}
    assert {symbol: one.shares for symbol, one in found.items()} == {
        "GOOGL": Decimal(5_833_000_000),
        "GOOG": Decimal(5_497_000_000),
        "": Decimal(860_000_000),  # class B is not listed
    }
    assert {one.end for one in found.values()} == {dt.date(2025, 1, 28)}


def test_a_removal_tells_class_provision_suspension_and_terms() -> None:
    aetna = parse_removal(recorded("form25_aet_2018.txt"))
    assert aetna is not None
    assert (aetna.cik, aetna.common, aetna.reason) == ("0001122304", True, "merger")
    assert str(aetna.accepted) == "2018-11-29 18:51:26"
    assert aetna.suspended == dt.date(2018, 11, 29)
    assert (aetna.cash, aetna.ratio, aetna.successor) == (Decimal(145), Decimal("0.8378"), "CVS Health Corporation")


@pytest.mark.parametrize(
    ("description", "common"),
    [
        ("Class A Common Stock, par value $0.01", True),
        ("Ordinary Shares", True),
        ("American Depositary Shares", True),
        ("3.85% Notes due 2043", False),
        ("Warrants to purchase Common Stock", False),
        ("Depositary Shares of Preferred Stock", False),
    ],
)
def test_a_removal_is_of_one_security_and_mostly_not_of_the_stock(description: str, common: bool) -> None:
    page = recorded("form25_aet_2018.txt").decode().replace(">Common Stock<", f">{description}<")
    removal = parse_removal(page.encode())
    assert removal is not None
    assert removal.common is common


@pytest.mark.parametrize(
    ("provision", "reason"),
    [("(a)(3)", "merger"), ("(b)", "exchange_drop"), ("(c)", "voluntary"), ("(a)(1)", "unknown"), ("", "unknown")],
)
def test_the_provision_is_the_reason(provision: str, reason: str) -> None:
    page = recorded("form25_aet_2018.txt").decode().replace("240.12d2-2(a)(3)<", f"240.12d2-2{provision}<")
    removal = parse_removal(page.encode())
    assert removal is not None
    assert removal.reason == reason


def test_another_document_is_no_removal() -> None:
    assert parse_removal(b"<html>an exhibit</html>") is None


@pytest.mark.parametrize("day", ["20260130", "2026-01-30"])
def test_a_form_index_is_read_by_the_columns_of_its_head(day: str) -> None:
    page = f"""Description: Daily Index

Form Type   Company Name                  CIK         Date Filed  File Name
---------------------------------------------------------------------------
10-Q        Apple Inc.                    320193      {day:<12}edgar/data/320193/0000320193-26-000006.txt
25-NSE      SOME CO /DE/                  1122304     {day:<12}edgar/data/1122304/0000876661-26-000001.txt
"""
    rows = parse_index(page.encode())
    assert [(row.form, row.cik, row.filed) for row in rows] == [
        ("10-Q", "0000320193", dt.date(2026, 1, 30)), ("25-NSE", "0001122304", dt.date(2026, 1, 30)),
    ]  # fmt: skip


def test_tickers_of_now_have_padded_ids() -> None:
    assert parse_tickers(b'{"0":{"cik_str":320193,"ticker":"AAPL","title":"Apple Inc."}}') == {"AAPL": "0000320193"}


def test_sic_codes_map_to_industries_of_the_taxonomy() -> None:
    from pipeline.sources.shipped import taxonomy

    assert (industries()[3571], industries()[2834], industries()[6022]) == ("3310", "4120", "4820")
    assert set(industries().values()) <= set(taxonomy()["fs_industry_code"])
