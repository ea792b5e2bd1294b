"""Trailing windows over published rows, with the warm-up in front of the first published session.

The model of session `t` reads its window from what is published (through the staging overlay), so that betas are a
function of the returns that readers see. Before the first published session there is nothing to read: those rows are
the *warm-up*, computed from the source by the same code when a store is first published, and published with it, in
stored precision, as a file beside the stores: later sessions read what the first one read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.calendar import Calendar
from pipeline.datasets.spec import COLUMN_CHUNK
from security_master.errors import ExplainedError, at_file


class RowStore(Protocol):
    """A published or staged store with a `teo` and a `symbol` axis."""

    @property
    def teo(self) -> NDArray[np.datetime64]: ...
    @property
    def symbol(self) -> NDArray[np.object_]: ...
    def read(self, var: str, rows: slice, cols: slice) -> NDArray: ...


class MissingHistoryError(ExplainedError, RuntimeError):
    """Sessions that a computation needs lie outside what is published and outside the warm-up."""


def warm_up_file(store: str) -> str:
    """Name of the file beside the stores that holds the warm-up of a store."""
    return f"warm_up_{store}.npz"


@dataclass(frozen=True)
class WarmUp:
    """Rows before the first published session.

    first: ordinal of the first row. symbols: ids of the columns. values: variable -> (rows, columns) float32.
    """

    first: int
    symbols: NDArray[np.object_]
    values: Mapping[str, NDArray[np.float32]]

    @property
    def sessions(self) -> int:
        return next(iter(self.values.values())).shape[0]

    def save(self, path: Path) -> None:
        with at_file(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            symbols = self.symbols.astype(str)
            np.savez_compressed(path, first=self.first, symbols=symbols, **self.values)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> WarmUp:
        with np.load(path) as saved:
            values = {name: saved[name] for name in saved.files if name not in ("first", "symbols")}
            return cls(int(saved["first"]), saved["symbols"].astype(object), values)


def positions(axis: Sequence[object] | NDArray, wanted: Sequence[object] | NDArray) -> NDArray[np.int64]:
    """Position on `axis`, on which no label stands twice, of each wanted label, -1 where the axis does not have it."""
    axis, wanted = np.asarray(axis, object), np.asarray(wanted, object)
    if len(wanted) <= len(axis) and (axis[: len(wanted)] == wanted).all():  # axes only grow at their ends
        return np.arange(len(wanted))
    where = {label: k for k, label in enumerate(axis.tolist())}
    return np.fromiter((where.get(label, -1) for label in wanted.tolist()), dtype=np.int64, count=len(wanted))


def columns(store: RowStore, var: str, rows: slice, cols: NDArray[np.int64], level: str | None = None) -> NDArray:
    """`var` at these columns, in this order. Only the chunks that hold them are read, neighbours at once.

    level: only this one, of a store that has levels.
    """
    only: dict[str, Any] = {} if level is None else {"level": level}
    if not len(cols):
        return store.read(var, rows, slice(0, 0), **only)
    if cols[-1] - cols[0] == len(cols) - 1 and (np.diff(cols) == 1).all():
        return store.read(var, rows, slice(int(cols[0]), int(cols[-1]) + 1), **only)
    chunks = np.unique(cols // COLUMN_CHUNK)
    out: NDArray | None = None
    for beside in np.split(chunks, np.flatnonzero(np.diff(chunks) > 1) + 1):
        left, right = int(beside[0]) * COLUMN_CHUNK, min((int(beside[-1]) + 1) * COLUMN_CHUNK, len(store.symbol))
        here = (cols >= left) & (cols < right)
        block = store.read(var, rows, slice(left, right), **only)
        if out is None:
            out = np.empty((len(block), len(cols), *block.shape[2:]), block.dtype)
        out[:, here] = block[:, cols[here] - left]
    assert out is not None
    return out


class History:
    """Windows of one store's variables, whatever part is published and whatever part is warm-up."""

    def __init__(self, store: RowStore, warm_up: WarmUp | None, calendar: Calendar) -> None:
        self.store = store
        self.warm_up = warm_up
        self.first_row = calendar.ordinal(store.teo[0])
        self.calendar = calendar

    @property
    def begins(self) -> int:
        """Ordinal of the first session that windows can read, the warm-up's where there is one."""
        return self.first_row if self.warm_up is None else self.warm_up.first

    def window(self, var: str, symbols: Sequence[str] | NDArray, first: int, last: int) -> NDArray[np.float64]:
        """`var` for the ordinals [first, last] as (len(symbols), last-first+1) float64, C-contiguous, NaN for none.

        Raises MissingHistoryError when a session after the warm-up's start is neither published nor warm-up.
        """
        out = np.full((last - first + 1, len(symbols)), np.nan)
        covered_from = self.begins
        if self.warm_up is not None:
            self._fill(out, var, symbols, first, last)
        if first < covered_from or last >= self.first_row + len(self.store.teo):
            have = self.first_row + len(self.store.teo) - 1
            days = self.calendar.sessions
            raise MissingHistoryError(
                f"{var}: sessions {days[first]} to {days[last]} are needed, but only {days[covered_from]} to "
                f"{days[have]} are published; backfill the sessions in between first"
            )
        lo, hi = max(first, self.first_row), last
        if lo <= hi:
            cols = positions(self.store.symbol, symbols)
            have_cols = cols >= 0
            if have_cols.any():
                rows = slice(lo - self.first_row, hi - self.first_row + 1)
                out[lo - first :, have_cols] = columns(self.store, var, rows, cols[have_cols])
        return np.ascontiguousarray(out.T)

    def _fill(
        self, out: NDArray[np.float64], var: str, symbols: Sequence[str] | NDArray, first: int, last: int
    ) -> None:
        assert self.warm_up is not None
        lo, hi = max(first, self.warm_up.first), min(last, self.first_row - 1)
        if lo > hi:
            return
        cols = positions(self.warm_up.symbols, symbols)
        have = cols >= 0
        rows = self.warm_up.values[var][lo - self.warm_up.first : hi - self.warm_up.first + 1]
        out[lo - first : hi - first + 1, have] = rows[:, cols[have]]
