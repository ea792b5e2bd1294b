"""The acceptance lines of fetching, over HTTP on the loopback; waits pass on a clock that only sleeping moves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.landing.fetcher import FetchReport, follow_up
from pipeline.landing.requests import Class, FetchError, NotLanded
from pipeline.landing.zone import LandingZone
from pipeline.settings import Settings
from pipeline.vendors.eodhd import endpoints as ask
from pipeline.vendors.fetching import ledger_of
from pipeline.vendors.layers import open_vendor
from tests.vendors.practice import TOKEN, Practice, morning_after, practice, session

LAST = session(276)
BARS = ask.of_symbol(ask.EOD, "BIDE", LAST - dt.timedelta(days=10), LAST)


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Practice]:
    with practice(tmp_path / "root", morning_after(LAST)) as made:
        yield made


def asked(vendor: Practice, match: str = "") -> list[int]:
    return [line.status for line in vendor.vendor.log if match in line.path]


def test_retry_after_is_waited_for_and_one_retry_is_enough(vendor: Practice) -> None:
    vendor.faults({"match": "/eod/BIDE", "fault": "429", "argument": 2})
    line = vendor.ask(BARS)
    assert (line.answer, line.attempt, asked(vendor)) == (Class.OK, 2, [429, 200])
    assert sum(vendor.clock.slept) >= 2


def test_three_bad_gateways_and_an_answer_are_four_attempts_that_cost_one_unit(vendor: Practice) -> None:
    vendor.faults({"match": "/eod/BIDE", "fault": "502", "times": 3})
    fetcher, report = vendor.fetcher(), FetchReport()
    assert fetcher.get(BARS, report).attempt == 4
    assert (report.attempts, report.units, report.failed) == (4, 1, {})
    assert vendor.clock.slept == [0.5, 1.0, 2.0]  # by half a chance: 0.5 * U(0, 2^k)
    assert fetcher.ledger.used("eodhd", vendor.clock.now()) == 1


@pytest.mark.parametrize(
    "fault", ["close_mid_body", "truncate_json", "gzip_corrupt", "html_200", "content_length_wrong", "500"]
)
def test_what_is_cut_or_garbled_on_the_way_is_asked_again(vendor: Practice, fault: str) -> None:
    vendor.faults({"match": "/eod/BIDE", "fault": fault})
    line = vendor.ask(BARS)
    assert (line.answer, line.attempt) == (Class.OK, 2)
    lines = LandingZone(vendor.settings.raw_root).lines()
    assert lines[0].answer in (Class.CORRUPT, Class.UNAVAILABLE)


@pytest.mark.parametrize(
    ("fault", "kind"), [("empty_200", "SUSPECT_EMPTY"), ("error_200", "ERROR_IN_200"), ("warning_field", "PARTIAL")]
)
def test_an_answer_that_is_no_fact_is_kept_named_and_not_asked_again_at_once(
    vendor: Practice, fault: str, kind: str
) -> None:
    vendor.faults({"match": "/eod/BIDE", "fault": fault})
    report = FetchReport()
    line = vendor.ask(BARS, report)
    assert (line.answer.value, line.attempt) == (kind, 1)
    assert kind in report.failed[BARS.key]
    assert LandingZone(vendor.settings.raw_root).body(line)


def test_a_vendor_that_is_down_is_left_alone_after_twenty_failures_in_a_row(vendor: Practice) -> None:
    vendor.faults({"match": "/", "fault": "503", "times": -1})
    codes = ["BIDE", "CEFI", "KUPI", "TADA", "TEXA", "ROVO"]
    bundles = [[ask.of_symbol(ask.EOD, code, LAST, LAST)] for code in codes]
    report = vendor.fetcher(workers=1).fetch(bundles)
    assert "20 times in a row" in report.stopped
    assert len(asked(vendor)) == 20


def test_a_refused_key_stops_the_run_and_is_named_nowhere(vendor: Practice, tmp_path: Path) -> None:
    vendor.vendor.token = "another"
    report = vendor.fetcher(workers=1).fetch([[BARS], [ask.symbol_list(ask.ACTIVE)]])
    assert "refuses the key" in report.stopped
    assert len(asked(vendor)) == 1
    assert TOKEN not in report.stopped


def test_an_answer_that_repeats_the_key_is_not_kept(vendor: Practice, tmp_path: Path) -> None:
    vendor.faults({"match": "/eod/BIDE", "fault": "echo_secret", "times": -1, "argument": TOKEN})
    line = vendor.ask(BARS)
    assert (line.answer, line.object) == (Class.CORRUPT, "")
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_an_endpoint_that_the_plan_does_not_have_is_not_asked_twice(vendor: Practice) -> None:
    vendor.faults({"match": "/fundamentals", "fault": "403", "times": -1})
    assert vendor.ask(ask.fundamentals("BIDE")).answer is Class.PLAN
    assert vendor.fetcher().done(ask.fundamentals("BIDE")) is not None
    assert vendor.fetcher(batch="night-20220808").done(ask.fundamentals("BIDE")) is None


def test_offline_serves_what_was_landed_and_asks_nobody(vendor: Practice) -> None:
    landed = vendor.ask(BARS)
    before = len(vendor.vendor.log)
    offline = vendor.fetcher(batch="another", offline=True)
    assert offline.get(BARS).sha256 == landed.sha256
    with pytest.raises(NotLanded, match=r"splits/BIDE.* was never landed"):
        offline.get(ask.of_symbol(ask.SPLITS, "BIDE", LAST, LAST))
    assert len(vendor.vendor.log) == before


def test_a_shape_that_no_answer_had_before_is_reported(vendor: Practice) -> None:
    fetcher = vendor.fetcher()
    assert fetcher.fetch([[BARS]]).new_shapes == []
    vendor.faults({"match": "/eod/CEFI", "fault": "shape_changed"})
    other = ask.of_symbol(ask.EOD, "CEFI", LAST - dt.timedelta(days=10), LAST)
    assert vendor.fetcher().fetch([[other]]).new_shapes == [f"eod: []/isin_code:text ({other.key})"]


def test_a_failure_that_fails_otherwise_the_next_time_is_told_as_well() -> None:
    failed = {"bars": "QUOTA: spent", "list": "UNAVAILABLE: status 503", "splits": "PLAN: no"}
    retried = {"bars": "THROTTLED"}
    after = FetchReport(failed={"bars": "SUSPECT_EMPTY: rows were expected"}, settled={"list"})
    follow_up(failed, retried, after)
    assert failed == {"bars": "SUSPECT_EMPTY: rows were expected", "splits": "PLAN: no"}
    assert retried == {"bars": "THROTTLED; QUOTA: spent", "list": "UNAVAILABLE: status 503"}


def test_the_vendors_own_limit_of_a_day_holds_where_it_is_smaller(vendor: Practice) -> None:
    vendor.vendor.units_a_day = 20  # a free key
    report = vendor.backfill(LAST)["eodhd"]
    assert "of 19 units of" in report.stopped  # 5 % are kept for the night
    assert report.resumable
    assert 402 not in asked(vendor)


def test_without_a_key_or_a_contact_nothing_is_asked(vendor: Practice) -> None:
    with pytest.raises(FetchError, match="ERM3_EODHD_TOKEN"):
        open_vendor("eodhd").access(vendor.settings, {})
    with pytest.raises(FetchError, match=r"fetching\.contact"):
        open_vendor("edgar").access(Settings(source="edgar"), {})


def test_sources_that_are_fetched_have_a_delay_that_covers_their_delivery() -> None:
    assert Settings(source="eodhd").rules.vendor_delay_minutes == 990
    assert Settings(sources=("eodhd", "edgar")).rules.vendor_delay_minutes == 990
    assert Settings(source="eodhd", rules={"vendor_delay_minutes": 60}).rules.vendor_delay_minutes == 60
    assert Settings(source="files", source_path="x").rules.vendor_delay_minutes == 15


@pytest.mark.parametrize(
    ("sources", "why"), [(("eodhd", "bloomfield"), "is not known"), (("files", "edgar"), "stands alone")]
)
def test_layers_that_cannot_be_are_refused(sources: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Settings(sources=sources, source_path="x")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    """A vendor whose day has few units, and four stocks to ask for beside the factor ETFs."""
    names = ("BIDE", "CEFI", "TEXA", "DOPE")
    root = tmp_path_factory.mktemp("backfill") / "root"
    with practice(root, morning_after(LAST), fetching={"names": names, "units": {"eodhd": 190}}) as made:
        yield made


class TestBackfill:
    """A first history."""

    def test_it_stops_at_the_quota_and_goes_on_after_midnight_gmt_without_asking_twice(self, small: Practice) -> None:
        first = small.backfill(LAST)["eodhd"]
        assert first.resumable
        assert "units of" in first.stopped
        done = {line.path for line in small.vendor.log}
        small.at(morning_after(LAST) + dt.timedelta(days=1))
        second = small.backfill(LAST)["eodhd"]
        assert second.stopped == ""
        assert second.failed == {}
        again = [line.path for line in small.vendor.log if "/splits/" not in line.path and "user" not in line.path]
        assert len(again) == len(set(again))
        assert done
        third = small.backfill(LAST)["eodhd"]
        assert third.requests == 0

    def test_the_vendor_is_asked_once_a_day_what_was_spent_by_all_machines(self, small: Practice) -> None:
        asked = [line for line in small.vendor.log if line.path.startswith("/internal-user")]
        assert len(asked) == 2
        today = small.clock.now().date().isoformat()
        small.vendor.used[today] += 40  # another machine
        small.at(small.clock.now() + dt.timedelta(days=1))
        small.vendor.used[small.clock.now().date().isoformat()] = 41
        small.backfill(LAST)
        assert ledger_of(small.settings).used("eodhd", small.clock.now()) == 41

    def test_its_rows_are_the_markets_own(self, small: Practice) -> None:
        tables, true = small.source().load(), small.vendor.market.tables
        merged = tables.prices.astype({"vendor_code": "str"}).merge(
            true.prices.astype({"vendor_code": "str"}), on=["vendor_code", "date"], suffixes=("", "_true")
        )
        assert len(merged) == len(tables.prices) > 10_000
        assert (merged["close"] == merged["close_true"]).all()
        assert ((merged["volume"] - merged["volume_true"]).abs() <= 1 + 1e-3 * merged["volume_true"]).all()
        splits = tables.splits.merge(true.splits, on=["vendor_code", "ex_date", "ratio_new", "ratio_old"])
        assert len(splits) == len(tables.splits) == 2  # CEFI 7:1, TEXA 1:10
        paid = tables.dividends.merge(true.dividends, on=["vendor_code", "ex_date"], suffixes=("", "_true"))
        assert len(paid) == len(tables.dividends)
        assert ((paid["amount"] - paid["amount_true"]).abs() < 1e-4).all()
        assert tables.prices["known_assumed"].all()

    def test_neither_key_nor_contact_is_in_any_file_below_the_root(self, small: Practice) -> None:
        for path in Path(small.settings.root).rglob("*"):
            data = path.read_bytes() if path.is_file() else b""
            assert TOKEN.encode() not in data
            assert b"practice@example.com" not in data
