"""Nights from end to end: fetched from the fake vendor, computed, published, and replayed from what was landed."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from pipeline.engine import night, operations
from pipeline.engine.due import NotReady
from pipeline.engine.night import GaveUp, Laid, SessionReport, lacking, nightly
from pipeline.landing.clock import SteppedClock
from pipeline.quality.decisions import QualityDecision, append_decision
from pipeline.read import open_dataset, open_family, read_manifest
from pipeline.settings import Settings
from tests.engine.published_market import Delivered
from tests.vendors.practice import Practice, market, morning_after, practice, session

FIRST_PUBLISHED, LAST = session(255), session(277)
LAYERS = {"sources": ("eodhd", "edgar"), "factor_sets": ("SPY_uni_mc_500",)}


def test_nothing_is_done_before_a_first_backfill(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="backfill the first range by hand"):
        nightly(Settings(root=str(tmp_path)), SteppedClock(morning_after(LAST)), {})


def test_prices_of_a_session_are_whole_when_they_cover_those_of_the_session_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, tables = Settings(root=str(tmp_path)), market().tables
    day = session(200)
    assert lacking(tables, day, settings) == ""
    prices = tables.prices[tables.prices["date"] != np.datetime64(day, "s")]
    assert "no prices of" in lacking(replace(tables, prices=prices), day, settings)
    today = tables.prices["date"] == np.datetime64(day, "s")
    half = tables.prices[~today | (tables.prices["vendor_code"].cat.codes % 2 == 0)]
    said = lacking(replace(tables, prices=half), day, settings)
    assert "expected 95%" in said
    listings = tables.securities.drop_duplicates("vendor_code", keep="last").set_index("vendor_code")["ticker"]
    absent = sorted(
        set(tables.prices.loc[today, "vendor_code"]) - set(half.loc[half["date"] == str(day), "vendor_code"])
    )
    assert f"without one: {', '.join(listings[absent[:3]])}" in said
    assert f"erm3 quality release '*' {day} --rule coverage" in said
    laid, delivered = Laid(settings), Delivered(replace(tables, prices=half))
    monkeypatch.setattr(night, "open_source", lambda settings, since: delivered)
    assert laid.ask(day, SessionReport(str(day))) == [said]
    append_decision(settings.root, QualityDecision("*", str(day), "release", f"{day}T23:00:00", "a", "so", "coverage"))
    assert laid.ask(day, SessionReport(str(day))) == []


@pytest.mark.slow
class TestNights:
    """A backfill, and nights on top of it."""

    @pytest.fixture(scope="class")
    @classmethod
    def published(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        root = tmp_path_factory.mktemp("published") / "root"
        with practice(root, morning_after(LAST), **LAYERS) as made:
            reports = made.backfill(LAST)
            assert not any(report.failed or report.stopped for report in reports.values())
            list(operations.backfill(made.settings, FIRST_PUBLISHED, LAST))
        return root

    @pytest.fixture
    def vendor(self, published: Path, tmp_path: Path) -> Iterator[Practice]:
        shutil.copytree(published, tmp_path / "root", symlinks=True)
        with practice(tmp_path / "root", morning_after(session(278)), **LAYERS) as made:
            yield made

    def test_a_night_publishes_what_is_due_and_a_second_one_nothing(self, vendor: Practice) -> None:
        report = nightly(vendor.settings, vendor.clock, vendor.environment)
        assert [told.session for told in report.sessions] == [str(session(278))]
        assert report.sessions[0].publication
        again = nightly(vendor.settings, vendor.clock, vendor.environment)
        assert again.sessions == []
        assert "is published" in again.words

    def test_a_weekend_and_a_night_that_is_at_work_do_nothing(self, vendor: Practice) -> None:
        with FileLock(Path(vendor.settings.raw_root) / "night.lock"):
            report = nightly(vendor.settings, vendor.clock, vendor.environment)
        assert "Another night is at work" in report.words
        nightly(vendor.settings, vendor.clock, vendor.environment)
        nightly_at = morning_after(session(278)) + dt.timedelta(hours=2)
        vendor.at(nightly_at)
        assert nightly(vendor.settings, vendor.clock, vendor.environment).sessions == []

    def test_it_waits_for_a_delivery_that_comes_in_pieces(self, vendor: Practice) -> None:
        bulk = f"/eod-bulk-last-day/US?date={session(278)}&fmt=json$"
        vendor.faults(
            {"match": bulk, "fault": "partial_bulk", "times": 2}, {"match": "/splits", "fault": "429", "argument": 3}
        )
        report = nightly(vendor.settings, vendor.clock, vendor.environment)
        assert report.sessions[0].publication
        assert report.sessions[0].waited_minutes >= 20
        assert any("do not count" in line for line in report.sessions[0].rejects)

    def test_half_a_delivery_publishes_nothing_by_the_deadline_and_says_what_is_missing(self, vendor: Practice) -> None:
        vendor.faults({"match": "/eod-bulk-last-day", "fault": "partial_bulk", "times": -1})
        with pytest.raises(GaveUp, match=r"nothing of it was published: the bars of .* are not whole: bars of"):
            nightly(vendor.settings, vendor.clock, vendor.environment)
        assert open_dataset("ds_daily", vendor.settings.root).teo.values[-1] == np.datetime64(LAST)
        assert sum(vendor.clock.slept) >= 60 * 150

    def test_half_a_delivery_that_a_person_accepts_is_published_without_asking_for_the_day_again(
        self, vendor: Practice
    ) -> None:
        day = session(278)
        vendor.faults({"match": f"/eod-bulk-last-day/US?date={day}&fmt=json$", "fault": "partial_bulk", "times": -1})
        with pytest.raises(GaveUp, match=f"without one: .*erm3 quality release '\\*' {day} --rule coverage"):
            nightly(vendor.settings, vendor.clock, vendor.environment)

        def asked() -> int:
            return sum(f"date={day}&fmt" in line.path and "type=" not in line.path for line in vendor.vendor.log)

        before = asked()
        assert before > 1
        now = vendor.clock.now().replace(tzinfo=None).isoformat()
        append_decision(vendor.settings.root, QualityDecision("*", str(day), "release", now, "a", "so", "coverage"))
        report = nightly(vendor.settings, vendor.clock, vendor.environment)
        assert (report.sessions[0].publication, asked()) == (read_manifest(vendor.settings.root)["publication"], before)
        assert any("because a person accepted them" in line for line in report.sessions[0].rejects)
        closes = open_dataset("ds_daily", vendor.settings.root)["close"].values[-2:]
        priced, before = np.isfinite(closes[1]).sum(), np.isfinite(closes[0]).sum()
        assert priced >= before, "the names that were missing were asked for one by one"

    def test_days_off_are_caught_up_without_holes_and_the_replay_of_the_landed_bytes_is_the_same_bit_for_bit(
        self, vendor: Practice, tmp_path: Path
    ) -> None:
        nightly(vendor.settings, vendor.clock, vendor.environment)
        vendor.at(morning_after(session(281)))  # two nights were missed; BIDE is IBED meanwhile
        report = nightly(vendor.settings, vendor.clock, vendor.environment)
        assert [told.session for told in report.sessions] == [str(session(k)) for k in (279, 280, 281)]
        assert [bool(told.late) for told in report.sessions] == [True, True, False]
        for told in report.sessions:
            assert told.findings is not None
            assert not {"rewritten_bar", "rewritten_event"} & set(told.findings.counts), told.session
        live = open_family(vendor.settings.root)
        daily = live.dataset("ds_daily")
        returns = daily["return"].sel(teo=slice(str(session(279)), str(session(281)))).values
        before = daily["return"].sel(teo=str(session(278))).values
        assert (np.isfinite(returns).sum(axis=1) >= np.isfinite(before).sum() - 1).all()

        offline = vendor.settings.model_copy(update={"root": str(tmp_path / "again"), "raw": vendor.settings.raw_root})
        list(operations.backfill(offline, FIRST_PUBLISHED, session(281)))
        again = open_family(offline.root)
        for name in live.stores:
            one, two = live.dataset(name), again.dataset(name)
            for variable in one.data_vars:
                a, b = one[variable].values, two[variable].values
                assert a.dtype == b.dtype
                assert a.tobytes() == b.tobytes(), (name, variable)
