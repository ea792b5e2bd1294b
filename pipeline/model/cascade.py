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
from pipeline.model.huber import AT_FLOOR, NEARLY_EXACT, STATE, UNCONVERGED, fit_huber, residual_sums
from pipeline.model.link_betas import (
    CANCELLATION,
    COLLINEAR,
    MM,
    MS,
    MU,
    SECTOR_ON_MARKET,
    SPARE,
    SS,
    SU,
    SUB_ON_MARKET,
    SUB_ON_SECTOR,
    UU,
    W,
    factor_sums,
)
from pipeline.model.reasons import DegenerateReason
from pipeline.model.rolling_sums import LANES, next_run, split_missing, window_sums

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


@kernel("i8(f8[:,::1], i8, i8, i8, f8[::1], f8[::1])")
def _drop(valid: Floats, which: int, at: int, window: int, ok: Floats, w: Floats) -> int:
    """Drop the sessions of a window that are not valid in row `which` from ok and w; returns how many are left."""
    left = 0
    for i in range(window):
        here = valid[which, at + i]
        ok[i] *= here
        w[i] *= here
        left += 1 if ok[i] == 1.0 else 0
    return left


# Windows are addressed by a row and a first column. Making a slice of each would cost two atomic counts of references,
# which is what half a pass over the window costs. Unsigned positions spare the compiler the question of negative ones.


@kernel(
    "UniTuple(f8, 4)(f8[:,::1], i8, f8[:,::1], i8, i8, f8[::1], i8, f8[::1], f8[::1], f8[::1], f8[::1])", reorder=True
)
def _enter(
    rows: Floats,
    rows_at: int,
    filled: Floats,
    market: int,
    at: int,
    w: Floats,
    window: int,
    y: Floats,
    x: Floats,
    wx: Floats,
    wy: Floats,
) -> tuple[float, float, float, float]:
    """y = r, x = m, wx = w x, wy = w y. Returns (sum w x^2, sum w x y, sum w y^2, largest |x|).

    r is row 0 of rows, from column rows_at on; m is read from column `at` on. w, y, x, wx, wy are padded. What is
    beyond the window in r and m belongs to other sessions and is not looked at.
    """
    xx = xy = yy = 0.0
    reach = np.int64(0)
    which = np.uintp(market)
    for i in range(w.size):
        yi = rows[np.uintp(0), np.uintp(rows_at + i)] if i < window else 0.0
        xi = filled[which, np.uintp(at + i)] if i < window else 0.0
        wxi, wyi = w[i] * xi, w[i] * yi
        xx += wxi * xi
        xy += wxi * yi
        yy += wyi * yi
        size = np.float64(abs(xi)).view(np.int64)
        reach = size if size > reach else reach
        y[i], x[i], wx[i], wy[i] = yi, xi, wxi, wyi
    return xx, xy, yy, np.int64(reach).view(np.float64)


