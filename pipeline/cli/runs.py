"""`erm3`: runs, backfills, restatements, and a look at what is published."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import quality, raw, reading, security
from pipeline.cli.console import (
    DAY,
    INSTANT,
    AsJson,
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
    print_json,
    print_phases,
    records,
    settings_of,
)
from pipeline.cli.delivery import check
from pipeline.cli.doctor import doctor
from pipeline.cli.effectiveness import effectiveness
from pipeline.cli.looking import history, print_tables, show, touched, verify
from pipeline.cli.new import new
from pipeline.cli.nightly import nightly
from pipeline.cli.plots import plot
from pipeline.cli.practice import practice
from pipeline.cli.repair import repair
from pipeline.outside.machine import importing

if TYPE_CHECKING:
    from pipeline.engine.execution import Outcome
    from pipeline.settings import Settings

app = commands(
    """ERM3: build, check and look at the hierarchical equity factor model.

    Start with `erm3 demo`, which runs everything on the embedded simulated market, or with `erm3 new DIR`, a small
    directory of tables to replace by your own. `erm3 doctor` says whether all is there that a night needs. Settings not
    given here come from ERM3_* variables and erm3.toml (docs/settings.md).""",
    completion=True,
)
app.add_typer(quality.app, name="quality")
app.add_typer(security.app, name="security")
app.add_typer(raw.app, name="raw")
app.command()(raw.fetch)
app.command()(raw.fake_vendor)
app.command()(nightly)
app.command()(show)
app.command()(history)
app.command()(verify)
app.command()(effectiveness)
app.command()(touched)
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
    as_json: AsJson = False,
) -> None:
    """Compute, audit and publish every session from --start to --end.

    --start is the first published session; inputs before it are read as warm-up of the 252-session windows. Sessions
    that are published already are computed again and must come out the same. If any check fails, no store changes.
    """
    with importing():
        from pipeline.engine import execution, operations

    settings = settings_of(source=source, source_path=source_path, root=root)
    asked, told = (start.date(), end.date()), []
    for first, last, late in operations.spans(settings, [asked]) or [(*asked, None)]:
        with bars(quiet) as progress:
            outcome = execution.execute(settings, first, last, until, progress, known_as_of=late)
        told.append(_document(outcome))
        if not as_json:
            _report(settings, outcome)
    if as_json:
        print_json(told)


@app.command()
def backfill(
    start: Annotated[datetime, Day],
    end: Annotated[datetime | None, Day] = None,
    source: SourceName = None,
    source_path: SourcePath = None,
    root: Root = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Publish a long range in runs of two years. Interrupted, the same command goes on after the last published run.

    Without --end, through the last session that the source has.
    """
    with importing():
        from pipeline.calendar import xnys
        from pipeline.engine import execution, operations
        from pipeline.market_data.delivery import Delivery

    settings = settings_of(source=source, source_path=source_path, root=root)
    began = time.perf_counter()
    delivery = Delivery.of(settings)
    until = end.date() if end else delivery.tables.prices["date"].max().date()
    todo = operations.spans(settings, operations.chunked(settings, start.date(), until))
    say, told = (lambda text: None) if as_json else out.print, []
    if not todo:
        say(f"All sessions from {start.date()} to {until} are published in {settings.root}.")
    elif note := operations.warm_up_note(settings, todo[0][0], delivery.tables):
        say(note)
    sessions = [len(xnys().between(first, last)) for first, last, _ in todo]
    if todo:
        say(f"{sum(sessions):,} sessions in {len(todo)} runs, {todo[0][0]} to {todo[-1][1]}")
    done, seconds = 0, Counter({"read the source": time.perf_counter() - began})
    for (first, last, late), size in zip(todo, sessions, strict=True):
        with bars(quiet) as progress:
            outcome = execution.execute(settings, first, last, progress=progress, source=delivery, known_as_of=late)
        done += size
        seconds.update(outcome.seconds)
        told.append(_document(outcome))
        spent = time.perf_counter() - began
        left = spent / done * (sum(sessions) - done)
        checks = sum(len(found) for found in outcome.checks.values())
        say(
            f"{first} to {last} published: {checks} checks passed; {done:,} of {sum(sessions):,} sessions in "
            f"{spent:.0f} s, about {left:.0f} s left"
        )
        if not as_json:
            print_findings(outcome.findings)
    if as_json:
        print_json(told)
    elif todo:
        print_phases(seconds)


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
    as_json: AsJson = False,
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
    if as_json:
        published = done.publication and done.publication.publication
        found = {"publication": published, "changes": records(done.changes), "findings": asdict(done.findings)}
        print_json(found)
        return
    print_findings(done.findings)
    if done.publication is None:
        out.print(f"Nothing from {done.first} to {done.last} differs; nothing was published.")
        return
    print_frame(done.changes, missing="NaN")
    out.print(
        f"Published {done.publication.publication}: {done.first} to {done.last} restated. What it replaces, "
        f"{done.publication.replaces}, stays openable."
    )


@app.command()
def demo(root: Root = "data/simulated", quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Run everything on the embedded simulated market, then show where the data is and how to look at it."""
    from pipeline.engine import execution
    from pipeline.reports import show as shown

    settings = settings_of(source="simulated", root=root)
    begin, end = demo_range(settings)
    with bars(quiet) as progress:
        outcome = execution.execute(settings, begin, end, None, progress)
    if as_json:
        print_json(_document(outcome))
        return
    _report(settings, outcome)
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


def _document(outcome: Outcome) -> dict[str, Any]:
    """What a run did, for a program."""
    return {
        "publication": outcome.publication and outcome.publication.publication,
        "complete_through": outcome.publication and outcome.publication.complete_through,
        "checks": [check.as_dict() for found in outcome.checks.values() for check in found],
        "notes": outcome.notes,
        "findings": asdict(outcome.findings),
        "seconds": outcome.seconds,
    }


def _report(settings: Settings, outcome: Outcome) -> None:
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
            f"{len(checks)} checks passed."
        )
    print_phases(outcome.seconds)
