"""The nightly schedule: what is due at an instant of New York time, and why there is nothing to do."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from assets.definitions import build_definitions
from assets.deployment import Deployment
from assets.schedules import tonight
from pipeline.engine import due, family
from pipeline.engine.due import due_at
from pipeline.settings import DataRules, Settings
from pipeline.store.objects import StoreError
from tests.engine.conftest import NIGHT
from tests.engine.published_market import settings_for

NEW_YORK = ZoneInfo("America/New_York")
SETTINGS = settings_for("root")


def at(when: str) -> datetime:
    return datetime.fromisoformat(when).replace(tzinfo=NEW_YORK)


@pytest.fixture
def published(monkeypatch):
    """`published(session)`: the root is complete through that session."""

    def publish(through: str, settings: Settings = SETTINGS) -> None:
        stores = {name: {"first": "2018-12-03", "last": through} for name in family.stores(settings)}
        monkeypatch.setattr(due, "read_manifest", lambda root: {"stores": stores, "complete_through": through})

    return publish


def reason(instance, now: str, settings: Settings = SETTINGS) -> str:
    found = tonight(settings, Deployment(), at(now), instance)
    assert isinstance(found, dg.SkipReason), found
    return str(found.skip_message)


@pytest.mark.parametrize(
    ("through", "now", "session"),
    [
        ("2019-01-11", "2019-01-15 00:30", "2019-01-14"),
        ("2018-11-21", "2018-11-24 00:30", "2018-11-23"),
        ("2018-12-21", "2018-12-25 00:30", "2018-12-24"),
        ("2019-03-07", "2019-03-09 00:30", "2019-03-08"),
        ("2019-03-08", "2019-03-12 00:30", "2019-03-11"),
    ],
    ids=[
        "usual_night",
        "half_day_after_thanksgiving",
        "half_day_before_christmas",
        "clocks_change",
        "after_the_change",
    ],
)
def test_the_session_that_ended_is_run_after_midnight(through, now, session, published, instance):
    published(through)
    found = tonight(SETTINGS, Deployment(), at(now), instance)
    assert isinstance(found, dg.RunRequest)
    assert found.partition_key == session


@pytest.mark.parametrize(
    ("through", "now", "why"),
    [
        ("2018-12-31", "2019-01-02 00:30", "2019-01-01 was no exchange session (New Year's Day)"),
        ("2018-11-21", "2018-11-23 00:30", "2018-11-22 was no exchange session (Thanksgiving)"),
        ("2019-01-18", "2019-01-20 00:30", "2019-01-19 was no exchange session (a Saturday)"),
        ("2019-01-18", "2019-01-21 00:30", "2019-01-20 was no exchange session (a Sunday)"),
        ("2018-12-04", "2018-12-06 00:30", "2018-12-05 was no exchange session (the exchange was closed)"),
        ("2019-01-18", "2019-01-19 00:30", "2019-01-18 is published"),
    ],
    ids=["new_year", "thanksgiving", "saturday", "sunday", "day_of_mourning", "done_already"],
)
def test_a_night_without_a_session_is_skipped_with_a_reason(through, now, why, published, instance):
    published(through)
    said = reason(instance, now)
    assert why in said
    assert f"Everything is published through {through}." in said


def test_missed_sessions_are_caught_up_in_one_run(published, instance):
    published("2019-01-11")
    found = tonight(SETTINGS, Deployment(), at("2019-01-19 00:30"), instance)
    assert found.partition_key_range == dg.PartitionKeyRange("2019-01-14", "2019-01-18")
    assert found.tags["erm3/missed"] == "4"


def test_catching_up_is_bounded_and_begins_with_the_oldest(published, instance):
    published("2019-01-11")
    found = tonight(SETTINGS, Deployment(catch_up=3), at("2019-02-01 00:30"), instance)
    assert found.partition_key_range == dg.PartitionKeyRange("2019-01-14", "2019-01-16")
    assert found.tags["erm3/left_for_later"] == "10"


def test_a_session_whose_data_is_not_known_yet_waits_and_says_until_when(published, instance):
    late = settings_for("root", rules=DataRules(vendor_delay_minutes=600))
    published("2019-01-11", late)
    said = reason(instance, "2019-01-15 00:30", late)
    assert "2019-01-14 may be computed from 2019-01-15 02:00 New York time on" in said
    assert due_at(late, at("2019-01-15 02:00")).missing == (date(2019, 1, 14),)


def test_a_run_that_was_asked_for_is_not_asked_for_again(published, instance):
    published("2019-01-11")
    first = tonight(SETTINGS, Deployment(), at("2019-01-12 00:30"), instance)
    assert isinstance(first, dg.SkipReason)
    asked = tonight(SETTINGS, Deployment(), at("2019-01-15 00:30"), instance)
    instance.add_run(
        dg.DagsterRun("nightly", tags={"dagster/run_key": asked.run_key}, status=dg.DagsterRunStatus.FAILURE)
    )
    said = reason(instance, "2019-01-15 00:30")
    assert "2019-01-14 was asked for before" in said
    assert "FAILURE" in said
    assert "re-execute all of its steps" in said
    next_night = tonight(SETTINGS, Deployment(), at("2019-01-16 00:30"), instance)
    assert next_night.partition_key_range == dg.PartitionKeyRange("2019-01-14", "2019-01-15")


def test_an_empty_root_is_not_filled_by_the_nightly_run(instance, monkeypatch):
    def nothing(root):
        raise StoreError("nothing")

    monkeypatch.setattr(due, "read_manifest", nothing)
    assert "backfill the first range" in reason(instance, "2019-01-15 00:30")


def test_a_factor_set_without_a_history_is_not_begun_by_the_nightly_run(published, instance):
    """Its stores would begin tonight, and could never be extended backwards."""
    published("2019-01-11")
    both = settings_for("root", factor_sets=("SPY_uni_mc_3000", "SPY_uni_mc_1000"))
    said = reason(instance, "2019-01-15 00:30", both)
    assert "ds_erm3_betas_SPY_uni_mc_1000" in said
    assert "Backfill from 2018-12-03" in said


def test_the_schedule_runs_every_night_of_new_york_and_is_off_until_somebody_turns_it_on():
    schedule = build_definitions(SETTINGS, Deployment()).resolve_schedule_def("nightly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 0 * * *", "America/New_York")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_a_tick_of_the_schedule_asks_for_the_night_after_what_the_root_has(published_eve):
    definitions = build_definitions(settings_for(published_eve), Deployment())
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(
            instance,
            scheduled_execution_time=at("2019-01-15 00:30"),
            repository_def=definitions.get_repository_def(),
        ) as context,
    ):
        tick = definitions.resolve_schedule_def("nightly").evaluate_tick(context)
    (request,) = tick.run_requests
    assert request.partition_key == NIGHT
