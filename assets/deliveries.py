"""What vendors answered, as assets above `source_tables`: one for each layer, whose step asks until it is whole."""

# No `from __future__ import annotations` here: Dagster looks at the annotation of `context` itself.

import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import numpy as np
from matplotlib.figure import Figure

from assets.deployment import Deployment
from assets.names import MARKET_DATA, delivery_key
from assets.partitions import asked, sessions
from assets.plots import COLOURS, markdown
from assets.staging import explained, pool_of
from assets.tables import table
from pipeline.calendar import xnys
from pipeline.landing.clock import Clock, RunningClock
from pipeline.landing.fetcher import FetchReport
from pipeline.landing.requests import PROMOTED, Line
from pipeline.landing.zone import LandingZone
from pipeline.outside.visible import visible
from pipeline.settings import Settings
from pipeline.vendors.contract import BACKFILL, NIGHT, Need
from pipeline.vendors.fetching import fetch, units_left
from pipeline.vendors.layers import landed, open_vendor

NIGHTS_SHOWN = 60
FAILED_SHOWN = 20
WHOLE, ANSWERED = "whole", "answered"
Answers = list[Line]


def running() -> Clock:
    """The machine's clock."""
    return RunningClock(datetime.now(UTC))


def delivery_asset(
    settings: Settings, deployment: Deployment, name: str, clock: Callable[[], Clock] = running
) -> dg.AssetsDefinition:
    """The deliveries of one layer. clock: made when the step begins."""
    below = settings.layers[: settings.layers.index(name)]
    key = delivery_key(name)

    @dg.asset(
        key=key,
        deps=[delivery_key(other) for other in below],
        description=f"What {name} answered for each session, kept byte for byte in the landing zone. A session is "
        "asked for until its delivery is whole; at the deadline the step fails, and nothing is published.",
        group_name=MARKET_DATA,
        kinds={"python"},
        owners=list(deployment.owners),
        metadata={"landing zone": settings.raw_root},
        partitions_def=sessions(),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=pool_of(settings.root),
        check_specs=[
            dg.AssetCheckSpec(WHOLE, asset=key, blocking=True, description="The delivery of each session is whole."),
            dg.AssetCheckSpec(ANSWERED, asset=key, description="Every request has an answer that can be used."),
        ],
    )
    def delivery(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        first, last = (date.fromisoformat(day) for day in asked(context))
        with explained(context, deployment):
            now, zone = clock(), LandingZone(settings.raw_root)
            missing = _ask_for_all(settings, name, (first, last), now, zone)
        answers = [line for line in zone.lines(source=name) if line.batch_id.startswith(NIGHT)]
        for day in xnys().between(first, last).tolist():
            own = [line for line in answers if line.batch_id == Need(NIGHT, day, day).batch_id]
            context.add_asset_metadata(_of_session(own), partition_key=str(day))
        context.add_asset_metadata(_of_all(settings, name, answers, zone, now), partition_key=str(last))
        failed = _failed([line for line in answers if line.batch_id >= Need(NIGHT, first, first).batch_id])
        yield _answered(key, failed)
        yield dg.AssetCheckResult(
            passed=not missing,
            check_name=WHOLE,
            asset_key=key,
            description=visible("; ".join(missing) or "Passed: nothing is missing."),
        )
        if missing:
            minutes = settings.fetching.deadline_minutes
            raise dg.Failure(
                visible(f"after {minutes:g} minutes nothing is published: {'; '.join(missing)}"),
                metadata={"requests that failed": table(failed[:FAILED_SHOWN])} if failed else {},
                allow_retries=False,
            )
        yield dg.MaterializeResult()

    return delivery


def _ask_for_all(settings: Settings, name: str, span: tuple[date, date], clock: Clock, zone: LandingZone) -> list[str]:
    """Ask for the sessions after the first history, in order, until each is whole; what is missing at the deadline."""
    history = max(
        (line.batch_id[-8:] for line in zone.lines(source=name) if line.batch_id.startswith(BACKFILL)), default=""
    )
    deadline = clock.now() + timedelta(minutes=settings.fetching.deadline_minutes)
    for day in xnys().between(*span).tolist():
        while f"{day:%Y%m%d}" > history and (missing := _ask(settings, name, day, clock, zone)):
            if clock.now() + timedelta(minutes=settings.fetching.poll_minutes) > deadline:
                return missing
            clock.sleep(settings.fetching.poll_minutes * 60)
    return []


def _ask(settings: Settings, name: str, day: date, clock: Clock, zone: LandingZone) -> list[str]:
    report: FetchReport = fetch(settings, Need(NIGHT, day, day), clock, os.environ, zone=zone, only=name)[name]
    missing = open_vendor(name).missing(day, landed(settings, name, zone), settings)
    if report.refused:
        raise dg.Failure(visible(f"{day}: {report.stopped}"), allow_retries=False)
    return [*missing, *([report.stopped] if report.stopped else [])]


def _last(answers: Answers) -> Answers:
    """The last attempt at each request of each batch."""
    return list({(line.batch_id, line.request_key, line.nth): line for line in answers}.values())


def _failed(answers: Answers) -> list[dict[str, Any]]:
    """Requests of nights without an answer that can be used, and why."""
    usable = {(line.batch_id, line.request_key) for line in answers if line.answer in PROMOTED}
    return [
        {"night": line.batch_id, "endpoint": line.endpoint, "class": line.answer.value, "why": line.note,
         "request": line.request_key}
        for line in _last(answers)
        if (line.batch_id, line.request_key) not in usable
    ]  # fmt: skip


def _answered(key: dg.AssetKey, failed: list[dict[str, Any]]) -> dg.AssetCheckResult:
    by_endpoint = Counter(f"{row['endpoint']} ({row['class']})" for row in failed)
    said = ", ".join(f"{n} of {endpoint}" for endpoint, n in sorted(by_endpoint.items()))
    return dg.AssetCheckResult(
        passed=not failed,
        check_name=ANSWERED,
        asset_key=key,
        severity=dg.AssetCheckSeverity.WARN,
        description=visible(f"FAILED: {said}" if failed else "Passed: every request has its answer."),
        metadata={"failed": table(failed[:FAILED_SHOWN])} if failed else {},
    )


def _of_session(answers: Answers) -> dict[str, Any]:
    return {
        "requests": len(_last(answers)),
        "attempts": len(answers),
        "bytes": sum(line.bytes for line in answers),
        **{f"answers: {kind}": n for kind, n in sorted(Counter(line.answer.value for line in answers).items())},
    }


def _of_all(settings: Settings, name: str, answers: Answers, zone: LandingZone, clock: Clock) -> dict[str, Any]:
    """Figures of the last session, and the last nights as a table and a picture."""
    vendor, nights = open_vendor(name), sorted({line.batch_id for line in answers})[-NIGHTS_SHOWN:]
    coverage = vendor.coverage(landed(settings, name, zone), settings)
    found: dict[str, Any] = {}
    rows = []
    for night in nights:
        own = [line for line in answers if line.batch_id == night]
        day = date.fromisoformat(night[-8:])
        figures = {"requests": len(_last(own)), "MB": sum(line.bytes for line in own) / 1e6}
        rows.append({"session": str(day), **figures, **({"coverage": coverage[day]} if day in coverage else {})})
    if rows:
        endpoints = Counter(line.endpoint for line in _last(answers) if line.batch_id == nights[-1])
        found["requests by endpoint"] = table([{"endpoint": e, "requests": n} for e, n in sorted(endpoints.items())])
        found["nights"], found["nights over time"] = table(rows), markdown("nights over time", _drawn(rows))
        found |= {"coverage against the session before": rows[-1]["coverage"]} if "coverage" in rows[-1] else {}
    left = units_left(settings, name, clock)
    return found | ({"units left today": left} if left is not None else {})


def _drawn(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    names = [name for name in ("requests", "MB", "coverage") if any(name in row for row in rows)]
    days = np.array([row["session"] for row in rows], "datetime64[D]")
    for axes, name, colour in zip(figure.subplots(len(names), 1, sharex=True), names, COLOURS, strict=False):
        axes.plot(days, [row.get(name, np.nan) for row in rows], color=colour, marker="o", markersize=3)
        axes.set_ylabel(name, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    return figure
