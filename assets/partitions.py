"""The exchange's sessions as Dagster partitions: one key for each session, weekends and holidays left out."""

from __future__ import annotations

from datetime import datetime
from functools import cache

import dagster as dg
import numpy as np

from pipeline.calendar import xnys
from pipeline.engine.due import NEW_YORK

FIRST_PARTITION = "2006-01-03"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
WEEKENDS = ("0 0 * * 6", "0 0 * * 0")


@cache
def sessions() -> dg.DailyPartitionsDefinition:
    """All sessions since 2006-01-03 whose day in New York is over.

    `end_offset` stays 0: with 1, a weekend shows Monday's session before it exists.
    """
    calendar = xnys()
    days = np.arange(np.datetime64(FIRST_PARTITION, "D"), calendar.sessions[-1] + 1)
    closed = days[np.is_busday(days) & ~calendar.is_session(days)]
    holidays = [datetime(day.year, day.month, day.day) for day in closed.tolist()]  # noqa: DTZ001 (local midnights)
    return dg.DailyPartitionsDefinition(
        start_date=FIRST_PARTITION, timezone=NEW_YORK, exclusions=[*WEEKENDS, *holidays]
    )


def range_tags(first: object, last: object) -> dict[str, str]:
    """Tags of a run over the sessions from `first` to `last`, both included."""
    return {RANGE_START: str(first), RANGE_END: str(last)}


def asked(context: dg.AssetExecutionContext) -> tuple[str, str]:
    """First and last session that the run was asked for."""
    keys = context.partition_key_range
    return keys.start, keys.end
