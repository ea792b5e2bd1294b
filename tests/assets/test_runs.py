"""A Dagster run does what the command line does: one run, one range, one publication, or nothing."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from assets.definitions import build_definitions
from assets.deployment import Deployment
from assets.partitions import range_tags, sessions
from assets.staging import pool_of
from pipeline.engine import execution, family
from pipeline.quality.decisions import QualityDecision, append_decision
from pipeline.read import history, open_dataset, read_manifest
from pipeline.settings import Settings
from pipeline.sources import SourceError, SourceTables
from pipeline.store.stage import Stage
from tests.assets.conftest import BOTH_SETS, IMPATIENT, NEXT_NIGHT, Done, launching, name_of
from tests.engine.conftest import EVE, NIGHT
from tests.engine.published_market import Delivered, known_at, seen_by_readers, settings_for, stored_values, tables_of

ASSETS = ["source_tables", *family.stores(settings_for("unused")), "publication"]
REPORTS = ["security_coverage", "quality", "hedge_effectiveness"]


def test_a_run_gives_the_bytes_of_the_command_line(nights, published_eve, tables, tmp_path):
    root = Path(shutil.copytree(published_eve, tmp_path / "by_command", symlinks=True))
    execution.execute(settings_for(root), NIGHT, NEXT_NIGHT, source=known_at(tables, NEXT_NIGHT))
    assert stored_values(nights.root) == stored_values(root)
    by_run, by_command = read_manifest(nights.root), read_manifest(root)
    assert by_run["complete_through"] == by_command["complete_through"] == NEXT_NIGHT
    sizes = {name: entry["sizes"] for name, entry in by_command["stores"].items()}
    assert {name: entry["sizes"] for name, entry in by_run["stores"].items()} == sizes


def test_a_range_is_one_run_and_one_publication_with_a_materialisation_for_each_session(nights):
    for name in ASSETS + REPORTS:
        assert list(nights.done.materialized(name)) == [NIGHT, NEXT_NIGHT], name
    publications = history(nights.root)
    assert list(publications["run_id"])[1:] == [f"dagster-{nights.done.result.run_id}"]


def test_the_steps_of_a_run_share_what_one_of_them_read_of_the_security_master(nights):
    """Each of eleven stores would read the listings for itself; the reports open what is published."""
    assert nights.read["listing"] > 0
    assert max(nights.read.values()) <= 6


def test_nothing_is_left_in_the_staging_area_of_a_published_run(nights):
    assert not list((nights.root / ".staging").glob("*"))
    assert not (nights.root / ".lease").exists()


@pytest.mark.slow
def test_sessions_that_are_published_already_come_out_the_same(launch, eve, tables):
    before = stored_values(eve)
    done = launch(settings_for(eve), known_at(tables, EVE), "2019-01-10", EVE)
    assert done.success
    assert stored_values(eve) == before
    assert done.materialized("publication")[EVE].metadata["changed"].value.startswith("no store")


@pytest.mark.slow
def test_a_run_that_a_rule_stopped_goes_on_when_somebody_has_accepted(launch, eve, tables):
    delivered = known_at(tables, NIGHT).load()
    source = Delivered(replace(delivered, dividends=delivered.dividends.iloc[:0]))
    first = launch(settings_for(eve), source, NIGHT)
    assert "lost_table: dividends" in first.failure("source_tables").description
    assert f"erm3 quality release '*' {NIGHT} --rule lost_table --reason" in first.failure("source_tables").description
    for rule in ("lost_table", "drift"):  # the dividends of published sessions are gone as well
        append_decision(str(eve), QualityDecision("*", NIGHT, "release", f"{NIGHT}T23:00:00", "anna", "so it is", rule))
    second = launch(settings_for(eve), source, NIGHT)
    assert second.success
    assert read_manifest(eve)["complete_through"] == NIGHT
    assert "lost_table" in set(pd.read_parquet(eve / "quality_findings.parquet")["rule"])


def test_a_hole_after_the_published_sessions_fails_with_the_range_to_run_first(launch, eve, tables):
    before = seen_by_readers(eve)
    done = launch(settings_for(eve), known_at(tables, NEXT_NIGHT), NEXT_NIGHT)
    assert not done.success
    assert f"run {NIGHT} to {NIGHT} before {NEXT_NIGHT}" in done.failure("source_tables").description
    assert done.steps("STEP_START") == ["source_tables"]
    assert seen_by_readers(eve) == before


def test_one_store_alone_says_that_the_family_is_materialized_together(launch, eve, tables):
    before = seen_by_readers(eve)
    done = launch(settings_for(eve), known_at(tables, NIGHT), NIGHT, selection=["ds_etf"])
    assert "Materialize all assets together" in done.failure("ds_etf").description
    assert seen_by_readers(eve) == before


def test_a_run_that_meets_another_writer_says_who_it_is_and_leaves_it_alone(launch, eve, tables):
    with Stage.begin(eve, "by-hand"):
        done = launch(settings_for(eve), known_at(tables, NIGHT), NIGHT)
        assert "is being written by run by-hand" in done.failure("source_tables").description
    assert read_manifest(eve)["complete_through"] == EVE


# --- repeating --------------------------------------------------------------------------------------------------


@dataclass
class Unreliable:
    """A source that fails some times before it delivers."""

    tables: SourceTables
    error: Exception
    times: int
    asked: list[int] = field(default_factory=list)
    name: str = "unreliable"

    def load(self) -> SourceTables:
        self.asked.append(1)
        if len(self.asked) <= self.times:
            raise self.error
        return self.tables


def failed_connection() -> Exception:
    """As a vendor's client raises it: its own error, because of the connection."""
    error = RuntimeError("the vendor did not answer")
    error.__cause__ = ConnectionResetError("connection reset by peer")
    return error


