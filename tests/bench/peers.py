"""The same cascade with the field's tools: rolling sums of 15 products and a solve, or one regression after the other.

`rolling sums` peers get complete panels and equal weights, which is all that they can do, and share one closed-form
solve. The regression peers fit the three nested regressions; a rolling regression on residuals that change with every
window is not to be had from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Sums = Callable[[Floats, int], Floats]
"""(T, n) values, window -> (T - window + 1, n) sums of each window."""


def cumulative_sums(x: Floats, window: int) -> Floats:
    total = np.cumsum(x, axis=0)
    total[window:] -= total[:-window].copy()
    return total[window - 1 :]


def pandas_sums(x: Floats, window: int) -> Floats:
    import pandas as pd

    return pd.DataFrame(x).rolling(window).sum().to_numpy()[window - 1 :]


def bottleneck_sums(x: Floats, window: int) -> Floats:
    import bottleneck

    return bottleneck.move_sum(x, window, axis=0)[window - 1 :]


def numbagg_sums(x: Floats, window: int) -> Floats:
    import numbagg

    return np.asarray(numbagg.move_sum(x, window=window, axis=0))[window - 1 :]


def cascade_by_sums(r: Floats, m: Floats, s: Floats, u: Floats, window: int, sums: Sums) -> dict[str, Floats]:
    """All outputs of the OLS cascade from 15 rolling sums per stock.

    r: (T, n); m, s, u: (T,) factor returns, the same for all stocks. Betas, standard errors, hedge ratios and shares,
    each (T - window + 1, n). Products of the factors are summed once for each stock, as a panel with gaps needs it.
    """
    factors = [np.broadcast_to(x[:, None], r.shape) for x in (m, s, u)]
    series = [r, *factors]
    mean = [sums(np.ascontiguousarray(x), window) / window for x in series]
    product = {(i, j): sums(series[i] * series[j], window) for i in range(4) for j in range(i, 4)}
    rr, rm, rs, ru = (product[0, k] for k in range(4))
    mm, ms, mu, ss, su, uu = product[1, 1], product[1, 2], product[1, 3], product[2, 2], product[2, 3], product[3, 3]
    sm, um = ms / mm, mu / mm
    c_ss = ss - sm * ms
    us = (su - um * ms) / c_ss
    c_uu = uu - um * mu - us * us * c_ss
    b_m = rm / mm
    b_s = (rs - sm * rm) / c_ss
    b_u = (ru - um * rm - us * (rs - sm * rm)) / c_uu
    rss1 = rr - b_m * rm
    rss2 = rss1 - b_s * b_s * c_ss
    rss3 = rss2 - b_u * b_u * c_uu
    out = {"beta_m": b_m, "beta_s": b_s, "beta_u": b_u}
    out |= {
        f"se_{k}": np.sqrt(v) for k, v in enumerate((rss1 / mm / window, rss2 / c_ss / window, rss3 / c_uu / window))
    }
    out |= {"hr_s2": -b_s, "hr_m2": -(b_m - b_s * sm), "hr_u": -b_u, "hr_s": -(b_s - b_u * us)}
    out["hr_m"] = -(b_m - b_s * sm - b_u * (um - us * sm))
    mean_r, mean_m, mean_s, mean_u = mean
    e1 = mean_r - b_m * mean_m
    cs = mean_s - sm * mean_m
    e2 = e1 - b_s * cs
    e3 = e2 - b_u * (mean_u - um * mean_m - us * cs)
    v0, v1, v2, v3 = (a / window - e * e for a, e in ((rr, mean_r), (rss1, e1), (rss2, e2), (rss3, e3)))
    out |= {"er_m": (v0 - v1) / v0, "er_s": (v1 - v2) / v0, "er_u": (v2 - v3) / v0, "er_r": v3 / v0, "var": v0}
    return out


def statsmodels_cascade(r: Floats, m: Floats, s: Floats, u: Floats, window: int, full: bool) -> Floats:
    """Three nested `RollingOLS` for one stock; the deepest coefficients."""
    from statsmodels.regression.rolling import RollingOLS

    params: Any = None
    for factors in ([m], [m, s], [m, s, u]):
        fitted = RollingOLS(r, np.column_stack(factors), window=window).fit(params_only=not full)
        params = fitted.params
        if full:
            _ = fitted.bse, fitted.rsquared
    return np.asarray(params)


def polars_ols_cascade(r: Floats, m: Floats, s: Floats, u: Floats, window: int) -> Any:
    """Three nested rolling regressions of polars-ols for one stock, coefficients only."""
    import polars as pl
    import polars_ols  # noqa: F401  (registers the namespace)

    frame = pl.DataFrame({"r": r, "m": m, "s": s, "u": u})
    for names in (("m",), ("m", "s"), ("m", "s", "u")):
        frame.select(
            pl.col("r").least_squares.rolling_ols(  # type: ignore[attr-defined]
                *names, window_size=window, min_periods=window, mode="coefficients"
            )
        )
    return frame


def sklearn_huber(r: Floats, m: Floats, s: Floats, u: Floats) -> tuple[float, float, float]:
    """The Huber cascade of one window with scikit-learn: no intercept, alpha 0, standardised, tight tolerance."""
    from sklearn.linear_model import HuberRegressor

    betas, y = [], r
    for x in _cleaned(m, s, u):
        scale_x, scale_y = x.std(), y.std()
        fitted = HuberRegressor(alpha=0.0, fit_intercept=False, tol=1e-10, max_iter=10_000)
        fitted.fit((x / scale_x)[:, None], y / scale_y)
        betas.append(float(fitted.coef_[0] * scale_y / scale_x))
        y = y - betas[-1] * x
    return betas[0], betas[1], betas[2]


def statsmodels_rlm(r: Floats, m: Floats, s: Floats, u: Floats) -> tuple[float, float, float]:
    """The robust cascade of one window with statsmodels' `RLM` (Huber's T, MAD scale)."""
    from statsmodels.robust.norms import HuberT
    from statsmodels.robust.robust_linear_model import RLM

    betas, y = [], r
    for x in _cleaned(m, s, u):
        betas.append(float(RLM(y, x[:, None], M=HuberT(1.35)).fit(tol=1e-10).params[0]))
        y = y - betas[-1] * x
    return betas[0], betas[1], betas[2]


def _cleaned(m: Floats, s: Floats, u: Floats) -> tuple[Floats, Floats, Floats]:
    clean_s = s - (s @ m) / (m @ m) * m
    rest = u - (u @ m) / (m @ m) * m
    return m, clean_s, rest - (rest @ clean_s) / (clean_s @ clean_s) * clean_s
