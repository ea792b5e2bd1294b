"""What a published store looks like, as frozen declarations: dimensions, dtypes, units, flags, chunks.

Metadata, structure checks, the tables of docs/datasets.md and the table schemas shown by Dagster come from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.settings import FactorSet

DType = Literal["float32", "int16", "int64", "uint8", "bool", "str"]
Flags = tuple[tuple[int, str], ...]

SCHEMA_VERSION = "1.0"
LEVELS = ("market", "sector", "subsector")
"""Levels of the cascade, in its order."""

ROW_CHUNK = 504
COLUMN_CHUNK = 256
CROSS_SECTION = 512
"""Least columns of a chunk that holds whole cross-sections. A wider one has fewer rows: about a megabyte each."""
TEO_CHUNK = 8192
COORDINATE_CHUNK = 32768

TEO_UNITS = "days since 1970-01-01 00:00:00"


def tiles(n: int, size: int = COLUMN_CHUNK) -> list[slice]:
    """Consecutive slices that cover range(n), as many columns each as a chunk has: little enough for the caches."""
    return [slice(a, min(a + size, n)) for a in range(0, n, size)]


def flag_word(meaning: str) -> str:
    """One word for `flag_meanings`, which CF separates by blanks: 'Oil & gas' becomes 'Oil_gas'."""
    return re.sub(r"\W+", "_", meaning.strip()).strip("_")


@dataclass(frozen=True)
class ArraySpec:
    """What a data variable and a coordinate have in common.

    flags: codes and their meanings, part of the contract.
    open_flags: further codes are given when a store is written (an ETF roster, a taxonomy); they are append-only.
    """

    name: str
    dims: tuple[str, ...]
    dtype: DType
    long_name: str
    units: str = ""
    comment: str = ""
    flags: Flags = ()
    open_flags: bool = False


@dataclass(frozen=True)
class VariableSpec(ArraySpec):
    """A data variable, `(teo, columns)` or `(teo, columns, level)`, in chunks of (ROW_CHUNK, COLUMN_CHUNK[, 1]).

    needs: the tables of a source (or `table.column`) that it is made from beside closes. Where one of them was never
    delivered, the variable may be empty, and the root attribute `not_delivered` says so.
    by_session: it is asked for by session, and its chunks hold whole cross-sections.
    """

    needs: tuple[str, ...] = ()
    by_session: bool = False

    def chunks(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Chunks of a new array; those of whole cross-sections are a power of two wide, with room for new columns.

        >>> VariableSpec("x", ("teo", "symbol"), "float32", "x", by_session=True).chunks((5000, 3100))
        (63, 4096)
        """
        if self.by_session:
            columns = max(CROSS_SECTION, 1 << (int(shape[1]) - 1).bit_length())
            return max(ROW_CHUNK * CROSS_SECTION // columns, 1), columns
        return (ROW_CHUNK, COLUMN_CHUNK, 1)[: len(self.dims)]


@dataclass(frozen=True)
class CoordinateSpec(ArraySpec):
    """A one-dimensional coordinate.

    changes: values may be replaced (the ticker of today); otherwise the axis only ever grows at its end.
    """

    changes: bool = False

    def chunks(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (TEO_CHUNK if self.name == "teo" else COORDINATE_CHUNK,)

    @property
    def is_axis(self) -> bool:
        return self.dims == (self.name,)


@dataclass(frozen=True)
class StoreShape:
    """What a store looks like for any factor set; `of` names it, and says for which one it is.

    scope:      whom a store serves: all markets, the factor sets of one market, or one factor set.
    attributes: root attributes of this store alone.
    levels, lineage: as in DatasetSpec.
    """

    dataset_id: str
    scope: Literal["market data", "market", "factor set"]
    title: str
    summary: str
    coordinates: tuple[CoordinateSpec, ...]
    variables: tuple[VariableSpec, ...]
    levels: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()

    def of(self, factor_set: FactorSet) -> DatasetSpec:
        """The store that this factor set has, its own one or one that it shares."""
        own = self.scope == "factor set"
        suffix = {"market data": "", "market": f"_{factor_set.market}", "factor set": f"_{factor_set.id}"}
        attributes = {
            "Conventions": "CF-1.11",
            "title": self.title,
            "dataset_id": self.dataset_id,
            "schema_version": SCHEMA_VERSION,
            "factor_set_id": factor_set.id if own else "",
            "market_factor_etf": factor_set.market if self.scope != "market data" else "",
            "universe": factor_set.universe if own else "",
            **dict(self.attributes),
        }
        return DatasetSpec(
            self.dataset_id,
            self.dataset_id + suffix[self.scope],
            self.title,
            self.summary,
            self.coordinates,
            self.variables,
            tuple(attributes.items()),
            self.levels,
            self.lineage,
            factor_set if own else None,
        )


@dataclass(frozen=True)
class DatasetSpec:
    """One store.

    name:       of the store, without `.zarr`; `dataset_id` is the same without the factor set.
    attributes: root attributes that are part of the contract.
    levels:     values of the `level` axis, empty when the store has none.
    lineage:    dataset_ids that it is computed from.
    factor_set: the one that the store is made for, None for a store that all factor sets share.
    """

    dataset_id: str
    name: str
    title: str
    summary: str
    coordinates: tuple[CoordinateSpec, ...]
    variables: tuple[VariableSpec, ...]
    attributes: tuple[tuple[str, str], ...]
    levels: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ()
    factor_set: FactorSet | None = None

    def __post_init__(self) -> None:
        names = [array.name for array in self.arrays]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: two arrays have one name: {sorted(names)}")
        for array in self.arrays:
            if unknown := set(array.dims) - set(self.axes):
                raise ValueError(f"{self.name}: {array.name} has dimensions without a coordinate: {sorted(unknown)}")
        if ("level" in self.axes) != bool(self.levels):
            raise ValueError(f"{self.name}: a level axis needs levels, and levels need the axis")

    @property
    def arrays(self) -> tuple[CoordinateSpec | VariableSpec, ...]:
        return (*self.coordinates, *self.variables)

    @property
    def axes(self) -> tuple[str, ...]:
        """The dimensions, each with its coordinate: `teo`, the columns, `level`."""
        return tuple(c.name for c in self.coordinates if c.is_axis)

    @property
    def labels(self) -> tuple[CoordinateSpec, ...]:
        """Coordinates beside the axes, such as `ticker` on `symbol`."""
        return tuple(c for c in self.coordinates if not c.is_axis)

    def array(self, name: str) -> CoordinateSpec | VariableSpec:
        for array in self.arrays:
            if array.name == name:
                return array
        known = ", ".join(a.name for a in self.arrays)
        raise KeyError(f"{self.name} has no array {name!r}; it has {known}")
