"""Shares of explained risk of one tile (docs/methodology.md, section 8).

    V0 = Var(r), Vk = Var(e_k) over the window, with the adjusted betas and the link betas of its last session
    market = (V0-V1)/V0   sector = (V1-V2)/V0   subsector = (V2-V3)/V0   residual at level k = Vk/V0

Variances are weighted, mean removed, divided by the sum of the weights. Each level is measured on its own sessions
(those in which the stock and all legs up to that level are valid), V0 included, so that its shares add to 1 also when
a leg has gaps. The total variance is measured on all sessions of the stock.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.cascade import FITTED, NOTHING, RM, ROUNDING, RR, RS, RU, THROUGH_RESIDUALS, R, ladder
from pipeline.model.compiled import Bools, Bytes, Codes, Floats, Ints, kernel
from pipeline.model.link_betas import (
    CANCELLATION,
    MM,
    MS,
    MU,
    SECTOR_ON_MARKET,
    SS,
    SU,
    SUB_ON_MARKET,
    SUB_ON_SECTOR,
    UU,
    M,
    S,
    U,
    W,
    factor_sums,
)
from pipeline.model.rolling_sums import LANES, next_run, split_missing, window_sums

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

# ----------------------------------------------------------------------------------------------- one window, residuals


@kernel("f8(f8[::1], f8[::1])")
def _variance(e: Floats, w: Floats) -> float:
    """Variance under the weights w, mean removed in a second pass."""
    total = mean = square = 0.0
    for i in range(e.size):
        total += w[i]
        mean += w[i] * e[i]
    mean /= total
    for i in range(e.size):
        square += w[i] * (e[i] - mean) ** 2
    return square / total


@kernel(
    "UniTuple(f8, 5)(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8, f8, f8, f8, f8, f8, f8[:,::1])",
)
def _variances(
    r: Floats,
    m: Floats,
    s: Floats,
    u: Floats,
    w: Floats,
    b1: float,
    b2: float,
    b3: float,
    sm: float,
    um: float,
    us: float,
    work: Floats,
) -> tuple[float, float, float, float, float]:
    """(V0, V1, V2, V3, mean of r^2) under the weights w."""
    total = square = 0.0
    for i in range(r.size):
        sector = s[i] - sm * m[i]
        work[0, i] = r[i] - b1 * m[i]
        work[1, i] = work[0, i] - b2 * sector
        work[2, i] = work[1, i] - b3 * ((u[i] - um * m[i]) - us * sector)
        total += w[i]
        square += w[i] * r[i] * r[i]
    size = r.size
    v1, v2, v3 = _variance(work[0, :size], w), _variance(work[1, :size], w), _variance(work[2, :size], w)
    return _variance(r, w), v1, v2, v3, square / total


@kernel(
    "f8(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8, f8, f8, f8, f8, f8,"
    "i8, f8[:,::1], f8[:,:,::1], i8, i8)"
)
def _through_window(
    r: Floats,
    vr: Floats,
    m: Floats,
    vm: Floats,
    s: Floats,
    vs: Floats,
    u: Floats,
    vu: Floats,
    ages: Floats,
    b1: float,
    b2: float,
    b3: float,
    sm: float,
    um: float,
    us: float,
    depth: int,
    work: Floats,
    shares: Floats,
    i: int,
    t: int,
) -> float:
    """Total variance, and the shares of the first `depth` levels into cell (i, t), from the residuals of one window."""
    w = work[3, : r.size]
    for k in range(r.size):
        w[k] = ages[k] * vr[k]
    b2, sm = (b2, sm) if depth >= 2 else (0.0, 0.0)
    b3, um, us = (b3, um, us) if depth >= 3 else (0.0, 0.0, 0.0)
    variance, _, _, _, square = _variances(r, m, s, u, w, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, work)
    if variance <= ROUNDING * square:
        return 0.0
    for level in range(1, depth + 1):
        for k in range(r.size):
            w[k] *= vm[k] if level == 1 else vs[k] if level == 2 else vu[k]
        second = b2 if level >= 2 else 0.0
        third = b3 if level >= 3 else 0.0
        v0, v1, v2, v3, square = _variances(r, m, s, u, w, b1, second, third, sm, um, us, work)
        if not v0 > ROUNDING * square:
            continue
        if level == 1:
            shares[0, i, t], shares[1, i, t] = (v0 - v1) / v0, v1 / v0
        elif level == 2:
            shares[2, i, t], shares[3, i, t], shares[4, i, t] = (v0 - v1) / v0, (v1 - v2) / v0, v2 / v0
        else:
            shares[5, i, t], shares[6, i, t] = (v0 - v1) / v0, (v1 - v2) / v0
            shares[7, i, t], shares[8, i, t] = (v2 - v3) / v0, v3 / v0
    return variance


# ------------------------------------------------------------------------------------------------ a run, rolling sums

# Rows of what the levels need of the factors: 1 / sum w, means of the raw factors, variance of each level's factor,
# covariances of the cleaned factors with the raw ones above them, and how large the terms of those variances are.
_UNIT, _MEAN_M, _MEAN_S, _MEAN_U, _VAR1, _VAR2, _VAR3, _STAR_M2, _STAR_M3, _STAR_S3, _UM, _TERMS2, _TERMS3 = range(13)
CENTRED = 13


@kernel("void(f8[:,::1], f8[:,::1], i8, i8, f8[:,::1])")
def centre_factors(gram: Floats, link: Floats, link_at: int, count: int, out: Floats) -> None:
    """out (CENTRED, >= count) from window sums of raw factors, (GRAM, >= count); link is read from link_at on."""
    mm, ms, mu, ss, su, uu = gram[MM], gram[MS], gram[MU], gram[SS], gram[SU], gram[UU]
    sw, m1, s1, u1 = gram[W], gram[M], gram[S], gram[U]
    at = slice(link_at, link_at + count)
    sm, um, us = link[SECTOR_ON_MARKET, at], link[SUB_ON_MARKET, at], link[SUB_ON_SECTOR, at]
    for j in range(count):
        unit = 1.0 / sw[j]
        mean_m, mean_s, mean_u = m1[j] * unit, s1[j] * unit, u1[j] * unit
        out[_UNIT, j], out[_MEAN_M, j], out[_MEAN_S, j], out[_MEAN_U, j] = unit, mean_m, mean_s, mean_u
        out[_VAR1, j] = mm[j] * unit - mean_m * mean_m
    for j in range(count):
        unit, mean_m, mean_s = out[_UNIT, j], out[_MEAN_M, j], out[_MEAN_S, j]
        var_m = out[_VAR1, j]
        cov_ms = ms[j] * unit - mean_m * mean_s
        var_s = ss[j] * unit - mean_s * mean_s
        star_m = cov_ms - sm[j] * var_m
        out[_STAR_M2, j] = star_m
        out[_VAR2, j] = (var_s - sm[j] * cov_ms) - sm[j] * star_m
        out[_TERMS2, j] = var_s + sm[j] * sm[j] * var_m
    for j in range(count):
        unit, mean_m, mean_s, mean_u = out[_UNIT, j], out[_MEAN_M, j], out[_MEAN_S, j], out[_MEAN_U, j]
        var_m = out[_VAR1, j]
        cov_ms = ms[j] * unit - mean_m * mean_s
        var_s = ss[j] * unit - mean_s * mean_s
        cov_mu = mu[j] * unit - mean_m * mean_u
        cov_su = su[j] * unit - mean_s * mean_u
        var_u = uu[j] * unit - mean_u * mean_u
        em = um[j] - us[j] * sm[j]
        star_m = (cov_mu - em * var_m) - us[j] * cov_ms
        star_s = (cov_su - em * cov_ms) - us[j] * var_s
        out[_UM, j], out[_STAR_M3, j], out[_STAR_S3, j] = em, star_m, star_s
        out[_VAR3, j] = ((var_u - em * cov_mu) - us[j] * cov_su) - em * star_m - us[j] * star_s
        out[_TERMS3, j] = var_u + em * em * var_m + us[j] * us[j] * var_s


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[:,::1], i8, f8[::1], i8[::1], i8[::1], i8, i8, u1[::1], b1[::1],"
    "u1[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])"
)
def _market_shares(
    rr: Floats,
    rm: Floats,
    r1: Floats,
    factors: Floats,
    at: int,
    beta: Floats,
    missing_from: Ints,
    missing_to: Ints,
    window: int,
    min_obs: int,
    complete: Bytes,
    wanted: Bools,
    verdict: Bytes,
    total: Floats,
    left: Floats,
    terms: Floats,
    variance: Floats,
    market: Floats,
    residual: Floats,
) -> None:
    """Total variance and L1 of a run. factors: of `centre_factors`, from column `at` on.

    For the levels below: verdict, total = V0, left = V1, and the size of the terms that V1 is made of; where that is
    far above V0, cancellation has eaten the digits. Short loops over few arrays: in a long one, there are more pairs of
    arrays that might overlap than the compiler is willing to check, and it does one session at a time.
    """
    here = slice(at, at + beta.size)
    unit, mean_m, var_m = factors[_UNIT, here], factors[_MEAN_M, here], factors[_VAR1, here]
    for j in range(beta.size):
        mean_r = r1[j] * unit[j]
        v0 = rr[j] * unit[j] - mean_r * mean_r
        b = beta[j]
        left[j] = v0 - b * (2.0 * (rm[j] * unit[j] - mean_r * mean_m[j]) - b * var_m[j])
        terms[j] = b * b * var_m[j]
        total[j] = v0
    for j in range(beta.size):
        v0 = total[j]
        fine = v0 > CANCELLATION * (rr[j] * unit[j]) and not terms[j] * CANCELLATION >= v0
        verdict[j] = FITTED if fine else THROUGH_RESIDUALS
    for j in range(beta.size):
        found = verdict[j] if complete[j] else np.uint8(THROUGH_RESIDUALS)
        due = (wanted[j] != 0) & (missing_to[j] - missing_from[j] <= window - min_obs)
        verdict[j] = found if due else np.uint8(NOTHING)
    for j in range(beta.size):
        v0, v1 = total[j], left[j]
        inverse = 1.0 / v0
        explained, rest = (v0 - v1) * inverse, v1 * inverse
        fitted = verdict[j] == FITTED
        variance[j] = v0 if fitted else np.nan
        market[j] = explained if fitted else np.nan
        residual[j] = rest if fitted else np.nan


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1], i8, f8[::1], f8[::1],"
    "u1[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])"
)
def _sector_shares(
    rm: Floats,
    rs: Floats,
    r1: Floats,
    sm: Floats,
    factors: Floats,
    at: int,
    beta1: Floats,
    beta2: Floats,
    verdict: Bytes,
    total: Floats,
    left: Floats,
    terms: Floats,
    market1: Floats,
    market: Floats,
    sector: Floats,
    residual: Floats,
) -> None:
    """L2, in the manner of `_market_shares`. Without gaps in the legs, a factor has one share at all its levels."""
    here = slice(at, at + beta2.size)
    unit, mean_m, mean_s = factors[_UNIT, here], factors[_MEAN_M, here], factors[_MEAN_S, here]
    star_m, var, size = factors[_STAR_M2, here], factors[_VAR2, here], factors[_TERMS2, here]
    for j in range(beta2.size):
        mean_r = r1[j] * unit[j]
        cov_m = rm[j] * unit[j] - mean_r * mean_m[j]
        cov_s = rs[j] * unit[j] - mean_r * mean_s[j]
        b = beta2[j]
        v1, v0 = left[j], total[j]
        v2 = v1 - b * (2.0 * ((cov_s - sm[j] * cov_m) - beta1[j] * star_m[j]) - b * var[j])
        sizes = terms[j] + b * b * size[j]
        found = THROUGH_RESIDUALS if verdict[j] == FITTED and sizes * CANCELLATION >= v0 else verdict[j]
        inverse = 1.0 / v0
        above, explained, rest = market1[j], (v1 - v2) * inverse, v2 * inverse
        verdict[j] = found
        left[j], terms[j] = v2, sizes
        known = (found == FITTED) & (v2 == v2)
        market[j] = above if known else np.nan
        sector[j] = explained if known else np.nan
        residual[j] = rest if known else np.nan


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1], i8, f8[::1], f8[::1], f8[::1],"
    "u1[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])"
)
def _subsector_shares(
    rm: Floats,
    rs: Floats,
    ru: Floats,
    r1: Floats,
    sm: Floats,
    us: Floats,
    factors: Floats,
    at: int,
    beta1: Floats,
    beta2: Floats,
    beta3: Floats,
    verdict: Bytes,
    total: Floats,
    left: Floats,
    terms: Floats,
    market1: Floats,
    sector2: Floats,
    market: Floats,
    sector: Floats,
    subsector: Floats,
    residual: Floats,
) -> None:
    """L3, in the manner of `_sector_shares`. `residual` holds V3 on the way."""
    here = slice(at, at + beta3.size)
    unit, mean_m, mean_s, mean_u = (
        factors[_UNIT, here],
        factors[_MEAN_M, here],
        factors[_MEAN_S, here],
        factors[_MEAN_U, here],
    )
    star_m, star_s, um = factors[_STAR_M3, here], factors[_STAR_S3, here], factors[_UM, here]
    var, size = factors[_VAR3, here], factors[_TERMS3, here]
    for j in range(beta3.size):
        mean_r = r1[j] * unit[j]
        cov_m = rm[j] * unit[j] - mean_r * mean_m[j]
        cov_s = rs[j] * unit[j] - mean_r * mean_s[j]
        cov_u = ru[j] * unit[j] - mean_r * mean_u[j]
        of_u = (cov_u - um[j] * cov_m) - us[j] * cov_s
        b = beta3[j]
        xy = (of_u - (beta1[j] - beta2[j] * sm[j]) * star_m[j]) - beta2[j] * star_s[j]
        residual[j] = left[j] - b * (2.0 * xy - b * var[j])
    for j in range(beta3.size):
        b = beta3[j]
        lost = (terms[j] + b * b * size[j]) * CANCELLATION >= total[j]
        verdict[j] = THROUGH_RESIDUALS if verdict[j] == FITTED and lost else verdict[j]
    for j in range(beta3.size):
        v3, inverse = residual[j], 1.0 / total[j]
        first, second, explained, rest = market1[j], sector2[j], (left[j] - v3) * inverse, v3 * inverse
        known = (verdict[j] == FITTED) & (v3 == v3)
        market[j] = first if known else np.nan
        sector[j] = second if known else np.nan
        subsector[j] = explained if known else np.nan
        residual[j] = rest if known else np.nan


@kernel(
    "void(f8[:,::1], f8[:,::1], f8[:,::1], i8, i2[:,::1], i2[:,::1], f8[:,:,::1], b1[:,::1], i8[:,::1],"
    "f8[:,:,::1], f8[:,:,::1], u1[:,::1], i8, i8, i8, f8[::1], f8[::1], i8, f8[:,:,::1], f8[:,::1],"
    "f8[:,::1], i8[::1], u1[::1])"
)
def explained_risk_tile(
    r: Floats,
    filled: Floats,
    valid: Floats,
    market: int,
    sector: Codes,
    subsector: Codes,
    beta: Floats,
    wanted: Bools,
    pair_of: Ints,
    centred: Floats,
    link: Floats,
    complete: Bytes,
    first: int,
    start: int,
    stop: int,
    weights: Floats,
    ages: Floats,
    min_obs: int,
    shares: Floats,
    variance: Floats,
    columns_of: Floats,
    missing: Ints,
    verdict: Bytes,
) -> None:
    """Sessions [start, stop) of every stock of r (n, T); arguments as in `cascade_tile`, beta (3, n, T') adjusted.

    centred: (P, CENTRED, C) of each pair.
    Outputs: shares (9, n, T') in the order of `SHARES`, variance (n, T'); NaN where not wanted. Scratch: `scratch`.
    """
    window = weights.size - 1
    count = stop - start
    columns = count + window - 1
    none = filled.shape[0] - 1
    here = slice(start, start + columns + LANES)
    row, ok, x, sums = columns_of[0], columns_of[1], columns_of[2:8], columns_of[8:13]
    own_gram, own = columns_of[13:24], columns_of[24:37]
    total, left, terms, work = columns_of[37], columns_of[38], columns_of[39], columns_of[40:44]
    m, vm = filled[market, here], valid[market, here]

    gaps = -1
    for i in range(r.shape[0]):
        done = start
        begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], start, stop)
        if begin < stop:
            gaps = split_missing(r[i, start : start + columns], row, ok, missing, gaps)
        while begin < stop:
            depth, _, _ = ladder(market, s_etf, u_etf)
            if done < begin:
                shares[:, i, done:begin] = np.nan
                variance[i, done:begin] = np.nan
            if depth < 3:
                shares[2 if depth == 1 else 5 :, i, begin:end] = np.nan
            p = pair_of[s_etf + 1, u_etf + 1]
            s_row = s_etf if depth >= 2 else none
            u_row = u_etf if depth >= 3 else none
            s, vs = filled[s_row, here], valid[s_row, here]
            u, vu = filled[u_row, here], valid[u_row, here]
            c, length = begin - start, end - begin
            run, cells, phase = slice(c, c + length + window - 1), slice(c, c + length), (first + begin) % window
            window_sums(
                *(row[run], row[run], m[run], s[run], u[run], length, phase, weights, ages),
                *(sums[RR], sums[RM], sums[RS], sums[RU], sums[R]),
            )
            factors, at = centred[p], c
            if missing[c + length + window - 1] != missing[c]:
                factor_sums(ok[run], m[run], s[run], u[run], length, phase, weights, ages, True, x, own_gram)
                centre_factors(own_gram, link[p], c, length, own)
                factors, at = own, 0
            rr, rm, rs, ru = sums[RR, :length], sums[RM, :length], sums[RS, :length], sums[RU, :length]
            r1, sm, us = sums[R, :length], link[p, SECTOR_ON_MARKET, cells], link[p, SUB_ON_SECTOR, cells]
            b1 = beta[0, i, begin:end]
            market1 = shares[0, i, begin:end]
            _market_shares(
                rr,
                rm,
                r1,
                factors,
                at,
                b1,
                missing[cells],
                missing[c + window : c + window + length],
                window,
                min_obs,
                complete[p, cells],
                wanted[i, begin:end],
                verdict,
                total,
                left,
                terms,
                variance[i, begin:end],
                market1,
                shares[1, i, begin:end],
            )
            b2, b3, sector2 = beta[1, i, begin:end], beta[2, i, begin:end], shares[3, i, begin:end]
            if depth >= 2:
                _sector_shares(
                    *(rm, rs, r1, sm, factors, at, b1, b2, verdict, total, left, terms),
                    *(market1, shares[2, i, begin:end], sector2, shares[4, i, begin:end]),
                )
            if depth >= 3:
                _subsector_shares(
                    *(rm, rs, ru, r1, sm, us, factors, at, b1, b2, b3, verdict, total, left, terms),
                    *(market1, sector2, shares[5, i, begin:end], shares[6, i, begin:end]),
                    *(shares[7, i, begin:end], shares[8, i, begin:end]),
                )
            for t in range(begin, end):
                if verdict[t - begin] == THROUGH_RESIDUALS:
                    deep = 0
                    while deep < depth and not np.isnan(beta[deep, i, t]):
                        deep += 1
                    j = t - start
                    w = slice(j, j + window)
                    variance[i, t] = _through_window(
                        row[w],
                        ok[w],
                        m[w],
                        vm[w],
                        s[w],
                        vs[w],
                        u[w],
                        vu[w],
                        ages,
                        beta[0, i, t],
                        beta[1, i, t],
                        beta[2, i, t],
                        link[p, SECTOR_ON_MARKET, j],
                        link[p, SUB_ON_MARKET, j],
                        link[p, SUB_ON_SECTOR, j],
                        deep,
                        work,
                        shares,
                        i,
                        t,
                    )
            done = end
            begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], end, stop)
        if done < stop:
            shares[:, i, done:stop] = np.nan
            variance[i, done:stop] = np.nan


def scratch(count: int, window: int) -> tuple[Floats, Ints, Bytes]:
    """The last arguments of `explained_risk_tile` for up to `count` sessions; one set per worker."""
    columns = count + window - 1
    return np.empty((44, columns + LANES)), np.empty(columns + 1, np.int64), np.empty(count, np.uint8)
