"""`erm3 nightly`: what the cron line and the timer call."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import (
    INSTANT,
    AsJson,
    Quiet,
    Root,
    SourceName,
    SourcePath,
    bars,
    out,
    print_findings,
    print_phases,
    settings_of,
)
from pipeline.outside.machine import importing

if TYPE_CHECKING:
    from pipeline.engine.night import NightReport
    from pipeline.settings import Settings


def nightly(
    source: SourceName = None,
    source_path: SourcePath = None,
    root: Root = None,
    now: Annotated[
        datetime | None, typer.Option(formats=INSTANT, help="The time it is, UTC; the machine's by default.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Publish what is due: wait for the delivery, fetch, compute, audit, publish, report.

    After days off it catches up, session by session; on a holiday it does nothing. A delivery that is not whole by the
    deadline (`fetching.deadline_minutes`) publishes nothing: exit status 1, and `fetching.alert` is run.
    """
    with importing():
        from pipeline.engine.night import nightly as run_night
        from pipeline.landing.clock import RunningClock

    settings = settings_of(source=source, source_path=source_path, root=root)
    clock = RunningClock(datetime.now(UTC) if now is None else now.replace(tzinfo=UTC))
    try:
        with bars(quiet) as progress:
            report = run_night(settings, clock, os.environ, progress)
    except Exception as error:
        _alert(settings, f"{type(error).__name__}: {error}")
        raise
    if as_json:
        print(report.to_json())
        return
    tell(report)


def tell(report: NightReport) -> None:
    """A report as lines of text."""
    for told in report.sessions:
        out.print(
            f"{told.session}: {told.publication or 'nothing differs'}; {told.requests:,} requests in {told.attempts:,} "
            f"attempts, {told.units:,} units, {told.bytes:,} bytes"
        )
        if told.late:
            out.print(f"  delivered late: its knowledge instant is the receipt, {told.late}")
        for title, lines in (
            ("failed", [f"{key}: {why}" for key, why in told.failed.items()]),
            ("asked again", [f"{key}: {why}" for key, why in told.retried.items()]),
            ("new shape", told.new_shapes),
            ("no fact", told.rejects),
        ):
            for line in lines[:20]:
                out.print(f"  {title}: {line}")
        if told.findings is not None:
            print_findings(told.findings)
        print_phases(told.seconds)
    out.print(report.words)


def _alert(settings: Settings, words: str) -> None:
    """Run the alert command with the message as its last argument; that it fails must not hide the message."""
    if settings.fetching.alert:
        subprocess.run([*settings.fetching.alert, words], check=False, timeout=60)
