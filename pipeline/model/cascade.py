"""The three-level cascade of one tile (docs/methodology.md, section 3).

    L1   r  = beta_m m  + e1          m
    L2   e1 = beta_s s* + e2          s* = s - lambda_sm m
    L3   e2 = beta_u u* + e3          u* = u - lambda_um m - lambda_us s*

Two ways lead through a window. `ols` and `ridge` with legs that are valid in the whole window take rolling sums of
products, for all sessions of a run at once. Everything else (`huber`, gaps in a leg, fits too close for sums of
squares) goes through the residuals of the single window. Which way is taken depends on the window alone.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.compiled import Bools, Bytes, Codes, Floats, Ints, kernel
from pipeline.model.huber import AT_FLOOR, UNCONVERGED, fit_huber, residual_sums, sandwich_sums, square_sums
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
)
from pipeline.model.reasons import DegenerateReason
from pipeline.model.window import count_missing, next_run, split_missing, window_sums

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

# Rows of the sums of one stock.
_RR, _RM, _RS, _RU = range(4)
# Rows of the work arrays of one window.
_Y, _X, _W, _OK = range(4)


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


@kernel("UniTuple(f8, 3)(f8[::1], f8[::1])", reorder=True)
def _count_weights(w: Floats, ok: Floats) -> tuple[float, float, float]:
    n = sw = sw2 = 0.0
    for i in range(w.size):
        n += ok[i]
        sw += w[i]
        sw2 += w[i] * w[i]
    return n, sw, sw2


@kernel("UniTuple(f8, 3)(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1])")
def _enter_market(
    r: Floats, vr: Floats, m: Floats, vm: Floats, ages: Floats, work: Floats
) -> tuple[float, float, float]:
    """Set y = r, x = m and the weights of the sessions in which both are valid. Returns (n, sum w, sum w^2)."""
    y, x, w, ok = work[_Y], work[_X], work[_W], work[_OK]
    for i in range(y.size):
        y[i] = r[i]
        x[i] = m[i]
        ok[i] = vr[i] * vm[i]
        w[i] = ages[i] * ok[i]
    return _count_weights(w, ok)


@kernel("UniTuple(f8, 3)(f8[::1], f8[::1], f8[::1], f8, f8[:,::1])")
def _enter_sector(m: Floats, s: Floats, vs: Floats, sm: float, work: Floats) -> tuple[float, float, float]:
    """Set x = s* and drop the sessions without s."""
    x, w, ok = work[_X], work[_W], work[_OK]
    for i in range(x.size):
        x[i] = s[i] - sm * m[i]
        ok[i] *= vs[i]
        w[i] *= vs[i]
    return _count_weights(w, ok)


@kernel("UniTuple(f8, 3)(f8[::1], f8[::1], f8[::1], f8[::1], f8, f8, f8, f8[:,::1])")
def _enter_subsector(
    m: Floats, s: Floats, u: Floats, vu: Floats, sm: float, um: float, us: float, work: Floats
) -> tuple[float, float, float]:
    """Set x = u* and drop the sessions without u."""
    x, w, ok = work[_X], work[_W], work[_OK]
    for i in range(x.size):
        x[i] = (u[i] - um * m[i]) - us * (s[i] - sm * m[i])
        ok[i] *= vu[i]
        w[i] *= vu[i]
    return _count_weights(w, ok)


@kernel("f8(f8[::1], f8[::1])", reorder=True)
def _square_sum(x: Floats, w: Floats) -> float:
    total = 0.0
    for i in range(x.size):
        total += w[i] * x[i] * x[i]
    return total


@kernel("void(f8[::1], f8[::1], f8)")
def _take_off(y: Floats, x: Floats, b: float) -> None:
    for i in range(y.size):
        y[i] -= b * x[i]


@kernel(
    "Tuple((f8, f8, i8))(f8[:,::1], f8, f8, f8, f8, b1, f8, f8, f8, f8[::1])",
)
def _fit_level(
    work: Floats,
    sw: float,
    sw2: float,
    raw: float,
    reference: float,
    huber: bool,
    epsilon: float,
    floor: float,
    alpha: float,
    warm: Floats,
) -> tuple[float, float, int]:
    """(beta, se, reason) of y on x; y becomes the residual.

    raw: square sum of the uncleaned factor; reference: square sum of r, below whose rounding a residual is nothing;
    warm: (2,) any (b, sigma) to start from, replaced by this fit.
    """
    y, x, w = work[_Y], work[_X], work[_W]
    xx, xy, yy = square_sums(y, x, w)
    if raw == 0.0:
        return np.nan, np.nan, _ZERO_VARIANCE
    if xx < COLLINEAR * raw:
        return np.nan, np.nan, _COLLINEAR
    if yy <= ROUNDING * reference:
        return 0.0, 0.0, _EXACT_FIT
    b = xy / (xx + alpha * sw)
    xe, rss = residual_sums(y, x, w, b)
    if alpha == 0.0:
        b += xe / xx
    if rss <= ROUNDING * yy:
        _take_off(y, x, b)
        return b, 0.0, _EXACT_FIT
    effective = sw * sw / sw2
    if not huber:
        _take_off(y, x, b)
        return b, np.sqrt(rss / (xx * (effective - 1.0))), 0
    sigma = np.sqrt(rss / sw)
    b, sigma, status = fit_huber(y, x, w, sw, epsilon, floor * sigma, b, sigma, warm[0], warm[1], xx)
    warm[0], warm[1] = b, sigma
    bread, meat = sandwich_sums(y, x, w, b, epsilon * sigma)
    _take_off(y, x, b)
    se = np.sqrt(meat * effective / (effective - 1.0)) / bread if bread > 0.0 else np.nan
    return b, se, _SCALE_FLOOR if status == AT_FLOOR else _UNCONVERGED if status == UNCONVERGED else 0


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8, f8, f8, i8, f8[::1],"
    "b1, i8, f8, f8, f8, f8[:,::1], f8[:,::1], f8[::1], f8[::1], i2[::1], u1[::1])"
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
    sm: float,
    um: float,
    us: float,
    depth: int,
    ages: Floats,
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
    """All levels of one window, through its residuals. The last four arguments are (3,) outputs, preset to none."""
    reference = 0.0
    for level in range(depth):
        if level == 0:
            n, sw, sw2 = _enter_market(r, vr, m, vm, ages, work)
            raw = _square_sum(m, work[_W])
            reference = _square_sum(work[_Y], work[_W])
        elif level == 1:
            n, sw, sw2 = _enter_sector(m, s, vs, sm, work)
            raw = _square_sum(s, work[_W])
        else:
            n, sw, sw2 = _enter_subsector(m, s, u, vu, sm, um, us, work)
            raw = _square_sum(u, work[_W])
        n_obs[level] = int(n)
        if level > 0 and np.isnan(beta[level - 1]):
            reason[level] = _LEVEL_ABOVE
        elif n < min_obs:
            reason[level] = _TOO_FEW_OBS
        elif level == 0 and reference == 0.0:
            reason[level] = _ZERO_VARIANCE
        elif (level == 1 and np.isnan(sm)) or (level == 2 and np.isnan(us)):
            reason[level] = _COLLINEAR
        elif level > 0 and reason[level - 1] == _EXACT_FIT:
            beta[level], se[level], reason[level] = 0.0, 0.0, _EXACT_FIT
        else:
            beta[level], se[level], reason[level] = _fit_level(
                work, sw, sw2, raw, reference, huber, epsilon, floor, alpha, warm[level]
            )


@kernel(
    "void(f8[:,::1], f8[:,::1], f8[:,::1], f8[:,::1], u1[::1], i8[::1], b1[::1], i8, i8, f8, u1[::1],"
    "f8[:,::1], f8[:,::1], i2[:,::1], u1[:,::1])"
)
def _from_sums(
    sums: Floats,
    gram: Floats,
    weight: Floats,
    link: Floats,
    complete: Bytes,
    n: Ints,
    wanted: Bools,
    depth: int,
    min_obs: int,
    alpha: float,
    through_residuals: Bytes,
    beta: Floats,
    se: Floats,
    n_obs: Codes,
    reason: Bytes,
) -> None:
    """All levels of the sessions of a run from their window sums; (K, C) inputs, (3, C) outputs preset to none.

    Sets through_residuals where sums of products are not good enough and leaves that session alone.
    """
    for j in range(n.size):
        through_residuals[j] = 0
        if not wanted[j]:
            continue
        if not complete[j]:
            through_residuals[j] = 1
            continue
        if n[j] < min_obs:
            for level in range(depth):
                n_obs[level, j] = n[j]
                reason[level, j] = _TOO_FEW_OBS if level == 0 else _LEVEL_ABOVE
            continue
        sw, sw2 = weight[0, j], weight[1, j]
        rr, rm, mm = sums[_RR, j], sums[_RM, j], gram[MM, j]
        if rr == 0.0 or mm == 0.0:
            through_residuals[j] = 1
            continue
        penalty = alpha * sw
        spread = sw * sw / sw2 - 1.0
        b1 = rm / (mm + penalty)
        rss1 = rr - b1 * (2.0 * rm - b1 * mm)
        rss = rss1
        b2 = b3 = d2 = d3 = rss2 = np.nan
        regular = rss1 > CANCELLATION * rr
        if depth >= 2:
            sm = link[SECTOR_ON_MARKET, j]
            rs, ms, ss = sums[_RS, j], gram[MS, j], gram[SS, j]
            cleaned_ms = ms - sm * mm
            d2 = (ss - sm * ms) - sm * cleaned_ms
            xy2 = (rs - sm * rm) - b1 * cleaned_ms
            b2 = xy2 / (d2 + penalty)
            rss2 = rss1 - b2 * (2.0 * xy2 - b2 * d2)
            rss = rss2
            regular = regular and d2 > CANCELLATION * ss and rss2 > CANCELLATION * rr
            if depth == 3:
                us = link[SUB_ON_SECTOR, j]
                um = link[SUB_ON_MARKET, j] - us * sm
                ru, mu, su, uu = sums[_RU, j], gram[MU, j], gram[SU, j], gram[UU, j]
                # <u*, .> for the raw returns, then <u*, u*> and <e2, u*> from them.
                star_m = (mu - um * mm) - us * ms
                star_s = (su - um * ms) - us * ss
                d3 = ((uu - um * mu) - us * su) - um * star_m - us * star_s
                xy3 = ((ru - um * rm) - us * rs) - (b1 - b2 * sm) * star_m - b2 * star_s
                b3 = xy3 / (d3 + penalty)
                rss = rss2 - b3 * (2.0 * xy3 - b3 * d3)
                regular = regular and d3 > CANCELLATION * uu and rss > CANCELLATION * rr
        if not regular:
            through_residuals[j] = 1
            continue
        beta[0, j] = b1
        se[0, j] = np.sqrt(rss1 / (mm * spread))
        n_obs[0, j] = n[j]
        if depth >= 2:
            beta[1, j] = b2
            se[1, j] = np.sqrt(rss2 / (d2 * spread))
            n_obs[1, j] = n[j]
            if depth == 3:
                beta[2, j] = b3
                se[2, j] = np.sqrt(rss / (d3 * spread))
                n_obs[2, j] = n[j]


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], i8, f8[:,::1])")
def _products(r: Floats, m: Floats, s: Floats, u: Floats, rows: int, x: Floats) -> None:
    for c in range(r.size):
        x[_RR, c] = r[c] * r[c]
        x[_RM, c] = r[c] * m[c]
    if rows > _RS:
        for c in range(r.size):
            x[_RS, c] = r[c] * s[c]
    if rows > _RU:
        for c in range(r.size):
            x[_RU, c] = r[c] * u[c]


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1])")
def _factor_products(ok: Floats, m: Floats, s: Floats, u: Floats, x: Floats) -> None:
    """Products of the factors in the stock's sessions; where ok is 1, those of the factor panel bit for bit."""
    for c in range(ok.size):
        x[MM, c] = ok[c] * m[c] * m[c]
        x[MS, c] = ok[c] * m[c] * s[c]
        x[MU, c] = ok[c] * m[c] * u[c]
        x[SS, c] = ok[c] * s[c] * s[c]
        x[SU, c] = ok[c] * s[c] * u[c]
        x[UU, c] = ok[c] * u[c] * u[c]