def test_a_network_that_does_not_come_back_fails_the_run_after_a_bounded_number_of_tries(launch, eve, tables):
    source = Unreliable(tables, failed_connection(), times=99)
    done = launch(settings_for(eve), source, NIGHT, deployment=Deployment(retry_seconds=0.0, network_retries=2))
    assert not done.success
    assert len(source.asked) == 3


def test_another_failure_is_not_repeated(launch, eve, tables):
    source = Unreliable(tables, SourceError("expected a date", "prices.csv", 3), times=99)
    done = launch(settings_for(eve), source, NIGHT)
    assert len(source.asked) == 1
    assert "row 3" in done.failure("source_tables").description


@dataclass(frozen=True)
class TroubledNight:
    """A run of two factor sets during which the network fails now and then. Only look at it."""

    settings: Settings
    source: Unreliable
    done: Done


@pytest.fixture(scope="module")
def troubled(published_eve, tables, tmp_path_factory) -> TroubledNight:
    source = Unreliable(known_at(tables, NIGHT).tables, failed_connection(), times=2)
    audit, failures = execution.audit_store, [TimeoutError("the bucket did not answer"), ConnectionError("reset")]

    def unreliable(run, name):
        if name == "ds_masks" and failures:
            raise failures.pop()
        return audit(run, name)

    root = Path(shutil.copytree(published_eve, tmp_path_factory.mktemp("troubled") / "root", symlinks=True))
    settings = settings_for(root, factor_sets=BOTH_SETS)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        launching(instance) as launch,
        pytest.MonkeyPatch.context() as planted,
    ):
        planted.setattr(execution, "audit_store", unreliable)
        return TroubledNight(settings, source, launch(settings, source, NIGHT))


@pytest.mark.slow
def test_steps_are_repeated_after_failures_of_the_network_until_they_work(troubled):
    """The first step begins anew; a later one goes on with what the run has staged."""
    assert troubled.done.success
    assert len(troubled.source.asked) == 3
    assert troubled.done.steps("STEP_RESTARTED") == ["source_tables", "source_tables", "ds_masks", "ds_masks"]
    assert read_manifest(troubled.settings.root)["complete_through"] == NIGHT


def test_a_cancelled_run_gives_the_root_back(launch, eve, tables, monkeypatch):
    audit = execution.audit_store

    def cancelled(run, name):
        if name == "ds_masks":
            raise dg.DagsterExecutionInterruptedError
        return audit(run, name)

    before = seen_by_readers(eve)
    with monkeypatch.context() as planted:
        planted.setattr(execution, "audit_store", cancelled)
        assert not launch(settings_for(eve), known_at(tables, NIGHT), NIGHT).success
    assert seen_by_readers(eve) == before
    Stage.begin(eve, "next").abandon("test")


