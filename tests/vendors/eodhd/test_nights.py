"""What of a night's answers becomes facts, and since when: over HTTP against the fake vendor."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.landing.zone import LandingZone
from pipeline.quality.decisions import QualityDecision, append_decision
from pipeline.sources import SourceTables
from pipeline.vendors.eodhd.vendor import Eodhd
from pipeline.vendors.layers import LandedSource, landed, late_deliveries
from tests.vendors.practice import Practice, morning_after, practice, session

LAST, NEXT = session(277), session(278)  # 2022-08-08 and -09
NAMES = ("BIDE", "IBED", "CEFI", "TEXA", "DOPE", "KUPI", "TADA")
BULK = f"/eod-bulk-last-day/US?date={NEXT}&fmt=json$"
SLOWLY = [pytest.param(fault, marks=pytest.mark.slow) for fault in ("duplicate_rows", "shuffled_rows", "float_volume")]
BADLY_WRITTEN = ["string_numbers", "wrong_exchange_rows", *SLOWLY]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A landing zone with a first history, to be copied."""
    root = tmp_path_factory.mktemp("history") / "root"
    with practice(root, morning_after(LAST), fetching={"names": NAMES}) as made:
        report = made.backfill(LAST)["eodhd"]
        assert (report.failed, report.stopped) == ({}, "")
    return root


@pytest.fixture
def vendor(history: Path, tmp_path: Path) -> Iterator[Practice]:
    shutil.copytree(history, tmp_path / "root")
    with practice(tmp_path / "root", morning_after(NEXT), fetching={"names": NAMES}) as made:
        yield made


def missing(vendor: Practice, day: dt.date = NEXT) -> list[str]:
    zone = LandingZone(vendor.settings.raw_root)
    return Eodhd().missing(day, landed(vendor.settings, "eodhd", zone), vendor.settings)


def bars_of(tables: SourceTables, day: dt.date) -> pd.DataFrame:
    return tables.prices[tables.prices["date"] == pd.Timestamp(day)]


def test_a_night_asks_for_the_day_in_three_calls_and_its_bars_are_known_from_their_receipt(vendor: Practice) -> None:
    report = vendor.night(NEXT)["eodhd"]
    assert missing(vendor) == []
    assert report.units < 1100  # two of them again, since no splits and no dividends look like a quiet day
    bars = bars_of(vendor.source().load(), NEXT)
    assert len(bars) == bars["vendor_code"].nunique() > 40
    assert not bars["known_assumed"].any()
    first = bars["known_from"].min()
    assert pd.Timestamp(morning_after(NEXT).replace(tzinfo=None)) <= first <= first + pd.Timedelta(minutes=1)
    assert vendor.night(NEXT)["eodhd"].requests == 0


@pytest.mark.parametrize(
    ("fault", "argument", "why"),
    [
        ("partial_bulk", 0.6, "expected 95%"),
        ("late_etfs", ["XLE", "SPY"], "no bars of the factor ETFs SPY, XLE"),
        pytest.param("stale_day", None, "bars of 0.0%", marks=pytest.mark.slow),
        pytest.param("empty_200", None, "no bars of", marks=pytest.mark.slow),
        pytest.param("error_200", None, "no bars of", marks=pytest.mark.slow),
        pytest.param("wrong_symbol_body", '{"General":{"Code":"ZZZZ"}}', "0.0%", marks=pytest.mark.slow),
    ],
)
def test_half_a_delivery_is_no_fact_and_says_what_is_missing_and_the_next_ask_mends_it(
    vendor: Practice, fault: str, argument: object, why: str
) -> None:
    vendor.faults({"match": BULK, "fault": fault, "argument": argument})
    vendor.night(NEXT)
    said = missing(vendor)
    assert len(said) == 1
    assert why in said[0] or "no bars" in said[0]
    assert len(bars_of(vendor.source().load(), NEXT)) < 10  # tonight's turn of the histories
    vendor.clock.sleep(600)
    vendor.night(NEXT)
    assert missing(vendor) == []


def test_half_a_delivery_that_a_person_accepts_is_a_fact(vendor: Practice) -> None:
    vendor.faults({"match": BULK, "fault": "partial_bulk", "argument": 0.6, "times": -1})
    vendor.night(NEXT)
    (said,) = missing(vendor)
    assert f"erm3 quality release '*' {NEXT} --rule coverage --reason" in said
    for day, rule in ((LAST, "coverage"), (NEXT, "lost_table")):
        append_decision(
            vendor.settings.root, QualityDecision("*", str(day), "release", "2022-08-10T12:00", "a", "so", rule)
        )
        assert missing(vendor) == [said], "another session, another rule"
    append_decision(
        vendor.settings.root, QualityDecision("*", str(NEXT), "release", "2022-08-10T13:00", "a", "so", "coverage")
    )
    assert missing(vendor) == []
    source = vendor.source()
    accepted = bars_of(source.load(), NEXT)
    assert len(accepted) > 20
    assert any("because a person accepted them: bars of" in told.why for told in source.rejects["eodhd"])
    source.known_as_of = dt.datetime(2022, 8, 10, 12, 30, tzinfo=dt.UTC)
    assert len(bars_of(source.load(), NEXT)) < 10, "as it was known before the decision"


