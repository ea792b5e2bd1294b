"""Dagster's PostgreSQL storage, asked for batches and with one plan for each check; see `assets.event_log`.

A module of its own, because `dagster-postgres` is there only on servers that use it (extra `postgres`).
"""

from __future__ import annotations

from typing import Any, Self

from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import pg_url_from_config

from assets.event_log import OwnEventLog, ask_for_batches


class PlannedPostgresEventLog(OwnEventLog, PostgresEventLogStorage):
    """As its second parent, but a check of a range run is planned with one row."""


class PlannedPostgresStorage(DagsterPostgresStorage):
    """Dagster's own PostgreSQL storage with that event log, in the same tables."""

    def __init__(self, postgres_url: str, inst_data: Any = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        event_log: Any = PlannedPostgresEventLog  # its parents are unknown to mypy where the package is missing
        self._event_log_storage = event_log(postgres_url)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        ask_for_batches()
        return cls(pg_url_from_config(config_value), inst_data)
