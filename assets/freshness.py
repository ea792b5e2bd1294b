"""Is what readers see up to date? The last session of every published store, held against the exchange's calendar."""

# No `from __future__ import annotations` here: Dagster looks at the annotation of `context` itself.

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from assets.automation import FRESHNESS, NIGHTLY, SWITCH, default_status, state
from assets.deployment import Deployment, cron
from assets.names import PUBLICATION
from assets.tables import table
from pipeline.calendar import xnys
from pipeline.engine import family
from pipeline.engine.due import NEW_YORK, NotReady, due_at
from pipeline.read import open_family
from pipeline.settings import Settings

IS_FRESH = "is_fresh"
LATE = dg.AssetCheckSeverity.WARN
"""What is there is right, only old: the job decides whether that is a failure."""


def freshness_check(settings: Settings, deployment: Deployment) -> dg.AssetChecksDefinition:
    """Recorded with every publication. In its own job it fails the run when a store is late, so that the alert goes out
    even if no nightly run was ever started; a backfill of older sessions is not disturbed by it."""

    @dg.multi_asset_check(
        name=IS_FRESH,
        specs=[
            dg.AssetCheckSpec(
                IS_FRESH,
                asset=PUBLICATION,
                description="The largest teo of every published store is the last session whose data is known by now.",
            )
        ],
    )
    def is_fresh(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        result = freshness(settings, datetime.now(ZoneInfo(NEW_YORK)))
        words = state(context.instance, deployment, (NIGHTLY, FRESHNESS))[1]
        yield result.with_metadata({**result.metadata, "schedules": words})
        if not result.passed and context.run.job_name == FRESHNESS:
            raise dg.Failure(str(result.description), metadata=dict(result.metadata), allow_retries=False)

    return is_fresh


def freshness(settings: Settings, now: datetime) -> dg.AssetCheckResult:
    """The state of every store at `now`."""
    try:
        due = due_at(settings, now)
    except NotReady as reason:
        return dg.AssetCheckResult(
            passed=False, check_name=IS_FRESH, asset_key=PUBLICATION, severity=LATE, description=str(reason)
        )
    calendar, published = xnys(), open_family(settings.root)
    expected = calendar.ordinal(due.due)
    reached = {
        name: calendar.ordinal(published.dataset(name).teo.values[-1].astype("datetime64[D]"))
        for name in family.stores(settings)
    }
    behind = max(0, expected - min(reached.values()))
    rows = [
        {"store": name, "last session": str(calendar.sessions[at]), "sessions behind": max(0, expected - at)}
        for name, at in reached.items()
    ]
    return dg.AssetCheckResult(
        passed=behind == 0,
        check_name=IS_FRESH,
        asset_key=PUBLICATION,
        severity=LATE,
        description=f"{behind} sessions behind: {due.due} is expected and {due.published} is published. See the last "
        "nightly run"
        if behind
        else f"Everything is published through {due.published}.",
        metadata={
            "expected session": str(due.due),
            "sessions behind": behind,
            "stores": table(rows),
        },
    )


def freshness_schedule(deployment: Deployment) -> dg.ScheduleDefinition:
    """Every morning, before people start to use the data."""
    return dg.ScheduleDefinition(
        name=FRESHNESS,
        job_name=FRESHNESS,
        cron_schedule=cron(deployment.late_after),
        execution_timezone=NEW_YORK,
        description="Fails, and so alerts, when the session before is not published by then. Off until somebody "
        f"decides: {SWITCH}.",
        default_status=default_status(deployment),
    )
