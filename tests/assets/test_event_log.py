"""The batched event log keeps what Dagster's own keeps."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import StepMaterializationData
from dagster._core.storage.event_log import SqliteEventLogStorage

from assets.deployment import Deployment
from assets.event_log import BatchedSqliteEventLog
from assets.partitions import range_tags, sessions
from assets.staging import explained
from pipeline.calendar import xnys
from security_master.errors import ExplainedError

FIRST, LAST = "2019-01-02", "2019-01-11"
REPOSITORY = Path(__file__).parents[2]


def job() -> dg.JobDefinition:
    """A range over two assets and a check, with figures on some sessions."""

    @dg.asset(partitions_def=sessions(), backfill_policy=dg.BackfillPolicy.single_run())
    def first(context) -> dg.MaterializeResult:
        context.add_asset_metadata({"figure": 1.5}, partition_key=LAST)
        return dg.MaterializeResult()

    @dg.asset(
        deps=[first],
        partitions_def=sessions(),
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec("fine", asset="second")],
    )
    def second(context):
        yield dg.AssetCheckResult(passed=True, check_name="fine")
        yield dg.MaterializeResult()

    assets = [first, second]
    return dg.Definitions(assets=assets, jobs=[dg.define_asset_job("both", assets)]).resolve_job_def("both")


def recorded(home: Path, storage: dict) -> dict[str, list]:
    """Every row of the event log's databases without ids, times and run ids, and what the instance answers."""
    home.mkdir(exist_ok=True)
    with dg.instance_for_test(temp_dir=str(home), overrides=storage) as instance:
        done = job().execute_in_process(instance=instance, tags=range_tags(FIRST, LAST))
        kind = type(instance.event_log_storage).__name__
        latest = instance.fetch_materializations(dg.AssetKey("first"), limit=1).records[0]
        answers = [
            sorted(instance.get_materialized_partitions(dg.AssetKey("second"))),
            latest.partition_key,
            latest.asset_materialization.metadata["figure"].value,
            [log.dagster_event.event_type_value for log in instance.all_logs(done.run_id) if log.dagster_event],
            [str(key) for key in instance.all_asset_keys()],
        ]
    tables: dict[str, list] = {"kind": [kind], "answers": answers}
    runs = home / "history" / "runs"
    for path in (runs / "index.db", runs / f"{done.run_id}.db"):
        with sqlite3.connect(path) as connection:
            name = path.stem.replace(done.run_id, "run")
            events = "SELECT dagster_event_type, step_key, asset_key, partition FROM event_logs ORDER BY id"
            tables[f"{name} events"] = connection.execute(events).fetchall()
    with sqlite3.connect(runs / "index.db") as connection:
        for table, columns in {
            "asset_keys": "asset_key, last_run_id IS NOT NULL, cached_status_data IS NULL",
            "asset_event_tags": "asset_key, key",
            "asset_check_executions": "asset_key, check_name, execution_status",
        }.items():
            tables[table] = sorted(connection.execute(f"SELECT {columns} FROM {table}").fetchall())
        last = connection.execute("SELECT last_materialization FROM asset_keys ORDER BY asset_key").fetchall()
        tables["last partitions"] = [LAST in text for (text,) in last]
    return tables


@pytest.fixture
def batched(monkeypatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "3")


def ours(home: Path) -> dict:
    place = {"module": "assets.event_log", "class": "BatchedSqliteStorage", "config": {"base_dir": str(home)}}
    return {"storage": {"custom": place}}


def test_batches_leave_the_rows_that_single_events_leave(tmp_path, batched):
    by_batch = recorded(tmp_path / "a", ours(tmp_path / "a"))
    one_by_one = recorded(tmp_path / "b", {})
    assert by_batch.pop("kind") == ["BatchedSqliteEventLog"]
    assert one_by_one.pop("kind") == ["SqliteEventLogStorage"]
    check, days = "asset_check_executions", len(xnys().between(FIRST, LAST))
    assert one_by_one[check].count(('["second"]', "fine", "PLANNED")) == days
    assert one_by_one.pop(check).count(('["second"]', "fine", "SUCCEEDED")) == 1
    assert by_batch.pop(check) == [('["second"]', "fine", "SUCCEEDED")], "one verdict of a run, and nothing left open"
    assert by_batch == one_by_one


def test_dagsters_own_storage_reads_what_the_batched_one_wrote(tmp_path, batched):
    recorded(tmp_path, ours(tmp_path))
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
        assert len(instance.get_materialized_partitions(dg.AssetKey("second"))) == len(xnys().between(FIRST, LAST))


def test_a_batch_is_written_whole_or_not_at_all(tmp_path, batched, monkeypatch):
    """A failure in the middle of a batch leaves none of its rows; Dagster then stores the events one by one."""
    calls = []

    def broken(self, *args):
        calls.append(args)
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as planted:
        planted.setattr(BatchedSqliteEventLog, "_store_asset_event_tags", broken)
        with dg.instance_for_test(temp_dir=str(tmp_path), overrides=ours(tmp_path)) as instance:
            storage = instance.event_log_storage
            events = [materialized(day) for day in ("2019-01-02", "2019-01-03")]
            with pytest.raises(sqlite3.OperationalError):
                storage.store_event_batch(events)
            assert not instance.get_materialized_partitions(dg.AssetKey("first"))
    assert calls


def materialized(day: str) -> dg.EventLogEntry:
    data = StepMaterializationData(dg.AssetMaterialization("first", partition=day))
    event = dg.DagsterEvent(dg.DagsterEventType.ASSET_MATERIALIZATION.value, "both", event_specific_data=data)
    return dg.EventLogEntry(
        error_info=None, level=10, user_message="", run_id="run", timestamp=0.0, dagster_event=event
    )


class Wrong(ExplainedError):
    """A cause that tells a person what to do."""


@pytest.mark.parametrize(("cause", "traced"), [(Wrong("have it delivered again"), False), (KeyError("close"), True)])
def test_a_failure_that_says_what_to_do_is_shown_without_a_trace_and_a_fault_of_the_program_with_one(
    cause, traced, tmp_path
):
    @dg.asset
    def step(context) -> None:
        with explained(context, Deployment()):
            raise cause

    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=ours(tmp_path)) as instance:
        job = dg.Definitions(assets=[step], jobs=[dg.define_asset_job("one", [step])]).resolve_job_def("one")
        done = job.execute_in_process(instance=instance, raise_on_error=False)
        events = [log.get_dagster_event() for log in instance.all_logs(done.run_id) if log.is_dagster_event]
    (of_step,) = [event.step_failure_data for event in events if event.is_step_failure]
    (of_run,) = [event.job_failure_data for event in events if event.is_run_failure]
    for data in (of_step, of_run.first_step_failure_event.step_failure_data):
        assert bool(data.error.stack) is traced
        assert (data.error.message == "Wrong: have it delivered again") is not traced


def test_the_instance_of_the_repository_is_sqlite_in_batches_with_one_run_for_each_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    (tmp_path / "dagster.yaml").write_text((REPOSITORY / "dagster.yaml").read_text())
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, BatchedSqliteEventLog)
        pools = instance.get_concurrency_config().pool_config
        assert (pools.pool_granularity.value, pools.default_pool_limit) == ("run", 1)
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] > 0
        assert not instance.run_retries_enabled
        assert int(os.environ["DAGSTER_EVENT_BATCH_SIZE"]) > 1
