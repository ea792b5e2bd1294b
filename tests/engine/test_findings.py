"""Findings and decisions through the engine: about ETFs as about stocks, and about bars that the vendor rewrote."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.calendar import xnys
from pipeline.engine import execution, operations
from pipeline.engine.run import Run
from pipeline.quality.decisions import QualityDecision, append_decision
from pipeline.quality.session_rules import BatchFault
from pipeline.read import published_master
from pipeline.settings import AuditBounds, ModelParameters, Settings, SimulatedMarket
from pipeline.sources import SourceTables
from pipeline.vendors.layers import open_source
from tests.engine.published_market import Delivered

FIRST, EVENING, NEXT = "2018-06-15", "2018-07-12", "2018-07-13"
SPOILED = "2018-07-11"
MARKET = SimulatedMarket(stocks=40, first_session="2018-01-02", last_session="2018-07-31")
MODEL = ModelParameters(window=42, min_obs=21, half_life=21.0, min_peers=2)


def settings(root: Path) -> Settings:
    return Settings(root=str(root), simulated=MARKET, model=MODEL, audit=AuditBounds(recomputed_cells=0))


@pytest.fixture(scope="module")
def tables() -> SourceTables:
    """The market, with one close of SPY in another unit."""
    clean = open_source(Settings(simulated=MARKET)).load()
    return with_closes(clean, [("SPY", SPOILED, 60.0)])


def with_closes(tables: SourceTables, spoiled: list[tuple[str, str, float]]) -> SourceTables:
    prices = tables.prices.copy()
    for code, date, factor in spoiled:
        at = (prices["vendor_code"] == code) & (prices["date"] == date)
        assert at.sum() == 1
        prices.loc[at, ["open", "high", "low", "close"]] *= factor
    return replace(tables, prices=prices)


def run(root: Path, tables: SourceTables, first: str, last: str) -> None:
    execution.execute(settings(root), first, last, source=Delivered(tables))


@pytest.fixture(scope="module")
def published(once: Callable, tables: SourceTables) -> Path:
    """The market ETF's wrong close stops the run; a person withholds it, and the run goes through."""

    def make(place: Path) -> None:
        with pytest.raises(BatchFault, match="market_etf_off: SPY: no return") as stopped:
            run(place / "root", tables, FIRST, EVENING)
        (market,) = stopped.value.findings["sec_id"]
        said = QualityDecision(market, SPOILED, "confirm", f"{SPOILED}T23:00:00", "anna", "in another unit")
        append_decision(str(place / "root"), said)
        run(place / "root", tables, FIRST, EVENING)

    return once("quality-engine", make) / "root"


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "root", symlinks=True))


def findings(root: Path) -> pd.DataFrame:
    return pd.read_parquet(root / "quality_findings.parquet")


def spy_on(root: Path, day: str, variable: str = "return") -> float:
    store = xr.open_zarr(root / "ds_etf.zarr")
    value = store[variable].sel(teo=day).values[store["ticker"].values == "SPY"]
    return float(value[0])


def sec_id_of(root: Path, ticker: str) -> str:
    with published_master(str(root)) as master:
        return str(master.resolve(ticker, SPOILED))


def stocks(tables: SourceTables, count: int) -> list[str]:
    rows = tables.prices[tables.prices["date"] == "2018-07-10"]
    return [code for code in rows["vendor_code"].astype(str) if code not in {"SPY"}][:count]


def test_what_the_rules_find_about_an_etf_is_published_with_that_of_the_stocks(published):
    rows = findings(published)
    spy = rows[rows["sec_id"] == sec_id_of(published, "SPY")]
    bad = spy[spy["rule"] == "bad_print"]
    assert bad["session"].tolist() == [xnys().ordinal(SPOILED)]
    assert np.isnan(spy_on(published, SPOILED))
    assert np.isfinite(spy_on(published, EVENING))
    assert len(rows) > len(spy)  # and those about stocks are still there


@pytest.mark.slow
def test_a_decision_about_an_etf_holds_as_one_about_a_stock(root, tables):
    known = "2018-07-12T23:00:00"
    for day in (SPOILED, EVENING):  # there, and on the way back
        append_decision(str(root), QualityDecision(sec_id_of(root, "SPY"), day, "release", known, "anna", "a test"))
    operations.restate(settings(root), SPOILED, "SPY was released", np.datetime64(known), source=Delivered(tables))
    assert spy_on(root, SPOILED) == pytest.approx(59, rel=0.1)
    assert spy_on(root, EVENING) == pytest.approx(-59 / 60, rel=0.1)


