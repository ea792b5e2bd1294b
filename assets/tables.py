"""Figures and tables as metadata: what JSON can carry and a person can read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from pipeline.outside.visible import visible

Cell = str | int | float | bool | None


def number(value: float) -> float | int | str:
    """A figure that JSON can carry: infinities and NaN as words."""
    return value if math.isfinite(value) else str(value)


def figure(value: float) -> float | int | str:
    """A figure to be read by a person, with four digits."""
    return number(float(f"{value:.4g}"))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> dg.TableMetadataValue:
    """A table of a few rows. columns: those of the rows by default; needed where there may be no row."""
    columns = columns if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
    records = [{name: _cell(row.get(name)) for name in columns} for row in rows]
    return dg.MetadataValue.table(
        records=[dg.TableRecord(record) for record in records],
        schema=dg.TableSchema([dg.TableColumn(name, _kind([record[name] for record in records])) for name in columns]),
    )


def table_of(frame: pd.DataFrame) -> dg.TableMetadataValue:
    """A table of a frame; what is missing stays empty."""
    known = frame.astype(object).where(frame.notna(), None)
    return table(known.to_dict("records"), [str(name) for name in frame.columns])  # type: ignore[arg-type]


def _cell(value: Any) -> Cell:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return figure(value)
    return value if value is None or isinstance(value, int | bool) else visible(str(value))


def _kind(cells: Sequence[Cell]) -> str:
    types = {type(cell) for cell in cells if cell is not None}
    return "int" if types == {int} else "float" if float in types else "string"
