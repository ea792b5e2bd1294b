"""What all commands share: options, settings, printing, and the one place that explains errors.

Nothing heavy is imported here or in the other modules of this folder: each command imports what it needs.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text
from typer.core import TyperGroup

from pipeline.outside import machine
from pipeline.outside.visible import visible

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.audits import Check
    from pipeline.engine.step_findings import Told
    from pipeline.query import Table
    from pipeline.settings import Settings

DAY = ["%Y-%m-%d"]
INSTANT = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]

Root = Annotated[str | None, typer.Option(help="Directory or gs:// address of the published stores.")]
SourceName = Annotated[
    str | None,
    typer.Option("--source", help="Where prices and events come from: simulated, files, or a vendor, eodhd."),
]
SourcePath = Annotated[
    str | None, typer.Option("--source-path", help="Directory of the `files` source (docs/sources.md).")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


class _Plain(Console):
    """What is printed is shown and not obeyed: a bracket is a bracket, and a terminal gets no codes but our colours.

    Lines are the terminal's to wrap.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for part in super().render(renderable, options):
            yield part if part.control else Segment(visible(part.text), part.style)


out = _Plain(width=None if sys.stdout.isatty() else 160)
err = _Plain(stderr=True)


RARELY = (100_000, 20, 20)
"""When Python looks for circles of objects: tables and arrays are in none, and looking was a twentieth of a night."""


class _Explaining(TyperGroup):
    """Commands whose explained errors are a message and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        gc.set_threshold(*RARELY)
        with explained():
            return super().invoke(ctx)


@contextmanager
def explained() -> Iterator[None]:
    """What a person can act on is one message and exit status 1. A fault of the program keeps its traceback."""
    try:
        yield
    except Exception as error:
        said = machine.explained(error)
        if said is None:
            raise
        complain(*said)
        raise typer.Exit(1) from None


def complain(what: str, why: str) -> None:
    """One line on standard error."""
    err.print(Text.assemble((visible(what), "red"), f": {visible(why)}"))


def commands(description: str, completion: bool = False) -> typer.Typer:
    """An empty group of commands. They need not catch anything. completion: options that install it in a shell."""
    return typer.Typer(
        cls=_Explaining,
        no_args_is_help=True,
        add_completion=completion,
        pretty_exceptions_enable=False,
        help=description,
    )


def settings_of(**given: Any) -> Settings:
    """Settings from what was given on the command line, the environment and erm3.toml; else messages and status 2."""
    from pipeline.settings import Settings
    from pipeline.settings.names import WrongSettings, read

    try:
        return read(Settings, **{name: value for name, value in given.items() if value is not None})
    except WrongSettings as error:
        for where, why in error.problems:
            complain(where, why)
    raise typer.Exit(2)


@contextmanager
def bars(quiet: bool) -> Iterator[Any]:
    """A progress bar for each store, in sessions, with the time that is left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
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


def print_json(value: Any) -> None:
    print(json.dumps(value, default=str))


def print_rows_of(frame: pd.DataFrame, as_json: bool, number: str | None = None, missing: str = "-") -> None:
    """A frame as a table of text, or its rows as JSON."""
    if as_json:
        print_json(records(frame))
    else:
        print_frame(frame, number, missing=missing)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as JSON has them: days as texts, what is missing as null."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    import pandas as pd

    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value == value.normalize() else value.isoformat()
    if value is None or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    return value.item() if hasattr(value, "item") else value


def print_phases(seconds: Mapping[str, float]) -> None:
    """Where the time went."""
    out.print("Seconds by phase: " + ", ".join(f"{phase} {taken:.1f}" for phase, taken in seconds.items()))


def print_frame(frame: pd.DataFrame, number: str | None = None, index: bool = False, missing: str = "-") -> None:
    """A table of text. number: format of its floats, as `.6g`; pandas' own by default."""
    floats = None if number is None else f"{{:{number}}}".format
    out.print(frame.to_string(index=index, float_format=floats, na_rep=missing))


def print_row(row: Mapping[str, Any], missing: str = "-") -> None:
    """A table of one row as `print_frame` prints it, without pandas."""
    cells = [(name, missing if value is None else str(value)) for name, value in row.items()]
    widths = [max(map(len, cell)) for cell in cells]
    for line in zip(*cells, strict=True):
        out.print(" ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def print_rows(header: Sequence[str], rows: Sequence[Sequence[Any]], left: Collection[int] = (0,)) -> None:
    """A table without pandas: numbers to six digits, large ones whole, None is `-`. left: columns of text."""
    cells = [[_cell(value) for value in row] for row in (header, *rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    for row in cells:
        texts = (t.ljust(w) if k in left else t.rjust(w) for k, (t, w) in enumerate(zip(row, widths, strict=True)))
        out.print("  ".join(texts).rstrip())


def print_table(table: Table) -> None:
    """An answer as a table of text."""
    from pipeline.query.table import scalars

    left = [
        k for k, (name, column) in enumerate(table.columns.items()) if name == table.index or column.dtype == object
    ]
    print_rows(list(table.columns), list(zip(*map(scalars, table.columns.values()), strict=True)), left)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str | int):
        return str(value)
    return f"{float(value):,.0f}" if abs(value) >= 1e5 else f"{float(value):.6g}"


def print_findings(found: Told) -> None:
    """How many findings each rule made, and what must be heard of although nothing stopped."""
    counts = ", ".join(f"{rule} {n:,}" for rule, n in found.counts.items())
    out.print(f"Findings: {counts or 'none'} (erm3 quality list)")
    for sentence in found.loud:
        out.print(Text.assemble(("Look at this: ", "yellow"), sentence))
    for sentence in found.left_out:
        out.print(Text.assemble(("Left out: ", "yellow"), sentence))


def print_checks(checks: list[Check], only_figures: bool = False) -> None:
    """Checks as a table, then why each failed one failed and its worst cells."""
    import pandas as pd
    from rich.table import Table

    from pipeline.audits import failures

    table = Table("store", "check", "passed", "worst", "bound", "cells", box=None)
    for check in checks:
        if only_figures and check.passed and not check.cells:
            continue
        mark = Text("yes", "green") if check.passed else Text("NO", "red")
        table.add_row(check.store, check.name, mark, f"{check.value:.3g}", f"{check.bound:.3g}", f"{check.cells:,}")
    out.print(table, soft_wrap=False)
    for check in failures(checks):
        out.print(Text.assemble((f"{check.store}: {check.name}", "red"), f": {check.explanation}"))
        if check.worst:
            print_frame(pd.DataFrame(list(check.worst)), missing="NaN")