def test_running_a_night_again_replaces_the_findings_of_its_own_sessions_only(root, tables):
    before = findings(root)
    run(root, tables, EVENING, EVENING)
    pd.testing.assert_frame_equal(findings(root), before)


def repeated(tables: SourceTables, day: str) -> SourceTables:
    """The delivery in which the bars of a session say what those of the session before said."""
    prices, before = tables.prices.copy(), str(xnys().sessions[xnys().ordinal(day) - 1])
    fields = ["open", "high", "low", "close", "volume"]
    at, old = prices["date"] == day, prices[prices["date"] == before].set_index("vendor_code")[fields]
    prices.loc[at, fields] = old.reindex(prices.loc[at, "vendor_code"]).to_numpy()
    return replace(tables, prices=prices)


def computes_nothing(run: Run, name: str) -> None:
    pytest.fail(f"{name} was computed")


def test_a_wrong_delivery_stops_a_run_before_anything_is_computed(root, tables, monkeypatch):
    stale = repeated(tables, NEXT)
    monkeypatch.setattr(execution, "step", computes_nothing)
    with pytest.raises(BatchFault, match="stale_session"):
        run(root, stale, NEXT, NEXT)
    monkeypatch.undo()
    for rule in ("stale_session", "unchanged_closes"):
        append_decision(
            str(root), QualityDecision("*", NEXT, "release", "2018-07-13T22:00:00", "anna", "a quiet day", rule)
        )
    for _ in range(2):  # and running the night again says it once
        run(root, stale, NEXT, NEXT)
        rows = findings(root)
        assert rows.loc[rows["rule"] == "stale_session", "session"].tolist() == [xnys().ordinal(NEXT)]


def test_a_wrong_delivery_of_the_warm_up_stops_the_first_run(tmp_path, tables, monkeypatch):
    monkeypatch.setattr(execution, "step", computes_nothing)
    with pytest.raises(BatchFault, match="stale_session"):
        run(tmp_path / "root", repeated(tables, "2018-05-15"), FIRST, FIRST)


def test_a_security_with_shifted_dates_is_named_once_whatever_store_it_is_in(root, tables):
    closed = {"2018-07-05": "2018-07-04", "2018-07-09": "2018-07-08", EVENING: "2018-07-07"}
    prices = tables.prices
    moved = prices["vendor_code"].isin([*stocks(tables, 1), "SPY"]) & prices["date"].isin(pd.to_datetime(list(closed)))
    dates = prices.loc[moved, "date"].astype(str).map(closed).astype(prices["date"].dtype)
    shifted = replace(tables, prices=pd.concat([prices, prices[moved].assign(date=dates)], ignore_index=True))
    with pytest.raises(BatchFault, match="shifted_code") as stopped:
        run(root, shifted, EVENING, EVENING)
    names = sorted(stopped.value.findings["sec_id"])
    assert len(names) == 2
    assert "SPY (" in str(stopped.value)
    for name in names:
        assert f"erm3 quality release {name} 2018-07-09 --rule shifted_code --reason" in str(stopped.value)
        decision = QualityDecision(name, "2018-07-09", "release", "2018-07-12T22:00:00", "anna", "a test")
        append_decision(str(root), decision)
    run(root, shifted, EVENING, EVENING)
    rows = findings(root)
    assert sorted(rows.loc[rows["rule"] == "shifted_code", "sec_id"]) == names


def test_a_night_after_an_unchanged_delivery_finds_no_drift(root, tables):
    run(root, tables, NEXT, NEXT)
    assert not findings(root)["rule"].isin(["drift", "rewritten_bar"]).any()


def test_many_rewritten_bars_stop_the_night_until_somebody_decides(root, tables):
    names = stocks(tables, 5)
    rewritten = with_closes(tables, [(name, "2018-07-10", 1.01) for name in names])
    with pytest.raises(BatchFault, match="drift: 5 of"):
        run(root, rewritten, NEXT, NEXT)
    assert not findings(root)["rule"].isin(["drift", "rewritten_bar"]).any()  # nothing was published
    append_decision(
        str(root), QualityDecision("*", NEXT, "release", "2018-07-13T22:00:00", "anna", "it was explained", "drift")
    )
    run(root, rewritten, NEXT, NEXT)
    rows = findings(root)
    bars = rows[rows["rule"] == "rewritten_bar"]
    assert len(bars) == 5
    assert set(bars["session"]) == {xnys().ordinal("2018-07-10")}
    assert set(bars["detected_at"]) == {xnys().ordinal(NEXT)}
    assert rows.loc[rows["rule"] == "drift", "observed"].tolist() == pytest.approx([5 / 2000], rel=0.5)
    run(root, rewritten, "2018-07-16", "2018-07-16")  # the next night compares with the delivery that was accepted


