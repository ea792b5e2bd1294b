"""Schedules that nobody switched on are said to be off: by the page's check, and by `python -m assets`."""

from __future__ import annotations

import os

import dagster as dg
import pytest

from assets.automation import is_on, state
from assets.definitions import build_definitions
from assets.deployment import Deployment, read_deployment
from pipeline.engine import doctor
from pipeline.settings.names import WrongSettings
from tests.engine.published_market import settings_for

BOTH = ("nightly", "freshness")


def schedules(deployment: Deployment) -> dict[str, dg.ScheduleDefinition]:
    definitions = build_definitions(settings_for("unused"), deployment)
    return {one.name: one for one in definitions.schedules}  # type: ignore[union-attr, misc]


@pytest.mark.parametrize(("asked", "is_on_by_default"), [(False, False), (True, True)])
def test_schedules_are_on_by_default_where_the_deployment_says_so(asked, is_on_by_default, instance):
    deployment = Deployment(schedules=asked)
    for name, schedule in schedules(deployment).items():
        assert (schedule.default_status == dg.DefaultScheduleStatus.RUNNING) is is_on_by_default
        assert is_on(instance, deployment, name) is is_on_by_default
        assert "ERM3_DAGSTER_SCHEDULES" in str(schedule.description)


@pytest.mark.parametrize("given", ["ERM3_DAGSTER_SCHEDULE", "ERM3_DAGSTR_SCHEDULES", "ERM3_DAGSTER_SHEDULES__ALL"])
def test_a_misspelt_variable_of_the_deployment_is_an_error_with_the_nearest_name(given, monkeypatch):
    monkeypatch.setenv("ERM3_DAGSTER_POSTGRES", "postgresql://there")
    monkeypatch.setenv("ERM3_DAGSTER_OWNERS", '["team:erm3"]')
    assert read_deployment() == Deployment()
    monkeypatch.setenv(given, "true")
    with pytest.raises(WrongSettings) as wrong:
        build_definitions(settings_for("unused"))
    wanted = "no setting has this name, and nobody would read it; is ERM3_DAGSTER_SCHEDULES meant?"
    assert str(wrong.value) == f"{given}: {wanted}"


def test_the_doctor_says_that_a_variable_of_the_deployment_is_misspelt(monkeypatch, tmp_path):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("ERM3_DAGSTER_SCHEDULE", "true")
    line = doctor._schedules(settings_for("unused", source="files", source_path="there"), os.environ)
    assert "ERM3_DAGSTER_SCHEDULE: no setting has this name" in line.do


def test_misspelt_settings_are_named_when_dagster_loads_as_they_are_on_the_command_line(monkeypatch):
    monkeypatch.setenv("ERM3_SOURCEPATH", "there")
    with pytest.raises(WrongSettings, match=r"ERM3_SOURCEPATH: .* is ERM3_SOURCE_PATH meant"):
        build_definitions(deployment=Deployment())
    monkeypatch.delenv("ERM3_SOURCEPATH")
    monkeypatch.setenv("ERM3_DAGSTER_NIGHTLY", "after midnight")
    with pytest.raises(WrongSettings, match="nightly: Input should be in a valid time format"):
        build_definitions(settings_for("unused"))


def test_what_nobody_switched_on_is_said_with_how_to(instance):
    well, words = state(instance, Deployment(), BOTH)
    assert not well
    assert words.startswith("nightly and freshness are off: switch it on under Automation")
    well, words = state(instance, Deployment(schedules=True), BOTH)
    assert not well
    assert "no daemon" in words


def test_the_check_of_freshness_says_it_beside_the_publication(nights):
    check = nights.done.checks()["publication", "is_fresh"]
    assert "are off" in str(check.metadata["schedules"].value)


def test_what_a_person_switched_on_is_on(instance):
    """As the page's switch records it."""
    definitions = build_definitions(settings_for("unused"), Deployment())
    with dg.instance_for_test() as kept:
        repository = definitions.get_repository_def()
        assert repository.has_schedule_def("nightly")
        assert not is_on(kept, Deployment(), "nightly")
        switched = _state("nightly", "RUNNING")
        kept.all_instigator_state = lambda *_, **__: [switched]  # type: ignore[method-assign]
        assert is_on(kept, Deployment(), "nightly")
        assert not is_on(kept, Deployment(), "freshness")
        kept.all_instigator_state = lambda *_, **__: [_state("nightly", "STOPPED")]  # type: ignore[method-assign]
        assert not is_on(kept, Deployment(schedules=True), "nightly"), "what a person switched off stays off"


def _state(name: str, status: str):
    from types import SimpleNamespace

    value = lambda text: SimpleNamespace(value=text)  # noqa: E731
    return SimpleNamespace(instigator_name=name, instigator_type=value("SCHEDULE"), status=value(status))
