"""`ds_erm3_returns`: the day's decomposition with the betas of the day, and the hedge depth L*."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.audits import emptiness, hedges
from pipeline.datasets import LEVELS
from pipeline.datasets.shared import LEVEL, OUTSIDE, STOCKS
from pipeline.datasets.spec import StoreShape, VariableSpec, tiles
from pipeline.engine import model_inputs
from pipeline.engine.figures import Series, coverage, mean
from pipeline.engine.product import Lines, Picture, Product
from pipeline.engine.run import Run
from pipeline.engine.tiles import written
from pipeline.store.staged_store import StagedStore


def _variables() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol", "level")
    without = f"NaN where the stock has no return at the session; {OUTSIDE}"
    return (
        VariableSpec(
            "combined_factor_return", cell, "float32", "sum of the factor returns down to the level", "1", without
        ),
        VariableSpec("factor_return", cell, "float32", "beta times the level's cleaned factor return", "1", without),
        VariableSpec("residual_return", cell, "float32", "return less combined_factor_return", "1", without),
        VariableSpec(
            "lstar_level",
            ("teo", "symbol"),
            "uint8",
            "deepest level worth hedging",
            comment="by Lstar_threshold; the level lstar of the other variables carries that level's value",
            flags=((0, "none"), (1, "market"), (2, "sector"), (3, "subsector")),
        ),
    )


SHAPE = StoreShape(
    "ds_erm3_returns",
    "factor set",
    "Returns decomposition",
    "The session's return in factor and residual parts, by level.",
    coordinates=(*STOCKS, LEVEL),
    levels=(*LEVELS, "lstar"),
    variables=_variables(),
    attributes=(("no_intercept_contract", "no level has an intercept: the residual keeps the stock's alpha"),),
    lineage=("ds_daily", "ds_etf", "ds_erm3_link_betas", "ds_erm3_betas_adjusted", "ds_erm3_hedge_weights"),
)


def stage(run: Run, name: str) -> None:
    """`ds_erm3_returns_{FS}`: the day's decomposition with the betas of the day, and the hedge depth L*."""
    adjusted = run.input_of(name, "ds_erm3_betas_adjusted")
    store = run.create(name, Lstar_threshold=run.settings.model.lstar_threshold)
    run.extend(store, adjusted.symbol)
    for first, last in run.blocks(store):
        written(run, store, _tasks, _parts_of_tile, first, last)
        run.done(store, last)
    run.label(store)
    store.close()


def _tasks(run: Run, name: str, symbols: NDArray, first: int, last: int) -> list[tuple[Any, ...]]:
    """Arguments of `_parts_of_tile` for each tile of these symbols."""
    adjusted, hedge = (run.input_of(name, made) for made in ("ds_erm3_betas_adjusted", "ds_erm3_hedge_weights"))
    etf = model_inputs.etf_window(run, first, last)
    today = etf[:, run.kernel.window - 1 :]
    r = run.history("ds_daily").window("return", symbols, first, last)
    sector, subsector = model_inputs.assignment(run, symbols, first, last)
    beta = model_inputs.level_first(model_inputs.of_symbols(run, adjusted, "factor_beta", symbols, first, last))
    shares = [
        model_inputs.of_symbols(run, hedge, var, symbols, first, last).T.astype(np.float64)
        for var in ("L2_sector_ER", "L3_subsector_ER")
    ]
    links, pairs = model_inputs.links_in(run, etf, first), run.etfs.pairs
    market, threshold = run.etfs.market, run.settings.model.lstar_threshold
    return [
        (r[k], today, market, sector[k], subsector[k], beta[:, k], shares[0][k], shares[1][k], links, pairs, threshold)
        for k in tiles(len(symbols))
    ]


def _parts_of_tile(
    r: NDArray,
    today: NDArray,
    market: int,
    sector: NDArray,
    subsector: NDArray,
    beta: NDArray,
    sector_share: NDArray,
    subsector_share: NDArray,
    links: model.LinkBetas,
    pairs: NDArray,
    threshold: float,
) -> tuple[dict[str, NDArray], None]:
    """The parts of a tile's returns by level, and at L*, as they are stored."""
    at = np.arange(r.shape[1])
    s, u = (np.where(leg >= 0, today[leg, at], np.nan) for leg in (sector, subsector))
    m = np.broadcast_to(today[market], r.shape)
    parts = model.decompose(r, m, s, u, beta, model.links_of_stocks(links, pairs, sector, subsector))
    depth = model.lstar_level(sector_share, subsector_share, threshold)
    deepest = np.maximum(depth, 1).astype(np.int64)[None] - 1
    stored = {"lstar_level": model_inputs.as_stored(depth, np.uint8)}
    for var, values in zip(("factor_return", "combined_factor_return", "residual_return"), parts, strict=True):
        at_depth = np.where(depth == 0, np.nan, np.take_along_axis(values, deepest, axis=0)[0])
        stored[var] = model_inputs.as_stored(np.stack([*values, at_depth]), np.float32)
    return stored, None


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    residual = store.read("residual_return", rows)[..., :3]
    found = np.isfinite(residual).sum(axis=1).astype(np.float64)
    return {
        "stocks with an L3 residual": found[:, 2],
        "mean absolute L3 residual return": mean(np.abs(residual[..., 2])),
        **coverage(run, store, rows, found),
    }


def pictures(run: Run, name: str) -> list[Picture]:
    keys = {"mean absolute L3 residual return": "mean absolute residual return at L3"}
    return [Lines("residuals over the last year", keys, "% a day", percent=True)]


PRODUCT = Product(
    SHAPE,
    stage,
    audits=(
        hedges.replication,
        hedges.levels_add_up,
        hedges.lstar_is_as_defined,
    ),
    figures=figures,
    pictures=pictures,
    may_be_empty=emptiness.without_betas_or_market,
)
