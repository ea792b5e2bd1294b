"""`erm3 new`: a directory to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import out


def new(directory: Annotated[Path, typer.Argument(help="Directory to make; it must be new or empty.")]) -> None:
    """A small complete example: tables as the `files` source reads them, and an erm3.toml that names them.

    Run it as it is, then replace the tables with your own (docs/sources.md has their columns).
    """
    from pipeline.calendar import xnys
    from pipeline.settings import ModelParameters
    from pipeline.sources.example import MARKET, write_example

    written = write_example(directory)
    for path in written:
        out.print(str(path))
    first = xnys().between(MARKET.first_session, MARKET.last_session)[ModelParameters().window]
    out.print("\nNow, as it is, then with your own tables:\n")
    for command in (f"cd {directory}", "erm3 check tables", f"erm3 backfill --start {first}", "erm3 show"):
        out.print(f"    {command}")
