"""`erm3 quality` on a small market with planted errors, published through the engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from pipeline.calendar import xnys
from pipeline.cli.quality import app
from pipeline.engine import execution
from pipeline.quality.decisions import recorded_decisions
from pipeline.quality.findings import RULES
from pipeline.read import published_master
from pipeline.settings import Settings, SimulatedMarket
from pipeline.sources import SourceTables
from pipeline.sources.planted_faults.plant import plant_faults
from pipeline.vendors.layers import open_source
from tests.engine.published_market import Delivered

FIRST, LAST = "2018-06-01", "2018-08-31"
MARKET = SimulatedMarket(stocks=50, first_session="2018-01-02", last_session=LAST)


@pytest.fixture(scope="module")
def planted() -> SourceTables:
    clean = open_source(Settings(simulated=MARKET)).load()
    counts = {"price_x100": 25, "price_sentinel": 5, "ohlc_inconsistent": 5, "volume_overflow": 3}
    return plant_faults(clean, seed=3, counts=counts)[0]


@pytest.fixture(scope="module")
def published(once: Callable, planted: SourceTables) -> Path:
    """Root with the input stores of the market. Only read it."""

    def make(place: Path) -> None:
        for until in ("ds_daily", "ds_etf"):
            settings = Settings(root=str(place / "root"), simulated=MARKET)
            execution.execute(settings, FIRST, LAST, until, source=Delivered(planted))

    return once("quality-root", make) / "root"


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "root", symlinks=True))


def erm3(*command: object) -> Result:
    return CliRunner().invoke(app, [str(part) for part in command], terminal_width=200)


def quarantined(root: Path) -> pd.DataFrame:
    rows = pd.read_parquet(root / "quality_findings.parquet")
    return rows[rows["rule"] == "bad_print"].reset_index(drop=True)


def test_the_list_shows_what_waits_for_a_person(published):
    result = erm3("list", "--root", published)
    assert result.exit_code == 0
    assert "bad_print" in result.output
    assert "ohlc_inconsistent" not in result.output  # a flag, not a quarantine
    assert "ohlc_inconsistent" in erm3("list", "--flags", "--rule", "ohlc_inconsistent", "--root", published).output


def test_the_list_can_be_cut_by_rule_and_day(published):
    result = erm3("list", "--rule", "impossible_price", "--since", LAST, "--root", published)
    assert result.exit_code == 0
    assert "bad_print" not in result.output
    unknown = erm3("list", "--rule", "nonsense", "--root", published)
    assert unknown.exit_code == 2


@pytest.mark.parametrize("verdict", ["release", "confirm"])
def test_what_somebody_decided_about_is_recorded_and_leaves_the_list(root, verdict):
    row = quarantined(root).iloc[0]
    day = str(xnys().sessions[row["session"]])
    before = erm3("list", "--rule", "bad_print", "--root", root).output
    result = erm3(verdict, row["sec_id"], day, "--reason", "seen", "--by", "anna", "--root", root)
    assert result.exit_code == 0
    assert "erm3 restate" in result.output  # what is published stays until somebody restates it
    made = recorded_decisions(str(root))
    assert [(one.sec_id, one.session, one.decision, one.by) for one in made] == [(row["sec_id"], day, verdict, "anna")]
    after = erm3("list", "--rule", "bad_print", "--root", root).output
    assert before.count(row["sec_id"]) == after.count(row["sec_id"]) + 1
    assert erm3("list", "--rule", "bad_print", "--decided", "--root", root).output == before


def test_a_ticker_is_resolved_on_the_session_of_the_cell(root):
    from pipeline.calendar import xnys

    row = quarantined(root).iloc[0]
    day = xnys().sessions[row["session"]]
    with published_master(str(root)) as master:
        ticker = master.labels([row["sec_id"]], day)[0][0]
    assert erm3("release", ticker, day, "--reason", "seen", "--root", root).exit_code == 0
    assert recorded_decisions(str(root))[0].sec_id == row["sec_id"]


@pytest.mark.parametrize(
    ("who", "day"), [("NOBODY", "2018-08-01"), ("*", "2018-08-04")], ids=["unknown ticker", "closed day"]
)
def test_a_decision_about_nothing_is_refused(root, who, day):
    assert erm3("release", who, day, "--reason", "seen", "--root", root).exit_code != 0
    assert recorded_decisions(str(root)) == []


def test_the_report_is_written(root, tmp_path):
    page = tmp_path / "quality.html"
    result = erm3("report", "--html", page, "--root", root)
    assert result.exit_code == 0, result.output
    assert RULES["bad_print"].meaning in page.read_text()


def test_a_root_without_findings_says_what_to_do(tmp_path):
    result = erm3("list", "--root", tmp_path)
    assert result.exit_code == 1
    assert "publish a run there first" in result.output


def test_every_rule_is_listed_with_its_meaning():
    output = erm3("rules").output
    for name, rule in RULES.items():
        assert f"{name} " in output
        assert rule.meaning in output


def test_the_score_is_printed():
    result = erm3("score", "--stocks", 30, "--scale", 0.02)
    assert result.exit_code == 0, result.output
    assert "recall" in result.output
    assert "price_x100" in result.output


def test_returns_that_late_facts_would_change_are_listed(planted, tmp_path, monkeypatch):
    stocks = planted.securities.loc[planted.securities["type"] == "common", "vendor_code"]
    paid = planted.dividends["vendor_code"].isin(stocks) & (planted.dividends["ex_date"] < pd.Timestamp("2018-07-01"))
    at = planted.dividends.index[paid][0]
    dividends = planted.dividends.copy()
    dividends.loc[at, "known_from"] = dividends.loc[at, "ex_date"] + pd.Timedelta(days=20)
    late = Delivered(type(planted)(**planted.frames | {"dividends": dividends}, origins=planted.origins))
    monkeypatch.setattr("pipeline.vendors.layers.open_source", lambda settings: late)
    result = erm3("late", "--known-as-of", "2026-01-01", "--root", tmp_path)
    assert result.exit_code == 0, result.output
    assert "with_events" in result.output
    assert "touched_first" in result.output
