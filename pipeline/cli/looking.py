"""`erm3 show`: one stock at one session, or the industries, in tables for a person."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import DAY, AsJson, Root, out, print_json, print_table, settings_of

if TYPE_CHECKING:
    from pipeline.query import Table


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


def print_tables(tables: dict[str, Table], as_json: bool) -> None:
    """Tables by name, one below the other."""
    if as_json:
        from pipeline.query.table import plain

        print_json({name: {str(row.pop(t.index)): plain(row) for row in t.rows()} for name, t in tables.items()})
        return
    for table in tables.values():
        print_table(table)
        out.print()
