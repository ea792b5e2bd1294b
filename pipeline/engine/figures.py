"""What a person follows from session to session: parts of the figures that several stores have.

Figures are read from the staged store, in its time blocks, so memory does not grow with the range.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import LEVELS
from pipeline.engine.run import Run
from pipeline.store.staged_store import StagedStore

Series = dict[str, NDArray[np.float64]]
"""Figure -> one number for each session."""


def coverage(run: Run, store: StagedStore, rows: slice, found: NDArray[np.float64]) -> Series:
    """Size of the universe, and which share of it has values. found: stocks with values, (sessions, levels)."""
    betas = run.input_of(store.name, "ds_erm3_betas")
    first, last = (run.calendar.ordinal(day) for day in store.teo[rows][[0, -1]])
    members = count(betas.read("fact", run.rows(betas, first, last))[..., 0] != 0)
    shares = {f"coverage of {level}": share(found[:, k], members) for k, level in enumerate(LEVELS)}
    return {"valid members": members, **shares}


def count(cells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each session, from (sessions, n) cells."""
    return cells.sum(axis=1).astype(np.float64)


def share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where the whole is zero."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def mean(cells: NDArray) -> NDArray[np.float64]:
    """Mean over the finite cells of each row, NaN for a row without any."""
    finite = np.isfinite(cells)
    return share(np.where(finite, cells, 0.0).sum(axis=1, dtype=np.float64), finite.sum(axis=1).astype(np.float64))
