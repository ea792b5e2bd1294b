"""`erm3`: runs, backfills, restatements, and a look at what is published."""

from __future__ import annotations

import time
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pipeline.audits import failures
from pipeline.calendar import xnys
from pipeline.cli import quality, security
from pipeline.cli.console import (
    Day,
    Quiet,
    Root,
    SourceName,
    SourcePath,
    bars,
    emit,
    explained,
    out,
    print_checks,
    report,
    settings_of,
)
from pipeline.engine import execution, operations
from pipeline.engine.verify import verify as verify_published
from pipeline.market_data.delivery import LoadedSource
from pipeline.reports import show as shown
from pipeline.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""ERM3: build, check and look at the hierarchical equity factor model.

    Start with `erm3 demo`, which runs everything on the embedded simulated market. With your own data:
    `erm3 run --source files --source-path DIR --root OUT --start 2020-09-01 --end 2020-12-31`.
    Settings not given here come from ERM3_* variables and erm3.toml (docs/operations.md).""",
)
app.add_typer(quality.app, name="quality")
app.add_typer(security.app, name="security")


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
    settings = settings_of(source=source, source_path=source_path, root=root)
    began = time.perf_counter()
    with explained(), bars(quiet) as progress:
        outcome = execution.execute(settings, start.date(), end.date(), until, progress)
    report(settings, outcome, time.perf_counter() - began)


@app.command()
def backfill(
    start: Annotated[datetime, Day],
    end: Annotated[datetime | None, Day] = None,
    source: SourceName = None,
    source_path: SourcePath = None,
    root: Root = None,
    quiet: Quiet = False,
) -> None:
    """Publish a long range in year-sized runs. Interrupted, the same command goes on after the last published year.

    Without --end, through the last session that the source has.
    """
    settings = settings_of(source=source, source_path=source_path, root=root)
    began = time.perf_counter()
    with explained():
        loaded = LoadedSource.of(settings)
        until = end.date() if end else loaded.tables.prices["date"].max().date()
        todo = operations.years(settings, start.date(), until)
        if not todo:
            out.print(f"All sessions from {start.date()} to {until} are published in {settings.root}.")
            return
        if note := operations.warm_up_note(settings, todo[0][0], loaded.tables):
            out.print(note, soft_wrap=True)
        sessions = [len(xnys().between(*span)) for span in todo]
        out.print(f"{sum(sessions):,} sessions in {len(todo)} runs, {todo[0][0]} to {todo[-1][1]}")
        done, seconds = 0, Counter({"read the source": time.perf_counter() - began})
        for (first, last), size in zip(todo, sessions, strict=True):
            with bars(quiet) as progress:
                outcome = execution.execute(settings, first, last, progress=progress, source=loaded)
            done += size
            seconds.update(outcome.seconds)
            spent = time.perf_counter() - began
            left = spent / done * (sum(sessions) - done)
            checks = sum(len(found) for found in outcome.checks.values())
            out.print(
                f"{first} to {last} published: {checks} checks passed; {done:,} of {sum(sessions):,} sessions in "
                f"{spent:.0f} s, about {left:.0f} s left",
                soft_wrap=True,
            )
        phases = ", ".join(f"{phase} {taken:.1f}" for phase, taken in seconds.items())
        out.print(f"Seconds by phase: {phases}", highlight=False, soft_wrap=True)


@app.command()
def restate(
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First session that may change.")],
    reason: Annotated[str, typer.Option(help="Why history changes; kept with the publication.")],
    known_as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"],
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
    settings = settings_of(source=source, source_path=source_path, root=root)
    instant = None if known_as_of is None else np.datetime64(known_as_of, "us")
    with explained(), bars(quiet) as progress:
        done = operations.restate(settings, start.date(), reason, instant, progress)
    if done.publication is None:
        out.print(f"Nothing from {done.first} to {done.last} differs; nothing was published.")
        return
    out.print(done.changes.to_string(index=False), highlight=False, soft_wrap=True)
    out.print(
        f"Published {done.publication.publication}: {done.first} to {done.last} restated. What it replaces, "
        f"{done.publication.replaces}, stays openable.",
        soft_wrap=True,
    )


@app.command()
def touched(
    start: Annotated[
        datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First session whose inputs changed.")
    ],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last session whose inputs changed.")],
    root: Root = None,
) -> None:
    """The published sessions that a change of inputs can touch, and so must be computed again."""
    settings = settings_of(root=root)
    with explained():
        first, last = operations.touched(settings, start.date(), end.date())
    out.print(f"{first} to {last}")


@app.command()
def history(
    store: Annotated[str | None, typer.Argument(help="A store; all publications without one.")] = None,
    root: Root = None,
) -> None:
    """Publications of the family, or those that changed one store: when, why, and whether one can still be opened."""
    from pipeline import read

    settings = settings_of(root=root)
    with explained():
        out.print(read.history(settings.root, store).to_string(index=False), highlight=False, soft_wrap=True)


@app.command()
def verify(
    root: Root = None,
    start: Annotated[datetime | None, Day] = None,
    end: Annotated[datetime | None, Day] = None,
) -> None:
    """Run all checks on the published data; exit status 1 and a table when one fails."""
    settings = settings_of(root=root)
    with explained():
        checks = verify_published(settings, start and start.date(), end and end.date())
    print_checks(checks)
    broken = failures(checks)
    out.print(f"{len(checks) - len(broken)} checks passed, {len(broken)} failed, in {settings.root}")
    raise typer.Exit(1 if broken else 0)


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="A ticker, a permanent id, or the word `industries`.")],
    on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="A published session.")],
    root: Root = None,
    level: Annotated[str, typer.Option(help="Of `industries`: market, sector or subsector.")] = "subsector",
    min_peers: Annotated[int, typer.Option(help="Of `industries`: fewest companies.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """One stock's betas, hedge ratios and shares at a session, or the industries at a session."""

    settings = settings_of(root=root)
    with explained():
        if what == "industries":
            frame = shown.industries(settings, on.date(), level, min_peers)
            emit({"industries": frame}, as_json)
            return
        symbol = shown.find(settings, what, on.date())
        if not as_json:
            out.print(f"{what} on {on.date()} is {symbol}")
        emit(shown.stock(settings, symbol, on.date()), as_json)


