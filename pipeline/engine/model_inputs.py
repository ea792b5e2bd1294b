"""What the model's steps read, in the order of its kernels, and the one transpose on the way to the stores.

Windows come from the published returns (through the staging overlay), the kernels from `pipeline.model`. Kernels are
stock-major, (n, T) or (level, n, T); stores are time-major, (T, n) or (T, n, level).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.engine.run import Run
from pipeline.settings import FactorSet
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import columns, positions


def etf_window(run: Run, first: int, last: int) -> NDArray[np.float64]:
    """(E, window - 1 + sessions) returns of the factor ETFs, all NaN for one that the source does not have."""
    return run.history("ds_etf").window("return", run.etf_ids, first - run.kernel.window + 1, last)


def stock_window(run: Run, symbols: NDArray, first: int, last: int) -> NDArray[np.float64]:
    """(n, T + window - 1) returns that windows ending in [first, last] read."""
    return run.history("ds_daily").window("return", symbols, first - run.kernel.window + 1, last)


def wanted_cells(
    run: Run, masks: StagedStore, factor_set: FactorSet, symbols: NDArray, first: int, last: int
) -> NDArray[np.bool_]:
    """(n, T): member of the universe and valid at that session."""
    universe, valid = (of_symbols(run, masks, var, symbols, first, last) for var in (factor_set.universe, "validity"))
    return np.ascontiguousarray((universe & valid).T)


def of_symbols(run: Run, store: StagedStore, var: str, symbols: NDArray, first: int, last: int) -> NDArray:
    """(T, n[, level]) of the sessions [first, last] as stored, of symbols that the store has."""
    return columns(store, var, run.rows(store, first, last), store.cols_of(symbols))


def at_sessions(
    run: Run, store: StagedStore, var: str, first: int, last: int, symbols: NDArray, level: str | None = None
) -> NDArray[np.float64]:
    """(T, n[, level]) of the sessions [first, last], NaN before the store's first one, and for who is not in it.

    level: only this one, (T, n).
    """
    return at_positions(run, store, var, first, last, positions(store.symbol, symbols), level)


def at_positions(
    run: Run,
    store: StagedStore,
    var: str,
    first: int,
    last: int,
    cols: NDArray[np.int64],
    level: str | None = None,
    dtype: type[np.generic] = np.float64,
) -> NDArray:
    """`at_sessions` of the symbols at these positions on the store's axis, -1 for who is not in it.

    dtype: of what is returned; 0 stands for NaN in one of integers.
    """
    begins = max(run.calendar.ordinal(store.teo[0]), first)
    have = cols >= 0
    if begins == first and have.all():
        return columns(store, var, run.rows(store, first, last), cols, level).astype(dtype, copy=False)
    levels = (len(store.spec.levels),) if level is None and "level" in store.spec.array(var).dims else ()
    out = np.full((last - first + 1, len(cols), *levels), np.nan if np.issubdtype(dtype, np.floating) else 0, dtype)
    if begins <= last:
        out[begins - first :, have] = columns(store, var, run.rows(store, begins, last), cols[have], level)
    return out


def assignment(run: Run, symbols: NDArray, first: int, last: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Rows of the ETF array in force for each stock and session, (n, T), -1 for none: sector, subsector."""
    industry = of_symbols(run, run.open("ds_daily"), "fs_industry_code", symbols, first, last)
    return run.assignment(industry.T, first, last)


def links_in(run: Run, etf: NDArray[np.float64], first: int) -> model.LinkBetas:
    """Link betas in float64 of the sessions from `first` on, from the windows that end on them."""
    return model.link_betas(etf, run.etfs.market, run.etfs.pairs, first - run.kernel.window + 1, run.kernel)


def fact_flags(run: Run) -> list[tuple[int, str]]:
    """Codes of `fact`: the row of the ETF in the registry, plus one."""
    return [(k + 1, ticker) for k, ticker in enumerate(run.etfs.tickers)]


@dataclass(frozen=True)
class Peers:
    """What shrinkage and aggregates need of a block: (level, n, T) and (n, T) arrays, C-contiguous."""

    beta: NDArray[np.float64]
    se: NDArray[np.float64]
    fact: NDArray[np.int16]
    industry: NDArray[np.int16]
    log_weight: NDArray[np.float64]

    @classmethod
    def read(cls, run: Run, raw: StagedStore, first: int, last: int) -> Peers:
        """The sessions [first, last] of a store of raw betas."""
        rows, daily = run.rows(raw, first, last), run.open("ds_daily")
        daily_rows, cols = run.rows(daily, first, last), daily.cols_of(raw.symbol)
        cap = daily.read("market_cap", daily_rows)[:, cols].T.astype(np.float64)
        return cls(
            level_first(raw.read("factor_beta", rows)),
            level_first(raw.read("beta_se", rows)),
            np.ascontiguousarray(raw.read("fact", rows).transpose(2, 1, 0)),
            np.ascontiguousarray(daily.read("fs_industry_code", daily_rows)[:, cols].T),
            np.ascontiguousarray(np.log1p(cap)),
        )


def as_stored(block: NDArray, dtype: type[np.generic]) -> NDArray:
    """([level,] n, T) of the model -> (T, n[, level]) of a store, in its precision: one copy, and the worker makes it.

    What is too large for float32 becomes infinite, which the store refuses.
    """
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(block.T, dtype=dtype)


def time_first(block: NDArray) -> NDArray:
    """(level, n, T) of the model -> (T, n, level) of a store."""
    return block.transpose(2, 1, 0)


def level_first(block: NDArray) -> NDArray[np.float64]:
    """(T, n, level) of a store -> (level, n, T) float64, C-contiguous."""
    return np.ascontiguousarray(block.transpose(2, 1, 0), dtype=np.float64)
