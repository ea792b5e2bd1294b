"""A wrong step fails the run: exit status 1, the cells are named, the staged data is kept, no reader sees a thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline import audits, engine
from pipeline.__main__ import app
from pipeline.audits import Check
from tests.engine import faults
from tests.engine.conftest import EVE
from tests.engine.faults import in_one_cell, tampered
from tests.engine.market import FIRST, MARKET, MODEL, known_at, seen_by_readers

NIGHT = "2019-01-14"


@dataclass(frozen=True)
class Fault:
    """A fault, the store whose audit must fail, and the checks that must fail: these and no others.

    config: settings of the run under which nothing else can see the fault.
    """

    what: str
    plant: faults.Plant
    store: str
    caught_by: tuple[str, ...]
    config: str = ""


HEDGE, RETURNS = "ds_erm3_hedge_weights", "ds_erm3_returns"
NO_SAMPLE = "[audit]\nrecomputed_cells = 0\n"
FAULTS = [
    Fault("the last session of a store is lost", faults.shortened("ds_etf", "teo"), "ds_etf", ("axes_are_whole",)),
    Fault("a symbol axis is shortened", faults.shortened("ds_daily", "symbol"), "ds_daily", ("axes_are_whole",)),
    Fault(
        "a variable is all NaN",
        tampered("ds_daily", "volume", lambda v: v * np.nan),
        "ds_daily",
        ("no_variable_is_empty",),
    ),
    Fault("a value is infinite", faults.infinite_volume, "ds_daily", ("no_variable_is_empty",)),
    Fault(
        "a return is below -100 %",
        tampered("ds_daily", "return", in_one_cell(lambda r: -1.5)),
        "ds_daily",
        ("returns_are_numbers",),
    ),
    Fault(
        "a universe takes everybody",
        tampered("ds_masks", "uni_mc_50", np.ones_like),
        "ds_masks",
        ("masks_are_within_size",),
    ),
    Fault(
        "a third of the betas is lost",
        tampered("ds_erm3_betas", "factor_beta", faults.every_third_missing),
        "ds_erm3_betas",
        ("coverage_holds",),
    ),
    Fault(
        "a third of the betas is lost, and large falls are allowed",
        tampered("ds_erm3_betas", "factor_beta", faults.every_third_missing),
        "ds_erm3_betas",
        ("coverage_floor",),
        "[audit]\ncoverage_drop = 1.0\ncoverage_floor = 0.9\n",
    ),
    Fault(
        "betas of stocks outside the universe are written",
        faults.everybody_wanted,
        "ds_erm3_betas",
        ("only_members_have_values",),
    ),
    Fault("the half-life is forgotten", faults.equal_weights, "ds_erm3_betas", ("betas_recomputed",)),
    Fault("the window ends a session early", faults.yesterdays_window, "ds_erm3_betas", ("betas_recomputed",)),
    Fault(
        "positions on one store's axis are used on another's",
        faults.columns_of_the_wrong_store,
        "ds_erm3_betas",
        ("betas_recomputed",),
    ),
    Fault(
        "stocks shrink towards the mean of another cell",
        faults.one_cell_for_all,
        "ds_erm3_betas_adjusted",
        ("shrinkage_recomputed",),
    ),
    Fault(
        "an industry counts a company twice",
        tampered("ds_erm3_industry", "n_companies", in_one_cell(lambda n: n + 1)),
        "ds_erm3_industry",
        ("peers_are_counted",),
    ),
    *(
        Fault(
            f"a share of L{level} is scaled by 1.01",
            tampered(HEDGE, f"L{level}_market_ER", in_one_cell(lambda share: share * 1.01)),
            HEDGE,
            (f"shares_add_to_one_L{level}",),
            NO_SAMPLE,
        )
        for level in (1, 2, 3)
    ),
    Fault("the cross term of the L3 market hedge is lost", faults.no_cross_term, HEDGE, ("net_market_beta",)),
    Fault("two shares stand in each other's place", faults.swapped_shares, HEDGE, ("shares_recomputed",)),
    Fault(
        "the variance is that of another window",
        tampered(HEDGE, "_stock_var", lambda v: v * 1.01),
        HEDGE,
        ("shares_recomputed",),
    ),
    *(
        Fault(
            f"the hedge of L{level} has its sign flipped",
            tampered(HEDGE, ratio, np.negative),
            RETURNS,
            (f"replication_L{level}", f"two_paths_L{level}"),
        )
        for level, ratio in ((1, "L1_market_HR"), (2, "L2_sector_HR"), (3, "L3_subsector_HR"))
    ),
    *(
        Fault(
            f"the residual of L{level} is not what is left",
            tampered(RETURNS, "residual_return", in_one_cell(lambda r: r + 0.002), level - 1),
            RETURNS,
            (f"replication_L{level}",),
        )
        for level in (1, 2, 3)
    ),
    *(
        Fault(
            f"the factor returns of L{level} are not those of the hedge",
            tampered(RETURNS, "combined_factor_return", in_one_cell(lambda r: r + 0.002), level - 1),
            RETURNS,
            (f"two_paths_L{level}",),
        )
        for level in (1, 2, 3)
    ),
]


@pytest.fixture
def erm3(tables, monkeypatch, tmp_path) -> Callable:
    """Runs a command line in a directory with its own erm3.toml and the tables of the small market."""

    def run(*command: str, config: str = NO_SAMPLE.replace("0", "12")):
        toml = [
            "[simulated]",
            f"stocks = {MARKET.stocks}",
            f'first_session = "{MARKET.first_session}"',
            f'last_session = "{MARKET.last_session}"',
            f"[model]\nmin_peers = {MODEL.min_peers}",
            config,
        ]
        (tmp_path / "erm3.toml").write_text("\n".join(toml))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(engine, "open_source", lambda settings: known_at(tables, NIGHT))
        return CliRunner().invoke(app, [str(part) for part in command])

    return run


@pytest.fixture
def failed_checks(monkeypatch) -> list[Check]:
    """The checks that fail while the test runs."""
    found: list[Check] = []
    audit = audits.audit

    def watched(store: str, scope: audits.Scope) -> list[Check]:
        checks = audit(store, scope)
        found.extend(audits.failures(checks))
        return checks

    monkeypatch.setattr(engine, "audit", watched)
    return found


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what.replace(" ", "_"))
def test_a_fault_fails_the_run_and_nothing_is_published(fault, eve, erm3, failed_checks, monkeypatch):
    before = seen_by_readers(eve)
    fault.plant(monkeypatch)
    done = erm3("run", "--root", eve, "--start", NIGHT, "--end", NIGHT, config=fault.config)
    assert done.exit_code == 1, done.output
    assert {check.name for check in failed_checks} == set(fault.caught_by)
    assert {check.store.startswith(fault.store) for check in failed_checks} == {True}
    assert seen_by_readers(eve) == before
    assert "nothing was published" in done.output
    staged = next((eve / ".staging").iterdir())
    assert str(staged) in done.output.replace("\n", "")
    assert list((staged / "stores").iterdir())
    for check in failed_checks:
        assert check.worst, f"{check.name} does not say which cells broke"
        assert check.name in done.output


def test_every_check_has_a_fault_that_it_alone_catches(tables, published_eve):
    names = {name for fault in FAULTS if len(fault.caught_by) == 1 for name in fault.caught_by}
    checks = engine.verify(engine_settings(published_eve))
    assert {check.name for check in checks} == names


def engine_settings(root: Path):
    from tests.engine.market import settings_for

    return settings_for(root)


def test_a_correct_run_succeeds_after_a_failed_one(eve, erm3, monkeypatch):
    with monkeypatch.context() as planted:
        faults.no_cross_term(planted)
        assert erm3("run", "--root", eve, "--start", NIGHT, "--end", NIGHT).exit_code == 1
    done = erm3("run", "--root", eve, "--start", NIGHT, "--end", NIGHT)
    assert done.exit_code == 0, done.output
    assert f"complete through {NIGHT}" in done.output
    assert not list((eve / ".staging").glob("*"))


@pytest.mark.parametrize("after", ["ds_etf", "ds_erm3_betas_SPY", "ds_erm3_returns"])
def test_a_return_that_changes_after_staging_is_not_published(after, eve, erm3, monkeypatch):
    before = seen_by_readers(eve)
    faults.etf_return_changed(monkeypatch, after)
    done = erm3("run", "--root", eve, "--start", NIGHT, "--end", NIGHT)
    assert done.exit_code == 1
    assert seen_by_readers(eve) == before
    assert "ds_etf was changed after its audit" in done.output or "from another ds_etf" in done.output


def test_sessions_stored_in_nanoseconds_are_refused(eve, erm3, monkeypatch):
    before = seen_by_readers(eve)
    faults.dates_in_nanoseconds(monkeypatch)
    done = erm3("run", "--root", eve, "--start", NIGHT, "--end", NIGHT)
    assert done.exit_code == 1
    assert seen_by_readers(eve) == before


def test_an_infinite_value_is_refused_where_it_is_written(eve, erm3, monkeypatch):
    before = seen_by_readers(eve)
    tampered("ds_erm3_betas", "beta_se", in_one_cell(lambda v: v * np.inf))(monkeypatch)
    done = erm3("run", "--root", eve, "--start", NIGHT, "--end", NIGHT)
    assert done.exit_code == 1
    assert "infinite value" in done.output
    assert seen_by_readers(eve) == before


def test_a_published_price_that_comes_out_otherwise_is_refused(eve, erm3, tables, monkeypatch):
    """Running published sessions again must give the published values; a changed past needs a restatement."""
    before = seen_by_readers(eve)
    tampered("ds_daily", "close", in_one_cell(lambda close: close * 1.001))(monkeypatch)
    done = erm3("run", "--root", eve, "--start", "2019-01-10", "--end", EVE)
    assert done.exit_code == 1
    assert "published cells of close would change" in done.output
    assert seen_by_readers(eve) == before


def test_verify_passes_on_what_was_published(published_eve, erm3):
    done = erm3("verify", "--root", published_eve)
    assert done.exit_code == 0, done.output
    assert "0 failed" in done.output


PUBLISHED_FAULTS = [
    ("ds_etf", "return", lambda v: v + 0.01, {"replication_L1", "betas_recomputed"}),
    (f"{RETURNS}_SPY_uni_mc_3000", "residual_return", lambda v: -v, {"replication_L1", "replication_L3"}),
    (f"{HEDGE}_SPY_uni_mc_3000", "L2_residual_ER", lambda v: v * 1.01, {"shares_add_to_one_L2"}),
    ("ds_erm3_link_betas_SPY", "L2_link_sec_mkt_BF", lambda v: v * 1.01, {"net_market_beta"}),
]


@pytest.mark.parametrize(("store", "var", "change", "caught_by"), PUBLISHED_FAULTS, ids=lambda v: str(v)[:40])
def test_verify_fails_on_published_data_that_was_changed(store, var, change, caught_by, eve, erm3):
    rewrite_last_session(eve, store, var, change)
    done = erm3("verify", "--root", eve, "--start", "2019-01-07")
    assert done.exit_code == 1
    assert {name for name in caught_by if name in done.output} == caught_by


def rewrite_last_session(root: Path, store: str, var: str, change: Callable) -> None:
    import zarr

    array = zarr.open_group(str(root / f"{store}.zarr"), mode="r+", zarr_format=2, use_consolidated=False)[var]
    array[-1] = change(array[-1])


def test_a_fault_of_the_first_run_publishes_no_store(erm3, tmp_path, monkeypatch):
    root = tmp_path / "new"
    faults.no_cross_term(monkeypatch)
    done = erm3("run", "--root", root, "--start", FIRST, "--end", "2018-12-05")
    assert done.exit_code == 1
    assert not list(root.glob("*.zarr"))
    assert not (root / "manifest.json").exists()
