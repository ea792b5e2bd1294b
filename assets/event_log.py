"""Dagster's event log, with the events of many sessions in one transaction and one plan for each check.

A range run records two events for each session and asset (planned, materialised). Dagster hands them over in batches
to a process that has DAGSTER_EVENT_BATCH_SIZE set, as every process that opens this storage has. But its own SQLite
storage then opens, commits and closes two databases for each event all the same. Here a batch is one transaction in
each of them; the rows are the same, in the same order (figures: docs/operations.md). Postgres does this by itself;
what follows concerns both (`assets.event_log_postgres`).

A check of this project looks at all sessions of a run at once and has one verdict. Dagster's storage plans it with a
row for each session, each holding the whole range: work and bytes by the square of the range, and rows that stay
"planned" for good, since the verdict names no session and gets a row of its own. Here it is planned with one row.

A failed delivery or audit is a message for a person, which Dagster follows with its own frames: here without them.

Dagster exports neither of the classes that this takes. tests/assets/test_private_parts.py says why there is no public
way, and fails when anything changes in them that is called, overridden or repeated here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import sqlalchemy as db
from dagster import DagsterEvent, DagsterEventType, EventLogEntry
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

BATCH_SIZE = 500


class OwnEventLog(SqlEventLogStorage):
    """An event log that plans a check of a run with one row, and shows what a person can act on without a trace."""

    def prepare_insert_event(self, event: EventLogEntry) -> Any:
        return super().prepare_insert_event(without_trace(event))

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        planned = event.get_dagster_event()
        check = planned.asset_check_planned_data
        data = type(check)(asset_key=check.asset_key, check_name=check.check_name)
        of_the_run = event._replace(dagster_event=planned._replace(event_specific_data=data))
        super()._store_asset_check_evaluation_planned(of_the_run, event_id)


def without_trace(event: EventLogEntry) -> EventLogEntry:
    """The failure of a step, or the run's for it, with the message alone where the step raised `dagster.Failure`.

    Every error that tells a person what to do becomes one (`assets.staging.explained`): the frames of Dagster that it
    went through say nothing. A fault of the program keeps its trace.
    """
    if not event.is_dagster_event or _type(event) not in (DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE):
        return event
    return event._replace(dagster_event=_said(event.get_dagster_event()))


def _said(event: DagsterEvent) -> DagsterEvent:
    data: Any = event.event_specific_data
    if event.event_type is DagsterEventType.STEP_FAILURE and data.user_failure_data and data.error:
        words = data.user_failure_data.description or data.error.message
        return event._replace(event_specific_data=data._replace(error=data.error._replace(message=words, stack=[])))
    if event.event_type is DagsterEventType.RUN_FAILURE and data.first_step_failure_event:
        return event._replace(
            event_specific_data=data._replace(first_step_failure_event=_said(data.first_step_failure_event))
        )
    return event


class BatchedSqliteEventLog(OwnEventLog, SqliteEventLogStorage):
    """As its parent, but `store_event_batch` commits once for the asset events of a run."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Stores events of one run. Those of assets go together; the few others as the parent stores them."""
        of_assets = [event for event in events if event.is_dagster_event and _type(event) in ASSET_EVENTS]
        for run_id in dict.fromkeys(event.run_id for event in of_assets):
            self._store_together(run_id, [event for event in of_assets if event.run_id == run_id])
        for event in events:
            if not (event.is_dagster_event and _type(event) in ASSET_EVENTS):
                self.store_event(event)

    def _store_together(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        statements = [self.prepare_insert_event(event) for event in events]
        with self.run_connection(run_id) as connection:
            for statement in statements:
                connection.execute(statement)
        with self.index_transaction() as connection:
            ids = [_inserted(connection, statement) for statement in statements]
            self._store_asset_event_tags(connection, events, ids)
            # One row for each asset says what happened last: of equal kinds, only the last event leaves a trace.
            last = {(event.get_dagster_event().asset_key, _type(event)): k for k, event in enumerate(events)}
            for k in sorted(last.values()):
                self._store_asset_event(connection, events[k], ids[k])


class BatchedSqliteStorage(DagsterSqliteStorage):
    """Dagster's own SQLite storage with that event log, in the same files: one may be put in place of the other."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = BatchedSqliteEventLog(str(Path(base_dir) / "history" / "runs"))

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        ask_for_batches()
        return cls.from_local(inst_data=inst_data, **config_value)


def ask_for_batches() -> None:
    """Dagster sends batches only to a process that has this set, and asks each time."""
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(BATCH_SIZE))


def _type(event: EventLogEntry) -> DagsterEventType:
    return event.get_dagster_event().event_type


def _inserted(connection: Any, statement: db.Insert) -> int:
    """The row's id."""
    return int(connection.execute(statement).inserted_primary_key[0])
