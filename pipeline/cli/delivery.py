"""`erm3 check`: a directory of own tables, before anything is computed from it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.console import AsJson, complain, out, print_json, print_rows


def check(
    directory: Annotated[str, typer.Argument(help="Directory of the tables of the `files` source (docs/sources.md).")],
    as_json: AsJson = False,
) -> None:
    """All faults of a directory of tables at once; computes nothing. Status 1 where a run would be refused.

    Per table rows, span and securities; then what is not read, with the nearest name, and what is missing for which
    output; then every fault with its file, row and column: the first of each column.
    """
    from pipeline.sources.checked import check_directory

    checked = check_directory(directory)
    if as_json:
        faults = [{"file": f.file, "row": f.row, "column": f.column, "problem": f.problem} for f in checked.faults]
        print_json({"tables": [asdict(t) for t in checked.tables], "faults": faults, "hints": checked.hints})
    else:
        if checked.tables:
            rows = [
                (t.table, t.file, t.rows, t.first or None, t.last or None, t.securities or None) for t in checked.tables
            ]
            print_rows(("table", "file", "rows", "first", "last", "securities"), rows, left=(0, 1))
        for hint in checked.hints:
            out.print(f"note: {hint}")
        for fault in checked.faults:
            complain("fault", str(fault))
        if not checked.faults:
            out.print("No fault: a run reads all of this.")
    if checked.faults:
        raise typer.Exit(1)
