"""Partitions are the exchange's sessions."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from assets.partitions import FIRST_PARTITION, sessions
from pipeline.calendar import xnys


def at(when: str) -> datetime:
    return datetime.fromisoformat(when).replace(tzinfo=ZoneInfo("America/New_York"))


def test_partitions_are_exactly_the_sessions_of_the_calendar():
    keys = sessions().get_partition_keys(at("2030-01-01 00:30"))
    assert keys == [str(day) for day in xnys().between(FIRST_PARTITION, "2029-12-31")]


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2024-07-03 23:59", "2024-07-02"),
        ("2024-07-04 00:01", "2024-07-03"),
        ("2024-07-05 12:00", "2024-07-03"),
        ("2024-07-06 00:30", "2024-07-05"),
        ("2024-07-07 12:00", "2024-07-05"),
        ("2024-07-08 16:30", "2024-07-05"),
        ("2024-03-10 12:00", "2024-03-08"),
    ],
    ids=["eve_of_a_holiday", "holiday", "day_after", "saturday", "sunday", "monday_before_midnight", "clock_change"],
)
def test_no_session_is_shown_before_its_day_is_over(now, last):
    assert sessions().get_partition_keys(at(now))[-1] == last


def test_a_range_over_a_holiday_holds_the_sessions_between():
    asked = dg.PartitionKeyRange("2024-07-03", "2024-07-08")
    assert sessions().get_partition_keys_in_range(asked) == ["2024-07-03", "2024-07-05", "2024-07-08"]
