"""Wrong deliveries of one night, planted into a market that is published through the evening before."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import security_master
from pipeline.engine import execution
from pipeline.engine.decide import decide
from pipeline.engine.rewritten import REWRITTEN
from pipeline.engine.step_findings import LOUD, keep_findings, told
from pipeline.engine.verify import verify
from pipeline.quality.decisions import QualityDecision, append_decision
from pipeline.quality.findings import findings_frame
from pipeline.quality.session_rules import BatchFault
from pipeline.read import open_dataset, published_master, read_manifest
from pipeline.sources import SourceTables
from tests.engine.conftest import EVE, NIGHT, STAGED_RUN
from tests.engine.published_market import Delivered, known_at, settings_for

CLOSES = ["open", "high", "low", "close"]


def code_of(tables: SourceTables, ticker: str) -> str:
    rows = tables.securities
    return str(rows.loc[rows["ticker"] == ticker, "vendor_code"].iloc[0])


def tonight(tables: SourceTables, factors: dict[str, float]) -> Delivered:
    """The delivery of the night with prices of some tickers in another unit; "*" for all stocks and ETFs."""
    delivered = known_at(tables, NIGHT).load()
    prices = delivered.prices.copy()
    for ticker, factor in factors.items():
        at = prices["date"] == NIGHT
        if ticker != "*":
            at &= prices["vendor_code"] == code_of(tables, ticker)
        assert at.any()
        prices.loc[at, CLOSES] *= factor
    return Delivered(replace(delivered, prices=prices))


def accept(root: Path, rule: str) -> None:
    append_decision(str(root), QualityDecision("*", NIGHT, "release", f"{NIGHT}T23:00:00", "anna", "as it is", rule))


def etf_return(root: Path, ticker: str) -> float:
    with open_dataset("ds_etf", root) as etf:
        return float(etf["return"].sel(teo=NIGHT).values[etf["ticker"].values == ticker][0])


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_a_market_etf_in_another_unit_stops_the_night_with_its_figures(tables, eve, factor):
    with pytest.raises(BatchFault) as stopped:
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=tonight(tables, {"SPY": factor}))
    said = str(stopped.value)
    assert "market_etf_off: SPY: " in said
    assert "stocks" in said
    assert "--rule market_etf_off" in said
    assert re.search(r"Or withhold its price: erm3 quality confirm S\w+ SESSION", said)
    assert read_manifest(eve)["complete_through"] == EVE


@pytest.mark.slow
def test_a_person_can_say_that_the_market_etf_is_right(tables, eve):
    with published_master(str(eve)) as master:
        spy = str(master.resolve("SPY", EVE))
    said = QualityDecision(spy, NIGHT, "release", f"{NIGHT}T23:00:00", "anna", "it is right", "market_etf_off")
    append_decision(str(eve), said)
    execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=tonight(tables, {"SPY": 1.1}))
    assert etf_return(eve, "SPY") == pytest.approx(0.1, abs=0.05)


def test_a_market_etf_whose_price_another_rule_holds_back_stops_the_night_too(tables, eve):
    """Without its return no stock is explained: the run says so, and does not end in a check of empty stores."""
    with pytest.raises(BatchFault, match=r"market_etf_off: SPY: no return, and no stock could be explained by it"):
        execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=tonight(tables, {"SPY": 10.0}))
    assert read_manifest(eve)["complete_through"] == EVE


AFTER = "2019-01-15"


def still_wrong(tables: SourceTables, night: str, factors: dict[str, float]) -> Delivered:
    """The delivery of a later night, in which what was wrong at NIGHT is still so."""
    now, prices = known_at(tables, night).load(), tonight(tables, factors).load().prices
    later = now.prices[now.prices["date"] > NIGHT]
    codes = now.prices["vendor_code"].cat.categories
    rows = pd.concat([part.assign(vendor_code=part["vendor_code"].astype("str")) for part in (prices, later)])
    rows = rows.sort_values(["vendor_code", "date", "known_from"], kind="stable", ignore_index=True)
    return Delivered(replace(now, prices=rows.assign(vendor_code=pd.Categorical(rows["vendor_code"], codes))))


@pytest.mark.slow
@pytest.mark.parametrize(("who", "factor"), [("SPY", 1.1), ("SPY", 10.0), ("*", 1.1)])
def test_prices_that_a_person_withheld_leave_the_session_empty_and_the_next_one_spans_both(tables, eve, who, factor):
    """The decision is made after the night has stopped; the night, the next one and `erm3 verify` go through."""
    decide(str(eve), "confirm", who, NIGHT, "anna", "it is wrong", datetime.fromisoformat(f"{NIGHT}T23:00:00"))
    told = execution.execute(settings_for(eve), NIGHT, NIGHT, source=tonight(tables, {"SPY": factor})).findings
    assert any("SPY: no return, and no stock could be explained by it" in line for line in told.loud)
    assert np.isnan(etf_return(eve, "SPY"))
    assert np.isnan(etf_return(eve, "XLK")) == (who == "*")
    name = "ds_erm3_returns_SPY_uni_mc_3000"
    with open_dataset("ds_daily", eve) as daily, open_dataset(name, eve) as returns:
        assert np.isfinite(daily["return"].sel(teo=NIGHT)).any() == (who == "SPY")
        assert not np.isfinite(returns["residual_return"].sel(teo=NIGHT)).any()
    assert all(check.passed for check in verify(settings_for(eve), NIGHT, NIGHT))
    execution.execute(settings_for(eve), AFTER, AFTER, source=still_wrong(tables, AFTER, {"SPY": factor}))
    with open_dataset("ds_etf", eve) as etf, open_dataset(name, eve) as returns:
        spy = etf.isel(symbol=int(np.flatnonzero(etf["ticker"].values == "SPY")[0]))
        closes = spy["close"].sel(teo=[EVE, NIGHT, AFTER]).values
        assert np.isnan(closes[1]) or factor == 10.0, "what a rule holds back keeps its close"
        assert spy["return"].sel(teo=AFTER) == pytest.approx(closes[2] / closes[0] - 1, abs=1e-6)
        assert np.isfinite(returns["residual_return"].sel(teo=AFTER)).any()


def test_another_etf_in_another_unit_is_withheld_loudly_and_the_night_goes_on(tables, eve):
    told = execution.execute(settings_for(eve), NIGHT, NIGHT, source=tonight(tables, {"XLK": 1.1})).findings
    assert np.isnan(etf_return(eve, "XLK"))
    assert np.isfinite(etf_return(eve, "SPY"))
    assert any("XLK: +" in line and "etf_off_market" in line for line in told.loud)
    rows = pd.read_parquet(eve / "quality_findings.parquet")
    assert (rows["rule"] == "etf_off_market").sum() == 1


@pytest.mark.slow
def test_closes_that_all_move_far_and_apart_are_heard_of_and_stop_nothing(tables, eve):
    stocks = tables.securities.loc[tables.securities["type"] == "common", "ticker"].unique()
    factors = {ticker: 1.1 if k % 2 else 0.9 for k, ticker in enumerate(stocks)}
    delivered = known_at(tables, NIGHT).load()
    traded = set(delivered.prices.loc[delivered.prices["date"] == NIGHT, "vendor_code"].astype(str))
    factors = {ticker: factor for ticker, factor in factors.items() if code_of(tables, ticker) in traded}
    told = execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=tonight(tables, factors)).findings
    assert any(line.startswith(f"{NIGHT}: ") and line.endswith("(median_move)") for line in told.loud), told.loud


def test_what_stops_nothing_and_must_be_heard_of_is_a_sentence_each(staged):
    run = execution.attach(settings_for(staged), STAGED_RUN)
    day = run.calendar.sessions[run.first]
    rules = [rule for rule in LOUD if rule not in (*REWRITTEN, "rewritten_year")]
    found = [
        findings_frame(
            sec_id="",
            session=run.first,
            rule=rule,
            observed=1,
            expected=0,
            evidence=f"of {rule}",
            detected_at=run.first,
            index=[0],
        )
        for rule in rules
    ]
    keep_findings(run, "ds_etf", found)
    lines = told(run).loud
    run.stage.detach()
    assert [f"{day}: of {rule} ({rule})" in lines for rule in rules] == [True] * len(rules)
    assert {"zero_returns", "median_move", "market_correlation"} <= set(rules)


def test_a_factor_etf_that_is_not_there_tonight_is_named_with_what_it_costs_and_what_mends_it(tables, eve):
    delivered = known_at(tables, NIGHT).load()
    lost = (delivered.prices["date"] == NIGHT) & (delivered.prices["vendor_code"] == code_of(tables, "XLK"))
    source = Delivered(replace(delivered, prices=delivered.prices[~lost].reset_index(drop=True)))
    told = execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=source).findings
    (said,) = told.loud
    assert said.startswith(
        f"{NIGHT}: XLK: no price, and one the session before; what is hedged with it has no residual"
    )
    assert f"erm3 restate --from {NIGHT} (missing_etf)" in said
    rows = pd.read_parquet(eve / "quality_findings.parquet")
    assert (rows["rule"] == "missing_etf").sum() == 1


def test_all_prices_in_another_unit_stop_the_night(tables, eve):
    with pytest.raises(BatchFault, match="moved_as_one"):
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=tonight(tables, {"*": 1.2}))


def test_the_night_as_it_was_passes(tables, eve):
    told = execution.execute(settings_for(eve), NIGHT, NIGHT, source=tonight(tables, {})).findings
    assert not {"etf_off_market", "market_etf_off"} & set(told.counts)


def test_a_coverage_that_falls_names_the_stocks_that_left_it_and_why(tables, eve):
    """The taxonomy of the night names an ETF that nobody delivers for all industries that stocks are in."""
    taxonomy = pd.read_csv(Path(security_master.__file__).parent / "data" / "taxonomy.csv", dtype=str, comment="#")
    delivered = known_at(tables, NIGHT).load()
    columns = list(delivered.taxonomy.columns)
    kept = taxonomy[columns].fillna("").astype("str")
    used = kept["fs_industry_code"].isin(delivered.classification["fs_industry_code"]) & (kept["sector_etf"] != "XLK")
    kept.loc[used, "sector_etf"] = "PAVE"
    with pytest.raises(execution.AuditFailed) as failed:
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=Delivered(replace(delivered, taxonomy=kept)))
    (check,) = failed.value.checks
    assert check.name == "coverage_holds"
    assert f"on {NIGHT} " in check.explanation
    assert "stocks left sector: " in check.explanation
    with open_dataset("ds_daily", eve) as daily:
        tickers = set(daily["ticker"].values)
    assert {cell["ticker"] for cell in check.worst} <= tickers
    assert all(cell["level"] in ("sector", "subsector") for cell in check.worst)
    assert any("is mapped to none and no more to XLV" in cell["why"] for cell in check.worst)
    assert f"ticker {check.worst[0]['ticker']}, why its industry" in str(failed.value)


def rewritten(tables: SourceTables, what: str) -> Delivered:
    """The delivery of the night with a table that was rewritten, or with a tenth of the stocks unpriced."""
    delivered = known_at(tables, NIGHT).load()
    if what == "unpriced":
        codes = delivered.securities.loc[delivered.securities["type"] == "common", "vendor_code"].iloc[:7]
        gone = delivered.prices["vendor_code"].isin(codes) & (delivered.prices["date"] == NIGHT)
        return Delivered(replace(delivered, prices=delivered.prices[~gone].reset_index(drop=True)))
    if what == "classes":
        classes = delivered.classification.copy()
        column = next(name for name in classes if "industry" in name)
        classes[column] = classes[column].iloc[0]
        return Delivered(replace(delivered, classification=classes))
    shares = delivered.shares.copy()
    shares["shares"] = shares["shares"] / 1000
    return Delivered(replace(delivered, shares=shares))


@pytest.mark.parametrize(
    ("what", "rule"),
    [("unpriced", "missing_members"), ("classes", "classes_rewritten"), ("counts", "counts_rewritten")],
)
def test_what_changed_for_many_stocks_overnight_stops_the_night(tables, eve, what, rule):
    with pytest.raises(BatchFault, match=f"{rule}: .* of .* members") as stopped:
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=rewritten(tables, what))
    assert f"erm3 quality release '*' {NIGHT} --rule {rule} --reason" in str(stopped.value)
    assert read_manifest(eve)["complete_through"] == EVE


def with_other_tickers(tables: SourceTables, shift: int, count: int = 2) -> Delivered:
    """The delivery of the night in which the first stocks have the ticker of the one `shift` rows further on."""
    delivered = known_at(tables, NIGHT).load()
    rows = delivered.securities.copy()
    trading = delivered.prices.loc[delivered.prices["date"] == NIGHT, "vendor_code"].astype(str)
    some = rows.index[(rows["type"] == "common") & rows["vendor_code"].isin(trading)][:count]
    rows.loc[some, "ticker"] = np.roll(rows.loc[some, "ticker"], -shift)
    return Delivered(replace(delivered, securities=rows))


def test_two_tickers_exchanged_stop_the_night_by_name_until_accepted(tables, eve):
    with pytest.raises(BatchFault, match="tickers_rewritten: securities: 2 of") as stopped:
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=with_other_tickers(tables, 1))
    said = str(stopped.value)
    assert said.count(" is now ") == 2
    assert f"erm3 quality release '*' {NIGHT} --rule tickers_rewritten --reason" in said
    assert read_manifest(eve)["complete_through"] == EVE
    accept(eve, "tickers_rewritten")
    execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=with_other_tickers(tables, 1))


def with_older_closes(tables: SourceTables, share: float, factor: float, first: str) -> Delivered:
    """The delivery of the night with the closes of a part of the stocks, `first` to 2018-10, in another unit."""
    delivered = known_at(tables, NIGHT).load()
    codes = delivered.securities["vendor_code"].drop_duplicates()
    prices = delivered.prices.copy()
    old = prices["date"].between(first, "2018-10-31")
    old &= prices["vendor_code"].isin(codes.iloc[: int(np.ceil(share * len(codes)))])
    prices.loc[old, CLOSES] *= factor
    return Delivered(replace(delivered, prices=prices))


def test_a_fifth_of_last_year_s_closes_in_another_unit_stops_the_night_by_name(tables, eve):
    with pytest.raises(BatchFault, match=r"rewritten_years: closes of .* in 2018 are others") as stopped:
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=with_older_closes(tables, 0.2, 1.5, "2018-01-01"))
    assert f"erm3 quality release '*' {NIGHT} --rule rewritten_years --reason" in str(stopped.value)
    assert read_manifest(eve)["complete_through"] == EVE


def test_an_older_close_that_a_vendor_corrected_is_told_once_and_stops_nothing(tables, eve):
    one = with_older_closes(tables, 0.01, 1.001, "2018-10-31")
    told = execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=one).findings
    assert told.counts["rewritten_year"] == 1
    assert any("closes of 1 of " in line and "in 2018 are others" in line for line in told.loud)
    years = pd.read_parquet(eve / "delivered_years.parquet")
    assert set(years["year"]) == {2018}, "the last 30 sessions are compared bar by bar"
