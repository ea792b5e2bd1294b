"""The worst nights, walked on Dagster's page in a real browser: the cause is named, accepted or mended, and published.

Each walk is one night: what a person of the data team reads, opens, fills in and presses. Nothing is done elsewhere
but by the vendor, who delivers again.

pytest -m browser tests/assets/test_worst_night.py     # screenshots are left in the test's directory
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.calendar import xnys
from pipeline.quality.decisions import recorded_decisions
from pipeline.read import history, open_dataset, published_master, read_manifest
from pipeline.sources import SourceTables
from tests.assets.browser import Browser
from tests.assets.deliveries_of_a_night import lay, spoil, times, with_another_map, without
from tests.assets.served import Server
from tests.engine.published_market import FACTOR_SET

pytestmark = pytest.mark.browser

STOCK = "CAKEA"
FORM = "//a[contains(@href, '/jobs/{job}/playground/setup')][contains(@href, '{about}')]"


@pytest.fixture
def night(server: Server) -> str:
    """The session that is due."""
    calendar = xnys()
    return str(calendar.sessions[calendar.ordinal(read_manifest(server.root)["complete_through"]) + 1])


def failed_night(server: Server, page: Browser, night: str, *says: str) -> str:
    """A night that fails, and what the page of its run says of it."""
    run = server.start_a_night(night)
    assert server.wait_for_the_end(run) == "FAILURE"
    assert read_manifest(server.root)["complete_through"] < night
    page.resize()
    page.open(f"{server.address}/runs/{run}?logs=type%3ASTEP_FAILURE")
    for said in says:
        page.wait_for(said)
    assert "Stack Trace" not in page.text
    return run


def fill_in(page: Browser, job: str, about: str, **answers: str) -> None:
    """Opens the form that the page offers, fills in what it leaves open, and launches it."""
    page.open(page.script("return document.evaluate(arguments[0], document, null, 9, null).singleNodeValue.href",
                          FORM.format(job=job, about=about)))  # fmt: skip
    page.wait_for("Launch Run")
    page.find("//pre[contains(@class, 'CodeMirror-line')]")
    for name, text in answers.items():
        page.fill(name, text)
    page.picture(f"form_{job}_{about}")
    launch(page)
    page.wait_for("RUN_SUCCESS", 180)
    page.picture(f"launched_{job}_{about}")


def launch(page: Browser) -> None:
    """Launches the form, once the page has checked it: until then its button does nothing."""
    page.wait_for("No errors")
    page.click("//button[not(@disabled)][normalize-space(.)='Launch Run']")


def again(server: Server, page: Browser, run: str, night: str) -> None:
    """Re-executes the failed night from its page; it publishes."""
    before = {one["runId"] for one in server.runs()}
    page.open(f"{server.address}/runs/{run}")
    page.click("//button[contains(., 'Re-execute all')]")
    page.wait_for("Re-executions")
    (new,) = {one["runId"] for one in server.runs()} - before
    assert server.wait_for_the_end(new) == "SUCCESS"
    assert read_manifest(server.root)["complete_through"] == night


def stocks_of(tables: SourceTables, night: str) -> list[str]:
    """Tickers of stocks with a bar on a night."""
    traded = tables.prices.loc[tables.prices["date"] == night, "vendor_code"]
    rows = tables.securities[tables.securities["vendor_code"].isin(traded) & (tables.securities["type"] != "etf")]
    return sorted(rows["ticker"].unique())


def close_of(root: Path, ticker: str, session: str) -> float:
    with published_master(str(root)) as master, open_dataset("ds_daily", root) as daily:
        return float(daily["close"].sel(symbol=master.resolve(ticker, session), teo=session))


def test_a_partial_delivery_is_named_by_ticker_accepted_with_a_form_and_published(server, page, market, night):
    stocks = stocks_of(market, night)
    lay(without(market, night, *stocks[: len(stocks) // 2]), server.delivered)
    run = failed_night(server, page, night, f"{night} coverage: ", "without one: ", f"accept coverage of {night}")
    page.picture("partial_delivery")
    fill_in(page, "decide", "coverage", by="anna", reason="half a day, as announced")
    assert f"{night} is not published: open the run that failed, and re-execute all of it" in page.text
    kept = recorded_decisions(str(server.root))[-1]
    assert (kept.by, kept.reason, kept.rule) == ("anna", "half a day, as announced", "coverage")
    again(server, page, run, night)
    page.open(f"{server.address}/assets/publication?view=partitions&partition={night}")
    page.wait_for("complete through")
    page.picture("partial_delivery_published")


def test_an_unreadable_cell_is_named_by_row_and_what_stands_in_it_and_mended_by_the_vendor(server, page, market, night):
    lay(market, server.delivered)
    row = spoil(server.delivered, night, STOCK, market, "12.3O")
    run = failed_night(server, page, night, f"prices.csv, row {row}, column 'close': found '12.3O', expected a number")
    page.picture("unreadable_cell")
    lay(market, server.delivered)
    again(server, page, run, night)


def test_a_bad_cell_is_withheld_named_decided_with_a_form_and_restated(server, page, market, night):
    lay(times(market, night, STOCK, 10.0), server.delivered)
    run = server.start_a_night(night)
    assert server.wait_for_the_end(run) == "SUCCESS"
    page.resize(height=2000)
    page.open(f"{server.address}/assets/quality?view=partitions&partition={night}")
    for said in ("waiting for a decision", f"release {STOCK} of {night}"):
        page.wait_for(said)
    row = next(line for line in page.text.splitlines() if line.startswith(STOCK) and night in line)
    assert re.search("missing_split|bad_print", row)
    page.picture("bad_cell")
    fill_in(page, "decide", night, by="anna", reason="a reverse split of 1:10")
    assert f"{night} is published, and changes only by the job restate" in page.text
    fill_in(page, "restate", night)
    assert history(server.root)["kind"].iloc[-1] == "restatement"
    with published_master(str(server.root)) as master, open_dataset("ds_daily", server.root) as daily:
        value = daily["return"].sel(symbol=master.resolve(STOCK, night), teo=night).item()
    assert value == pytest.approx(9.0, rel=0.5)


def test_a_lost_market_etf_stops_the_night_and_another_one_is_named_with_what_it_costs(server, page, market, night):
    lay(without(market, night, "SPY"), server.delivered)
    run = failed_night(server, page, night, f"no price of SPY on 1 of the 1 sessions, from {night}", "run again")
    page.picture("lost_market_etf")
    lay(without(market, night, "XLK"), server.delivered)
    again(server, page, run, night)
    page.resize(height=1600)
    page.open(f"{server.address}/assets/publication?view=partitions&partition={night}")
    page.wait_for("look at this")
    page.wait_for(f"{night}: XLK: no price, and one the session before; what is hedged with it has no residual return")
    page.picture("lost_etf")
    lay(market, server.delivered)
    fill_in(page, "restate", night, reason="XLK came late")
    with open_dataset("ds_etf", server.root) as etf:
        assert np.isfinite(etf["close"].sel(teo=night).values[etf["ticker"].values == "XLK"]).all()


def test_a_failed_audit_names_the_stocks_and_why_and_the_delivery_that_mends_it_is_published(
    server, page, market, night
):
    lay(with_another_map(market, night), server.delivered)
    run = failed_night(
        server, page, night, "coverage_holds", "stocks left sector", "is mapped to none and no more to", night
    )
    page.picture("failed_audit")
    page.resize(height=1600)
    page.open(f"{server.address}/assets/{FACTOR_SET}/ds_erm3_betas?view=checks&checkDetail=coverage_holds")
    for said in ("Failed", "worst cells", "is mapped to none and no more to"):
        page.wait_for(said)
    page.picture("failed_audit_check")
    lay(market, server.delivered)
    again(server, page, run, night)
