"""A portfolio in a file: CSV with the columns `ticker` and `weight` or `dollars`."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from pipeline.query.errors import BadQuestion
from security_master.errors import at_file

AMOUNTS = ("dollars", "weight")


def read_positions(path: Path) -> dict[str, float]:
    """Amounts by name, two rows of one name added. Raises BadQuestion, which names the row; FileRefused."""
    try:
        with at_file(path), open(path, encoding="utf-8-sig", newline="") as lines:
            return positions_of(lines, str(path))
    except UnicodeDecodeError as error:
        raise BadQuestion(f"{path} is no UTF-8 text; save it as CSV in UTF-8") from error


def positions_of(lines: Iterable[str], source: str) -> dict[str, float]:
    """As `read_positions`, from lines.

    >>> positions_of(["ticker,dollars", "AAPL,1000", "MSFT,-500", "AAPL,250"], "here")
    {'AAPL': 1250.0, 'MSFT': -500.0}
    """
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error as error:
        raise BadQuestion(f"{source} is no CSV: {error}") from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    amount = next((name for name in AMOUNTS if name in header), None)
    if "ticker" not in header or amount is None:
        raise BadQuestion(
            f"{source}: the first line has to name ticker and dollars (or weight), not {','.join(header)!r}"
        )
    found: dict[str, float] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        cells = dict(zip(header, row, strict=False))
        name, text = cells.get("ticker", "").strip(), cells.get(amount, "").strip()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not name or not math.isfinite(value):
            raise BadQuestion(
                f"{source}, line {number}: a ticker and a number of {amount} were expected, not {name!r}, {text!r}"
            )
        found[name] = found.get(name, 0.0) + value
    if not found:
        raise BadQuestion(f"{source} has no positions; give a line for each, like AAPL,100000")
    return found
