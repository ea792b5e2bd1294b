"""What all commands share: options, printing, progress, and one place that explains errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import pandas as pd
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.audits import Check, failures
from pipeline.engine import execution
from pipeline.quality.session_rules import BatchFault
from pipeline.settings import Settings
from pipeline.sources import SourceError
from pipeline.store import StoreError
from pipeline.store.windows import MissingHistoryError

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
    except execution.AuditFailed as failed:
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


def report(settings: Settings, outcome: execution.Outcome, seconds: float) -> None:
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


def emit(tables: dict[str, pd.DataFrame], as_json: bool) -> None:
    if as_json:
        print(json.dumps({name: json.loads(frame.to_json(orient="index")) for name, frame in tables.items()}))
        return
    for frame in tables.values():
        out.print(frame.to_string(float_format=lambda v: f"{v:.6g}", na_rep="-"), highlight=False, soft_wrap=True)
        out.print()