@kernel(
    "void(f8[:,::1], f8[:,::1], f8[:,::1], i8, i2[:,::1], i2[:,::1], b1[:,::1], i8[:,::1], f8[:,:,::1], f8[:,:,::1],"
    "u1[:,::1], f8[:,::1], i8, i8, i8, f8[::1], f8[::1], b1, i8, f8, f8, f8,"
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
    """Sessions [start, stop) of every stock of r (n, T); gram, link, complete, weight as in `FactorPanel`.

    Outputs (3, n, T'); the columns of [start, stop) are overwritten: NaN (0) where not wanted.
    """
    window = weights.size - 1
    count = stop - start
    columns = count + window - 1
    none = filled.shape[0] - 1
    ages = weights[:window][::-1].copy()
    row, ok = np.empty(columns), np.empty(columns)
    missing = np.empty(columns + 1, np.int64)
    x = np.empty((8, columns))
    sums = np.empty((12, count))
    n = np.empty(count, np.int64)
    through_residuals = np.empty(count, np.uint8)
    run_beta, run_se = np.empty(3 * count), np.empty(3 * count)
    run_n, run_reason = np.empty(3 * count, np.int16), np.empty(3 * count, np.uint8)
    run_weight, run_link = np.empty(2 * count), np.empty(3 * count)
    run_gram = np.empty(9 * count)
    work = np.empty((4, window))
    warm = np.empty((3, 2))
    cell_beta, cell_se = np.empty(3), np.empty(3)
    cell_n, cell_reason = np.empty(3, np.int16), np.empty(3, np.uint8)
    m = filled[market, start : start + columns]
    vm = valid[market, start : start + columns]

    for i in range(r.shape[0]):
        for level in range(3):
            beta[level, i, start:stop] = np.nan
            se[level, i, start:stop] = np.nan
            n_obs[level, i, start:stop] = 0
            reason[level, i, start:stop] = 0
        begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], start, stop)
        if begin == stop:
            continue
        split_missing(r[i, start : start + columns], row, ok)
        count_missing(ok, missing)
        while begin < stop:
            depth, reason2, reason3 = ladder(market, s_etf, u_etf)
            p = pair_of[s_etf + 1, u_etf + 1]
            c = begin - start
            length = end - begin
            span = slice(c, c + length + window - 1)
            s_row = s_etf if depth >= 2 else none
            u_row = u_etf if depth >= 3 else none
            s, vs = filled[s_row, start : start + columns], valid[s_row, start : start + columns]
            u, vu = filled[u_row, start : start + columns], valid[u_row, start : start + columns]
            if reason2 > 0 or reason3 > 0:
                for t in range(begin, end):
                    if wanted[i, t]:
                        reason[1, i, t] = reason2
                        reason[2, i, t] = reason3
            if not huber:
                rows = depth + 1
                _products(row[span], m[span], s[span], u[span], rows, x)
                window_sums(x, rows, length, (first + begin) % window, weights, sums)
                run_g = run_gram[: 9 * length].reshape(9, length)
                run_w = run_weight[: 2 * length].reshape(2, length)
                run_l = run_link[: 3 * length].reshape(3, length)
                if missing[c + length + window - 1] == missing[c]:
                    run_g[:6] = gram[p, :6, c : c + length]
                    run_w[:] = weight[:, c : c + length]
                else:
                    phase = (first + begin) % window
                    _factor_products(ok[span], m[span], s[span], u[span], x)
                    window_sums(x, 6, length, phase, weights, run_g)
                    x[0, : length + window - 1] = ok[span]
                    window_sums(x, 1, length, phase, weights, run_w)
                    window_sums(x, 1, length, phase, weights2, run_w[1:])
                run_l[:] = link[p, :, c : c + length]
                for j in range(length):
                    n[j] = window - (missing[c + j + window] - missing[c + j])
                out_b = run_beta[: 3 * length].reshape(3, length)
                out_s = run_se[: 3 * length].reshape(3, length)
                out_n = run_n[: 3 * length].reshape(3, length)
                out_r = run_reason[: 3 * length].reshape(3, length)
                out_b[:] = np.nan
                out_s[:] = np.nan
                out_n[:] = 0
                out_r[:] = 0
                _from_sums(
                    sums,
                    run_g,
                    run_w,
                    run_l,
                    complete[p, c : c + length],
                    n[:length],
                    wanted[i, begin:end],
                    depth,
                    min_obs,
                    alpha,
                    through_residuals,
                    out_b,
                    out_s,
                    out_n,
                    out_r,
                )
                for level in range(depth):
                    beta[level, i, begin:end] = out_b[level]
                    se[level, i, begin:end] = out_s[level]
                    n_obs[level, i, begin:end] = out_n[level]
                    reason[level, i, begin:end] = out_r[level]
            warm[:] = np.nan
            for t in range(begin, end):
                if not (through_residuals[t - begin] if not huber else wanted[i, t]):
                    continue
                cell_beta[:] = np.nan
                cell_se[:] = np.nan
                cell_n[:] = 0
                cell_reason[:] = 0
                w = slice(t - start, t - start + window)
                _fit_window(
                    row[w],
                    ok[w],
                    m[w],
                    vm[w],
                    s[w],
                    vs[w],
                    u[w],
                    vu[w],
                    link[p, SECTOR_ON_MARKET, t - start],
                    link[p, SUB_ON_MARKET, t - start],
                    link[p, SUB_ON_SECTOR, t - start],
                    depth,
                    ages,
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
            begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], end, stop)


@kernel("void(u1[:,:,::1], b1[:,::1], i8[:,::1])")
def count_reasons(reason: Bytes, wanted: Bools, counts: Ints) -> None:
    """Add to counts[level, reason] over the wanted cells."""
    for level in range(reason.shape[0]):
        for i in range(reason.shape[1]):
            for t in range(reason.shape[2]):
                if wanted[i, t]:
                    counts[level, reason[level, i, t]] += 1