@app.command()
def demo(root: Root = "data/simulated", quiet: Quiet = False) -> None:
    """Run everything on the embedded simulated market, then show where the data is and how to look at it."""

    settings = settings_of(source="simulated", root=root)
    begin, end = demo_range(settings)
    began = time.perf_counter()
    with explained(), bars(quiet) as progress:
        outcome = execution.execute(settings, begin, end, None, progress)
        report(settings, outcome, time.perf_counter() - began)
        frame = shown.industries(settings, end, "subsector", settings.model.min_peers)
        symbol, ticker = shown.example(settings, end)
        out.print(f"\nIndustries on {end}, subsector level, at least {settings.model.min_peers} companies:")
        emit({"industries": frame.head(8)}, False)
        out.print(f"{ticker} ({symbol}) on {end}:")
        emit(shown.stock(settings, symbol, end), False)
    where = Path(settings.root).resolve() if "://" not in settings.root else settings.root
    out.print(f"The stores are in {where}. Open them with\n", highlight=False, soft_wrap=True)
    out.print("    from pipeline.read import open_dataset", highlight=False)
    out.print(
        f"    open_dataset('ds_erm3_hedge_weights_{settings.factor_sets[0]}', '{settings.root}', as_of_manifest=True)",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def demo_range(settings: Settings) -> tuple[date, date]:
    """The simulated market's sessions after a first window of warm-up."""
    days = xnys().between(settings.simulated.first_session, settings.simulated.last_session)
    return days[settings.model.window].item(), days[-1].item()
