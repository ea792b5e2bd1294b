"""`erm3 effectiveness`: whether the published hedges work, as held against the returns of the next session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import AsJson, Root, out, print_frame, print_json, records, settings_of

if TYPE_CHECKING:
    from pipeline.reports.hedge_effectiveness import Published


def effectiveness(
    who: Annotated[str | None, typer.Argument(metavar="[TICKER]", help="One stock, by year.")] = None,
    sector: Annotated[bool, typer.Option("--sector", help="By sector, over the last 252 sessions.")] = False,
    by: Annotated[str | None, typer.Option(help="year")] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Share of the variance that hedges left: their ratios held against the returns of the session after.

    Without an argument: by sector, months that left their own history, the 20 worst stocks with what can be named as
    the reason, and how many names have which level.
    """
    from pipeline.query.errors import BadQuestion
    from pipeline.reports import hedge_effectiveness as report

    settings = settings_of(root=root)
    if by not in (None, "year") or sum((who is not None, sector, by is not None)) > 1:
        raise BadQuestion("ask for one of TICKER, --sector and --by year")
    published = report.Published.of(settings.root, settings.factor_sets[0])
    if who is not None:
        tables = {"by_year": report.by_year(published, _position(published, settings.root, who))}
    elif sector:
        tables = {"by_sector": report.by_sector(published)}
    elif by:
        tables = {"by_year": report.by_year(published)}
    else:
        tables = {
            "by_sector": report.by_sector(published),
            "left_their_history": report.left_their_history(report.months(published)),
            "worst": report.worst(published),
            "names_by_level": report.level_names(published),
        }
    if as_json:
        print_json({name: records(frame) for name, frame in tables.items()})
        return
    for name, frame in tables.items():
        out.print(f"\n{name.replace('_', ' ')}, through {published.teo[-1]}")
        if frame.empty:
            out.print("none")
        else:
            print_frame(frame, number=".3f")


def _position(published: Published, root: str, who: str) -> int:
    """Where a stock stands in the store, by any of its names now."""
    from pipeline.query import open_family
    from pipeline.query.errors import NothingThere

    symbol = open_family(root).stock(who).symbol
    found = [k for k, one in enumerate(published.symbol.tolist()) if one == symbol]
    if not found:
        raise NothingThere(f"{who} has never had a hedge in {root}")
    return found[0]
