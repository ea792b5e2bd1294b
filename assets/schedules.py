"""The nightly run: which sessions are due, or why there is nothing to do, in words that a person understands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import exchange_calendars
import numpy as np

from assets.deployment import NEW_YORK, Deployment, cron
from assets.partitions import range_tags
from pipeline.calendar import xnys
from pipeline.engine import family
from pipeline.read import read_manifest
from pipeline.settings import Settings
from pipeline.store.objects import StoreError
from security_master.errors import ExplainedError

NIGHTLY = "nightly"
RUN_KEY_TAG = "dagster/run_key"


@dataclass(frozen=True)
class Due:
    """What is missing at an instant.

    published: last session for which every store has values. due: last session that may be computed by now.
    missing:   the sessions between.
    """

    published: date
    due: date
    missing: tuple[date, ...]


class NotReady(ExplainedError, RuntimeError):
    """The root is not in a state that a nightly run can continue. The message says what to do."""


def due_at(settings: Settings, now: datetime) -> Due:
    """What a root lacks at `now` (aware). Raises NotReady before a first backfill, or with a store that has none."""
    try:
        manifest = read_manifest(settings.root)
    except StoreError:
        raise NotReady(f"nothing is published under {settings.root}: backfill the first range by hand") from None
    lacking = [name for name in family.stores(settings) if name not in manifest["stores"]]
    if lacking or manifest["complete_through"] is None:
        begins = min(store["first"] for store in manifest["stores"].values() if store["first"])
        raise NotReady(
            f"{', '.join(lacking)} has never been published. Backfill from {begins}, the first session of the other "
            "stores, so that its history is as long as theirs; the others stay as they are"
        )
    calendar = xnys()
    utc = np.datetime64(now.astimezone(ZoneInfo("UTC")).replace(tzinfo=None), "us")
    today = now.astimezone(ZoneInfo(NEW_YORK)).date()
    known = int(np.searchsorted(calendar.closes + _delay(settings), utc, side="right")) - 1
    over = int(calendar.on_or_before(np.datetime64(today - timedelta(days=1), "D")))
    due = min(known, over)
    published = calendar.ordinal(manifest["complete_through"])
    missing = tuple(calendar.sessions[published + 1 : due + 1].tolist())
    return Due(calendar.sessions[published].item(), calendar.sessions[due].item(), missing)


def _delay(settings: Settings) -> np.timedelta64:
    return np.timedelta64(settings.rules.vendor_delay_minutes, "m")


def nightly_schedule(settings: Settings, deployment: Deployment) -> dg.ScheduleDefinition:
    """Every night, one run over what is missing; a run is asked for once, so a failed audit is not repeated."""

    @dg.schedule(
        name=NIGHTLY,
        job_name=NIGHTLY,
        cron_schedule=cron(deployment.nightly),
        execution_timezone=NEW_YORK,
        description=f"Publishes the session that ended, and at most {deployment.catch_up} that were missed.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return tonight(settings, deployment, context.scheduled_execution_time, context.instance)

    return nightly


def tonight(
    settings: Settings, deployment: Deployment, now: datetime, instance: dg.DagsterInstance
) -> dg.RunRequest | dg.SkipReason:
    """The run of tonight, or the reason why there is none."""
    try:
        due = due_at(settings, now)
    except NotReady as reason:
        return dg.SkipReason(str(reason))
    if not due.missing:
        return dg.SkipReason(f"{_why_nothing(settings, now, due)} Everything is published through {due.published}.")
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
    if len(asked) == 1:
        return dg.RunRequest(run_key=key, partition_key=str(asked[0]), tags=tags)
    return dg.RunRequest(run_key=key, tags=tags | range_tags(asked[0], asked[-1]))


def _span(days: tuple[date, ...]) -> str:
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _why_nothing(settings: Settings, now: datetime, due: Due) -> str:
    """Why no session is missing: the day that ended was none, or its data may not be known yet."""
    yesterday = now.astimezone(ZoneInfo(NEW_YORK)).date() - timedelta(days=1)
    calendar = xnys()
    if not calendar.is_session(np.datetime64(yesterday, "D")):
        return f"{yesterday} was no exchange session ({closed_because(yesterday)})."
    if due.due < yesterday:
        instant = calendar.closes[calendar.ordinal(yesterday)] + _delay(settings)
        local = instant.item().replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(NEW_YORK))
        return (
            f"{yesterday} may be computed from {local:%Y-%m-%d %H:%M} New York time on "
            f"(vendor_delay_minutes = {settings.rules.vendor_delay_minutes}); start the nightly run later."
        )
    return f"{yesterday} is published."


def closed_because(day: date) -> str:
    """The weekday of a weekend, the name of a holiday, or that the exchange was closed."""
    if day.weekday() >= 5:
        return f"a {day:%A}"
    month = timedelta(days=30)
    known = exchange_calendars.get_calendar("XNYS", start=str(day - month), end=str(day + month))
    named = known.regular_holidays.holidays(str(day), str(day), return_name=True)
    return str(named.iloc[0]) if len(named) else "the exchange was closed"
