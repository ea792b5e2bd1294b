"""A run whose tiles are computed by the workers of a cluster publishes the bytes of one that used threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import LocalCluster

from pipeline.datasets.metadata import plain
from pipeline.engine import cluster, execution
from pipeline.engine.run import Run
from pipeline.engine.tiles import by_rows
from pipeline.sources import SourceTables
from pipeline.store.beside import beside
from pipeline.store.filesystem import open_publications
from pipeline.store.objects import StoreError
from pipeline.store.staged_store import StagedStore
from tests.engine.conftest import STAGED_RUN
from tests.engine.dask_workers import Workers, two_workers
from tests.engine.published_market import (
    FACTOR_SET,
    LAST,
    MARKET,
    Delivered,
    settings_for,
    tables_of,
)
from tests.store.conftest import emulator, new_root, started_emulator  # noqa: F401 (fixtures)

MANY = MARKET.model_copy(update={"stocks": 520})
"""Stocks of three tiles."""
BEGINS, MIDDLE, THEN = "2019-03-01", "2019-03-29", "2019-04-01"
LOST = "erm3_hedge_weights L2_sector_ER"
"""A chunk that one worker does not live to write."""
LONGEST_MESSAGES = 5_000_000
"""Bytes, with a heartbeat of each worker twice a second; with the arrays of the tiles in it, it was 71 million."""


def publish(root: Path | str, tables: SourceTables, address: str | None = None) -> dict[str, str]:
    """A root filled in two runs, so that chunks are begun and gone on with; digests of all its chunks."""
    settings = settings_for(root, simulated=MANY, dask_address=address)
    for first, last in ((BEGINS, MIDDLE), (THEN, LAST)):
        execution.execute(settings, first, last, source=Delivered(tables))
    seal = open_publications(root).seal()
    assert seal is not None
    return {key: digest for key, digest in seal.digests.items() if ".zarr/" in key and "/.z" not in key}


@pytest.fixture(scope="module")
def many() -> SourceTables:
    return tables_of(MANY)


@pytest.fixture(scope="module")
def by_threads(tmp_path_factory: pytest.TempPathFactory, many: SourceTables) -> dict[str, str]:
    return publish(tmp_path_factory.mktemp("threads") / "root", many)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with two_workers(tmp_path / "workers", {"LOST_BEFORE": LOST, "LOST_ONCE": str(tmp_path / "lost")}) as both:
        yield both


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_changes_no_byte(by_threads, many, workers, tmp_path) -> None:
    assert publish(tmp_path / "root", many, workers.address) == by_threads
    assert workers.alive == 1, "one was lost in the middle of a tile"
    print(f"{workers.wire.bytes:,} bytes passed the scheduler")
    assert workers.wire.bytes < LONGEST_MESSAGES


@pytest.mark.slow
def test_nor_does_it_in_a_bucket(
    by_threads,
    many,
    emulator,  # noqa: F811
    new_root: Callable[[], str],  # noqa: F811
    workers,
) -> None:
    assert publish(new_root(), many, workers.address) == by_threads
    assert workers.alive == 1
    print(f"{workers.wire.bytes:,} bytes passed the scheduler")
    assert workers.wire.bytes < LONGEST_MESSAGES


def test_workers_stage_the_chunks_that_threads_had_staged(staged: Path) -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as both:
        run = execution.attach(settings_for(staged, dask_address=both.scheduler_address), STAGED_RUN)
        audit = run.stage.audit(f"ds_erm3_effectiveness_{FACTOR_SET}") or {}
        kinds = ("rankings", *(f"erm3_{kind}" for kind in ("betas", "hedge_weights", "returns", "effectiveness")))
        for name in (f"ds_{kind}_{FACTOR_SET}" for kind in kinds):
            by_threads = chunks_of(run, name)
            run.stage.objects.delete_tree(run.stage.overlay(name).staged)
            run.stage.overlay(name).staged_keys()
            execution.step(run, name)
            assert chunks_of(run, name) == by_threads
        found = [check.as_dict() for check in execution.audit_store(run, name)]
        assert plain(found) == audit["results"], "the audits of the last one, by the workers"
        run.stage.detach()


def test_whole_sessions_go_to_workers_by_rows_of_chunks(staged: Path, monkeypatch) -> None:
    run = execution.attach(settings_for(staged, dask_address="tcp://nowhere"), STAGED_RUN)
    store, given = run.open(f"ds_rankings_{FACTOR_SET}"), []
    rows = run.rows(store, run.first, run.last)
    cuts = [slice(rows.start, rows.start + 5), slice(rows.start + 5, rows.stop)]
    monkeypatch.setattr(StagedStore, "stretches", lambda *_: cuts)
    monkeypatch.setattr(cluster, "by_rows", lambda run, store, work, stretches: given.extend(stretches))
    by_rows(run, store, lambda *_: None, run.first, run.last)
    assert given == [(run.first, run.first + 4), (run.first + 5, run.last)]
    run.stage.detach()


def chunks_of(run: Run, name: str) -> dict[str, str]:
    staged = run.stage.overlay(name).staged_fingerprints()
    return {key: digest for key, digest in staged.items() if "/.z" not in f"/{key}"}


def test_a_run_believes_what_is_there_and_not_what_a_worker_says(staged: Path) -> None:
    run = execution.attach(settings_for(staged), STAGED_RUN)
    store = run.open("ds_erm3_betas_SPY_uni_mc_3000")
    rows = run.rows(store, run.first, run.last)
    told = store.staged_chunks("factor_beta", rows, slice(0, len(store.symbol)))
    cluster.believe(store, [told])
    with pytest.raises(StoreError, match=r"1 chunks are not there .* such as beta_se/0.0.7"):
        cluster.believe(store, [told, {"beta_se/0.0.7": "0" * 64}])
    with pytest.raises(StoreError, match="two tiles wrote into one chunk"):
        cluster.believe(store, [told, told])
    run.stage.detach()


def test_a_worker_with_another_program_is_refused(staged: Path) -> None:
    run = execution.attach(settings_for(staged), STAGED_RUN)
    place = cluster.Place.of(run)
    with pytest.raises(StoreError, match=r"a worker has erm3 .*, the run erm3 0, numpy 1: install the same"):
        cluster._helped(replace(place, program="erm3 0, numpy 1"))
    assert cluster._helped(place).first == run.first
    run.stage.detach()


def test_who_comes_too_late_to_help_is_told(whole: Path) -> None:
    with pytest.raises(StoreError, match="no run 'gone' that could be helped: it is over"):
        beside(str(whole), "gone")
