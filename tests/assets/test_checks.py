"""Audits recorded as asset checks, and what a failed one does to the run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import dagster as dg
import numpy as np
import pytest

from assets.checks import check_specs, results, stop_on_failure
from assets.partitions import sessions
from pipeline.audits import Check
from pipeline.engine import execution
from pipeline.engine.family import specs
from tests.assets.conftest import asset_of
from tests.engine import faults
from tests.engine.conftest import NIGHT, STAGED_TO
from tests.engine.faults import in_one_cell, tampered
from tests.engine.published_market import AUDIT, FACTOR_SET, known_at, seen_by_readers, settings_for
from tests.engine.test_planted_faults import FAULTS

HEDGE, RETURNS = f"ds_erm3_hedge_weights_{FACTOR_SET}", f"ds_erm3_returns_{FACTOR_SET}"


# --- what is recorded -------------------------------------------------------------------------------------------


def test_the_declared_checks_are_those_that_the_audits_make(nights):
    declared = {(name, spec.name) for name, dataset in specs(nights.settings).items() for spec in check_specs(dataset)}
    others = {("publication", "is_fresh"), ("security_coverage", "was_made"), ("quality", "was_made")}
    others |= {("hedge_effectiveness", "was_made"), ("hedge_effectiveness", "hedges_leave_what_they_used_to")}
    assert set(nights.done.checks()) == declared | others


def test_a_passed_check_says_what_was_looked_at_and_how_near_the_bound_it_came(nights):
    check = nights.done.checks()[RETURNS, "replication_L3"]
    assert check.passed
    assert check.metadata["cells seen"].value > 0
    assert 0 < check.metadata["worst value"].value < check.metadata["bound"].value == 1e-3
    assert "raw ETF return" in check.metadata["explanation"].value


def test_every_check_has_a_description_of_its_own(nights):
    for dataset in specs(nights.settings).values():
        found = [spec.description for spec in check_specs(dataset)]
        assert len(set(found)) == len(found)
        assert all(found)


def test_what_is_recorded_is_plain_json_even_for_infinite_errors():
    """The page parses metadata as JSON, which knows neither infinity nor NaN."""
    check = Check(
        "net_market_beta", HEDGE, False, math.inf, 1e-5, 10, "left", ({"teo": "2020-01-02", "error": math.inf},),
        {"share": math.nan},
    )  # fmt: skip
    (result,) = results(specs(settings_for("x"))[HEDGE], [check])
    for value in result.metadata.values():
        plain = [dict(r.data) for r in value.records] if isinstance(value, dg.TableMetadataValue) else value.value
        json.dumps(plain, allow_nan=False)


def test_worst_cells_with_different_labels_share_one_table():
    rows = ({"teo": "2020-01-02", "error": 0.5}, {"symbol": "X", "error": 0.25, "level": 2})
    (result,) = results(
        specs(settings_for("x"))[RETURNS], [Check("levels_add_up", RETURNS, False, 0.5, 0.1, 4, "sum", rows)]
    )
    table = result.metadata["worst cells"]
    assert [column.name for column in table.schema.columns] == ["teo", "error", "symbol", "level"]
    assert dict(table.records[1].data) == {"teo": None, "error": 0.25, "symbol": "X", "level": 2}


def test_the_failure_names_every_failed_check_and_where_the_data_is():
    good = Check("levels_add_up", RETURNS, True, 0.0, 0.1, 4, "sum")
    bad = [Check(f"replication_L{k}", RETURNS, False, 0.5, 0.1, 4, "off", ({"symbol": "X"},)) for k in (1, 2)]
    with pytest.raises(dg.Failure) as raised:
        stop_on_failure([good, *bad], "/data/.staging/run")
    assert not raised.value.allow_retries
    assert "2 of 3 checks failed" in raised.value.description
    assert "/data/.staging/run" in raised.value.description
    assert raised.value.metadata["failed checks"].value == "replication_L1, replication_L2"
    assert stop_on_failure([good], "/data/.staging/run") is None


# --- planted faults ---------------------------------------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTED: dict[str, tuple[Plant, str, set[str]]] = {
    "the_cross_term_of_the_market_hedge_is_lost": (faults.no_cross_term, HEDGE, {"net_market_beta"}),
    "a_sign_is_flipped": (
        tampered("ds_erm3_hedge_weights", "L2_sector_HR", np.negative),
        RETURNS,
        {"replication_L2", "two_paths_L2"},
    ),
    "a_share_is_scaled": (
        tampered("ds_erm3_hedge_weights", "L3_market_ER", in_one_cell(lambda share: share * 1.01)),
        HEDGE,
        {"shares_add_to_one_L3"},
    ),
    "a_variable_is_all_NaN": (
        tampered("ds_daily", "volume", lambda v: v * np.nan),
        "ds_daily",
        {"no_variable_is_empty"},
    ),
    "the_last_session_of_a_store_is_lost": (faults.shortened("ds_etf", "teo"), "ds_etf", {"axes_are_whole"}),
    "a_symbol_axis_is_shortened": (faults.shortened("ds_daily", "symbol"), "ds_daily", {"axes_are_whole"}),
}


def assert_stopped(done, eve, before: dict[str, str], store: str, caught_by: set[str]) -> None:
    """The checks are recorded as failed, the partition has failed, nothing ran after it, no reader sees a change."""
    failed = {name for (asset, name), check in done.checks().items() if not check.passed and asset == store}
    assert caught_by <= failed
    for name in caught_by:
        assert done.checks()[store, name].metadata["worst cells"].records
    failure = done.failure(store)
    assert set(failure.metadata["failed checks"].value.split(", ")) == failed
    staged = failure.metadata["staged data"].value
    assert staged.startswith(str(eve))
    assert (eve / ".staging" / f"dagster-{done.result.run_id}" / "stores" / f"{store}.zarr").is_dir()
    assert not set(done.steps("STEP_START")) & ({RETURNS, "publication"} - {store})
    for name in (store, "publication"):
        status = done.instance.get_status_by_partition(asset_of(name), [NIGHT], sessions())
        assert [(day, found.value) for day, found in status.items()] == [(NIGHT, "FAILED")], name
        assert NIGHT not in done.materialized(name)
    assert "STEP_UP_FOR_RETRY" not in {e.event_type_value for e in done.result.all_events}
    assert seen_by_readers(eve) == before


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[pytest.mark.slow] if k else []) for k, f in enumerate(PLANTED)]
)
def test_a_planted_fault_fails_the_partition_and_no_store_changes(fault, launch, eve, tables, monkeypatch):
    plant, store, caught_by = PLANTED[fault]
    before = seen_by_readers(eve)
    plant(monkeypatch)
    done = launch(settings_for(eve), known_at(tables, NIGHT), NIGHT)
    assert_stopped(done, eve, before, store, caught_by)


def test_a_return_that_changes_after_its_audit_is_not_published(launch, eve, tables, monkeypatch):
    audit = execution.audit_store

    def then_changed(run, name):
        checks = audit(run, name)
        if name == HEDGE:
            store = run.open("ds_etf")
            values = store.read("return", run.rows(store, run.last, run.last))
            values[0, 0] += 0.01
            store.write("return", run.rows(store, run.last, run.last), slice(0, len(store.symbol)), values)
        return checks

    before = seen_by_readers(eve)
    monkeypatch.setattr(execution, "audit_store", then_changed)
    done = launch(settings_for(eve), known_at(tables, NIGHT), NIGHT)
    assert not done.success
    assert not done.materialized("publication")
    assert seen_by_readers(eve) == before


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what.replace(" ", "_"))
def test_every_fault_of_the_engine_is_caught_in_a_run_too(fault, launch, eve, tables, monkeypatch):
    before = seen_by_readers(eve)
    fault.plant(monkeypatch)
    settings = settings_for(eve, audit=AUDIT.model_copy(update={"recomputed_cells": 12, **fault.bounds}))
    done = launch(settings, known_at(tables, STAGED_TO), NIGHT, STAGED_TO)
    failed = {name for (asset, name), check in done.checks().items() if not check.passed and asset == fault.store}
    assert failed >= set(fault.caught_by), "a run that also takes snapshots may fail other checks of them"
    assert not done.success
    assert seen_by_readers(eve) == before
