"""Whether readers see the last session, from the largest teo of each store and the calendar."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from assets.definitions import build_definitions
from assets.deployment import Deployment
from assets.freshness import freshness
from pipeline.engine import family
from tests.engine.conftest import EVE, NIGHT
from tests.engine.published_market import settings_for


def at(when: str) -> datetime:
    return datetime.fromisoformat(when).replace(tzinfo=ZoneInfo("America/New_York"))


def test_the_morning_after_the_last_published_session_everything_is_fresh(published_eve):
    found = freshness(settings_for(published_eve), at("2019-01-14 06:00"))
    assert found.passed
    assert EVE in found.description


def test_a_missing_session_is_named_with_the_store_that_lacks_it(published_eve):
    settings = settings_for(published_eve)
    found = freshness(settings, at("2019-01-15 06:00"))
    assert not found.passed
    assert found.metadata["expected session"].value == NIGHT
    behind = {r.data["store"]: r.data["sessions behind"] for r in found.metadata["stores"].records}
    assert behind == dict.fromkeys(family.stores(settings), 1)


def test_an_empty_root_is_not_fresh(tmp_path):
    found = freshness(settings_for(tmp_path), at("2019-01-15 06:00"))
    assert not found.passed
    assert "nothing is published" in found.description


def test_the_freshness_job_fails_when_a_store_is_late_so_that_the_alert_goes_out(published_eve, instance):
    """The test runs years after the last session of the small market."""
    job = build_definitions(settings_for(published_eve), Deployment()).resolve_job_def("freshness")
    done = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not done.success
    (check,) = done.get_asset_check_evaluations()
    assert not check.passed
    assert "sessions behind" in done.failure_data_for_node("is_fresh").user_failure_data.description


def test_a_publication_of_old_sessions_records_its_age_and_succeeds(nights):
    check = nights.done.checks()["publication", "is_fresh"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert nights.done.success


def test_freshness_is_looked_at_every_morning_in_new_york():
    schedule = build_definitions(settings_for("root"), Deployment()).resolve_schedule_def("freshness")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * *", "America/New_York")
