"""`ds_erm3_betas`: the cascade of every member of the universe that is valid at the session."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.audits import emptiness, estimates
from pipeline.datasets import LEVELS
from pipeline.datasets.shared import FACT, LEVEL, OUTSIDE, STOCKS
from pipeline.datasets.spec import StoreShape, VariableSpec, tiles
from pipeline.engine import model_inputs
from pipeline.engine.figures import Series, coverage
from pipeline.engine.product import Histograms, Lines, Picture, Product
from pipeline.engine.run import Run
from pipeline.engine.tiles import reused, written
from pipeline.settings import FactorSet
from pipeline.store.staged_store import StagedStore


def _variables() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol", "level")
    return (
        VariableSpec(
            "factor_beta", cell, "float32", "beta on the level's cleaned factor, given the levels above", "1", OUTSIDE
        ),
        VariableSpec("beta_se", cell, "float32", "standard error of factor_beta", "1", OUTSIDE),
        VariableSpec(
            "n_obs", cell, "int16", "returns in the window that the level used", "1", "0 where factor_beta is NaN"
        ),
        FACT,
    )


SHAPE = StoreShape(
    "ds_erm3_betas",
    "factor set",
    "Factor betas, raw",
    "Cascade betas before shrinkage, with their standard errors.",
    coordinates=(*STOCKS, LEVEL),
    levels=LEVELS,
    variables=_variables(),
    lineage=("ds_daily", "ds_etf", "ds_masks", "ds_erm3_link_betas"),
)


def stage(run: Run, name: str) -> None:
    """`ds_erm3_betas_{FS}`: the cascade of every member of the universe that is valid at the session."""
    masks, factor_set = run.open("ds_masks"), run.factor_set(name)
    store = run.create(name, {"fact": model_inputs.fact_flags(run)})
    ever, first_seen = _members_ever(run, factor_set, masks)
    run.extend(store, ever[np.lexsort((ever.astype(str), first_seen))])
    counts = np.zeros((len(LEVELS), len(model.DegenerateReason)), dtype=np.int64)
    for first, last in run.blocks(store):
        for counted in written(run, store, _tasks, _betas_of_tile, first, last):
            counts += counted
        run.done(store, last)
    unconverged = int(counts[:, model.DegenerateReason.UNCONVERGED].sum())
    run.stage.note(name, {"degenerate_cells": model.reason_counts(counts), "unconverged": unconverged})
    run.label(store)
    store.close()


def _tasks(run: Run, name: str, symbols: NDArray, first: int, last: int) -> list[tuple[Any, ...]]:
    """Arguments of `_betas_of_tile` for each tile of these symbols."""
    etf, returns = model_inputs.etf_window(run, first, last), model_inputs.stock_window(run, symbols, first, last)
    wanted = model_inputs.wanted_cells(run, run.open("ds_masks"), run.factor_set(name), symbols, first, last)
    sector, subsector = model_inputs.assignment(run, symbols, first, last)
    start, kernel, market = first - run.kernel.window + 1, run.kernel, run.etfs.market
    return [(returns[k], etf, market, sector[k], subsector[k], wanted[k], start, kernel) for k in tiles(len(symbols))]


def _betas_of_tile(
    r: NDArray,
    etf: NDArray,
    market: int,
    sector: NDArray,
    subsector: NDArray,
    wanted: NDArray,
    first: int,
    kernel: model.KernelParams,
) -> tuple[dict[str, NDArray], NDArray]:
    """The cascade of a tile: its variables as they are stored, and the cells by reason."""
    out = reused(model.Cascade.empty, *wanted.shape)
    done = model.cascade(r, etf, market, sector, subsector, wanted, first, kernel, out)
    legs = np.stack([np.full_like(sector, market), sector, subsector])
    stored = {
        "factor_beta": model_inputs.as_stored(done.beta, np.float32),
        "beta_se": model_inputs.as_stored(done.se, np.float32),
        "n_obs": model_inputs.as_stored(done.n_obs, np.int16),
        "fact": model_inputs.as_stored(np.where(wanted & (legs >= 0), legs + 1, 0), np.int16),
    }
    return stored, done.counts.copy()


def _members_ever(run: Run, factor_set: FactorSet, masks: StagedStore) -> tuple[NDArray, NDArray]:
    """Symbols with a session as valid member in the run, and the ordinal of the first such session."""
    first_seen = np.full(len(masks.symbol), -1)
    for first, last in run.blocks(masks):
        both = model_inputs.wanted_cells(run, masks, factor_set, masks.symbol, first, last)
        hit = both.any(axis=1) & (first_seen < 0)
        first_seen[hit] = first + both[hit].argmax(axis=1)
    return masks.symbol[first_seen >= 0], first_seen[first_seen >= 0]


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    found = np.isfinite(store.read("factor_beta", rows)).sum(axis=1).astype(np.float64)
    counts = {f"stocks with a {level} beta": found[:, k] for k, level in enumerate(LEVELS)}
    return counts | coverage(run, store, rows, found)


def pictures(run: Run, name: str) -> list[Picture]:
    keys = {f"coverage of {level}": level for level in LEVELS}
    beta = run.last_session(name, "factor_beta")
    return [
        Lines("coverage over the last year", keys, "% of valid members", percent=True),
        Histograms("betas by level at the last session", beta, "raw beta"),
    ]


PRODUCT = Product(
    SHAPE,
    stage,
    audits=(
        estimates.coverage,
        estimates.facts_follow_industries,
        estimates.betas_recomputed,
    ),
    figures=figures,
    pictures=pictures,
    may_be_empty=emptiness.betas_without_history,
)
