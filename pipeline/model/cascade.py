"""The three-level cascade of one tile (docs/methodology.md, section 3).

    L1   r  = beta_m m  + e1          m
    L2   e1 = beta_s s* + e2          s* = s - lambda_sm m
    L3   e2 = beta_u u* + e3          u* = u - lambda_um m - lambda_us s*

Two ways lead through a window. `ols` and `ridge` with legs that are valid in the whole window take rolling sums of
products, for all sessions of a run at once. Everything else (`huber`, gaps in a leg, fits too close for sums of
products) goes through the residuals of the single window. Which way is taken depends on the window alone.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.compiled import Bools, Bytes, Codes, Floats, Ints, kernel
from pipeline.model.huber import AT_FLOOR, NEARLY_EXACT, UNCONVERGED, fit_huber, residual_sums
from pipeline.model.link_betas import (
    CANCELLATION,
    COLLINEAR,
    MM,
    MS,
    MU,
    SECTOR_ON_MARKET,
    SS,
    SU,
    SUB_ON_MARKET,
    SUB_ON_SECTOR,
    UU,
    factor_products,
)
from pipeline.model.reasons import DegenerateReason
from pipeline.model.window import LANES, count_missing, next_run, split_missing, stock_sums, window_sums

_TOO_FEW_OBS = int(DegenerateReason.TOO_FEW_OBS)
_ZERO_VARIANCE = int(DegenerateReason.ZERO_VARIANCE)
_COLLINEAR = int(DegenerateReason.COLLINEAR)
_SAME_ETF = int(DegenerateReason.SAME_ETF)
_NO_ETF = int(DegenerateReason.NO_ETF)
_LEVEL_ABOVE = int(DegenerateReason.LEVEL_ABOVE)
_SCALE_FLOOR = int(DegenerateReason.SCALE_FLOOR)
_EXACT_FIT = int(DegenerateReason.EXACT_FIT)
_UNCONVERGED = int(DegenerateReason.UNCONVERGED)

# Residual squares below this share of the raw squares are rounding.
ROUNDING = 1e-24

# What the rolling sums of a session came to.
FITTED, THROUGH_RESIDUALS, NOTHING = 0, 1, 2

# Rows of the sums of one stock.
RR, RM, RS, RU, R = range(5)
# Rows of the work arrays of one window.
_Y, _X, _W, _WX, _WY, _OK = range(6)


@kernel("UniTuple(i8, 3)(i8, i8, i8)")
def ladder(market: int, sector: int, subsector: int) -> tuple[int, int, int]:
    """(depth, reason at L2, reason at L3): the levels that have an ETF of their own, and why the others have none."""
    if sector < 0 or sector == market:
        above = _NO_ETF if sector < 0 else _SAME_ETF
        if subsector < 0:
            return 1, above, _NO_ETF
        if subsector in (market, sector):
            return 1, above, _SAME_ETF
        return 1, above, _LEVEL_ABOVE
    if subsector < 0:
        return 2, 0, _NO_ETF
    if subsector in (market, sector):
        return 2, 0, _SAME_ETF
    return 3, 0, 0


# ----------------------------------------------------------------------------------------------- one window, residuals


@kernel("UniTuple(f8, 2)(f8[::1])", reorder=True)
def total_weights(w: Floats) -> tuple[float, float]:
    """(sum w, sum w^2)."""
    total = squares = 0.0
    for i in range(w.size):
        total += w[i]
        squares += w[i] * w[i]
    return total, squares


@kernel("i8(f8[::1], i8, f8[::1], f8[::1])")
def _drop(valid: Floats, window: int, ok: Floats, w: Floats) -> int:
    """Drop the sessions of the window that are not valid from ok and w; returns how many are left."""
    left = 0
    for i in range(window):
        ok[i] *= valid[i]
        w[i] *= valid[i]
        left += 1 if ok[i] == 1.0 else 0
    return left


@kernel("UniTuple(f8, 4)(f8[::1], f8[::1], f8[::1], i8, f8[::1], f8[::1], f8[::1], f8[::1])", reorder=True)
def _enter(
    r: Floats, m: Floats, w: Floats, window: int, y: Floats, x: Floats, wx: Floats, wy: Floats
) -> tuple[float, float, float, float]:
    """y = r, x = m, wx = w x, wy = w y. Returns (sum w x^2, sum w x y, sum w y^2, largest |x|).

    All arrays are padded; what is beyond the window in r and m belongs to other sessions and is not looked at.
    """
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
    return xx, xy, yy, np.int64(reach).view(np.float64)


@kernel(
    "UniTuple(f8, 6)(f8, f8, f8[::1], f8[::1], f8, f8, f8[::1], i8, f8[::1], f8[::1], f8[::1], f8[::1])", reorder=True
)
def _descend(
    b: float,
    kink: float,
    f: Floats,
    m: Floats,
    on_market: float,
    on_above: float,
    w: Floats,
    window: int,
    y: Floats,
    x: Floats,
    wx: Floats,
    wy: Floats,
) -> tuple[float, float, float, float, float, float]:
    """Leave a level, enter the next: y -= b x, then x = (f - on_market m) - on_above x, wx = w x, wy = w y.

    Returns (sum of w^2 clip(y, -kink, kink)^2 x^2 of the level left, sum w x^2, sum w x y, sum w y^2, sum w f^2,
    largest |x|) with the new y, x and weights. f: raw returns of the next level's ETF.
    """
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
    return meat, xx, xy, yy, raw, np.int64(reach).view(np.float64)


@kernel("f8(f8[::1], f8[::1], f8[::1], f8, f8)", reorder=True)
def _leave(y: Floats, x: Floats, wx: Floats, b: float, kink: float) -> float:
    """The first result of `_descend` for the last level."""
    meat = 0.0
    for i in range(y.size):
        size = abs(y[i] - b * x[i])
        push = wx[i] * (size if size <= kink else kink)
        meat += push * push
    return meat


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], i8, i8, b1, f8, f8, f8, i8,"
    "f8[::1], i8, f8, f8, b1, i8, f8, f8, f8, f8[:,::1], f8[:,::1], f8[::1], f8[::1], i2[::1], u1[::1])"
)
def _fit_window(
    r: Floats,
    vr: Floats,
    m: Floats,
    vm: Floats,
    s: Floats,
    vs: Floats,
    u: Floats,
    vu: Floats,
    at: int,
    n: int,
    whole_legs: bool,
    sm: float,
    um: float,
    us: float,
    depth: int,
    ages: Floats,
    window: int,
    sw: float,
    sw2: float,
    huber: bool,
    min_obs: int,
    epsilon: float,
    floor: float,
    alpha: float,
    warm: Floats,
    work: Floats,
    beta: Floats,
    se: Floats,
    n_obs: Codes,
    reason: Bytes,
) -> None:
    """All levels of the window that starts at column `at`, through its residuals.

    n: sessions with a return; whole_legs: no leg has a gap in the window
    ages: (padded,) weights, 0 beyond the window; sw, sw2: their sum and sum of squares
    warm: (3, 2) any (b, sigma) per level to start from, replaced by this fit
    work: (6, padded) scratch, zeros beyond the window
    beta, se, n_obs, reason: (3,) outputs, preset to none
    """
    y, x, wx, wy, ok = work[_Y], work[_X], work[_WX], work[_WY], work[_OK]
    span = slice(at, at + ages.size)
    w = ages
    if n < window or not whole_legs:
        w = work[_W]
        w[:window] = ages[:window]
        ok[:window] = 1.0
        n = _drop(vr[span], window, ok, w)
        if not whole_legs:
            n = _drop(vm[span], window, ok, w)
        sw, sw2 = total_weights(w)
    xx, xy, yy, reach = _enter(r[span], m[span], w, window, y, x, wx, wy)
    raw, reference = xx, yy
    carried = 0
    for level in range(depth):
        n_obs[level] = n
        b, kink, error, bread = np.nan, np.inf, np.nan, 0.0
        if carried == _LEVEL_ABOVE:
            reason[level] = _LEVEL_ABOVE
        elif n < min_obs:
            reason[level] = _TOO_FEW_OBS
        elif carried == _EXACT_FIT or (level > 0 and yy <= ROUNDING * reference):
            reason[level] = _EXACT_FIT
            b, error = 0.0, 0.0
        elif raw == 0.0 or yy == 0.0:
            reason[level] = _ZERO_VARIANCE
        elif (level == 1 and np.isnan(sm)) or (level == 2 and np.isnan(us)) or xx < COLLINEAR * raw:
            reason[level] = _COLLINEAR
        else:
            b = xy / (xx + alpha * sw)
            rss = yy - b * (2.0 * xy - b * xx)
            if not huber or not rss > NEARLY_EXACT * yy:
                xe, rss = residual_sums(y, x, w, b)
                if alpha == 0.0:
                    b += xe / xx
            if rss <= ROUNDING * yy:
                reason[level] = _EXACT_FIT
                error = 0.0
            elif not huber:
                error = np.sqrt(rss / (xx * (sw * sw / sw2 - 1.0)))
            else:
                sigma = np.sqrt(rss / sw)
                b, sigma, bread, status = fit_huber(
                    y, x, w, wx, wy, sw, xx, reach, epsilon, floor * sigma, b, sigma, warm[level, 0], warm[level, 1]
                )
                warm[level, 0], warm[level, 1] = b, sigma
                kink = epsilon * sigma
                if status == AT_FLOOR:
                    reason[level] = _SCALE_FLOOR
                elif status == UNCONVERGED:
                    reason[level] = _UNCONVERGED
        beta[level] = b
        carried = _LEVEL_ABOVE if np.isnan(b) else _EXACT_FIT if reason[level] == _EXACT_FIT else 0
        effective = sw * sw / sw2
        meat = 0.0
        if level + 1 < depth:
            if not whole_legs:
                n = _drop((vs if level == 0 else vu)[span], window, ok, w)
                sw, sw2 = total_weights(w)
            if carried == 0:
                f = s if level == 0 else u
                on_market, on_above = (0.0, sm) if level == 0 else (um, us)
                meat, xx, xy, yy, raw, reach = _descend(
                    b, kink, f[span], m[span], on_market, on_above, w, window, y, x, wx, wy
                )
        elif bread > 0.0:
            meat = _leave(y, x, wx, b, kink)
        if bread > 0.0:
            error = np.sqrt(meat * effective / (effective - 1.0)) / bread
        se[level] = error


# ------------------------------------------------------------------------------------------------ a run, rolling sums


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], i8[::1], i8[::1], i8, u1[::1], b1[::1], i8, f8,"
    "f8[::1], u1[::1], f8[::1], f8[::1], i2[::1], u1[::1])"
)
def _market_level(
    rr: Floats,
    rm: Floats,
    mm: Floats,
    sw: Floats,
    sw2: Floats,
    missing_from: Ints,
    missing_to: Ints,
    window: int,
    complete: Bytes,
    wanted: Bools,
    min_obs: int,
    alpha: float,
    rss: Floats,
    verdict: Bytes,
    beta: Floats,
    se: Floats,
    n_obs: Codes,
    reason: Bytes,
) -> None:
    """L1 of a run from its window sums; rss and verdict are for the levels below. A level sets all its outputs."""
    for j in range(rr.size):
        n = window - (missing_to[j] - missing_from[j])
        b = rm[j] / (mm[j] + alpha * sw[j])
        left = rr[j] - b * (2.0 * rm[j] - b * mm[j])
        enough = n >= min_obs
        verdict[j] = (
            NOTHING
            if not wanted[j]
            else THROUGH_RESIDUALS
            if not complete[j]
            else NOTHING
            if not enough
            else FITTED
            if left > CANCELLATION * rr[j]
            else THROUGH_RESIDUALS
        )
        fitted = verdict[j] == FITTED
        rss[j] = left
        beta[j] = b if fitted else np.nan
        se[j] = np.sqrt(left / (mm[j] * (sw[j] * sw[j] / sw2[j] - 1.0))) if fitted else np.nan
        n_obs[j] = n if wanted[j] else 0
        reason[j] = _TOO_FEW_OBS if wanted[j] and not enough else 0


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8, f8[::1],"
    "f8[::1], u1[::1], f8[::1], f8[::1])"
)
def _sector_level(
    rr: Floats,
    rm: Floats,
    rs: Floats,
    mm: Floats,
    ms: Floats,
    ss: Floats,
    sm: Floats,
    sw: Floats,
    sw2: Floats,
    beta1: Floats,
    alpha: float,
    rss: Floats,
    square: Floats,
    verdict: Bytes,
    beta: Floats,
    se: Floats,
) -> None:
    """L2, in the manner of `_market_level`; square: <s*, s*>."""
    for j in range(rr.size):
        star_m = ms[j] - sm[j] * mm[j]
        star = (ss[j] - sm[j] * ms[j]) - sm[j] * star_m
        xy = (rs[j] - sm[j] * rm[j]) - beta1[j] * star_m
        b = xy / (star + alpha * sw[j])
        left = rss[j] - b * (2.0 * xy - b * star)
        fine = (star > CANCELLATION * ss[j]) & (left > CANCELLATION * rr[j])
        verdict[j] = THROUGH_RESIDUALS if (verdict[j] == FITTED) & (not fine) else verdict[j]
        fitted = verdict[j] == FITTED
        rss[j] = left
        beta[j] = b if fitted else np.nan
        se[j] = np.sqrt(left / (star * (sw[j] * sw[j] / sw2[j] - 1.0))) if fitted else np.nan


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1],"
    "f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8, f8[::1], u1[::1], f8[::1], f8[::1])"
)
def _subsector_level(
    rr: Floats,
    rm: Floats,
    rs: Floats,
    ru: Floats,
    mm: Floats,
    ms: Floats,
    mu: Floats,
    ss: Floats,
    su: Floats,
    uu: Floats,
    sm: Floats,
    on_market: Floats,
    us: Floats,
    sw: Floats,
    sw2: Floats,
    beta1: Floats,
    beta2: Floats,
    alpha: float,
    rss: Floats,
    verdict: Bytes,
    beta: Floats,
    se: Floats,
) -> None:
    """L3, in the manner of `_market_level`: <u*, .> on the raw returns first, then <u*, u*> and <e2, u*> from it."""
    for j in range(rr.size):
        um = on_market[j] - us[j] * sm[j]
        star_m = (mu[j] - um * mm[j]) - us[j] * ms[j]
        star_s = (su[j] - um * ms[j]) - us[j] * ss[j]
        star = ((uu[j] - um * mu[j]) - us[j] * su[j]) - um * star_m - us[j] * star_s
        xy = ((ru[j] - um * rm[j]) - us[j] * rs[j]) - (beta1[j] - beta2[j] * sm[j]) * star_m - beta2[j] * star_s
        b = xy / (star + alpha * sw[j])
        left = rss[j] - b * (2.0 * xy - b * star)
        fine = (star > CANCELLATION * uu[j]) & (left > CANCELLATION * rr[j])
        verdict[j] = THROUGH_RESIDUALS if (verdict[j] == FITTED) & (not fine) else verdict[j]
        fitted = verdict[j] == FITTED
        beta[j] = b if fitted else np.nan
        se[j] = np.sqrt(left / (star * (sw[j] * sw[j] / sw2[j] - 1.0))) if fitted else np.nan


@kernel("void(i2[::1], u1[::1], i2[::1], u1[::1])")
def _same_sessions(n_above: Codes, reason_above: Bytes, n_obs: Codes, reason: Bytes) -> None:
    """Counts of a lower level whose legs have no gaps: those of the level above."""
    for j in range(n_obs.size):
        n_obs[j] = n_above[j]
        reason[j] = _LEVEL_ABOVE if reason_above[j] != 0 else 0


@kernel("void(f8[:,:,::1], f8[:,:,::1], i2[:,:,::1], u1[:,:,::1], i8, i8, i8, i8)")
def _blank(beta: Floats, se: Floats, n_obs: Codes, reason: Bytes, level: int, i: int, begin: int, end: int) -> None:
    if begin < end:
        beta[level, i, begin:end] = np.nan
        se[level, i, begin:end] = np.nan
        n_obs[level, i, begin:end] = 0
        reason[level, i, begin:end] = 0


@kernel(
    "void(f8[:,::1], f8[:,::1], f8[:,::1], i8, i2[:,::1], i2[:,::1], b1[:,::1], i8[:,::1], f8[:,:,::1], f8[:,:,::1],"
    "u1[:,::1], f8[:,::1], i8, i8, i8, f8[::1], f8[::1], f8[::1], b1, i8, f8, f8, f8,"
    "f8[:,:,::1], f8[:,:,::1], i2[:,:,::1], u1[:,:,::1])"
)
def cascade_tile(
    r: Floats,
    filled: Floats,
    valid: Floats,
    market: int,
    sector: Codes,
    subsector: Codes,
    wanted: Bools,
    pair_of: Ints,
    gram: Floats,
    link: Floats,
    complete: Bytes,
    weight: Floats,
    first: int,
    start: int,
    stop: int,
    weights: Floats,
    weights2: Floats,
    ages: Floats,
    huber: bool,
    min_obs: int,
    epsilon: float,
    floor: float,
    alpha: float,
    beta: Floats,
    se: Floats,
    n_obs: Codes,
    reason: Bytes,
) -> None:
    """Sessions [start, stop) of every stock of r (n, T).

    gram, link, complete, weight: of the `FactorPanel` of these sessions; weights, weights2: (window + 1,) by age and
    their squares; ages: (padded,) weights of a window's rows, oldest first, then zeros
    Outputs (3, n, T'); the columns of [start, stop) are overwritten: NaN (0) where not wanted.
    """
    window = weights.size - 1
    count = stop - start
    columns = count + window - 1
    none = filled.shape[0] - 1
    here = slice(start, start + columns + LANES)
    row, ok = np.zeros(columns + LANES), np.zeros(columns + LANES)
    missing = np.empty(columns + 1, np.int64)
    x = np.empty((9, columns))
    sums = np.empty((5, count))
    own_gram, own_weight = np.empty((9, count)), np.empty((2, count))
    rss, square = np.empty(count), np.empty(count)
    verdict = np.empty(count, np.uint8)
    work = np.zeros((6, ages.size))
    warm = np.empty((3, 2))
    cell_beta, cell_se = np.empty(3), np.empty(3)
    cell_n, cell_reason = np.empty(3, np.int16), np.empty(3, np.uint8)
    sw, sw2 = total_weights(ages)
    m, vm = filled[market, here], valid[market, here]

    for i in range(r.shape[0]):
        done = start
        begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], start, stop)
        if begin < stop:
            split_missing(r[i, start : start + columns], row, ok)
            count_missing(ok, missing)
        while begin < stop:
            depth, reason2, reason3 = ladder(market, s_etf, u_etf)
            for level in range(3):
                _blank(beta, se, n_obs, reason, level, i, done, begin)
                if level >= depth:
                    _blank(beta, se, n_obs, reason, level, i, begin, end)
            if depth < 3:
                for t in range(begin, end):
                    if wanted[i, t]:
                        if depth < 2:
                            reason[1, i, t] = reason2
                        reason[2, i, t] = reason3
            p = pair_of[s_etf + 1, u_etf + 1]
            s_row = s_etf if depth >= 2 else none
            u_row = u_etf if depth >= 3 else none
            s, vs = filled[s_row, here], valid[s_row, here]
            u, vu = filled[u_row, here], valid[u_row, here]
            c, length = begin - start, end - begin
            if huber:
                for level in range(depth):
                    _blank(beta, se, n_obs, reason, level, i, begin, end)
            else:
                run = slice(c, c + length + window - 1)
                cells = slice(c, c + length)
                phase = (first + begin) % window
                stock_sums(
                    row[run],
                    m[run],
                    s[run],
                    u[run],
                    length,
                    phase,
                    weights,
                    ages,
                    sums[RR],
                    sums[RM],
                    sums[RS],
                    sums[RU],
                    sums[R],
                )
                if missing[c + length + window - 1] == missing[c]:
                    g, g_at = gram[p], c
                    w, w_at = weight, c
                else:
                    factor_products(ok[run], m[run], s[run], u[run], x)
                    window_sums(x, 6, length, phase, weights, own_gram)
                    x[0, : length + window - 1] = ok[run]
                    window_sums(x, 1, length, phase, weights, own_weight)
                    window_sums(x, 1, length, phase, weights2, own_weight[1:])
                    g, g_at = own_gram, 0
                    w, w_at = own_weight, 0
                at = slice(g_at, g_at + length)
                rr, rm = sums[RR, :length], sums[RM, :length]
                w1, w2 = w[0, w_at : w_at + length], w[1, w_at : w_at + length]
                _market_level(
                    rr,
                    rm,
                    g[MM, at],
                    w1,
                    w2,
                    missing[cells],
                    missing[c + window : c + window + length],
                    window,
                    complete[p, cells],
                    wanted[i, begin:end],
                    min_obs,
                    alpha,
                    rss,
                    verdict,
                    beta[0, i, begin:end],
                    se[0, i, begin:end],
                    n_obs[0, i, begin:end],
                    reason[0, i, begin:end],
                )
                for level in range(1, depth):
                    _same_sessions(
                        n_obs[level - 1, i, begin:end],
                        reason[level - 1, i, begin:end],
                        n_obs[level, i, begin:end],
                        reason[level, i, begin:end],
                    )
                if depth >= 2:
                    _sector_level(
                        rr,
                        rm,
                        sums[RS, :length],
                        g[MM, at],
                        g[MS, at],
                        g[SS, at],
                        link[p, SECTOR_ON_MARKET, cells],
                        w1,
                        w2,
                        beta[0, i, begin:end],
                        alpha,
                        rss,
                        square,
                        verdict,
                        beta[1, i, begin:end],
                        se[1, i, begin:end],
                    )
                if depth >= 3:
                    _subsector_level(
                        rr,
                        rm,
                        sums[RS, :length],
                        sums[RU, :length],
                        g[MM, at],
                        g[MS, at],
                        g[MU, at],
                        g[SS, at],
                        g[SU, at],
                        g[UU, at],
                        link[p, SECTOR_ON_MARKET, cells],
                        link[p, SUB_ON_MARKET, cells],
                        link[p, SUB_ON_SECTOR, cells],
                        w1,
                        w2,
                        beta[0, i, begin:end],
                        beta[1, i, begin:end],
                        alpha,
                        rss,
                        verdict,
                        beta[2, i, begin:end],
                        se[2, i, begin:end],
                    )
            warm[:] = np.nan
            for t in range(begin, end):
                j = t - start
                if (wanted[i, t] == 0) if huber else (verdict[t - begin] != THROUGH_RESIDUALS):
                    continue
                cell_beta[:] = np.nan
                cell_se[:] = np.nan
                cell_n[:] = 0
                cell_reason[:] = 0
                _fit_window(
                    row,
                    ok,
                    m,
                    vm,
                    s,
                    vs,
                    u,
                    vu,
                    j,
                    window - (missing[j + window] - missing[j]),
                    complete[p, j] == 1,
                    link[p, SECTOR_ON_MARKET, j],
                    link[p, SUB_ON_MARKET, j],
                    link[p, SUB_ON_SECTOR, j],
                    depth,
                    ages,
                    window,
                    sw,
                    sw2,
                    huber,
                    min_obs,
                    epsilon,
                    floor,
                    alpha,
                    warm,
                    work,
                    cell_beta,
                    cell_se,
                    cell_n,
                    cell_reason,
                )
                for level in range(depth):
                    beta[level, i, t] = cell_beta[level]
                    se[level, i, t] = cell_se[level]
                    n_obs[level, i, t] = cell_n[level]
                    reason[level, i, t] = cell_reason[level]
            done = end
            begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], end, stop)
        for level in range(3):
            _blank(beta, se, n_obs, reason, level, i, done, stop)


@kernel("void(u1[:,:,::1], b1[:,::1], i8[:,::1])")
def count_reasons(reason: Bytes, wanted: Bools, counts: Ints) -> None:
    """Add to counts[level, reason] over the wanted cells; a cell that is not wanted has reason 0."""
    for i in range(wanted.shape[0]):
        cells = 0
        for t in range(wanted.shape[1]):
            cells += wanted[i, t]
        for level in range(reason.shape[0]):
            plain = cells
            for t in range(reason.shape[2]):
                if reason[level, i, t] != 0:
                    counts[level, reason[level, i, t]] += 1
                    plain -= 1
            counts[level, 0] += plain