@pytest.mark.parametrize("fault", BADLY_WRITTEN)
def test_a_day_that_is_only_badly_written_gives_the_same_bars(vendor: Practice, fault: str, history: Path) -> None:
    vendor.faults({"match": BULK, "fault": fault})
    vendor.night(NEXT)
    assert missing(vendor) == []
    bars = bars_of(vendor.source().load(), NEXT).astype({"vendor_code": "str"})
    true = bars_of(vendor.vendor.market.tables, NEXT).astype({"vendor_code": "str"})
    both = bars.merge(true, on="vendor_code", suffixes=("", "_true"))
    assert len(both) == len(bars) > 40
    assert (both["close"] == both["close_true"]).all()


def test_an_empty_answer_for_a_living_symbol_leaves_the_facts_and_is_reported(vendor: Practice) -> None:
    before = vendor.source().load()
    vendor.faults({"match": "/eod/", "fault": "empty_200", "times": -1})
    report = vendor.night(NEXT)["eodhd"]
    assert report.failed
    assert all("SUSPECT_EMPTY" in why for why in report.failed.values())
    after = vendor.source().load()
    assert len(after.prices[after.prices["known_assumed"]]) == len(before.prices)


def test_a_history_between_two_different_splits_is_asked_again(vendor: Practice) -> None:
    vendor.faults({"match": "/splits/", "fault": "wrong_ratio", "times": 1})
    vendor.night(NEXT)
    splits = vendor.source().load().splits
    assert ((splits["ratio_new"] == 3) & (splits["ratio_old"] == 1)).sum() == 0
    asked = [line.path for line in vendor.vendor.log if line.path.startswith("/eod/")]
    again = [path for path in set(asked) if asked.count(path) == 2]
    had_splits = any(line.fault == "wrong_ratio" for line in vendor.vendor.log)
    assert len(again) == (1 if had_splits else 0)


def test_a_renamed_company_goes_on_and_its_old_bars_stay_under_its_old_code(vendor: Practice) -> None:
    for number in (278, 279, 280):  # BIDE is IBED from session 280 on, and the vendor says so in the morning of it
        vendor.at(morning_after(session(number)))
        vendor.night(session(number))
    tables = vendor.source().load()
    assert missing(vendor, session(280)) == []
    own = tables.prices[tables.prices["vendor_code"].isin(["BIDE", "IBED"])].drop_duplicates(["vendor_code", "date"])
    last_old = own.loc[own["vendor_code"] == "BIDE", "date"].max().date()
    first_new = own.loc[own["vendor_code"] == "IBED", "date"].min().date()
    assert (last_old, first_new) == (session(279), session(280))
    assert own["date"].is_unique
    (change,) = tables.ticker_changes.to_dict("records")
    assert (change["vendor_code"], change["old_ticker"], change["new_ticker"]) == ("IBED", "BIDE", "IBED")
    listed = tables.securities.drop_duplicates(["vendor_code", "isin"]).set_index("vendor_code")
    assert listed.loc["BIDE", "isin"] == listed.loc["IBED", "isin"]


@pytest.mark.slow
def test_a_late_split_is_known_from_its_receipt_and_volumes_stay_in_the_shares_of_their_day(vendor: Practice) -> None:
    days = [session(number) for number in range(278, 286)]  # TEXA splits 1:8 on session 283
    ex = session(283)
    vendor.vendor.control("/__late", b'{"TEXA": 2}')
    for day in days:
        vendor.at(morning_after(day))
        vendor.night(day)
    tables = vendor.source().load()
    (split,) = tables.splits[tables.splits["ex_date"] == pd.Timestamp(ex)].to_dict("records")
    assert (split["vendor_code"], split["ratio_new"], split["ratio_old"]) == ("TEXA", 1, 8)
    assert split["known_from"] > pd.Timestamp(ex) + pd.Timedelta(days=2)
    own = tables.prices[tables.prices["vendor_code"] == "TEXA"].drop_duplicates("date")
    true = vendor.vendor.market.tables.prices
    both = own.merge(true[true["vendor_code"] == "TEXA"], on="date", suffixes=("", "_true"))
    assert len(both) == len(own)
    assert ((both["volume"] - both["volume_true"]).abs() <= 1 + 1e-3 * both["volume_true"]).all()


def test_a_delivery_after_the_knowledge_instant_moves_it_to_the_receipt(vendor: Practice) -> None:
    vendor.night(NEXT)
    assert late_deliveries(vendor.settings, [np.datetime64(NEXT)]) == {}
    day = session(279)
    vendor.at(morning_after(day) + dt.timedelta(days=2))
    vendor.night(day)
    late = late_deliveries(vendor.settings, [np.datetime64(NEXT), np.datetime64(day)])
    assert list(late) == [np.datetime64(day)]
    assert late[np.datetime64(day)] >= np.datetime64(vendor.clock.now().replace(tzinfo=None)) - np.timedelta64(60, "s")


def test_what_was_landed_by_an_instant_gives_the_tables_of_that_instant(vendor: Practice) -> None:
    before = vendor.source().load()
    cut = vendor.clock.now() - dt.timedelta(seconds=1)
    vendor.night(NEXT)
    again = LandedSource(vendor.settings, known_as_of=cut).load()
    for name, frame in before.frames.items():
        pd.testing.assert_frame_equal(frame, again.frames[name])
    # And what came later has changed no row that was known before.
    known = vendor.source().load().as_known(cut)
    pd.testing.assert_frame_equal(known.splits, before.as_known(cut).splits)
    pd.testing.assert_frame_equal(known.prices, before.as_known(cut).prices)
