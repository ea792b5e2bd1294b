"""`ds_erm3_hedge_weights`: hedge ratios on raw ETFs, explained-risk shares, total variance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.audits import emptiness, hedges
from pipeline.datasets import LEVELS
from pipeline.datasets.shared import OUTSIDE, STOCKS
from pipeline.datasets.spec import StoreShape, VariableSpec, tiles
from pipeline.engine import model_inputs
from pipeline.engine.figures import Series, count, coverage, mean
from pipeline.engine.product import Lines, Picture, Product
from pipeline.engine.run import Run
from pipeline.engine.tiles import reused, written
from pipeline.store.staged_store import StagedStore


def _variables() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol")
    legs = {depth: LEVELS[:depth] for depth in (1, 2, 3)}
    through = {1: "the market level", 2: "market and sector", 3: "market, sector and subsector"}
    ratios = tuple(
        VariableSpec(
            f"L{depth}_{leg}_HR",
            cell,
            "float32",
            f"hedge ratio on the {leg} ETF, hedging {through[depth]}",
            "1",
            f"dollars of the ETF per dollar long the stock, negative: short; {OUTSIDE}",
        )
        for depth, names in legs.items()
        for leg in names
    )
    shares = tuple(
        VariableSpec(
            f"L{depth}_{leg}_ER",
            cell,
            "float32",
            f"share of the variance that {through[depth]} leaves"
            if leg == "residual"
            else f"share of the variance that the {leg} level explains",
            "1",
            f"within the window, not a forecast, not clipped; the shares of L{depth} add to 1; {OUTSIDE}",
        )
        for depth, names in legs.items()
        for leg in (*names, "residual")
    )
    variance = VariableSpec(
        "_stock_var",
        cell,
        "float32",
        "total variance of the daily return in the window",
        "1",
        f"weighted, mean removed; volatility is sqrt(252 _stock_var); {OUTSIDE}",
    )
    return (*ratios, *shares, variance)


SHAPE = StoreShape(
    "ds_erm3_hedge_weights",
    "factor set",
    "Hedge ratios and explained risk",
    "Hedge ratios on raw ETF returns, and each level's share of the variance in the window.",
    coordinates=STOCKS,
    variables=_variables(),
    lineage=("ds_daily", "ds_etf", "ds_erm3_link_betas", "ds_erm3_betas_adjusted"),
)


def stage(run: Run, name: str) -> None:
    """`ds_erm3_hedge_weights_{FS}`: hedge ratios on raw ETFs, explained-risk shares, total variance."""
    adjusted = run.input_of(name, "ds_erm3_betas_adjusted")
    store = run.create(name)
    run.extend(store, adjusted.symbol)
    for first, last in run.blocks(store):
        written(run, store, _tasks, _hedge_of_tile, first, last)
        run.done(store, last)
    run.label(store)
    store.close()


def _tasks(run: Run, name: str, symbols: NDArray, first: int, last: int) -> list[tuple[Any, ...]]:
    """Arguments of `_hedge_of_tile` for each tile of these symbols."""
    adjusted = run.input_of(name, "ds_erm3_betas_adjusted")
    etf, returns = model_inputs.etf_window(run, first, last), model_inputs.stock_window(run, symbols, first, last)
    sector, subsector = model_inputs.assignment(run, symbols, first, last)
    beta = model_inputs.level_first(model_inputs.of_symbols(run, adjusted, "factor_beta", symbols, first, last))
    wanted = np.isfinite(beta[0])
    links, pairs = model_inputs.links_in(run, etf, first), run.etfs.pairs
    start, kernel, market = first - run.kernel.window + 1, run.kernel, run.etfs.market
    return [
        (returns[k], etf, market, sector[k], subsector[k], beta[:, k], wanted[k], start, kernel, links, pairs)
        for k in tiles(len(symbols))
    ]


def _hedge_of_tile(
    r: NDArray,
    etf: NDArray,
    market: int,
    sector: NDArray,
    subsector: NDArray,
    beta: NDArray,
    wanted: NDArray,
    first: int,
    kernel: model.KernelParams,
    links: model.LinkBetas,
    pairs: NDArray,
) -> tuple[dict[str, NDArray], None]:
    """Hedge ratios, shares and variance of a tile, as they are stored."""
    ratios, shares, variance = reused(_hedge_arrays, *wanted.shape)
    model.hedge_ratios_of_stocks(beta, links, pairs, sector, subsector, ratios)
    model.explained_risk(r, etf, market, sector, subsector, beta, wanted, first, kernel, (shares, variance))
    named = zip((*model.HEDGE_RATIOS, *model.SHARES, "_stock_var"), (*ratios, *shares, variance), strict=True)
    return {var: model_inputs.as_stored(values, np.float32) for var, values in named}, None


def _hedge_arrays(stocks: int, sessions: int) -> tuple[NDArray, NDArray, NDArray]:
    cells = (stocks, sessions)
    return np.empty((len(model.HEDGE_RATIOS), *cells)), np.empty((len(model.SHARES), *cells)), np.empty(cells)


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    found = np.stack([count(np.isfinite(store.read(f"L{k}_market_HR", rows))) for k in (1, 2, 3)], axis=1)
    shares = {
        f"mean {level} share of variance": mean(store.read(f"L3_{level}_ER", rows)) for level in (*LEVELS, "residual")
    }
    return {"stocks with an L3 hedge": found[:, 2], **shares, **coverage(run, store, rows, found)}


def pictures(run: Run, name: str) -> list[Picture]:
    keys = {f"mean {level} share of variance": level for level in (*LEVELS, "residual")}
    return [Lines("mean shares of the variance over the last year", keys, "% of variance", percent=True)]


PRODUCT = Product(
    SHAPE,
    stage,
    audits=(
        hedges.shares_add_to_one,
        hedges.net_market_beta,
        hedges.shares_recomputed,
    ),
    figures=figures,
    pictures=pictures,
    may_be_empty=emptiness.without_betas,
)
