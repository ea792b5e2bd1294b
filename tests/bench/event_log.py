"""What Dagster's event log costs: its own SQLite storage against `assets.event_log`, on the events of one range run.

    python -m tests.bench.event_log [--sessions 60] [--assets 4]

Prints processor milliseconds for each event of a session and asset (planned, materialised), and the rows in which a
check is planned, for the nine-store run's kind of job: assets over a range, each with a check.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from assets.event_log import BATCH_SIZE
from assets.partitions import FIRST_PARTITION, range_tags, sessions
from pipeline.calendar import xnys


def asset(name: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        partitions_def=sessions(),
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec("fine", asset=name)],
    )
    def made() -> Iterator[Any]:
        yield dg.AssetCheckResult(passed=True, check_name="fine")
        yield dg.MaterializeResult()

    return made


def measured(home: Path, storage: dict[str, Any], days: tuple[str, str], assets: int) -> tuple[float, int]:
    """Processor seconds of one range run on an instance, and the rows in which its checks were planned."""
    made = [asset(f"a{k}") for k in range(assets)]
    job = dg.Definitions(assets=made, jobs=[dg.define_asset_job("all", made)]).resolve_job_def("all")
    home.mkdir()
    with dg.instance_for_test(temp_dir=str(home), overrides=storage) as instance:
        began = time.process_time()
        assert job.execute_in_process(instance=instance, tags=range_tags(*days)).success
        spent = time.process_time() - began
    with sqlite3.connect(home / "history" / "runs" / "index.db") as connection:
        (rows,) = connection.execute("SELECT count(*) FROM asset_check_executions").fetchone()
    return spent, int(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--assets", type=int, default=4)
    given = parser.parse_args()
    first = xnys().ordinal(FIRST_PARTITION)
    days = tuple(str(day) for day in xnys().sessions[[first, first + given.sessions - 1]])
    events = 2 * given.sessions * given.assets
    for batch in ("0", str(BATCH_SIZE)):
        os.environ["DAGSTER_EVENT_BATCH_SIZE"] = batch
        for name in ("Dagster's own", "assets.event_log"):
            with tempfile.TemporaryDirectory() as temporary:
                home = Path(temporary) / "home"
                place = {
                    "module": "assets.event_log",
                    "class": "BatchedSqliteStorage",
                    "config": {"base_dir": str(home)},
                }
                storage = {"storage": {"custom": place}} if name == "assets.event_log" else {}
                spent, rows = measured(home, storage, (days[0], days[1]), given.assets)
            print(f"{name}, batches of {batch}: {1000 * spent / events:.2f} ms an event of {events}, "
                  f"{rows} rows for {given.assets} checks", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