# --- definitions ------------------------------------------------------------------------------------------------


def test_lineage_leads_from_the_source_to_the_publication():
    graph = build_definitions(settings_for("unused"), IMPATIENT).resolve_asset_graph()
    parents = {name_of(key): {name_of(p) for p in graph.get(key).parent_keys} for key in graph.get_all_asset_keys()}
    assert parents["ds_daily"] == {"source_tables"}
    assert parents["ds_etf"] == {"source_tables", "ds_daily"}
    assert parents["ds_erm3_link_betas_SPY"] == {"source_tables", "ds_etf"}
    betas = "ds_erm3_betas_SPY_uni_mc_3000"
    assert parents[betas] == {"ds_daily", "ds_etf", "ds_masks", "ds_erm3_link_betas_SPY"}
    assert parents["ds_erm3_industry_SPY_uni_mc_3000"] == {"ds_daily", "ds_masks", betas}
    last = {f"ds_erm3_{kind}_SPY_uni_mc_3000" for kind in ("industry", "effectiveness")}
    last.add("ds_rankings_SPY_uni_mc_3000")
    assert parents["publication"] == last
    read = set().union(*(parents[name] for name in ASSETS[:-1]))
    assert read | parents["publication"] == set(ASSETS[:-1]), "every store leads to the publication"


def test_every_asset_has_a_description_an_owner_a_group_kinds_the_sessions_and_the_pool_of_its_root():
    settings = settings_for("some/root")
    definitions = build_definitions(settings, Deployment(owners=("team:data-ops", "a@example.com")))
    for asset in definitions.assets:
        (spec,) = asset.specs
        assert spec.description
        assert list(spec.owners) == ["team:data-ops", "a@example.com"]
        assert spec.group_name in ("market_data", "SPY_uni_mc_3000", "publication", "reports")
        assert spec.kinds
        assert asset.partitions_def == sessions()
        assert asset.backfill_policy == dg.BackfillPolicy.single_run()
        assert asset.op.pool == (None if spec.group_name == "reports" else pool_of("some/root"))


def test_two_roots_have_two_pools():
    assert len({pool_of(root) for root in ("data/erm3", "gs://bucket/erm3", "data/erm3_", "gs://bucket/erm4")}) == 4


@pytest.mark.slow
def test_a_second_factor_set_is_one_line_and_has_stores_assets_and_checks_of_its_own(troubled):
    done = troubled.done
    assert done.success
    second = [name for name in family.stores(troubled.settings) if name.endswith("_uni_mc_1000")]
    assert len(second) == 7
    recorded = {asset for asset, _ in done.checks()}
    for name in second:
        assert list(done.materialized(name)) == [NIGHT]
        assert name in recorded
        assert str(open_dataset(name, troubled.settings.root).teo.values[-1])[:10] == NIGHT
    assert len(done.materialized("ds_daily")) == 1


@pytest.mark.slow
def test_one_process_for_each_step_gives_the_same_bytes(nights, published_eve, tmp_path, monkeypatch):
    root = Path(shutil.copytree(published_eve, tmp_path / "root", symlinks=True))
    monkeypatch.setenv(ROOT_OF_PROCESSES, str(root))
    with dg.instance_for_test() as instance:
        job = dg.reconstructable(nightly_in_processes)
        done = dg.execute_job(job, instance, tags=range_tags(NIGHT, NEXT_NIGHT), raise_on_error=True)
        assert done.success
    assert stored_values(root) == stored_values(nights.root)


ROOT_OF_PROCESSES = "TEST_ROOT_OF_PROCESSES"


def nightly_in_processes() -> dg.JobDefinition:
    """The nightly job with another executor; the process of each step calls this again."""
    settings = settings_for(os.environ[ROOT_OF_PROCESSES])
    assets = list(build_definitions(settings, IMPATIENT, known_at(tables_of(), NEXT_NIGHT)).assets)
    job = dg.define_asset_job("in_processes", assets, executor_def=dg.multiprocess_executor)
    return dg.Definitions(assets=assets, jobs=[job]).resolve_job_def("in_processes")
