"""`ds_erm3_returns`: the day's decomposition with the betas of the day, and the hedge depth L*."""

from __future__ import annotations

import numpy as np

from pipeline import model
from pipeline.audits import emptiness, hedges
from pipeline.datasets import LEVELS
from pipeline.datasets.shared import LEVEL, OUTSIDE, STOCKS
from pipeline.datasets.spec import StoreShape, VariableSpec
from pipeline.engine import model_inputs
from pipeline.engine.figures import Series, coverage, mean
from pipeline.engine.product import Lines, Picture, Product
from pipeline.engine.run import Run
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
    adjusted, hedge = (run.input_of(name, made) for made in ("ds_erm3_betas_adjusted", "ds_erm3_hedge_weights"))
    store = run.create(name, Lstar_threshold=run.settings.model.lstar_threshold)
    symbols = run.extend(store, adjusted.symbol)
    everything = slice(0, len(symbols))
    for first, last in run.blocks(store):
        etf = model_inputs.etf_window(run, first, last)
        today = etf[:, run.kernel.window - 1 :]
        r = run.history("ds_daily").window("return", symbols, first, last)
        sector, subsector = model_inputs.assignment(run, symbols, first, last)
        at = np.arange(r.shape[1])
        s, u = (np.where(leg >= 0, today[leg, at], np.nan) for leg in (sector, subsector))
        m = np.broadcast_to(today[run.etfs.market], r.shape)
        beta = model_inputs.level_first(adjusted.read("factor_beta", run.rows(adjusted, first, last), everything))
        links = model.links_of_stocks(model_inputs.links_in(run, etf, first), run.etfs.pairs, sector, subsector)
        parts = model.decompose(r, m, s, u, beta, links)
        hedge_rows = run.rows(hedge, first, last)
        sector_share, subsector_share = (
            hedge.read(var, hedge_rows, everything).T.astype(np.float64) for var in ("L2_sector_ER", "L3_subsector_ER")
        )
        depth = model.lstar_level(sector_share, subsector_share, run.settings.model.lstar_threshold)
        deepest = np.maximum(depth, 1).astype(np.int64)[None] - 1
        rows = run.rows(store, first, last)
        for var, values in zip(("factor_return", "combined_factor_return", "residual_return"), parts, strict=True):
            at_depth = np.where(depth == 0, np.nan, np.take_along_axis(values, deepest, axis=0)[0])
            store.write(var, rows, everything, model_inputs.time_first(np.stack([*values, at_depth])))
        store.write("lstar_level", rows, everything, depth.T)
        run.done(store, last)
    run.label(store)
    store.close()


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
