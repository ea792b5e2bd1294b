"""The command line `erm3`: the pipeline without Dagster. `python -m pipeline` is the same."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline import engine, operations, quality_commands, security_commands
from pipeline.audits import Check, failures
from pipeline.calendar import xnys
from pipeline.history import MissingHistoryError
from pipeline.loaded import LoadedSource
from pipeline.quality import BatchFault
from pipeline.settings import Settings
from pipeline.sources import SourceError
from pipeline.store import StoreError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""ERM3: build, check and look at the hierarchical equity factor model.

    Start with `erm3 demo`, which runs everything on the embedded simulated market. With your own data:
    `erm3 run --source files --source-path DIR --root OUT --start 2020-09-01 --end 2020-12-31`.
    Settings not given here come from ERM3_* variables and erm3.toml (docs/operations.md).""",
)
app.add_typer(quality_commands.app, name="quality")
app.add_typer(security_commands.app, name="security")
out = Console(width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True)

Root = Annotated[str | None, typer.Option(help="Directory or gs:// address of the published stores.")]
SourceName = Annotated[
    str | None, typer.Option("--source", help="Where prices and events come from: simulated, files.")
]
SourcePath = Annotated[
    str | None, typer.Option("--source-path", help="Directory of the `files` source (docs/sources.md).")
]
Day = typer.Option(formats=["%Y-%m-%d"])
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def settings_of(**given: Any) -> Settings:
    """Settings from what was given on the command line, the environment and erm3.toml; a clear error otherwise."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"]) or "settings"
            err.print(f"[red]{where}[/]: {problem['msg']}")
        raise typer.Exit(2) from None


@contextmanager
def explained() -> Iterator[None]:
    """What a person can act on is one message and an exit status, not a traceback."""
    try:
        yield
    except engine.AuditFailed as failed:
        print_checks(failed.checks)
        err.print(f"[red]{failed.store}: the audit failed; nothing was published in any store.[/]")
        err.print(f"The staged data is kept in {failed.staged_at}")
        raise typer.Exit(1) from None
    except (SourceError, StoreError, MissingHistoryError, BatchFault, LookupError, ValueError) as error:
        err.print(f"[red]{type(error).__name__}[/]: {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


@contextmanager
def bars(quiet: bool) -> Iterator[Any]:
    """A progress bar for each store, in sessions, with the time that is left."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def show(store: str, done: int, total: int) -> None:
            if store not in tasks:
                tasks[store] = progress.add_task(store, total=total)
            progress.update(tasks[store], completed=done, total=total)

        yield show


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
        outcome = engine.execute(settings, start.date(), end.date(), until, progress)
    report(settings, outcome, time.perf_counter() - began)


def report(settings: Settings, outcome: engine.Outcome, seconds: float) -> None:
    checks = [check for found in outcome.checks.values() for check in found]
    print_checks(checks, only_figures=True)
    for store, notes in outcome.notes.items():
        if notes:
            out.print(f"{store}: {json.dumps(notes)}", highlight=False, soft_wrap=True)
    published = outcome.publication
    if published is None:
        out.print(f"Nothing differs from what is published in {settings.root}; {len(checks)} checks passed.")
    else:
        out.print(
            f"Published {published.publication} in {settings.root}, complete through {published.complete_through}: "
            f"{len(checks)} checks passed, {seconds:.1f} s.",
            soft_wrap=True,
        )


def print_checks(checks: list[Check], only_figures: bool = False) -> None:
    table = Table("store", "check", "passed", "worst", "bound", "cells", box=None)
    for check in checks:
        if only_figures and check.passed and not check.cells:
            continue
        mark = "[green]yes[/]" if check.passed else "[red]NO[/]"
        table.add_row(check.store, check.name, mark, f"{check.value:.3g}", f"{check.bound:.3g}", f"{check.cells:,}")
    out.print(table)
    for check in failures(checks):
        out.print(f"[red]{check.store}: {check.name}[/]: {check.explanation}", soft_wrap=True)
        if check.worst:
            out.print(pd.DataFrame(list(check.worst)).to_string(index=False), highlight=False, soft_wrap=True)


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
                outcome = engine.execute(settings, first, last, progress=progress, source=loaded)
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
        checks = engine.verify(settings, start and start.date(), end and end.date())
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
    from pipeline import show as shown

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


def emit(tables: dict[str, pd.DataFrame], as_json: bool) -> None:
    if as_json:
        print(json.dumps({name: json.loads(frame.to_json(orient="index")) for name, frame in tables.items()}))
        return
    for frame in tables.values():
        out.print(frame.to_string(float_format=lambda v: f"{v:.6g}", na_rep="-"), highlight=False, soft_wrap=True)
        out.print()


@app.command()
def demo(root: Root = "data/simulated", quiet: Quiet = False) -> None:
    """Run everything on the embedded simulated market, then show where the data is and how to look at it."""
    from pipeline import show as shown

    settings = settings_of(source="simulated", root=root)
    begin, end = demo_range(settings)
    began = time.perf_counter()
    with explained(), bars(quiet) as progress:
        outcome = engine.execute(settings, begin, end, None, progress)
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


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    app()


if __name__ == "__main__":
    main()
