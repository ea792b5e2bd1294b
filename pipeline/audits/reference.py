"""A second, slow and independent writer of one model cell, used to audit the fast one.

Everything here is written from docs/methodology.md with plain numpy sums and scipy root finding; it shares no code with
`pipeline.model`, so that a check cannot pass because writer and checker make the same mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Floats = NDArray[np.float64]
HuberFit = Callable[[Floats, Floats, Floats, float, float], tuple[float, float]]
"""x, y, weights, epsilon, scale floor -> slope and scale."""


@dataclass(frozen=True)
class CellParameters:
    """What a cell depends on besides its window; the names are those of the stores' attributes."""

    estimator: str
    min_obs: int
    half_life: float | None
    huber_epsilon: float
    huber_scale_floor: float
    ridge_alpha: float


@dataclass(frozen=True)
class Cell:
    """Raw betas of L1, L2, L3 with standard errors (NaN where a level is undefined) and sessions used (0 there), and
    the link betas used."""

    beta: tuple[float, float, float]
    se: tuple[float, float, float]
    n_obs: tuple[int, int, int]
    sector_on_market: float
    subsector_on_market: float
    subsector_on_sector: float


def _weights(length: int, half_life: float | None) -> Floats:
    age = np.arange(length - 1, -1, -1, dtype=np.float64)
    return np.ones(length) if half_life is None else 0.5 ** (age / half_life)


def _slope(x: Floats, y: Floats, w: Floats) -> float:
    return float((w * x * y).sum() / (w * x * x).sum())


def huber_fit(x: Floats, y: Floats, w: Floats, epsilon: float, scale_floor: float) -> tuple[float, float]:
    """Huber's joint location-scale slope and scale by nested root finding on the convex objective (methodology, 3).

    For a fixed scale the derivative in the slope is monotone; at the best slope the derivative in the scale is monotone
    as well (envelope theorem), so two bracketed root searches find the minimum without any starting point.
    """
    ols = _slope(x, y, w)
    sigma_ols = float(np.sqrt((w * (y - ols * x) ** 2).sum() / w.sum()))
    if sigma_ols == 0.0:
        return ols, 0.0
    used = x != 0
    ratios = y[used] / x[used]
    low, high = float(ratios.min()), float(ratios.max())

    wx = w * x

    def best_slope(sigma: float) -> float:
        kink = epsilon * sigma

        def gradient(b: float) -> float:  # times sigma, which has no part in its sign
            return float(wx @ np.minimum(np.maximum(y - b * x, -kink), kink))

        if low == high or gradient(low) <= 0:
            return low
        if gradient(high) >= 0:
            return high
        return float(brentq(gradient, low, high, xtol=1e-14, rtol=1e-14))

    def scale_gradient(sigma: float) -> float:
        z = np.abs(y - best_slope(sigma) * x) / sigma
        return float((w * (1.0 - np.where(z <= epsilon, z * z, epsilon * epsilon))).sum())

    floor, ceiling = scale_floor * sigma_ols, 2.0 * sigma_ols
    if scale_gradient(floor) >= 0:
        return best_slope(floor), floor
    sigma = float(brentq(scale_gradient, floor, ceiling, xtol=1e-14 * sigma_ols, rtol=1e-14))
    return best_slope(sigma), sigma


def standard_error(x: Floats, y: Floats, w: Floats, slope: float, clip: float) -> float:
    """Standard error of a slope with the effective-sample correction (methodology, section 3).

    clip: residuals beyond it count as this large and not as observations of the slope (the sandwich of the
    M-estimator); infinity for least squares, where the weighted mean square error is taken for all.
    """
    residual = y - slope * x
    effective = w.sum() ** 2 / (w * w).sum()
    if np.isinf(clip):
        return float(np.sqrt((w * residual**2).sum() / ((w * x * x).sum() * (effective - 1))))
    inside = np.abs(residual) <= clip
    meat = (w * w * np.clip(residual, -clip, clip) ** 2 * x * x).sum() * effective / (effective - 1)
    return float(np.sqrt(meat) / (w * x * x)[inside].sum())