@pytest.mark.slow
def test_a_rewritten_bar_changes_nothing_that_is_published(root, tables):
    name = stocks(tables, 1)[0]
    before = xr.open_zarr(root / "ds_daily.zarr")["close"].load()
    append_decision(
        str(root), QualityDecision("*", NEXT, "release", "2018-07-13T22:00:00", "anna", "one bar only", "drift")
    )
    run(root, with_closes(tables, [(name, "2018-07-10", 1.01)]), NEXT, NEXT)
    after = xr.open_zarr(root / "ds_daily.zarr")["close"].sel(teo=before["teo"], symbol=before["symbol"])
    np.testing.assert_array_equal(before.values, after.values)
    assert (findings(root)["rule"] == "rewritten_bar").sum() == 1


def test_a_declared_restatement_publishes_what_was_rewritten_and_ends_the_drift(root, tables):
    rewritten = with_closes(tables, [(name, "2018-07-10", 1.01) for name in stocks(tables, 5)])
    operations.restate(settings(root), "2018-07-10", "the vendor rewrote closes", source=Delivered(rewritten))
    run(root, rewritten, NEXT, NEXT)
    assert not findings(root)["rule"].isin(["drift"]).any()


@pytest.mark.slow
def test_a_correction_with_its_own_instant_is_no_drift_after_a_restatement_either(root, tables):
    prices = tables.prices
    names = stocks(tables, 5)
    fixed = prices[(prices["date"] == "2018-07-10") & prices["vendor_code"].isin(names)]
    fixed = fixed.assign(known_from=np.datetime64("2018-07-12T12:00:00", "us"), known_assumed=False)
    fixed["close"] *= 1.01
    corrected = replace(tables, prices=pd.concat([prices, fixed.astype(prices.dtypes)], ignore_index=True))
    run(root, corrected, EVENING, EVENING)
    operations.restate(settings(root), "2018-07-10", "corrected closes", source=Delivered(corrected))
    run(root, corrected, NEXT, NEXT)
    assert not findings(root)["rule"].isin(["drift", "rewritten_bar"]).any()


@pytest.mark.parametrize(
    ("known", "count"), [("2018-07-01", 1), pytest.param("2018-07-13T12:00", 0, marks=pytest.mark.slow)]
)
def test_an_event_that_was_missing_when_its_session_was_published_is_said_with_what_mends_it(
    known, count, root, tables
):
    """A dividend as if it had been known in time; one that is told with its own instant is a late event."""
    name = stocks(tables, 1)[0]
    paid = tables.dividends.iloc[:1].assign(vendor_code=name, ex_date=pd.Timestamp("2018-07-10"), amount=0.5)
    told = paid.assign(known_from=pd.Timestamp(known), known_assumed=False)
    frame = pd.concat([tables.dividends, told.astype(tables.dividends.dtypes)], ignore_index=True)
    source = Delivered(replace(tables, dividends=frame))
    found = execution.execute(settings(root), NEXT, NEXT, until="ds_etf", source=source).findings
    assert found.counts.get("rewritten_event", 0) == count
    if count:
        event, command = found.loud[-2:]
        assert event.startswith(f"{name} on 2018-07-10: no event when it was published; now dividend of 0.5 USD")
        assert "erm3 restate --from 2018-07-10 --reason" in command


def test_a_corrected_close_of_the_market_says_what_was_published_wrong_and_what_mends_it(root, tables):
    """The wrong close of SPY is published; the next night the vendor tells it right."""
    outcome = execution.execute(
        settings(root), NEXT, NEXT, source=Delivered(with_closes(tables, [("SPY", SPOILED, 1 / 60)]))
    )
    first, command = outcome.findings.loud[0], outcome.findings.loud[-1]
    assert first.startswith(f"SPY on {SPOILED}: the close ")
    assert "a factor ETF" in first
    assert f"erm3 restate --from {SPOILED} --reason" in command
    assert outcome.findings.counts["rewritten_bar"] == 1


def test_an_ordinary_night_counts_its_findings_and_says_nothing_loud(root, tables):
    outcome = execution.execute(settings(root), NEXT, NEXT, source=Delivered(tables))
    assert outcome.findings.loud == ()
    assert "rewritten_bar" not in outcome.findings.counts
