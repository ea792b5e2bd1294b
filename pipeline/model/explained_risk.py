"""Shares of explained risk of one tile (docs/methodology.md, section 8).

    V0 = Var(r), Vk = Var(e_k) over the window, with the adjusted betas and the link betas of its last session
    market = (V0-V1)/V0   sector = (V1-V2)/V0   subsector = (V2-V3)/V0   residual at level k = Vk/V0

Variances are weighted, mean removed, divided by the sum of the weights. Each level is measured on its own sessions
(those in which the stock and all legs up to that level are valid), V0 included, so that its shares add to 1 also when
a leg has gaps. The total variance is measured on all sessions of the stock.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.model.assignments import Span, Stocks, Stretch, ladder, next_stretch
from pipeline.model.cascade import Factors, sum_stretch
from pipeline.model.compiled import Floats2D, Floats3D, inlined, kernel
from pipeline.model.link_betas import (
    GRAM,
    SECTOR_ON_MARKET,
    SUB_ON_MARKET,
    SUB_ON_SECTOR,
    Legs,
    factor_sums,
)
from pipeline.model.rolling_sums import LANES, Weights, split_missing
from pipeline.model.stretch_fit import THROUGH_RESIDUALS, FactorColumns, StockSums
from pipeline.model.stretch_shares import (
    CENTRED,
    Betas1D,
    Left,
    Shares,
    centre_factors,
    market_shares,
    sector_shares,
    subsector_shares,
)
from pipeline.model.window_fit import FactorRows, StockRow
from pipeline.model.window_shares import Lambdas, Slopes, shares_of_window

SHARES = (
    "L1_market_ER",
    "L1_residual_ER",
    "L2_market_ER",
    "L2_sector_ER",
    "L2_residual_ER",
    "L3_market_ER",
    "L3_sector_ER",
    "L3_subsector_ER",
    "L3_residual_ER",
)
"""Order of the first axis of the shares."""


class Scratch(NamedTuple):
    """Work arrays of one worker for up to C sessions; columns: C + window - 1 + LANES.

    row: the stock at work; sums: its `StockSums`; products: (6, columns)
    gram, centred: (*, columns) of the factors over the stock's own sessions
    left: (C,) each; window: (4, window) of `shares_of_window`
    """

    row: StockRow
    sums: StockSums
    products: Floats2D
    gram: Floats2D
    centred: Floats2D
    left: Left
    window: Floats2D


@kernel
def _blank(out: Shares, i: int, begin: int, end: int) -> None:
    if begin < end:
        out.shares[:, i, begin:end] = np.nan
        out.variance[i, begin:end] = np.nan


@inlined
def _shares_by_sums(
    stocks: Stocks,
    factors: Factors,
    span: Span,
    min_obs: int,
    beta: Floats3D,
    rows: FactorRows,
    p: int,
    cells: Stretch,
    work: Scratch,
    out: Shares,
) -> None:
    """All levels of a stretch by rolling sums; work.left.verdict says which sessions still need their residuals."""
    sums, c = work.sums, cells.begin - span.start
    legs, windows, links, seen, gaps = sum_stretch(stocks, factors, span, rows, p, cells, work.row, sums)
    window = factors.weights.by_age.size - 1
    centred = FactorColumns(factors.rows[p], c)
    if gaps:
        valid = work.row.valid[c : c + windows.n + window - 1]
        factor_sums(valid, legs, windows, factors.weights, True, work.products, work.gram)
        centre_factors(work.gram, factors.panel.link[p], c, windows.n, work.centred)
        centred = FactorColumns(work.centred, 0)
    i, begin, end = cells
    betas = Betas1D(beta[0, i, begin:end], beta[1, i, begin:end], beta[2, i, begin:end])
    market_shares(sums, centred, betas, seen, window, min_obs, work.left, out, cells)
    if rows.depth >= 2:
        sector_shares(sums, links, centred, betas, work.left, out, cells)
    if rows.depth >= 3:
        subsector_shares(sums, links, centred, betas, work.left, out, cells)


@inlined
def _shares_of_cell(
    factors: Factors, span: Span, beta: Floats3D, rows: FactorRows, p: int, i: int, t: int, work: Scratch, out: Shares
) -> None:
    """One cell of a stretch through its residuals."""
    panel, row = factors.panel, work.row
    j, window = t - span.start, factors.weights.by_age.size - 1
    deep = 0
    while deep < rows.depth and not np.isnan(beta[deep, i, t]):
        deep += 1
    own, at = slice(j, j + window), slice(t, t + window)
    market, sector, subsector = rows.market, rows.sector, rows.subsector
    link = panel.link[p]
    out.variance[i, t] = shares_of_window(
        row.filled[own],
        row.valid[own],
        Legs(panel.filled[market, at], panel.filled[sector, at], panel.filled[subsector, at]),
        Legs(panel.valid[market, at], panel.valid[sector, at], panel.valid[subsector, at]),
        factors.weights.oldest_first,
        Slopes(beta[0, i, t], beta[1, i, t], beta[2, i, t]),
        Lambdas(link[SECTOR_ON_MARKET, j], link[SUB_ON_MARKET, j], link[SUB_ON_SECTOR, j]),
        deep,
        work.window,
        out.shares,
        i,
        t,
    )


@inlined
def _shares_of_stretch(
    stocks: Stocks,
    factors: Factors,
    span: Span,
    min_obs: int,
    beta: Floats3D,
    stretch: Stretch,
    work: Scratch,
    out: Shares,
) -> None:
    """All cells of one stretch of a stock, whose returns are in work.row."""
    market, none = factors.panel.market, factors.panel.filled.shape[0] - 1
    i, begin, end = stretch
    sector, subsector = stocks.sector[i, begin], stocks.subsector[i, begin]
    depth = ladder(market, sector, subsector).depth
    if depth < 3:
        out.shares[2 if depth == 1 else 5 :, i, begin:end] = np.nan
    rows = FactorRows(depth, market, sector if depth >= 2 else none, subsector if depth >= 3 else none)
    p = factors.pair_of[sector + 1, subsector + 1]
    _shares_by_sums(stocks, factors, span, min_obs, beta, rows, p, stretch, work, out)
    for t in range(begin, end):
        if work.left.verdict[t - begin] == THROUGH_RESIDUALS:
            _shares_of_cell(factors, span, beta, rows, p, i, t, work, out)


@kernel
def explained_risk_tile(
    stocks: Stocks, factors: Factors, span: Span, min_obs: int, beta: Floats3D, work: Scratch, out: Shares
) -> None:
    """The sessions of the span of every stock; of the outputs, their columns are overwritten: NaN where not wanted.

    factors.rows: of `centre_factors`; beta: (3, n, T') adjusted
    """
    start, stop = span.start, span.stop
    columns = stop - start + factors.weights.by_age.size - 2
    row = work.row
    gaps = -1
    for i in range(stocks.r.shape[0]):
        done = start
        stretch = next_stretch(stocks, i, start, stop)
        if stretch.begin < stop:
            gaps = split_missing(stocks.r[i, start : start + columns], row.filled, row.valid, row.missing, gaps)
        while stretch.begin < stop:
            _blank(out, i, done, stretch.begin)
            _shares_of_stretch(stocks, factors, span, min_obs, beta, stretch, work, out)
            done = stretch.end
            stretch = next_stretch(stocks, i, done, stop)
        _blank(out, i, done, stop)


def scratch(count: int, weights: Weights) -> Scratch:
    """Work arrays of `explained_risk_tile` for up to `count` sessions; one set per worker."""
    window = len(weights.by_age) - 1
    columns = count + window - 1
    filled, valid = np.empty((2, columns + LANES))
    total, left, terms = np.empty((3, count))
    return Scratch(
        StockRow(filled, valid, np.empty(columns + 1, np.int64)),
        StockSums(*np.empty((5, columns + LANES))),
        np.empty((6, columns + LANES)),
        np.empty((GRAM, columns + LANES)),
        np.empty((CENTRED, columns + LANES)),
        Left(np.empty(count, np.uint8), total, left, terms),
        np.empty((4, window)),
    )
