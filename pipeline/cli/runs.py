"""`erm3`: runs, backfills, restatements, and a look at what is published."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import quality, raw, reading, security
from pipeline.cli.console import (
    DAY,
    INSTANT,
    Quiet,
    Root,
    SourceName,
    SourcePath,
    bars,
    commands,
    out,
    print_checks,
    print_findings,
    print_frame,
    settings_of,
)
from pipeline.cli.delivery import check
from pipeline.cli.doctor import doctor
from pipeline.cli.looking import print_tables, show
from pipeline.cli.new import new
from pipeline.cli.nightly import nightly
from pipeline.cli.plots import plot
from pipeline.cli.practice import practice
from pipeline.cli.repair import repair

if TYPE_CHECKING:
    from pipeline.engine.execution import Outcome
    from pipeline.settings import Settings

app = commands(
    """ERM3: build, check and look at the hierarchical equity factor model.

    Start with `erm3 demo`, which runs everything on the embedded simulated market. With your own data:
    `erm3 run --source files --source-path DIR --root OUT --start 2020-09-01 --end 2020-12-31`.
    Settings not given here come from ERM3_* variables and erm3.toml (docs/operations.md)."""
)
app.add_typer(quality.app, name="quality")
app.add_typer(security.app, name="security")
app.add_typer(raw.app, name="raw")
app.command()(raw.fetch)
app.command()(raw.fake_vendor)
app.command()(nightly)
app.command()(show)
app.command()(practice)
app.command()(doctor)
app.command()(new)
app.command()(check)
app.command()(repair)
app.command()(plot)
app.registered_commands += reading.app.registered_commands
Day = typer.Option(formats=DAY)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        out.print(f"erm3 {version('erm3')}")
        raise typer.Exit


@app.callback()
def erm3(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="The version, and nothing else.")
    ] = False,
) -> None:
    """All commands."""


@app.command()
def run(
    start: Annotated[datetime, Day],
    end: Annotated[datetime, Day],
    source: SourceName = None,
    source_path: SourcePath = None,
    root: Root = None,
    until: Annotated[str | None, typer.Option(help="Stop after this store, e.g. ds_daily, and what it needs.")] = None,
    quiet: Quiet = False,
) -> None:
    """Compute, audit and publish every session from --start to --end.

    --start is the first published session; inputs before it are read as warm-up of the 252-session windows. Sessions
    that are published already are computed again and must come out the same. If any check fails, no store changes.
    """
    from pipeline.engine import execution, operations

    settings = settings_of(source=source, source_path=source_path, root=root)
    asked = (start.date(), end.date())
    for first, last, late in operations.spans(settings, [asked]) or [(*asked, None)]:
        began = time.perf_counter()
        with bars(quiet) as progress:
            outcome = execution.execute(settings, first, last, until, progress, known_as_of=late)
        _report(settings, outcome, time.perf_counter() - began)


@app.command()
def backfill(
    start: Annotated[datetime, Day],
    end: Annotated[datetime | None, Day] = None,
    source: SourceName = None,
    source_path: SourcePath = None,
    root: Root = None,
    quiet: Quiet = False,
) -> None:
    """Publish a long range in runs of two years. Interrupted, the same command goes on after the last published run.

    Without --end, through the last session that the source has.
    """
    from pipeline.calendar import xnys
    from pipeline.engine import execution, operations
    from pipeline.market_data.delivery import Delivery

    settings = settings_of(source=source, source_path=source_path, root=root)
    began = time.perf_counter()
    delivery = Delivery.of(settings)
    until = end.date() if end else delivery.tables.prices["date"].max().date()
    todo = operations.spans(settings, operations.chunked(settings, start.date(), until))
    if not todo:
        out.print(f"All sessions from {start.date()} to {until} are published in {settings.root}.")
        return
    if note := operations.warm_up_note(settings, todo[0][0], delivery.tables):
        out.print(note)
    sessions = [len(xnys().between(first, last)) for first, last, _ in todo]
    out.print(f"{sum(sessions):,} sessions in {len(todo)} runs, {todo[0][0]} to {todo[-1][1]}")
    done, seconds = 0, Counter({"read the source": time.perf_counter() - began})
    for (first, last, late), size in zip(todo, sessions, strict=True):
        with bars(quiet) as progress:
            outcome = execution.execute(settings, first, last, progress=progress, source=delivery, known_as_of=late)
        done += size
        seconds.update(outcome.seconds)
        spent = time.perf_counter() - began
        left = spent / done * (sum(sessions) - done)
        checks = sum(len(found) for found in outcome.checks.values())
        out.print(
            f"{first} to {last} published: {checks} checks passed; {done:,} of {sum(sessions):,} sessions in "
            f"{spent:.0f} s, about {left:.0f} s left"
        )
        print_findings(outcome.findings)
    phases = ", ".join(f"{phase} {taken:.1f}" for phase, taken in seconds.items())
    out.print(f"Seconds by phase: {phases}")


@app.command()
def restate(
    start: Annotated[datetime, typer.Option("--from", formats=DAY, help="First session that may change.")],
    reason: Annotated[str, typer.Option(help="Why history changes; kept with the publication.")],
    known_as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=INSTANT,
            help="UTC instant whose knowledge is used; by default that of the last published session.",
        ),
    ] = None,
    source: SourceName = None,
    source_path: SourcePath = None,
    root: Root = None,
    quiet: Quiet = False,
) -> None:
    """Compute published sessions again with later knowledge, and publish what differs as a declared restatement.

    Readers see the old state or the new one; what had been published stays openable (`erm3 history`).
    """
    import numpy as np

    from pipeline.engine import operations

    settings = settings_of(source=source, source_path=source_path, root=root)
    instant = None if known_as_of is None else np.datetime64(known_as_of, "us")
    with bars(quiet) as progress:
        done = operations.restate(settings, start.date(), reason, instant, progress)
    if done.publication is None:
        out.print(f"Nothing from {done.first} to {done.last} differs; nothing was published.")
        return
    print_frame(done.changes, missing="NaN")
    out.print(
        f"Published {done.publication.publication}: {done.first} to {done.last} restated. What it replaces, "
        f"{done.publication.replaces}, stays openable."
    )


@app.command()
def touched(
    start: Annotated[datetime, typer.Option("--from", formats=DAY, help="First session whose inputs changed.")],
    end: Annotated[datetime, typer.Option("--to", formats=DAY, help="Last session whose inputs changed.")],
    root: Root = None,
) -> None:
    """The published sessions that a change of inputs can touch, and so must be computed again."""
    from pipeline.engine import operations

    settings = settings_of(root=root)
    first, last = operations.touched(settings, start.date(), end.date())
    out.print(f"{first} to {last}")


@app.command()
def history(
    store: Annotated[str | None, typer.Argument(help="A store; all publications without one.")] = None,
    root: Root = None,
) -> None:
    """Publications of the family, or those that changed one store: when, why, and whether one can still be opened."""
    from pipeline import read

    print_frame(read.history(settings_of(root=root).root, store), missing="NaN")


@app.command()
def verify(
    root: Root = None,
    start: Annotated[datetime | None, Day] = None,
    end: Annotated[datetime | None, Day] = None,
) -> None:
    """Run all checks on the published data; exit status 1 and a table when one fails."""
    from pipeline.audits import failures
    from pipeline.engine.verify import verify as verify_published

    settings = settings_of(root=root)
    checks = verify_published(settings, start and start.date(), end and end.date())
    print_checks(checks)
    broken = failures(checks)
    out.print(f"{len(checks) - len(broken)} checks passed, {len(broken)} failed, in {settings.root}")
    raise typer.Exit(1 if broken else 0)


@app.command()
def demo(root: Root = "data/simulated", quiet: Quiet = False) -> None:
    """Run everything on the embedded simulated market, then show where the data is and how to look at it."""
    from pipeline.engine import execution
    from pipeline.reports import show as shown

    settings = settings_of(source="simulated", root=root)
    begin, end = demo_range(settings)
    began = time.perf_counter()
    with bars(quiet) as progress:
        outcome = execution.execute(settings, begin, end, None, progress)
    _report(settings, outcome, time.perf_counter() - began)
    industries = shown.industries(settings, end, "subsector", settings.model.min_peers)
    symbol, ticker = shown.example(settings, end)
    out.print(f"\nIndustries on {end}, subsector level, at least {settings.model.min_peers} companies:")
    print_tables({"industries": industries.rows_at(slice(8))}, False)
    out.print(f"{ticker} ({symbol}) on {end}:")
    print_tables(shown.stock(settings, symbol, end), False)
    where = Path(settings.root).resolve() if "://" not in settings.root else settings.root
    hedges = f"ds_erm3_hedge_weights_{settings.factor_sets[0]}"
    out.print(f"The stores are in {where}. Open them with\n")
    out.print("    from pipeline.read import open_dataset")
    out.print(f"    open_dataset('{hedges}', '{settings.root}', as_of_manifest=True)")


def demo_range(settings: Settings) -> tuple[date, date]:
    """The simulated market's sessions after a first window of warm-up."""
    from pipeline.calendar import xnys

    days = xnys().between(settings.simulated.first_session, settings.simulated.last_session)
    if len(days) <= settings.model.window:
        raise typer.BadParameter(
            f"the simulated market has {len(days)} sessions and the first {settings.model.window} are warm-up; set "
            "ERM3_SIMULATED__LAST_SESSION later"
        )
    return days[settings.model.window].item(), days[-1].item()


def _report(settings: Settings, outcome: Outcome, seconds: float) -> None:
    checks = [check for found in outcome.checks.values() for check in found]
    print_checks(checks, only_figures=True)
    for store, notes in outcome.notes.items():
        if notes:
            out.print(f"{store}: {json.dumps(notes)}")
    print_findings(outcome.findings)
    published = outcome.publication
    if published is None:
        out.print(f"Nothing differs from what is published in {settings.root}; {len(checks)} checks passed.")
    else:
        out.print(
            f"Published {published.publication} in {settings.root}, complete through {published.complete_through}: "
            f"{len(checks)} checks passed, {seconds:.1f} s."
        )