@kernel(
    "UniTuple(f8, 6)(f8, f8, f8[:,::1], i8, i8, i8, f8, f8, f8[::1], i8, f8[::1], f8[::1], f8[::1], f8[::1])",
    reorder=True,
)
def _descend(
    b: float,
    kink: float,
    filled: Floats,
    factor: int,
    market: int,
    at: int,
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
    largest |x|) with the new y, x and weights. f: raw returns of the next level's ETF, row `factor`.
    """
    meat = xx = xy = yy = raw = 0.0
    reach = np.int64(0)
    row_f, row_m = np.uintp(factor), np.uintp(market)
    for i in range(w.size):
        yi = y[i] - b * x[i]
        bent = abs(yi) if abs(yi) <= kink else kink
        push = wx[i] * bent
        meat += push * push
        fi = filled[row_f, np.uintp(at + i)] if i < window else 0.0
        mi = filled[row_m, np.uintp(at + i)] if i < window else 0.0
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
    "void(f8[:,::1], i8, i8, f8[:,::1], f8[:,::1], i8, i8, i8, i8, b1, f8, f8, f8, i8, f8[::1], i8, f8, f8,"
    "b1, i8, f8, f8, f8, f8, f8[:,::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1],"
    "f8[:,:,::1], f8[:,:,::1], i2[:,:,::1], u1[:,:,::1], i8, i8)"
)
def _fit_window(
    rows: Floats,
    at: int,
    n: int,
    filled: Floats,
    valid: Floats,
    column: int,
    market: int,
    sector: int,
    subsector: int,
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
    step: float,
    state: Floats,
    ok: Floats,
    own: Floats,
    y: Floats,
    x: Floats,
    wx: Floats,
    wy: Floats,
    beta: Floats,
    se: Floats,
    n_obs: Codes,
    reason: Bytes,
    i: int,
    t: int,
) -> None:
    """All levels of one window, through its residuals, into cell (i, t) of the outputs, which are preset to none.

    rows: (2, *) the stock's returns and their validity, read from column `at`; n: sessions with a return
    filled, valid: the factors, read from `column`; market, sector, subsector: their rows; whole_legs: without gaps
    ages: (padded,) weights, 0 beyond the window; sw, sw2: their sum and sum of squares
    step: the factor by which weights age in a session; state: (3, STATE) of an earlier fit, replaced by this one
    ok, own, y, x, wx, wy: (padded,) scratch, zeros beyond the window
    """
    w = ages
    if n < window or not whole_legs:
        for k in range(window):
            own[k], ok[k] = ages[k], 1.0
        n = _drop(rows, 1, at, window, ok, own)
        if not whole_legs:
            n = _drop(valid, market, column, window, ok, own)
        sw, sw2 = total_weights(own)
        w = own
    xx, xy, yy, reach = _enter(rows, at, filled, market, column, w, window, y, x, wx, wy)
    raw, reference = xx, yy
    carried = 0
    for level in range(depth):
        n_obs[level, i, t] = n
        b, kink, error, bread = np.nan, np.inf, np.nan, 0.0
        why = 0
        if carried == _LEVEL_ABOVE:
            why = _LEVEL_ABOVE
        elif n < min_obs:
            why = _TOO_FEW_OBS
        elif carried == _EXACT_FIT or (level > 0 and yy <= ROUNDING * reference):
            why = _EXACT_FIT
            b, error = 0.0, 0.0
        elif raw == 0.0 or yy == 0.0:
            why = _ZERO_VARIANCE
        elif (level == 1 and np.isnan(sm)) or (level == 2 and np.isnan(us)) or xx < COLLINEAR * raw:
            why = _COLLINEAR
        else:
            b = xy / (xx + alpha * sw)
            rss = yy - b * (2.0 * xy - b * xx)
            if not huber or not rss > NEARLY_EXACT * yy:
                xe, rss = residual_sums(y, x, w, b)
                if alpha == 0.0:
                    b += xe / xx
            if rss <= ROUNDING * yy:
                why = _EXACT_FIT
                error = 0.0
            elif not huber:
                error = np.sqrt(rss / (xx * (sw * sw / sw2 - 1.0)))
            else:
                sigma = np.sqrt(rss / sw)
                b, sigma, bread, status = fit_huber(
                    y, x, w, wx, wy, window, sw, xx, reach, epsilon, floor * sigma, step, b, sigma, state, level
                )
                kink = epsilon * sigma
                if status == AT_FLOOR:
                    why = _SCALE_FLOOR
                elif status == UNCONVERGED:
                    why = _UNCONVERGED
        carried = _LEVEL_ABOVE if np.isnan(b) else _EXACT_FIT if why == _EXACT_FIT else 0
        effective = sw * sw / sw2
        meat = 0.0
        if level + 1 < depth:
            factor = sector if level == 0 else subsector
            if not whole_legs:
                n = _drop(valid, factor, column, window, ok, own)
                sw, sw2 = total_weights(own)
            if carried == 0:
                on_market, on_above = (0.0, sm) if level == 0 else (um, us)
                meat, xx, xy, yy, raw, reach = _descend(
                    b, kink, filled, factor, market, column, on_market, on_above, w, window, y, x, wx, wy
                )
        elif bread > 0.0:
            meat = _leave(y, x, wx, b, kink)
        if bread > 0.0:
            error = np.sqrt(meat * effective / (effective - 1.0)) / bread
        beta[level, i, t], se[level, i, t], reason[level, i, t] = b, error, why


# ------------------------------------------------------------------------------------------------ a run, rolling sums

# Rows of what the levels need of the factors: 1/(<x,x> + penalty), <x,x> and 1/(<x,x> (n_eff - 1)) for the factor x of
# each level, and the products of the cleaned factors with the raw ones above them.
_INVERSE1, _SQUARE1, _ERROR1, _INVERSE2, _SQUARE2, _ERROR2, _INVERSE3, _SQUARE3, _ERROR3 = range(9)
_STAR_M2, _STAR_M3, _STAR_S3, _UM = range(9, 13)
CLEANED = 13


@kernel("void(f8[:,::1], f8[::1], f8[:,::1], i8, i8, f8, f8[:,::1])")
def clean_factors(
    gram: Floats, weight2: Floats, link: Floats, link_at: int, count: int, alpha: float, out: Floats
) -> None:
    """out (CLEANED, >= count) from window sums of raw factors, (GRAM, >= count); link is read from column link_at on.

    Inverses are NaN where cancellation has eaten the digits of a cleaned factor, and then so is all that uses them.
    """
    mm, ms, mu, ss, su, uu = gram[MM], gram[MS], gram[MU], gram[SS], gram[SU], gram[UU]
    sw, sw2 = gram[W], weight2
    at = slice(link_at, link_at + count)
    sm, um, us = link[SECTOR_ON_MARKET, at], link[SUB_ON_MARKET, at], link[SUB_ON_SECTOR, at]
    for j in range(count):
        spread = sw[j] * sw[j] / sw2[j] - 1.0
        out[_SQUARE1, j] = mm[j]
        out[_INVERSE1, j] = 1.0 / (mm[j] + alpha * sw[j])
        out[_ERROR1, j] = 1.0 / (mm[j] * spread)
    for j in range(count):
        spread = sw[j] * sw[j] / sw2[j] - 1.0
        star_m = ms[j] - sm[j] * mm[j]
        star = (ss[j] - sm[j] * ms[j]) - sm[j] * star_m
        out[_STAR_M2, j] = star_m
        out[_SQUARE2, j] = star
        out[_INVERSE2, j] = 1.0 / (star + alpha * sw[j]) if star > CANCELLATION * ss[j] else np.nan
        out[_ERROR2, j] = 1.0 / (star * spread)
    for j in range(count):
        # <u*, .> with the raw returns first, then <u*, u*> from it.
        spread = sw[j] * sw[j] / sw2[j] - 1.0
        em = um[j] - us[j] * sm[j]
        star_m = (mu[j] - em * mm[j]) - us[j] * ms[j]
        star_s = (su[j] - em * ms[j]) - us[j] * ss[j]
        star = ((uu[j] - em * mu[j]) - us[j] * su[j]) - em * star_m - us[j] * star_s
        out[_UM, j] = em
        out[_STAR_M3, j] = star_m
        out[_STAR_S3, j] = star_s
        out[_SQUARE3, j] = star
        out[_INVERSE3, j] = 1.0 / (star + alpha * sw[j]) if star > CANCELLATION * uu[j] else np.nan
        out[_ERROR3, j] = 1.0 / (star * spread)


@kernel(
    "void(f8[::1], f8[::1], f8[:,::1], i8, i8[::1], i8[::1], i8, u1[::1], b1[::1], i8,"
    "f8[::1], u1[::1], f8[::1], f8[::1], i2[::1], u1[::1])"
)
def _market_level(
    rr: Floats,
    rm: Floats,
    factors: Floats,
    at: int,
    missing_from: Ints,
    missing_to: Ints,
    window: int,
    complete: Bytes,
    wanted: Bools,
    min_obs: int,
    rss: Floats,
    verdict: Bytes,
    beta: Floats,
    se: Floats,
    n_obs: Codes,
    reason: Bytes,
) -> None:
    """L1 of a run; rss and verdict are for the levels below. factors: of `clean_factors`, from column `at` on.

    Here and below, loops are short and choose between values already computed: the compiler turns a choice between
    computing and not, or a loop over more arrays than it will check for overlap, into one session at a time.
    """
    here = slice(at, at + beta.size)
    inverse, square, error = factors[_INVERSE1, here], factors[_SQUARE1, here], factors[_ERROR1, here]
    for j in range(beta.size):
        b = rm[j] * inverse[j]
        beta[j] = b
        rss[j] = rr[j] - b * (2.0 * rm[j] - b * square[j])
    for j in range(beta.size):
        verdict[j] = FITTED if rss[j] > CANCELLATION * rr[j] else THROUGH_RESIDUALS
    for j in range(beta.size):
        n_obs[j] = window - (missing_to[j] - missing_from[j])
    for j in range(beta.size):
        n = n_obs[j] if wanted[j] else np.int16(0)
        n_obs[j] = n
        reason[j] = np.uint8(_TOO_FEW_OBS) if (wanted[j] != 0) & (n < np.int16(min_obs)) else np.uint8(0)
    for j in range(beta.size):
        found = verdict[j] if complete[j] else np.uint8(THROUGH_RESIDUALS)
        due = (wanted[j] != 0) & ((reason[j] == 0) | (complete[j] == 0))
        verdict[j] = found if due else np.uint8(NOTHING)
    for j in range(beta.size):
        b, e = beta[j], np.sqrt(rss[j] * error[j])
        fitted = verdict[j] == FITTED
        beta[j] = b if fitted else np.nan
        se[j] = e if fitted else np.nan


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1], i8, f8[::1], f8[::1], u1[::1], f8[::1], f8[::1])")
def _sector_level(
    rr: Floats,
    rm: Floats,
    rs: Floats,
    sm: Floats,
    factors: Floats,
    at: int,
    beta1: Floats,
    rss: Floats,
    verdict: Bytes,
    beta: Floats,
    se: Floats,
) -> None:
    """L2, in the manner of `_market_level`."""
    here = slice(at, at + beta.size)
    inverse, square, error = factors[_INVERSE2, here], factors[_SQUARE2, here], factors[_ERROR2, here]
    star_m = factors[_STAR_M2, here]
    for j in range(beta.size):
        xy = (rs[j] - sm[j] * rm[j]) - beta1[j] * star_m[j]
        b = xy * inverse[j]
        left = rss[j] - b * (2.0 * xy - b * square[j])
        found = THROUGH_RESIDUALS if verdict[j] == FITTED and not left > CANCELLATION * rr[j] else verdict[j]
        e = np.sqrt(left * error[j])
        verdict[j] = found
        rss[j] = left
        beta[j] = b if found == FITTED else np.nan
        se[j] = e if found == FITTED else np.nan


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1], i8, f8[::1], f8[::1], f8[::1],"
    "u1[::1], f8[::1], f8[::1])"
)
def _subsector_level(
    rr: Floats,
    rm: Floats,
    rs: Floats,
    ru: Floats,
    sm: Floats,
    us: Floats,
    factors: Floats,
    at: int,
    beta1: Floats,
    beta2: Floats,
    rss: Floats,
    verdict: Bytes,
    beta: Floats,
    se: Floats,
) -> None:
    """L3, in the manner of `_market_level`."""
    here = slice(at, at + beta.size)
    inverse, square, error = factors[_INVERSE3, here], factors[_SQUARE3, here], factors[_ERROR3, here]
    star_m, star_s, um = factors[_STAR_M3, here], factors[_STAR_S3, here], factors[_UM, here]
    for j in range(beta.size):
        of_u = (ru[j] - um[j] * rm[j]) - us[j] * rs[j]
        xy = (of_u - (beta1[j] - beta2[j] * sm[j]) * star_m[j]) - beta2[j] * star_s[j]
        b = xy * inverse[j]
        left = rss[j] - b * (2.0 * xy - b * square[j])
        found = THROUGH_RESIDUALS if verdict[j] == FITTED and not left > CANCELLATION * rr[j] else verdict[j]
        e = np.sqrt(left * error[j])
        verdict[j] = found
        beta[j] = b if found == FITTED else np.nan
        se[j] = e if found == FITTED else np.nan


@kernel("void(i2[::1], u1[::1], i2[::1], u1[::1])")
def _same_sessions(n_above: Codes, reason_above: Bytes, n_obs: Codes, reason: Bytes) -> None:
    """Counts of a lower level whose legs have no gaps: those of the level above."""
    for j in range(n_obs.size):
        n_obs[j] = n_above[j]
    for j in range(n_obs.size):
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
    "u1[:,::1], i8, i8, i8, f8[::1], f8[::1], f8[::1], f8[::1], b1, i8, f8, f8, f8,"
    "f8[:,:,::1], f8[:,:,::1], i2[:,:,::1], u1[:,:,::1], f8[:,::1], f8[:,::1], f8[:,::1], i8[::1], u1[::1])"
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
    cleaned: Floats,
    link: Floats,
    complete: Bytes,
    first: int,
    start: int,
    stop: int,
    weights: Floats,
    ages: Floats,
    weights2: Floats,
    ages2: Floats,
    huber: bool,
    min_obs: int,
    epsilon: float,
    floor: float,
    alpha: float,
    beta: Floats,
    se: Floats,
    n_obs: Codes,
    reason: Bytes,
    columns_of: Floats,
    lanes: Floats,
    state: Floats,
    missing: Ints,
    verdict: Bytes,
) -> None:
    """Sessions [start, stop) of every stock of r (n, T).

    cleaned: (P, CLEANED, C) of each pair, not read by `huber`; link, complete: of the `FactorPanel` of these sessions
    weights: (window + 1,) by age; ages: the same `oldest_first`; weights2, ages2: their squares
    Outputs (3, n, T'); the columns of [start, stop) are overwritten: NaN (0) where not wanted. Scratch: `scratch`.
    """
    window = weights.size - 1
    count = stop - start
    columns = count + window - 1
    none = filled.shape[0] - 1
    here = slice(start, start + columns + LANES)
    rows, x, sums = columns_of[:2], columns_of[2:8], columns_of[8:13]
    own_gram, own = columns_of[13:24], columns_of[24:37]
    own_weight2, rss, row, ok = columns_of[37], columns_of[38], rows[0], rows[1]
    rows[:, columns:] = 0.0
    lanes[:, :] = 0.0
    w_ok, w, y, x_, wx, wy = lanes[0], lanes[1], lanes[2], lanes[3], lanes[4], lanes[5]
    sw, sw2 = total_weights(ages)
    m = filled[market, here]

    gaps = -1
    for i in range(r.shape[0]):
        done = start
        begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], start, stop)
        if begin < stop:
            gaps = split_missing(r[i, start : start + columns], row, ok, missing, gaps)
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
            s, u = filled[s_row, here], filled[u_row, here]
            c, length = begin - start, end - begin
            if huber:
                for level in range(depth):
                    _blank(beta, se, n_obs, reason, level, i, begin, end)
            else:
                run = slice(c, c + length + window - 1)
                cells = slice(c, c + length)
                phase = (first + begin) % window
                window_sums(
                    *(row[run], row[run], m[run], s[run], u[run], length, phase, weights, ages),
                    *(sums[RR], sums[RM], sums[RS], sums[RU], sums[R]),
                )
                factors, at = cleaned[p], c
                if missing[c + length + window - 1] != missing[c]:
                    factor_sums(ok[run], m[run], s[run], u[run], length, phase, weights, ages, False, x, own_gram)
                    window_sums(
                        *(ok[run], m[run], m[run], m[run], m[run], length, phase, weights2, ages2),
                        *(own_gram[SPARE], own_gram[SPARE], own_gram[SPARE], own_gram[SPARE], own_weight2),
                    )
                    clean_factors(own_gram, own_weight2, link[p], c, length, alpha, own)
                    factors, at = own, 0
                rr, rm, rs, ru = sums[RR, :length], sums[RM, :length], sums[RS, :length], sums[RU, :length]
                sm, us = link[p, SECTOR_ON_MARKET, cells], link[p, SUB_ON_SECTOR, cells]
                _market_level(
                    rr,
                    rm,
                    factors,
                    at,
                    missing[cells],
                    missing[c + window : c + window + length],
                    window,
                    complete[p, cells],
                    wanted[i, begin:end],
                    min_obs,
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
                    b1, b2, e2 = beta[0, i, begin:end], beta[1, i, begin:end], se[1, i, begin:end]
                    _sector_level(rr, rm, rs, sm, factors, at, b1, rss, verdict, b2, e2)
                    if depth >= 3:
                        b3, e3 = beta[2, i, begin:end], se[2, i, begin:end]
                        _subsector_level(rr, rm, rs, ru, sm, us, factors, at, b1, b2, rss, verdict, b3, e3)
            state[:] = np.nan
            for t in range(begin, end):
                j = t - start
                if (wanted[i, t] == 0) if huber else (verdict[t - begin] != THROUGH_RESIDUALS):
                    continue
                _fit_window(
                    rows,
                    j,
                    window - (missing[j + window] - missing[j]),
                    filled,
                    valid,
                    t,
                    market,
                    s_row,
                    u_row,
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
                    weights[1],
                    state,
                    w_ok,
                    w,
                    y,
                    x_,
                    wx,
                    wy,
                    beta,
                    se,
                    n_obs,
                    reason,
                    i,
                    t,
                )
            done = end
            begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], end, stop)
        for level in range(3):
            _blank(beta, se, n_obs, reason, level, i, done, stop)


def scratch(count: int, ages: Floats, window: int) -> tuple[Floats, Floats, Floats, Ints, Bytes]:
    """The last arguments of `cascade_tile` for up to `count` sessions; one set per worker."""
    columns = count + window - 1
    return (
        np.empty((39, columns + LANES)),
        np.empty((6, ages.size)),
        np.empty((3, STATE)),
        np.empty(columns + 1, np.int64),
        np.empty(count, np.uint8),
    )


@kernel("void(u1[:,:,::1], b1[:,::1], i8[:,::1])")
def count_reasons(reason: Bytes, wanted: Bools, counts: Ints) -> None:
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
