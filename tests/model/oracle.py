"""The model written down again, slowly: one window at a time, two passes, long double. No code of the kernels."""

from __future__ import annotations

import numpy as np

LONG = np.longdouble
NAN3 = np.full(3, np.nan)


def weights(window, half_life):
    ages = np.arange(window, dtype=LONG)[::-1]
    return np.ones(window, LONG) if half_life is None else LONG(0.5) ** (ages / LONG(half_life))


def slope(y, x, w, penalty=0):
    """Weighted least squares through the origin, refined once."""
    b = (w * x * y).sum() / ((w * x * x).sum() + penalty)
    if penalty == 0:
        b += (w * x * (y - b * x)).sum() / (w * x * x).sum()
    return b


def window_of(array, t, window):
    return np.asarray(array[..., t : t + window], LONG)


def links(m, s, u, w, min_obs):
    """(lambda_sm, lambda_um, lambda_us) of one window; s or u may be None."""
    out = [np.nan] * 3
    if s is not None:
        ok = np.isfinite(m) & np.isfinite(s)
        if ok.sum() >= min_obs:
            out[0] = slope(s[ok], m[ok], w[ok])
    if u is not None:
        ok = np.isfinite(m) & np.isfinite(u)
        if ok.sum() >= min_obs:
            out[1] = slope(u[ok], m[ok], w[ok])
    if s is not None and u is not None and np.isfinite(out[0]) and np.isfinite(out[1]):
        ok = np.isfinite(m) & np.isfinite(s) & np.isfinite(u)
        if ok.sum() >= min_obs:
            out[2] = slope((u - out[1] * m)[ok], (s - out[0] * m)[ok], w[ok])
    return out


def legs_of(etf, market, sector, subsector, t, window):
    m = window_of(etf[market], t, window)
    s = window_of(etf[sector], t, window) if sector >= 0 and sector != market else None
    u = None
    if s is not None and subsector >= 0 and subsector not in (market, sector):
        u = window_of(etf[subsector], t, window)
    return m, s, u


def cleaned(m, s, u, sm, um, us):
    factors = [m]
    if s is not None:
        factors.append(s - sm * m)
        if u is not None:
            factors.append((u - um * m) - us * (s - sm * m))
    return factors


def samples(r, m, s, u):
    """Valid sessions of each level that has an ETF."""
    ok = np.isfinite(r) & np.isfinite(m)
    out = [ok]
    for leg in (s, u):
        if leg is None:
            break
        ok = ok & np.isfinite(leg)
        out.append(ok)
    return out


def cell(r, etf, market, sector, subsector, t, params, fit=None):
    """(beta (3,), se (3,), n_obs (3,)) of the window that starts at column t.

    fit(y, x, w) -> beta replaces least squares (then se is NaN).
    """
    w = weights(params.window, params.half_life)
    y = window_of(r, t, params.window)
    m, s, u = legs_of(etf, market, sector, subsector, t, params.window)
    lambdas = links(m, s, u, w, params.min_obs)
    beta, se, n_obs = NAN3.copy(), NAN3.copy(), np.zeros(3, int)
    for level, (x, ok) in enumerate(zip(cleaned(m, s, u, *lambdas), samples(y, m, s, u), strict=True)):
        n_obs[level] = ok.sum()
        if ok.sum() < params.min_obs or (level and np.isnan(beta[level - 1])):
            continue
        yy, xx, ww = y[ok], x[ok], w[ok]
        if fit is not None:
            b = fit(yy.astype(float), xx.astype(float), ww.astype(float))
        else:
            penalty = params.ridge_alpha * ww.sum() if params.estimator == "ridge" else 0
            b = slope(yy, xx, ww, penalty)
            effective = ww.sum() ** 2 / (ww * ww).sum()
            variance = (ww * (yy - b * xx) ** 2).sum() / ww.sum() * effective / (effective - 1)
            se[level] = np.sqrt(variance / ((ww * xx * xx).sum() / ww.sum() * effective))
        beta[level] = b
        y = y - b * x
    return beta, se, n_obs


def variance(e, w):
    mean = (w * e).sum() / w.sum()
    return (w * (e - mean) ** 2).sum() / w.sum()


def shares(r, etf, market, sector, subsector, beta, t, params):
    """(shares (9,), V0) of one window from adjusted betas (3,)."""
    w = weights(params.window, params.half_life)
    y = window_of(r, t, params.window)
    out = np.full(9, np.nan)
    if np.isfinite(y).sum() < params.min_obs:
        return out, np.nan
    v0 = variance(y[np.isfinite(y)], w[np.isfinite(y)])
    m, s, u = legs_of(etf, market, sector, subsector, t, params.window)
    lambdas = links(m, s, u, w, params.min_obs)
    residuals = [y]
    at = 0
    for level, (x, ok) in enumerate(zip(cleaned(m, s, u, *lambdas), samples(y, m, s, u), strict=True)):
        if np.isnan(beta[level]):
            break
        residuals.append(residuals[-1] - beta[level] * x)
        v = [variance(e[ok], w[ok]) for e in residuals]
        out[at : at + level + 1] = [(v[k] - v[k + 1]) / v[0] for k in range(level + 1)]
        out[at + level + 1] = v[-1] / v[0]
        at += level + 2
    return out, v0
