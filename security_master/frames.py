"""Tables of a master as frames."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from security_master.schema import column_types


def read_frame(
    connection: sqlite3.Connection, table: str, columns: Sequence[str] | None = None, where: str = "", *values: object
) -> pd.DataFrame:
    """Rows of a table in insertion order: TEXT as object, INTEGER as int64, REAL as float64 (NULL is NaN)."""
    names = list(columns) if columns is not None else list(column_types(table))
    rows = connection.execute(f"SELECT {', '.join(names)} FROM {table} {where}", values).fetchall()
    return typed_frame(
        dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ()), table
    )


def typed_frame(columns: Mapping[str, Sequence[object]], table: str) -> pd.DataFrame:
    """Columns as a frame with the dtypes of read_frame."""
    types = column_types(table)
    dtypes: dict[str, type] = {"INTEGER": np.int64, "REAL": np.float64, "TEXT": np.object_}
    data = {}
    for name, values in columns.items():
        array: NDArray[Any] = np.empty(len(values), dtype=dtypes[types[name]])
        array[:] = values
        data[name] = pd.Series(array, dtype=array.dtype)
    return pd.DataFrame(data, columns=list(columns))
