"""The nightly run: which sessions are due, or why there is nothing to do, in words that a person understands."""

from __future__ import annotations

from datetime import date, datetime, time

import dagster as dg

from assets.automation import NIGHTLY, SWITCH, default_status
from assets.deployment import Deployment, cron
from assets.partitions import range_tags
from pipeline.engine.due import DELIVERED_HOUR, NEW_YORK, NotReady, due_at, why_nothing
from pipeline.settings import Settings

RUN_KEY_TAG = "dagster/run_key"


def nightly_schedule(settings: Settings, deployment: Deployment) -> dg.ScheduleDefinition:
    """Every night, one run over what is missing; a run is asked for once, so a failed audit is not repeated."""

    @dg.schedule(
        name=NIGHTLY,
        job_name=NIGHTLY,
        cron_schedule=cron(begins(settings, deployment)),
        execution_timezone=NEW_YORK,
        description=f"Publishes the session that ended, and at most {deployment.catch_up} that were missed. "
        f"Off until somebody decides: {SWITCH}.",
        default_status=default_status(deployment),
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | list[dg.RunRequest] | dg.SkipReason:
        return tonight(settings, deployment, context.scheduled_execution_time, context.instance)

    return nightly


def begins(settings: Settings, deployment: Deployment) -> time:
    """When the night starts: where nobody chose it, vendors that are fetched have delivered by then."""
    chosen = not settings.fetched or "nightly" in deployment.model_fields_set
    return deployment.nightly if chosen else time(DELIVERED_HOUR, 30)


def tonight(
    settings: Settings, deployment: Deployment, now: datetime, instance: dg.DagsterInstance
) -> dg.RunRequest | list[dg.RunRequest] | dg.SkipReason:
    """The run of tonight, or the reason why there is none.

    Sessions of vendors that are fetched are a run each, one after the other: a late delivery moves the knowledge
    instant of its own session.
    """
    try:
        due = due_at(settings, now)
    except NotReady as reason:
        return dg.SkipReason(str(reason))
    if not due.missing:
        return dg.SkipReason(f"{why_nothing(settings, now, due)} Everything is published through {due.published}.")
    asked = due.missing[: deployment.catch_up]
    key = f"{asked[0]}_{asked[-1]}_after_{due.published}"
    earlier = instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: key}), limit=1)
    if earlier:
        return dg.SkipReason(
            f"{_span(asked)} was asked for before, in run {earlier[0].run_id[:8]}, which is {earlier[0].status.value}. "
            "It is not repeated by itself: look at that run, mend what it says, and re-execute all of its steps."
        )
    left = len(due.missing) - len(asked)
    tags = {"erm3/missed": str(len(due.missing) - 1), "erm3/left_for_later": str(left)}
    if settings.fetched and len(asked) > 1:
        return [dg.RunRequest(run_key=f"{key}_{day}", partition_key=str(day), tags=tags) for day in asked]
    if len(asked) == 1:
        return dg.RunRequest(run_key=key, partition_key=str(asked[0]), tags=tags)
    return dg.RunRequest(run_key=key, tags=tags | range_tags(asked[0], asked[-1]))


def _span(days: tuple[date, ...]) -> str:
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"
