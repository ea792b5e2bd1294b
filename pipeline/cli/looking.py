"""`erm3 show`, `history`, `verify`, `touched`: a look at what is published."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import (
    DAY,
    AsJson,
    Root,
    out,
    print_checks,
    print_frame,
    print_json,
    print_rows_of,
    print_table,
    settings_of,
)

if TYPE_CHECKING:
    from pipeline.query import Table
    from pipeline.settings import Settings


def show(
    what: Annotated[
        str | None, typer.Argument(help="A ticker, a permanent id, or the word `industries`; a stock by default.")
    ] = None,
    on: Annotated[
        datetime | None, typer.Option(formats=DAY, help="A published session; the last one by default.")
    ] = None,
    root: Root = None,
    level: Annotated[str, typer.Option(help="Of `industries`: market, sector or subsector.")] = "subsector",
    min_peers: Annotated[int, typer.Option(help="Of `industries`: fewest companies.")] = 1,
    as_json: AsJson = False,
) -> None:
    """One stock's betas, hedge ratios and shares at a session, or the industries. `erm3 tickers` says who there is."""
    from pipeline.reports import show as shown

    settings = settings_of(root=root)
    day = shown.last_session(settings) if on is None else on.date()
    if what == "industries":
        print_tables({"industries": shown.industries(settings, day, level, min_peers)}, as_json)
        return
    symbol, ticker = shown.example(settings, day) if what is None else (shown.find(settings, what, day), what)
    if not as_json:
        out.print(f"{ticker} on {day} is {symbol}, in {settings.root}")
    print_tables(shown.stock(settings, symbol, day), as_json)


def history(
    store: Annotated[str | None, typer.Argument(help="A store; all publications without one.")] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Publications of the family, or those that changed one store: when, why, and whether one can still be opened."""
    from pipeline import read
    from pipeline.reports.show import NotPublished

    where = settings_of(root=root).root
    stores = read.open_family(where).stores
    if store is not None and store not in stores:
        raise NotPublished(f"there is no store {store} in {where}; there are {', '.join(stores)}")
    print_rows_of(read.history(where, store), as_json, missing="NaN")


def verify(
    root: Root = None,
    start: Annotated[datetime | None, typer.Option(formats=DAY)] = None,
    end: Annotated[datetime | None, typer.Option(formats=DAY)] = None,
    as_json: AsJson = False,
) -> None:
    """Run all checks on the published data; exit status 1 and a table when one fails."""
    from pipeline.audits import failures
    from pipeline.engine.verify import verify as verify_published

    settings = settings_of(root=root)
    checks = verify_published(settings, start and start.date(), end and end.date())
    broken = failures(checks)
    if as_json:
        print_json([check.as_dict() for check in checks])
    else:
        print_checks(checks)
        _print_levels(settings)
        out.print(f"{len(checks) - len(broken)} checks passed, {len(broken)} failed, in {settings.root}")
    raise typer.Exit(1 if broken else 0)


def _print_levels(settings: Settings) -> None:
    """How many members have which level, by year, and why the others have none."""
    from pipeline.reports.hedge_effectiveness import Published, level_names
    from pipeline.store.objects import StoreError

    try:
        names = level_names(Published.of(settings.root, settings.factor_sets[0]))
    except StoreError:  # a root without betas, or a damaged one, of which the checks say more
        return
    wide = names.pivot_table(index=["level", "reason"], columns="year", values="names", fill_value=0, aggfunc="sum")
    out.print("Valid members at the last session of each year, by level:")
    print_frame(wide.reset_index(), number=".0f")


def touched(
    start: Annotated[datetime, typer.Option("--from", formats=DAY, help="First session whose inputs changed.")],
    end: Annotated[datetime, typer.Option("--to", formats=DAY, help="Last session whose inputs changed.")],
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """The published sessions that a change of inputs can touch, and so must be computed again."""
    from pipeline.engine import operations

    first, last = map(str, operations.touched(settings_of(root=root), start.date(), end.date()))
    if as_json:
        print_json({"first": first, "last": last})
    else:
        out.print(f"{first} to {last}")


def print_tables(tables: dict[str, Table], as_json: bool) -> None:
    """Tables by name, one below the other."""
    if as_json:
        from pipeline.query.table import plain

        print_json({name: {str(row.pop(t.index)): plain(row) for row in t.rows()} for name, t in tables.items()})
        return
    for table in tables.values():
        print_table(table)
        out.print()
