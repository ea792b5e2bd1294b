"""The command line on a faulty run: exit status 1, what broke and where the data is kept, nothing published.

That each fault is caught is tested beside the engine; here a few are enough to see what a person is told, and `make
test-slow` plants the others too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from pipeline.cli.nightly import tell
from pipeline.cli.runs import app
from pipeline.engine import night
from pipeline.engine.night import NightReport, SessionReport
from pipeline.engine.step_findings import Told
from pipeline.engine.verify import objects_are_whole
from pipeline.market_data import delivery
from pipeline.store.filesystem import open_publications
from tests.engine import faults
from tests.engine.conftest import EVE, NIGHT
from tests.engine.faults import in_one_cell, tampered
from tests.engine.published_market import AUDIT, FACTOR_SET, FIRST, MARKET, MODEL, Delivered, known_at, seen_by_readers

TOML = f"""
[simulated]
stocks = {MARKET.stocks}
first_session = "{MARKET.first_session}"
last_session = "{MARKET.last_session}"
[model]
min_peers = {MODEL.min_peers}
[audit]
recomputed_cells = {AUDIT.recomputed_cells}
"""


@pytest.fixture
def erm3(tables, monkeypatch, tmp_path) -> Callable:
    """Runs a command line in a directory with an erm3.toml for the small market, whose tables are as known on NIGHT."""

    def run(*command: object):
        (tmp_path / "erm3.toml").write_text(TOML)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(delivery, "open_source", lambda settings, since: known_at(tables, NIGHT))
        return CliRunner().invoke(app, [str(part) for part in command])

    return run


SIGN = tampered("ds_erm3_hedge_weights", "L1_market_HR", np.negative)
SHARE = tampered("ds_erm3_hedge_weights", "L2_residual_ER", in_one_cell(lambda share: share * 1.01))
PLANTED = [
    ("a published close comes out otherwise", tampered("ds_daily", "close", np.ceil), "close would change"),
    ("a hedge ratio has its sign flipped", SIGN, "replication_L1"),
    ("a share is scaled by 1.01", SHARE, "shares_add_to_one_L2"),
    ("a variable is all NaN", tampered("ds_etf", "close", lambda v: v * np.nan), "no_variable_is_empty"),
    ("the last session of a store is lost", faults.shortened("ds_masks", "teo"), "axes_are_whole"),
    ("a symbol axis is shortened", faults.shortened("ds_daily", "symbol"), "axes_are_whole"),
    (
        "an ETF's return changes between two steps",
        faults.etf_return_changed("ds_erm3_hedge"),
        "made from another ds_etf",
    ),
    ("an ETF's return changes after the last step", faults.etf_return_changed(), "ds_etf was changed"),
    ("the cross term of the L3 market hedge is lost", faults.no_cross_term, "net_market_beta"),
]


IN_MAKE_TEST = 1
"""The first alone; the second is planted again below, before a run that succeeds."""


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        pytest.param(plant, says, id=what.replace(" ", "_"), marks=[pytest.mark.slow] if k >= IN_MAKE_TEST else [])
        for k, (what, plant, says) in enumerate(PLANTED)
    ],
)
def test_a_fault_ends_the_run_with_status_1_and_nothing_is_published(plant, says, eve, erm3, monkeypatch):
    before = seen_by_readers(eve)
    plant(monkeypatch)
    done = erm3("run", "--root", eve, "--start", EVE, "--end", NIGHT)
    assert done.exit_code == 1, done.output
    assert says in done.output
    assert seen_by_readers(eve) == before
    (staged,) = (eve / ".staging").iterdir()
    assert list((staged / "stores").iterdir())
    assert "nothing was published" in done.output
    assert str(staged) in done.output.replace("\n", "")


def test_sessions_in_nanoseconds_are_refused(eve, erm3, monkeypatch):
    before = seen_by_readers(eve)
    faults.dates_in_nanoseconds(monkeypatch)
    done = erm3("run", "--root", eve, "--start", NIGHT, "--end", NIGHT)
    assert done.exit_code == 1
    assert "WrongShape" in done.output
    assert seen_by_readers(eve) == before


@pytest.mark.slow
def test_a_fault_of_the_first_run_publishes_no_store(erm3, tmp_path, monkeypatch):
    root = tmp_path / "new"
    faults.no_cross_term(monkeypatch)
    done = erm3("run", "--root", root, "--start", FIRST, "--end", "2018-12-05")
    assert done.exit_code == 1
    assert not list(root.glob("*.zarr"))
    assert not (root / "manifest.json").exists()


@pytest.mark.slow
def test_a_correct_run_succeeds_after_a_failed_one(eve, erm3, monkeypatch):
    with monkeypatch.context() as planted:
        SIGN(planted)
        failed = erm3("run", "--root", eve, "--start", NIGHT, "--end", NIGHT)
        assert failed.exit_code == 1
        assert "replication_L1" in failed.output
    done = erm3("run", "--root", eve, "--start", NIGHT, "--end", NIGHT)
    assert done.exit_code == 0, done.output
    assert f"complete through {NIGHT}" in done.output
    assert "Findings: " in done.output
    assert not list((eve / ".staging").glob("*"))


@pytest.mark.slow
def test_nights_and_restatements_say_what_their_rules_found(eve, tables, erm3, monkeypatch):
    """Dividends are told anew with the night: a person must hear of it where cron sends the output."""
    told = known_at(tables, NIGHT).load()
    paid = told.dividends
    last = paid["ex_date"] == paid.loc[paid["ex_date"] <= EVE, "ex_date"].max()
    paid = paid.assign(amount=paid["amount"].where(~last, paid["amount"] * 2))
    late = Delivered(replace(told, dividends=paid))
    monkeypatch.setattr(night, "open_source", lambda *_: late)
    done = erm3("nightly", "--root", eve, "--now", "2019-01-15T12:00:00", "--quiet")
    assert done.exit_code == 0, done.output
    assert re.search(r"^Findings: .*rewritten_event \d", done.output, re.MULTILINE), done.output
    assert "Look at this: " in done.output
    assert "erm3 restate --from" in done.output
    (kept,) = (eve / "raw/nights").glob("*.json")
    assert json.loads(kept.read_text())["sessions"][0]["findings"]["counts"]["rewritten_event"] >= 1
    done = erm3("restate", "--root", eve, "--from", EVE, "--reason", "another dividend", "--quiet")
    assert done.exit_code == 0, done.output
    assert "Findings: " in done.output


def test_a_report_of_a_night_prints_counts_of_findings_and_what_must_be_heard_of(capsys):
    session = SessionReport(NIGHT, findings=Told({"rewritten_event": 2, "late_event": 1}, ("SPY is wrong",)))
    tell(NightReport("now", "Published.", [session]))
    said = capsys.readouterr().out
    assert "Findings: rewritten_event 2, late_event 1" in said
    assert "Look at this: SPY is wrong" in said


def test_verify_passes_on_what_was_published(published_eve, erm3):
    done = erm3("verify", "--root", published_eve)
    assert done.exit_code == 0, done.output
    assert "0 failed" in done.output


def lost(root: Path) -> list[str]:
    """Flags and tickers are deleted, the master is cut; what `verify` must name."""
    live = root.resolve() / ".publications" / str(open_publications(root).current())
    flags, ticker = (next((live / f"ds_daily.zarr/{name}").glob("[0-9]*")) for name in ("return_flag", "ticker"))
    flags.unlink()
    ticker.unlink()
    master = live / "security_master.sqlite"
    data = master.read_bytes()
    master.unlink()
    master.write_bytes(data[:-1])
    return [
        *(f"{path.relative_to(live).as_posix()} is missing" for path in (flags, ticker)),
        "security_master.sqlite is not what was published",
    ]


def test_flags_tickers_or_a_master_that_are_lost_are_objects_that_are_not_whole(eve):
    assert objects_are_whole(str(eve)).passed
    expected = lost(eve)
    found = objects_are_whole(str(eve))
    assert not found.passed
    assert {row["object"] for row in found.worst} == set(expected)


@pytest.mark.slow
def test_verify_names_flags_tickers_and_a_master_that_are_lost(eve, erm3):
    expected = lost(eve)
    done = erm3("verify", "--root", eve, "--start", EVE)
    assert done.exit_code == 1
    assert "objects_are_whole" in done.output
    assert all(object in done.output for object in expected), done.output


CHANGED = [
    ("ds_etf", "return", lambda v: v + 0.01, {"replication_L1", "replication_L3", "two_paths_L2"}),
    (f"ds_erm3_hedge_weights_{FACTOR_SET}", "L2_residual_ER", lambda v: v * 1.01, {"shares_add_to_one_L2"}),
    ("ds_erm3_link_betas_SPY", "L2_link_sec_mkt_BF", lambda v: v * 1.01, {"net_market_beta"}),
    ("ds_masks", "uni_mc_3000", lambda v: ~v, {"masks_are_as_recorded", "only_members_have_values"}),
]


@pytest.mark.parametrize(
    ("store", "var", "change", "caught_by"),
    [
        pytest.param(*changed, id="/".join(changed[:2]), marks=[pytest.mark.slow] if k else [])
        for k, changed in enumerate(CHANGED)
    ],
)
def test_verify_fails_on_published_data_that_was_changed(store, var, change, caught_by, eve, erm3):
    change_last_session(eve, store, var, change)
    done = erm3("verify", "--root", eve, "--start", "2019-01-07")
    assert done.exit_code == 1
    failed = {line.split()[1] for line in done.output.splitlines() if " NO " in line}
    assert caught_by <= failed


def change_last_session(root: Path, store: str, var: str, change: Callable) -> None:
    group = zarr.open_group(str(root / f"{store}.zarr"), mode="r+", zarr_format=2, use_consolidated=False)
    array = group[var]
    array[-1] = change(array[-1])
