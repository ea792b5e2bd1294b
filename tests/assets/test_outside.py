"""What another face published shows in Dagster once, as it was; what Dagster published is not shown twice."""

from __future__ import annotations

import dagster as dg
import pytest

from assets.definitions import build_definitions
from assets.names import PUBLICATION, key_of
from assets.outside import publications_sensor, show_publication_job
from pipeline.engine import execution
from pipeline.engine.family import specs
from pipeline.read import history
from tests.assets.conftest import IMPATIENT, NEXT_NIGHT
from tests.engine.conftest import EVE, NIGHT
from tests.engine.published_market import FIRST, known_at, sessions, settings_for


def tick(settings, instance, cursor=None):
    """What the sensor asks for, and the cursor that it leaves."""
    sensor = publications_sensor(settings, show_publication_job(settings))
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    found = sensor.evaluate_tick(context)
    return found.run_requests or [], found.cursor if found.cursor is not None else cursor


def shown(settings, instance, request):
    job = build_definitions(settings, IMPATIENT).resolve_job_def("show_publication")
    assert job.execute_in_process(run_config=request.run_config, instance=instance).success


def test_what_the_command_line_published_is_shown_once_with_its_sessions(eve, instance):
    settings = settings_for(eve)
    asked, cursor = tick(settings, instance)
    (made,) = history(eve)["publication"]
    assert [request.run_key for request in asked] == [made]
    shown(settings, instance, asked[0])
    days = sessions(FIRST, EVE)
    for key in (PUBLICATION, *(key_of(spec) for spec in specs(settings).values())):
        assert sorted(instance.get_materialized_partitions(key)) == days, key
    event = instance.get_latest_materialization_event(PUBLICATION)
    assert event.asset_materialization.metadata["publication"].value == made
    assert "outside of this Dagster" in event.asset_materialization.metadata["made by"].value
    assert tick(settings, instance, cursor)[0] == [], "once"


@pytest.mark.slow
def test_what_dagster_published_is_not_shown_again_and_a_night_of_cron_after_it_is(eve, tables, launch, instance):
    settings = settings_for(eve)
    cursor = tick(settings, instance)[1]
    assert launch(settings, known_at(tables, NIGHT), NIGHT).success
    assert history(eve)["complete_through"].iloc[-1] == NIGHT, "other faces see what Dagster published"
    asked, cursor = tick(settings, instance, cursor)
    assert asked == []
    execution.execute(settings, NEXT_NIGHT, NEXT_NIGHT, source=known_at(tables, NEXT_NIGHT))
    asked, cursor = tick(settings, instance, cursor)
    assert len(asked) == 1
    shown(settings, instance, asked[0])
    assert set(instance.get_materialized_partitions(PUBLICATION)) == {NIGHT, NEXT_NIGHT}
    with dg.DagsterInstance.ephemeral() as another:
        assert len(tick(settings, another)[0]) == 3, "an instance that is new shows all, also what another one made"


def test_nothing_is_asked_for_before_the_first_publication(tmp_path, instance):
    assert tick(settings_for(tmp_path), instance)[0] == []


def test_a_publication_that_is_not_there_is_a_sentence(eve, instance):
    job = build_definitions(settings_for(eve), IMPATIENT).resolve_job_def("show_publication")
    config = {"ops": {"record_publication": {"config": {"publication": "000099-nothing"}}}}
    done = job.execute_in_process(run_config=config, instance=instance, raise_on_error=False)
    assert not done.success
    assert (
        "has no publication 000099-nothing"
        in done.failure_data_for_node("record_publication").user_failure_data.description
    )
