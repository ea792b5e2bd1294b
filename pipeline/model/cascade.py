"""The three-level cascade of one tile (docs/methodology.md, section 3).

    L1   r  = beta_m m  + e1          m
    L2   e1 = beta_s s* + e2          s* = s - lambda_sm m
    L3   e2 = beta_u u* + e3          u* = u - lambda_um m - lambda_us s*

Two ways lead through a window. `ols` and `ridge` with legs that are valid in the whole window take rolling sums of
products, for a stretch of sessions at once (`stretch_fit`). Everything else goes through the residuals of the single
window (`window_fit`). Which way is taken depends on the window alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.model.assignments import Ladder, Span, Stocks, Stretch, ladder, next_stretch
from pipeline.model.compiled import Bools2D, Bytes3D, Floats1D, Floats2D, Floats3D, Ints2D, inlined, kernel
from pipeline.model.huber import STATE
from pipeline.model.link_betas import (
    GRAM,
    SECTOR_ON_MARKET,
    SPARE,
    SUB_ON_SECTOR,
    FactorPanel,
    Legs,
    factor_sums,
)
from pipeline.model.rolling_sums import LANES, Weights, Windows, split_missing, window_sums
from pipeline.model.stretch_fit import (
    CLEANED,
    THROUGH_RESIDUALS,
    Coverage,
    FactorColumns,
    Links,
    Remainder,
    StockSums,
    clean_factors,
    level_of,
    market_level,
    same_sessions,
    sector_level,
    subsector_level,
)
from pipeline.model.window_fit import (
    Betas,
    Cell,
    Effective,
    Estimator,
    FactorRows,
    StockRow,
    WindowScratch,
    fit_window,
    total_weights,
    window_scratch,
)


class Factors(NamedTuple):
    """What a tile reads of the factors.

    panel:   of the sessions of the span; pair_of: table [sector + 1, subsector + 1] -> row of the pair in it
    rows:    (P, *, C) of each pair: of `clean_factors`, which `huber` does not read, or of `centre_factors`
    weights, squares: of the window's sessions, and squared
    """

    panel: FactorPanel
    pair_of: Ints2D
    rows: Floats3D
    weights: Weights
    squares: Weights


class Scratch(NamedTuple):
    """Work arrays of one worker for up to C sessions; columns: C + window - 1 + LANES.

    row: the stock at work; sums: its `StockSums`; products: (6, columns)
    gram, weight2, cleaned: (*, columns) of the factors over the stock's own sessions
    left: (C,) `Remainder`; window: of `fit_window`; state: (3, STATE) of the Huber fits
    """

    row: StockRow
    sums: StockSums
    products: Floats2D
    gram: Floats2D
    weight2: Floats1D
    cleaned: Floats2D
    left: Remainder
    window: WindowScratch
    state: Floats2D


@kernel
def _blank(out: Betas, level: int, i: int, begin: int, end: int) -> None:
    """No beta, no reason."""
    if begin < end:
        out.beta[level, i, begin:end] = np.nan
        out.se[level, i, begin:end] = np.nan
        out.n_obs[level, i, begin:end] = 0
        out.reason[level, i, begin:end] = 0


@inlined
def _no_such_level(out: Betas, levels: Ladder, wanted: Bools2D, cells: Stretch) -> None:
    """The levels that a stock does not have, with the reason in the wanted cells."""
    i, begin, end = cells
    for level in range(levels.depth, 3):
        _blank(out, level, i, begin, end)
        why = levels.why_no_sector if level == 1 else levels.why_no_subsector
        for t in range(begin, end):
            if wanted[i, t]:
                out.reason[level, i, t] = why


class Summed(NamedTuple):
    """What the levels of a stretch read, beside the sums of the stock.

    legs, windows: of the stretch; links, seen: of its sessions; gaps: whether the stock misses sessions of its windows
    """

    legs: Legs
    windows: Windows
    links: Links
    seen: Coverage
    gaps: bool


@inlined
def sum_stretch(
    stocks: Stocks,
    factors: Factors,
    span: Span,
    rows: FactorRows,
    p: int,
    cells: Stretch,
    row: StockRow,
    sums: StockSums,
) -> Summed:
    """The rolling sums of a stretch of a stock, whose returns are in row, into sums."""
    panel, missing = factors.panel, row.missing
    window = factors.weights.by_age.size - 1
    i, begin, end = cells
    c, length = begin - span.start, end - begin
    here, t = slice(c, c + length), slice(begin, end + window - 1)
    legs = Legs(panel.filled[rows.market, t], panel.filled[rows.sector, t], panel.filled[rows.subsector, t])
    windows = Windows(length, (span.first + begin) % window)
    r = row.filled[c : c + length + window - 1]
    outputs = (sums.rr, sums.rm, sums.rs, sums.ru, sums.r)
    window_sums(r, (r, legs.m, legs.s, legs.u), windows, factors.weights, outputs)
    links = Links(panel.link[p, SECTOR_ON_MARKET, here], panel.link[p, SUB_ON_SECTOR, here])
    seen = Coverage(
        missing[here], missing[c + window : c + window + length], panel.complete[p, here], stocks.wanted[i, begin:end]
    )
    return Summed(legs, windows, links, seen, missing[c + length + window - 1] != missing[c])


@inlined
def _own_factors(
    factors: Factors, p: int, legs: Legs, at: int, windows: Windows, alpha: float, ok: Floats1D, work: Scratch
) -> FactorColumns:
    """The cleaned factors over the sessions of a stock with gaps, where ok is 1; at: column of its first session."""
    gram = work.gram
    factor_sums(ok, legs, windows, factors.weights, False, work.products, gram)
    spare = gram[SPARE]
    m = legs.m
    window_sums(ok, (m, m, m, m), windows, factors.squares, (spare, spare, spare, spare, work.weight2))
    clean_factors(gram, work.weight2, factors.panel.link[p], at, windows.n, alpha, work.cleaned)
    return FactorColumns(work.cleaned, 0)


@inlined
def _fit_by_sums(
    stocks: Stocks,
    factors: Factors,
    span: Span,
    estimator: Estimator,
    rows: FactorRows,
    p: int,
    cells: Stretch,
    work: Scratch,
    out: Betas,
) -> None:
    """All levels of a stretch by rolling sums; work.left.verdict says which sessions still need their residuals."""
    sums, c = work.sums, cells.begin - span.start
    legs, windows, links, seen, gaps = sum_stretch(stocks, factors, span, rows, p, cells, work.row, sums)
    window = factors.weights.by_age.size - 1
    cleaned = FactorColumns(factors.rows[p], c)
    if gaps:
        valid = work.row.valid[c : c + windows.n + window - 1]
        cleaned = _own_factors(factors, p, legs, c, windows, estimator.alpha, valid, work)
    first, second, third = level_of(out, 0, cells), level_of(out, 1, cells), level_of(out, 2, cells)
    market_level(sums, cleaned, seen, window, estimator.min_obs, work.left, first)
    if rows.depth >= 2:
        same_sessions(first, second)
        sector_level(sums, links, cleaned, first.beta, work.left, second)
    if rows.depth >= 3:
        same_sessions(second, third)
        subsector_level(sums, links, cleaned, first.beta, second.beta, work.left, third)


@inlined
def _fit_stretch(
    stocks: Stocks,
    factors: Factors,
    span: Span,
    estimator: Estimator,
    stretch: Stretch,
    full: Effective,
    work: Scratch,
    out: Betas,
) -> None:
    """All cells of one stretch of a stock, whose returns are in work.row."""
    panel = factors.panel
    i, begin, end = stretch
    sector, subsector = stocks.sector[i, begin], stocks.subsector[i, begin]
    levels = ladder(panel.market, sector, subsector)
    _no_such_level(out, levels, stocks.wanted, stretch)
    p = factors.pair_of[sector + 1, subsector + 1]
    none = panel.filled.shape[0] - 1
    rows = FactorRows(
        levels.depth,
        panel.market,
        sector if levels.depth >= 2 else none,
        subsector if levels.depth >= 3 else none,
    )
    if estimator.huber:
        for level in range(levels.depth):
            _blank(out, level, i, begin, end)
    else:
        _fit_by_sums(stocks, factors, span, estimator, rows, p, stretch, work, out)
    work.state[:] = np.nan
    verdict = work.left.verdict
    for t in range(begin, end):
        due = stocks.wanted[i, t] if estimator.huber else verdict[t - begin] == THROUGH_RESIDUALS
        if due:
            cell = Cell(i, t, t - span.start, p)
            fit_window(work.row, panel, rows, cell, factors.weights, full, estimator, work.window, work.state, out)


@kernel
def cascade_tile(stocks: Stocks, factors: Factors, span: Span, estimator: Estimator, work: Scratch, out: Betas) -> None:
    """The sessions of the span of every stock; of the outputs, their columns are overwritten: none where not wanted."""
    window = factors.weights.by_age.size - 1
    start, stop = span.start, span.stop
    columns = stop - start + window - 1
    row = work.row
    row.filled[columns:] = 0.0
    row.valid[columns:] = 0.0
    sw, sw2 = total_weights(factors.weights.oldest_first)
    full = Effective(sw, sw2, window)
    gaps = -1
    for i in range(stocks.r.shape[0]):
        done = start
        stretch = next_stretch(stocks, i, start, stop)
        if stretch.begin < stop:
            gaps = split_missing(stocks.r[i, start : start + columns], row.filled, row.valid, row.missing, gaps)
        while stretch.begin < stop:
            for level in range(3):
                _blank(out, level, i, done, stretch.begin)
            _fit_stretch(stocks, factors, span, estimator, stretch, full, work, out)
            done = stretch.end
            stretch = next_stretch(stocks, i, done, stop)
        for level in range(3):
            _blank(out, level, i, done, stop)


def scratch(count: int, weights: Weights) -> Scratch:
    """Work arrays of `cascade_tile` for up to `count` sessions; one set per worker."""
    columns = count + len(weights.by_age) - 2
    filled, valid, weight2 = np.empty((3, columns + LANES))
    return Scratch(
        StockRow(filled, valid, np.empty(columns + 1, np.int64)),
        StockSums(*np.empty((5, columns + LANES))),
        np.empty((6, columns + LANES)),
        np.empty((GRAM, columns + LANES)),
        weight2,
        np.empty((CLEANED, columns + LANES)),
        Remainder(np.empty(count), np.empty(count, np.uint8)),
        window_scratch(weights),
        np.empty((3, STATE)),
    )


@kernel
def count_reasons(reason: Bytes3D, wanted: Bools2D, counts: Ints2D) -> None:
    """Add to counts[level, reason] over the wanted cells; a cell that is not wanted has reason 0."""
    for i in range(wanted.shape[0]):
        cells = 0
        for t in range(wanted.shape[1]):
            cells += wanted[i, t]
        for level in range(reason.shape[0]):
            any_reason = 0
            for t in range(reason.shape[2]):
                any_reason |= reason[level, i, t]
            counts[level, 0] += cells
            if any_reason:
                for t in range(reason.shape[2]):
                    if reason[level, i, t] != 0:
                        counts[level, reason[level, i, t]] += 1
                        counts[level, 0] -= 1
