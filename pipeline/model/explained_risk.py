"""Shares of explained risk and the decomposition of one session (docs/methodology.md, sections 7 to 9).

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
    factor_products,
)
from pipeline.model.window import LANES, count_missing, next_run, split_missing, stock_sums, window_sums

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
    """(V0, V1, V2, V3, mean of r^2) under the weights w, mean removed in a second pass."""
    total = square = 0.0
    mean = np.zeros(4)
    for i in range(r.size):
        sector = s[i] - sm * m[i]
        work[0, i] = r[i]
        work[1, i] = r[i] - b1 * m[i]
        work[2, i] = work[1, i] - b2 * sector
        work[3, i] = work[2, i] - b3 * ((u[i] - um * m[i]) - us * sector)
        total += w[i]
        square += w[i] * r[i] * r[i]
        for k in range(4):
            mean[k] += w[i] * work[k, i]
    v = np.zeros(4)
    for k in range(4):
        mean[k] /= total
        for i in range(r.size):
            v[k] += w[i] * (work[k, i] - mean[k]) ** 2
        v[k] /= total
    return v[0], v[1], v[2], v[3], square / total


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
    w = work[4]
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


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], i8[::1], i8[::1], i8, i8, u1[::1], b1[::1],"
    "u1[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])"
)
def _market_shares(
    rr: Floats,
    rm: Floats,
    r1: Floats,
    mm: Floats,
    m1: Floats,
    sw: Floats,
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
    """Total variance and L1 of a run from its window sums.

    For the levels below: verdict, total = V0, left = V1, and the size of the terms that V1 is made of; where that is
    far above V0, cancellation has eaten the digits.
    """
    for j in range(rr.size):
        inverse = 1.0 / sw[j]
        mean_r, mean_m = r1[j] * inverse, m1[j] * inverse
        v0 = rr[j] * inverse - mean_r * mean_r
        rm_c = rm[j] * inverse - mean_r * mean_m
        mm_c = mm[j] * inverse - mean_m * mean_m
        b = beta[j]
        v1 = v0 - b * (2.0 * rm_c - b * mm_c)
        size = b * b * mm_c
        enough = window - (missing_to[j] - missing_from[j]) >= min_obs
        fine = (v0 > CANCELLATION * (rr[j] * inverse)) & (not (size * CANCELLATION >= v0))
        verdict[j] = NOTHING if not (wanted[j] and enough) else FITTED if complete[j] and fine else THROUGH_RESIDUALS
        fitted = verdict[j] == FITTED
        unit = 1.0 / v0
        total[j], left[j], terms[j] = v0, v1, size
        variance[j] = v0 if fitted else np.nan
        market[j] = (v0 - v1) * unit if fitted else np.nan
        residual[j] = v1 * unit if fitted else np.nan


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1],"
    "u1[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])"
)
def _sector_shares(
    rm: Floats,
    rs: Floats,
    r1: Floats,
    mm: Floats,
    ms: Floats,
    ss: Floats,
    m1: Floats,
    s1: Floats,
    sw: Floats,
    sm: Floats,
    beta1: Floats,
    beta2: Floats,
    verdict: Bytes,
    total: Floats,
    left: Floats,
    terms: Floats,
    market_above: Floats,
    market: Floats,
    sector: Floats,
    residual: Floats,
) -> None:
    """L2, in the manner of `_market_shares`. Without gaps in the legs the market share is the same at every level."""
    for j in range(rm.size):
        inverse = 1.0 / sw[j]
        mean_r, mean_m, mean_s = r1[j] * inverse, m1[j] * inverse, s1[j] * inverse
        rm_c = rm[j] * inverse - mean_r * mean_m
        rs_c = rs[j] * inverse - mean_r * mean_s
        mm_c = mm[j] * inverse - mean_m * mean_m
        ms_c = ms[j] * inverse - mean_m * mean_s
        ss_c = ss[j] * inverse - mean_s * mean_s
        b = beta2[j]
        star_m = ms_c - sm[j] * mm_c
        star = (ss_c - sm[j] * ms_c) - sm[j] * star_m
        xy = (rs_c - sm[j] * rm_c) - beta1[j] * star_m
        v1, v0 = left[j], total[j]
        v2 = v1 - b * (2.0 * xy - b * star)
        size = terms[j] + b * b * (ss_c + sm[j] * sm[j] * mm_c)
        verdict[j] = THROUGH_RESIDUALS if (verdict[j] == FITTED) & (size * CANCELLATION >= v0) else verdict[j]
        fitted = (verdict[j] == FITTED) & (v2 == v2)
        unit = 1.0 / v0
        left[j], terms[j] = v2, size
        market[j] = market_above[j] if fitted else np.nan
        sector[j] = (v1 - v2) * unit if fitted else np.nan
        residual[j] = v2 * unit if fitted else np.nan


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1],"
    "f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1],"
    "u1[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])"
)
def _subsector_shares(
    rm: Floats,
    rs: Floats,
    ru: Floats,
    r1: Floats,
    mm: Floats,
    ms: Floats,
    mu: Floats,
    ss: Floats,
    su: Floats,
    uu: Floats,
    m1: Floats,
    s1: Floats,
    u1: Floats,
    sw: Floats,
    sm: Floats,
    on_market: Floats,
    us: Floats,
    beta1: Floats,
    beta2: Floats,
    beta3: Floats,
    verdict: Bytes,
    total: Floats,
    left: Floats,
    terms: Floats,
    market_above: Floats,
    sector_above: Floats,
    market: Floats,
    sector: Floats,
    subsector: Floats,
    residual: Floats,
) -> None:
    """L3, in the manner of `_sector_shares`."""
    for j in range(rm.size):
        inverse = 1.0 / sw[j]
        mean_r, mean_m, mean_s, mean_u = r1[j] * inverse, m1[j] * inverse, s1[j] * inverse, u1[j] * inverse
        rm_c = rm[j] * inverse - mean_r * mean_m
        rs_c = rs[j] * inverse - mean_r * mean_s
        ru_c = ru[j] * inverse - mean_r * mean_u
        mm_c = mm[j] * inverse - mean_m * mean_m
        ms_c = ms[j] * inverse - mean_m * mean_s
        mu_c = mu[j] * inverse - mean_m * mean_u
        ss_c = ss[j] * inverse - mean_s * mean_s
        su_c = su[j] * inverse - mean_s * mean_u
        uu_c = uu[j] * inverse - mean_u * mean_u
        b = beta3[j]
        um = on_market[j] - us[j] * sm[j]
        star_m = (mu_c - um * mm_c) - us[j] * ms_c
        star_s = (su_c - um * ms_c) - us[j] * ss_c
        star = ((uu_c - um * mu_c) - us[j] * su_c) - um * star_m - us[j] * star_s
        xy = ((ru_c - um * rm_c) - us[j] * rs_c) - (beta1[j] - beta2[j] * sm[j]) * star_m - beta2[j] * star_s
        v2, v0 = left[j], total[j]
        v3 = v2 - b * (2.0 * xy - b * star)
        size = terms[j] + b * b * (uu_c + um * um * mm_c + us[j] * us[j] * ss_c)
        verdict[j] = THROUGH_RESIDUALS if (verdict[j] == FITTED) & (size * CANCELLATION >= v0) else verdict[j]
        fitted = (verdict[j] == FITTED) & (v3 == v3)
        unit = 1.0 / v0
        market[j] = market_above[j] if fitted else np.nan
        sector[j] = sector_above[j] if fitted else np.nan
        subsector[j] = (v2 - v3) * unit if fitted else np.nan
        residual[j] = v3 * unit if fitted else np.nan


@kernel(
    "void(f8[:,::1], f8[:,::1], f8[:,::1], i8, i2[:,::1], i2[:,::1], f8[:,:,::1], b1[:,::1], i8[:,::1],"
    "f8[:,:,::1], f8[:,:,::1], u1[:,::1], f8[:,::1], i8, i8, i8, f8[::1], f8[::1], i8, f8[:,:,::1], f8[:,::1])"
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
    gram: Floats,
    link: Floats,
    complete: Bytes,
    weight: Floats,
    first: int,
    start: int,
    stop: int,
    weights: Floats,
    ages: Floats,
    min_obs: int,
    shares: Floats,
    variance: Floats,
) -> None:
    """Sessions [start, stop) of every stock of r (n, T); arguments as in `cascade_tile`, beta (3, n, T') adjusted.

    Outputs: shares (9, n, T') in the order of `SHARES`, variance (n, T'); NaN where not wanted.
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
    own_gram, own_weight = np.empty((9, count)), np.empty((1, count))
    total, left, terms = np.empty(count), np.empty(count), np.empty(count)
    verdict = np.empty(count, np.uint8)
    work = np.empty((5, window))
    m, vm = filled[market, here], valid[market, here]

    for i in range(r.shape[0]):
        done = start
        begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], start, stop)
        if begin < stop:
            split_missing(r[i, start : start + columns], row, ok)
            count_missing(ok, missing)
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
            g, sw, g_at = gram[p], weight[0], c
            if missing[c + length + window - 1] != missing[c]:
                factor_products(ok[run], m[run], s[run], u[run], x)
                window_sums(x, 9, length, phase, weights, own_gram)
                x[0, : length + window - 1] = ok[run]
                window_sums(x, 1, length, phase, weights, own_weight)
                g, sw, g_at = own_gram, own_weight[0], 0
            at = slice(g_at, g_at + length)
            _market_shares(
                sums[RR, :length],
                sums[RM, :length],
                sums[R, :length],
                g[MM, at],
                g[M, at],
                sw[at],
                beta[0, i, begin:end],
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
                shares[0, i, begin:end],
                shares[1, i, begin:end],
            )
            if depth >= 2:
                _sector_shares(
                    sums[RM, :length],
                    sums[RS, :length],
                    sums[R, :length],
                    g[MM, at],
                    g[MS, at],
                    g[SS, at],
                    g[M, at],
                    g[S, at],
                    sw[at],
                    link[p, SECTOR_ON_MARKET, cells],
                    beta[0, i, begin:end],
                    beta[1, i, begin:end],
                    verdict,
                    total,
                    left,
                    terms,
                    shares[0, i, begin:end],
                    shares[2, i, begin:end],
                    shares[3, i, begin:end],
                    shares[4, i, begin:end],
                )
            if depth >= 3:
                _subsector_shares(
                    sums[RM, :length],
                    sums[RS, :length],
                    sums[RU, :length],
                    sums[R, :length],
                    g[MM, at],
                    g[MS, at],
                    g[MU, at],
                    g[SS, at],
                    g[SU, at],
                    g[UU, at],
                    g[M, at],
                    g[S, at],
                    g[U, at],
                    sw[at],
                    link[p, SECTOR_ON_MARKET, cells],
                    link[p, SUB_ON_MARKET, cells],
                    link[p, SUB_ON_SECTOR, cells],
                    beta[0, i, begin:end],
                    beta[1, i, begin:end],
                    beta[2, i, begin:end],
                    verdict,
                    total,
                    left,
                    terms,
                    shares[0, i, begin:end],
                    shares[3, i, begin:end],
                    shares[5, i, begin:end],
                    shares[6, i, begin:end],
                    shares[7, i, begin:end],
                    shares[8, i, begin:end],
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


def decompose(
    r_t: Floats, m_t: Floats, s_t: Floats, u_t: Floats, beta: Floats, lambdas: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """(factor_return, combined, residual), each (3, ...), of the session whose returns and betas are given.

    r_t, m_t, s_t, u_t: (...) returns of the session; beta: (3, ...); lambdas: lambda_sm, lambda_um, lambda_us, (...)
    A level without beta is NaN, and so are the combined and residual returns from there on.
    """
    sm, um, us = lambdas
    cleaned_s = s_t - sm * m_t
    factor_return = np.stack(
        np.broadcast_arrays(beta[0] * m_t, beta[1] * cleaned_s, beta[2] * ((u_t - um * m_t) - us * cleaned_s))
    )
    combined = np.cumsum(factor_return, axis=0)
    return factor_return, combined, r_t - combined


def lstar_level(sector_share: Floats, subsector_share: Floats, threshold: float) -> Bytes:
    """Hedge depth L*: 3 if the L3 subsector share reaches the threshold, else 2 if the L2 sector share does, else 1.

    0 when both are missing. sector_share: L2_sector_ER, subsector_share: L3_subsector_ER, of one shape.
    """
    depth = np.where(subsector_share >= threshold, 3, np.where(sector_share >= threshold, 2, 1))
    return np.where(np.isnan(sector_share) & np.isnan(subsector_share), 0, depth).astype(np.uint8)
