"""The cascade of one window through its residuals: for `huber`, gaps in a leg, and fits too close for sums of products.

Each level leaves its residuals y to the next, whose factor x is cleaned of the legs above with the link betas of the
window's session.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.model.compiled import Bytes3D, Codes3D, Floats1D, Floats2D, Floats3D, Ints1D, inlined, kernel, reduction
from pipeline.model.huber import (
    AT_FLOOR,
    NEARLY_EXACT,
    UNCONVERGED,
    Line,
    Loss,
    Points,
    Totals,
    fit_huber,
    residual_sums,
)
from pipeline.model.link_betas import COLLINEAR, SECTOR_ON_MARKET, SUB_ON_MARKET, SUB_ON_SECTOR, FactorPanel
from pipeline.model.reasons import DegenerateReason
from pipeline.model.rolling_sums import Weights

_TOO_FEW_OBS = int(DegenerateReason.TOO_FEW_OBS)
_ZERO_VARIANCE = int(DegenerateReason.ZERO_VARIANCE)
_COLLINEAR = int(DegenerateReason.COLLINEAR)
_LEVEL_ABOVE = int(DegenerateReason.LEVEL_ABOVE)
_SCALE_FLOOR = int(DegenerateReason.SCALE_FLOOR)
_EXACT_FIT = int(DegenerateReason.EXACT_FIT)
_UNCONVERGED = int(DegenerateReason.UNCONVERGED)

# Residual squares below this share of the raw squares are rounding.
ROUNDING = 1e-24


class Estimator(NamedTuple):
    """`KernelParams` as the kernels read them; alpha: the ridge penalty, 0 for the others."""

    huber: bool
    min_obs: int
    epsilon: float
    scale_floor: float
    alpha: float


class Betas(NamedTuple):
    """The outputs of the cascade, (3, n, T') each; `Cascade` says what they are."""

    beta: Floats3D
    se: Floats3D
    n_obs: Codes3D
    reason: Bytes3D


class Cell(NamedTuple):
    """One stock at one session.

    stock, session: its place in (n, T'); session is the first column of its window in FactorPanel.filled, too
    column:         its session in the arrays of the block: FactorPanel.link, `StockRow`
    pair:           the row of its ETFs in FactorPanel.link
    """

    stock: int
    session: int
    column: int
    pair: int


class FactorRows(NamedTuple):
    """How many levels, and the rows of their ETFs in FactorPanel.filled; its last row for a level that there is not."""

    depth: int
    market: int
    sector: int
    subsector: int


class StockRow(NamedTuple):
    """The returns of one stock in a block of sessions, padded: 0 for missing; 1/0; how many are missing before."""

    filled: Floats1D
    valid: Floats1D
    missing: Ints1D


class WindowScratch(NamedTuple):
    """(padded window,) each, zeros beyond the window: sessions that count, their weights, and the regression."""

    ok: Floats1D
    w: Floats1D
    y: Floats1D
    x: Floats1D
    wx: Floats1D
    wy: Floats1D


class Sums(NamedTuple):
    """Of one level: sum w x^2, sum w x y, sum w y^2, the same of the raw factor, and the largest |x|."""

    xx: float
    xy: float
    yy: float
    raw: float
    reach: float


class Effective(NamedTuple):
    """Sum of the weights of the sessions that count, sum of their squares, and how many they are."""

    w: float
    w2: float
    n: int


class LevelFit(NamedTuple):
    """Slope, kink (infinite for least squares), its error as far as known, w x^2 of the Huber inliers, the reason."""

    b: float
    kink: float
    error: float
    bread: float
    reason: int


@reduction
def total_weights(w: Floats1D) -> tuple[float, float]:
    """(sum w, sum w^2)."""
    total = squares = 0.0
    for i in range(w.size):
        total += w[i]
        squares += w[i] * w[i]
    return total, squares


@kernel
def _drop(valid: Floats1D, window: int, ok: Floats1D, w: Floats1D) -> int:
    """Drop the sessions of a window that are not valid from ok and w; returns how many are left."""
    left = 0
    for i in range(window):
        ok[i] *= valid[i]
        w[i] *= valid[i]
        left += 1 if ok[i] == 1.0 else 0
    return left


@reduction
def _enter(r: Floats1D, m: Floats1D, window: int, points: Points) -> Sums:
    """The first level: y = r, x = m. What is beyond the window in r and m belongs to other sessions."""
    y, x, w, wx, wy = points
    xx = xy = yy = 0.0
    reach = np.int64(0)
    for i in range(w.size):
        yi = r[i] if i < window else 0.0
        xi = m[i] if i < window else 0.0
        wxi, wyi = w[i] * xi, w[i] * yi
        xx += wxi * xi
        xy += wxi * yi
        yy += wyi * yi
        size = np.float64(abs(xi)).view(np.int64)
        reach = size if size > reach else reach
        y[i], x[i], wx[i], wy[i] = yi, xi, wxi, wyi
    return Sums(xx, xy, yy, xx, np.int64(reach).view(np.float64))


@reduction
def _descend(
    left: LevelFit, f: Floats1D, m: Floats1D, on_market: float, on_above: float, window: int, points: Points
) -> tuple[float, Sums]:
    """Leave a level, enter the next: y -= b x, then x = (f - on_market m) - on_above x, for the raw factor f.

    Returns the sum of w^2 clip(y, -kink, kink)^2 x^2 of the level left, and the sums of the level entered.
    """
    y, x, w, wx, wy = points
    b, kink = left.b, left.kink
    meat = xx = xy = yy = raw = 0.0
    reach = np.int64(0)
    for i in range(w.size):
        yi = y[i] - b * x[i]
        bent = abs(yi) if abs(yi) <= kink else kink
        push = wx[i] * bent
        meat += push * push
        fi = f[i] if i < window else 0.0
        mi = m[i] if i < window else 0.0
        xi = (fi - on_market * mi) - on_above * x[i]
        wxi, wyi = w[i] * xi, w[i] * yi
        xx += wxi * xi
        xy += wxi * yi
        yy += wyi * yi
        raw += w[i] * fi * fi
        size = np.float64(abs(xi)).view(np.int64)
        reach = size if size > reach else reach
        y[i], x[i], wx[i], wy[i] = yi, xi, wxi, wyi
    return meat, Sums(xx, xy, yy, raw, np.int64(reach).view(np.float64))


@reduction
def _leave(left: LevelFit, points: Points) -> float:
    """The first result of `_descend` for the last level."""
    y, x, wx = points.y, points.x, points.wx
    meat = 0.0
    for i in range(y.size):
        size = abs(y[i] - left.b * x[i])
        push = wx[i] * (size if size <= left.kink else left.kink)
        meat += push * push
    return meat


@inlined
def _fit_level(
    points: Points, sums: Sums, effective: Effective, window: int, estimator: Estimator, step: float, state: Floats1D
) -> LevelFit:
    """The slope of y on x, by least squares, ridge or Huber; its error is NaN where the residuals have to tell it."""
    xx, xy, yy, _, reach = sums
    sw = effective.w
    b = xy / (xx + estimator.alpha * sw)
    rss = yy - b * (2.0 * xy - b * xx)
    if not estimator.huber or not rss > NEARLY_EXACT * yy:
        xe, rss = residual_sums(points, b)
        if estimator.alpha == 0.0:
            b += xe / xx
    if rss <= ROUNDING * yy:
        return LevelFit(b, np.inf, 0.0, 0.0, _EXACT_FIT)
    if not estimator.huber:
        return LevelFit(b, np.inf, np.sqrt(rss / (xx * (sw * sw / effective.w2 - 1.0))), 0.0, 0)
    sigma = np.sqrt(rss / sw)
    loss = Loss(estimator.epsilon, estimator.scale_floor * sigma)
    fit = fit_huber(points, Totals(sw, xx, reach), window, loss, Line(b, sigma), step, state)
    why = _SCALE_FLOOR if fit.status == AT_FLOOR else _UNCONVERGED if fit.status == UNCONVERGED else 0
    return LevelFit(fit.b, estimator.epsilon * fit.sigma, np.nan, fit.xx_inside, why)


@inlined
def _why_not(level: int, sums: Sums, reference: float, n: int, min_obs: int, link: float, above: int) -> int:
    """The reason for which a level is not fitted, 0 for none.

    reference: sum w r^2; link: the link beta that cleans the factor; above: what the level above came to
    """
    if above == _LEVEL_ABOVE:
        return _LEVEL_ABOVE
    if n < min_obs:
        return _TOO_FEW_OBS
    if above == _EXACT_FIT or (level > 0 and sums.yy <= ROUNDING * reference):
        return _EXACT_FIT
    if sums.raw == 0.0 or sums.yy == 0.0:
        return _ZERO_VARIANCE
    if np.isnan(link) or sums.xx < COLLINEAR * sums.raw:
        return _COLLINEAR
    return 0


@inlined
def _own_sessions(
    row: StockRow,
    panel: FactorPanel,
    legs: FactorRows,
    cell: Cell,
    weights: Weights,
    whole_legs: bool,
    scratch: WindowScratch,
) -> tuple[Floats1D, Effective]:
    """Weights of the sessions that a stock with gaps has together with the market, and what they come to."""
    window, w = weights.by_age.size - 1, scratch.w
    for k in range(window):
        w[k], scratch.ok[k] = weights.oldest_first[k], 1.0
    n = _drop(row.valid[cell.column :], window, scratch.ok, w)
    if not whole_legs:
        n = _drop(panel.valid[legs.market, cell.session :], window, scratch.ok, w)
    sw, sw2 = total_weights(w)
    return w, Effective(sw, sw2, n)


@kernel
def fit_window(
    row: StockRow,
    panel: FactorPanel,
    legs: FactorRows,
    cell: Cell,
    weights: Weights,
    full: Effective,
    estimator: Estimator,
    scratch: WindowScratch,
    state: Floats2D,
    out: Betas,
) -> None:
    """All levels of one window into its cell of the outputs, which are preset to none.

    full: of a window without gaps; state: (3, STATE) of an earlier fit, replaced by this one
    """
    window = weights.by_age.size - 1
    i, t, j, p = cell.stock, cell.session, cell.column, cell.pair
    sm, um, us = panel.link[p, SECTOR_ON_MARKET, j], panel.link[p, SUB_ON_MARKET, j], panel.link[p, SUB_ON_SECTOR, j]
    m = panel.filled[legs.market, t:]
    whole_legs = panel.complete[p, j] == 1
    w, effective = weights.oldest_first, full
    if row.missing[j + window] > row.missing[j] or not whole_legs:
        w, effective = _own_sessions(row, panel, legs, cell, weights, whole_legs, scratch)
    points = Points(scratch.y, scratch.x, w, scratch.wx, scratch.wy)
    sums = _enter(row.filled[j:], m, window, points)
    reference, above = sums.yy, 0
    for level in range(legs.depth):
        link = 0.0 if level == 0 else sm if level == 1 else us
        why = _why_not(level, sums, reference, effective.n, estimator.min_obs, link, above)
        if why == 0:
            fit = _fit_level(points, sums, effective, window, estimator, weights.by_age[1], state[level])
        else:
            nothing = 0.0 if why == _EXACT_FIT else np.nan
            fit = LevelFit(nothing, np.inf, nothing, 0.0, why)
        above = _LEVEL_ABOVE if np.isnan(fit.b) else _EXACT_FIT if fit.reason == _EXACT_FIT else 0
        out.beta[level, i, t], out.se[level, i, t] = fit.b, fit.error
        out.n_obs[level, i, t], out.reason[level, i, t] = effective.n, fit.reason
        spread = effective.w * effective.w / effective.w2
        meat = 0.0
        if level + 1 < legs.depth:
            below = legs.sector if level == 0 else legs.subsector
            if not whole_legs:
                n = _drop(panel.valid[below, t:], window, scratch.ok, w)
                sw, sw2 = total_weights(w)
                effective = Effective(sw, sw2, n)
            if above == 0:
                on_market, on_above = (0.0, sm) if level == 0 else (um, us)
                meat, sums = _descend(fit, panel.filled[below, t:], m, on_market, on_above, window, points)
        elif fit.bread > 0.0:
            meat = _leave(fit, points)
        if fit.bread > 0.0:
            out.se[level, i, t] = np.sqrt(meat * spread / (spread - 1.0)) / fit.bread


def window_scratch(weights: Weights) -> WindowScratch:
    """Scratch of `fit_window`; it leaves the zeros beyond the window alone."""
    ok, w, y, x, wx, wy = np.zeros((6, weights.oldest_first.size))
    return WindowScratch(ok, w, y, x, wx, wy)
