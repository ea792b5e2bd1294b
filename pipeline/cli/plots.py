"""`erm3 plot`: a picture of what is published, as PNG or SVG."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.console import DAY, Root, out, settings_of
from pipeline.cli.reading import AsOf, Publication, Years

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.query import QueryFamily


def plot(
    kind: Annotated[str, typer.Argument(help="betas, hedge, risk, residual, bridge, industries or portfolio.")],
    who: Annotated[
        str | None, typer.Argument(help="A ticker; for a portfolio a CSV of ticker and dollars; not for industries.")
    ] = None,
    path: Annotated[Path, typer.Option("--out", help="File to write: .png or .svg.")] = Path("erm3.png"),
    years: Years = 5,
    start: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="First session of a bridge.")] = None,
    level: Annotated[str, typer.Option(help="Of industries: market, sector or subsector.")] = "subsector",
    as_of: AsOf = None,
    root: Root = None,
    publication: Publication = None,
) -> None:
    """Draw betas, hedge ratios, shares of risk, residuals, a return bridge, industries or a hedged portfolio."""
    from pipeline.query import open_family
    from security_master.errors import at_file

    if path.suffix.lower() not in (".png", ".svg"):
        raise typer.BadParameter(f"{path} is neither .png nor .svg", param_hint="--out")
    family = open_family(settings_of(root=root).root, publication)
    figure = _drawn(family, kind, who, years, start, level, as_of)
    with at_file(path):
        figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    out.print(f"{path}: {kind}{f' of {who}' if who else ''}, data through {family.complete_through}")


def _drawn(family: QueryFamily, kind: str, who: str | None, years: int, start: Any, level: str, as_of: Any) -> Figure:
    from pipeline.query import plot as pictures
    from pipeline.query.errors import BadQuestion, one_of
    from pipeline.query.positions import read_positions

    one_of("the kind of picture", kind, pictures.KINDS)
    if kind == "industries":
        return pictures.industries(family, level, start, as_of)
    if who is None:
        raise BadQuestion(f"`{kind}` needs a ticker (or the CSV of a portfolio) after it")
    held = read_positions(Path(who)) if who.lower().endswith(".csv") else None
    if kind == "portfolio":
        return pictures.portfolio(family, {who: 1.0} if held is None else held, as_of)
    if kind == "bridge":
        return pictures.bridge(family, who if held is None else held, start, as_of)
    return pictures.OF_A_STOCK[kind](family, who, years, as_of)