def cell(
    r: Floats, m: Floats, s: Floats | None, u: Floats | None, p: CellParameters, huber: HuberFit = huber_fit
) -> Cell:
    """Betas of one stock at the last session of its window.

    r, m, s, u: (window,) returns of the stock, market, sector ETF and subsector ETF; NaN for missing; `s` or `u` None
    where the stock has no such ETF or it equals one above it.
    huber: who fits, where the estimator is Huber's.
    """
    w = _weights(len(r), p.half_life)

    beta, se, n_obs = [float("nan")] * 3, [float("nan")] * 3, [0] * 3
    sm = um = us = float("nan")

    def fit(level: int, x: Floats, y: Floats, at: NDArray[np.bool_]) -> bool:
        """Fill one level from its sessions; whether it has a beta."""
        if int(at.sum()) < p.min_obs or not np.any(x[at]):
            return False
        if p.estimator == "huber":
            beta[level], sigma = huber(x[at], y[at], w[at], p.huber_epsilon, p.huber_scale_floor)
            se[level] = standard_error(x[at], y[at], w[at], beta[level], p.huber_epsilon * sigma)
        else:
            penalty = p.ridge_alpha * w[at].sum() if p.estimator == "ridge" else 0.0
            beta[level] = float((w * x * y)[at].sum() / ((w * x * x)[at].sum() + penalty))
            se[level] = standard_error(x[at], y[at], w[at], beta[level], np.inf)
        n_obs[level] = int(at.sum())
        return True

    have = ~np.isnan(r) & ~np.isnan(m)
    if fit(0, m, r, have) and s is not None:
        legs = ~np.isnan(m) & ~np.isnan(s)
        if legs.sum() >= p.min_obs:
            sm = _slope(m[legs], s[legs], w[legs])
            clean_s, left = s - sm * m, r - beta[0] * m
            if fit(1, clean_s, left, have & ~np.isnan(s)) and u is not None:
                on_market = ~np.isnan(m) & ~np.isnan(u)
                both = on_market & ~np.isnan(s)
                if both.sum() >= p.min_obs:
                    um = _slope(m[on_market], u[on_market], w[on_market])
                    us = _slope(clean_s[both], (u - um * m)[both], w[both])
                    clean_u = u - um * m - us * clean_s
                    fit(2, clean_u, left - beta[1] * clean_s, have & ~np.isnan(s) & ~np.isnan(u))
    return Cell((beta[0], beta[1], beta[2]), (se[0], se[1], se[2]), (n_obs[0], n_obs[1], n_obs[2]), sm, um, us)


def shares(
    r: Floats,
    m: Floats,
    s: Floats | None,
    u: Floats | None,
    beta: tuple[float, float, float],
    links: Cell,
    p: CellParameters,
) -> dict[str, float]:
    """Explained-risk shares of methodology section 8 with the adjusted betas, by their published names."""
    w = _weights(len(r), p.half_life)
    zero = np.zeros_like(m)
    factors = [m]
    if s is not None and np.isfinite(beta[1]):
        factors.append(s - links.sector_on_market * m)
        if u is not None and np.isfinite(beta[2]):
            factors.append(u - links.subsector_on_market * m - links.subsector_on_sector * factors[1])

    def variance(x: Floats, at: NDArray[np.bool_]) -> float:
        mean = (w * x)[at].sum() / w[at].sum()
        return float((w * (x - mean) ** 2)[at].sum() / w[at].sum())

    out: dict[str, float] = {}
    for level in range(1, len(factors) + 1):
        at = ~np.isnan(r) & ~np.isnan(sum(factors[:level], zero))
        residual = r.copy()
        steps = [variance(r, at)]
        for k in range(level):
            residual = residual - beta[k] * factors[k]
            steps.append(variance(residual, at))
        for k, name in enumerate(("market", "sector", "subsector")[:level]):
            out[f"L{level}_{name}_ER"] = (steps[k] - steps[k + 1]) / steps[0]
        out[f"L{level}_residual_ER"] = steps[-1] / steps[0]
        if level == 1:
            out["_stock_var"] = variance(r, ~np.isnan(r))
    return out
