"""An answer with rows: columns of one length, and the forms in which they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import xarray as xr

FORMATS = ("json", "csv", "parquet")


@dataclass(frozen=True)
class Table:
    """Columns by name, all (n,): float32 as stored, float64 computed, int, bool, or text (None where there is none).

    index: the column that says what a row is. attrs: what holds for all rows. NaN is "no value".
    """

    columns: Mapping[str, NDArray]
    index: str
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> NDArray:
        return self.columns[name]

    def rows(self) -> list[dict[str, Any]]:
        """A dictionary for each row; values as they are stored, None for none."""
        names = list(self.columns)
        return [
            dict(zip(names, row, strict=True))
            for row in zip(*(scalars(column) for column in self.columns.values()), strict=True)
        ]

    def tail(self, n: int) -> Table:
        """The last n rows."""
        return self.rows_at(slice(len(self) - min(n, len(self)), None))

    def rows_at(self, at: Any) -> Table:
        """The rows at a slice, at positions, or where a condition (n,) holds."""
        return Table({name: column[at] for name, column in self.columns.items()}, self.index, self.attrs)

    def to_pandas(self) -> pd.DataFrame:
        """As a frame; a column `date` is datetime64 and the index."""
        import pandas as pd

        frame = pd.DataFrame(dict(self.columns))
        if "date" in frame:
            frame["date"] = pd.to_datetime(frame["date"])
        frame.attrs.update(self.attrs)
        return frame.set_index(self.index)

    def to_xarray(self) -> xr.Dataset:
        """As a Dataset along the index."""
        import xarray as xr

        def of(name: str, column: NDArray) -> NDArray:
            return column.astype("datetime64[ns]") if name == "date" else column

        coordinate = {self.index: of(self.index, self.columns[self.index])}
        data = {name: (self.index, of(name, c)) for name, c in self.columns.items() if name != self.index}
        return xr.Dataset(data, coordinate, dict(self.attrs))

    def to_arrow(self) -> pa.Table:
        """With plain types: float, double, int64, bool, string; NaN is null."""
        import pyarrow as pa

        def of(column: NDArray) -> pa.Array:
            if column.dtype.kind in "OUTM":
                return pa.array([None if v is None else str(v) for v in column.tolist()], pa.string())
            kind = pa.int64() if column.dtype.kind in "iu" else None
            return pa.array(column, type=kind, from_pandas=True)

        return pa.table({name: of(column) for name, column in self.columns.items()})

    def encoded(self, form: str) -> bytes:
        """As `csv` or `parquet`. Numbers in CSV are the shortest decimals that read back as the same."""
        table, out = self.to_arrow(), BytesIO()
        if form == "csv":
            from pyarrow import csv

            csv.write_csv(table, out)
        else:
            from pyarrow import parquet, types

            texts = [f.name for f in table.schema if types.is_string(f.type)]
            parquet.write_table(table, out, use_dictionary=texts, compression="zstd")
        return out.getvalue()


def scalars(column: NDArray) -> list[Any]:
    """Values of a column: numpy scalars for float32, so that no digit is made up; None for NaN."""
    if column.dtype == np.float32:
        return [None if missing else value for value, missing in zip(column, np.isnan(column).tolist(), strict=True)]
    if column.dtype.kind == "f":
        return [None if value != value else value for value in column.tolist()]
    return list(column.tolist())


def plain(value: Any) -> Any:
    """An answer in Python's own types. A float32 is the shortest decimal that reads back as it; NaN is None.

    >>> plain({"a": np.float32(0.1), "b": [np.float32("nan"), np.int16(3)]})
    {'a': 0.1, 'b': [None, 3]}
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist() if value.dtype != np.float32 else list(value))
    if isinstance(value, np.floating | float):
        return None if value != value else float(str(value)) if isinstance(value, np.float32) else float(value)
    return value.item() if isinstance(value, np.generic) else value


def texts(values: Sequence[str | None]) -> NDArray:
    """A column of texts."""
    out = np.empty(len(values), object)
    out[:] = values
    return out


def together(tables: Sequence[Table], of: Sequence[str], name: str = "ticker") -> Table | None:
    """Tables one below the other, with a first column that says whose rows they are; None for no tables."""
    if not tables:
        return None
    whose = texts([label for label, table in zip(of, tables, strict=True) for _ in range(len(table))])
    columns = {key: np.concatenate([table[key] for table in tables]) for key in tables[0].columns}
    return Table({name: whose, **columns}, name)
