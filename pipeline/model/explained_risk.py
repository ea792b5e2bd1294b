"""Shares of explained risk and the decomposition of one session (docs/methodology.md, sections 7 to 9).

    V0 = Var(r), Vk = Var(e_k) over the window, with the adjusted betas and the link betas of its last session
    market = (V0-V1)/V0   sector = (V1-V2)/V0   subsector = (V2-V3)/V0   residual at level k = Vk/V0

Variances are weighted, mean removed, divided by the sum of the weights. Each level is measured on its own sessions
(those in which the stock and all legs up to that level are valid), V0 included, so that its shares add to 1 also when
a leg has gaps. The total variance is measured on all sessions of the stock.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.cascade import ROUNDING, ladder
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
from pipeline.model.window import count_missing, next_run, split_missing, window_sums

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

# Rows of the sums of one stock.
_RR, _RM, _RS, _RU, _R = range(5)


@kernel("void(f8, f8, f8, f8, i8, f8[:,::1], i8)")
def _write_shares(v0: float, v1: float, v2: float, v3: float, level: int, shares: Floats, j: int) -> None:
    """The shares of one level (1, 2, 3) from its variances."""
    if level == 1:
        shares[0, j] = (v0 - v1) / v0
        shares[1, j] = v1 / v0
    elif level == 2:
        shares[2, j] = (v0 - v1) / v0
        shares[3, j] = (v1 - v2) / v0
        shares[4, j] = v2 / v0
    else:
        shares[5, j] = (v0 - v1) / v0
        shares[6, j] = (v1 - v2) / v0
        shares[7, j] = (v2 - v3) / v0
        shares[8, j] = v3 / v0


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
    "i8, f8[:,::1], f8[:,::1], i8)"
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
    j: int,
) -> float:
    """Total variance, and the shares of the first `depth` levels into column j, from the residuals of one window."""
    w = work[4]
    for i in range(r.size):
        w[i] = ages[i] * vr[i]
    b2, sm = (b2, sm) if depth >= 2 else (0.0, 0.0)
    b3, um, us = (b3, um, us) if depth >= 3 else (0.0, 0.0, 0.0)
    variance, _, _, _, square = _variances(r, m, s, u, w, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, work)
    if variance <= ROUNDING * square:
        return 0.0
    for level in range(1, depth + 1):
        for i in range(r.size):
            w[i] *= vm[i] if level == 1 else vs[i] if level == 2 else vu[i]
        second = b2 if level >= 2 else 0.0
        third = b3 if level >= 3 else 0.0
        v0, v1, v2, v3, square = _variances(r, m, s, u, w, b1, second, third, sm, um, us, work)
        if v0 > ROUNDING * square:
            _write_shares(v0, v1, v2, v3, level, shares, j)
    return variance


@kernel(
    "void(f8[:,::1], f8[:,::1], f8[:,::1], f8[:,::1], f8[:,::1], u1[::1], i8[::1], b1[::1], i8, i8, u1[::1],"
    "f8[:,::1], f8[::1])"
)
def _from_sums(
    sums: Floats,
    gram: Floats,
    weight: Floats,
    link: Floats,
    beta: Floats,
    complete: Bytes,
    n: Ints,
    wanted: Bools,
    depth: int,
    min_obs: int,
    through_residuals: Bytes,
    shares: Floats,
    variance: Floats,
) -> None:
    """Shares (9, C) and total variance (C,) of a run from window sums; both preset to NaN. As in the cascade."""
    for j in range(n.size):
        through_residuals[j] = 0
        if not wanted[j] or n[j] < min_obs:
            continue
        if not complete[j] or np.isnan(beta[0, j]):
            through_residuals[j] = 1
            continue
        sw = weight[0, j]
        r, m = sums[_R, j], gram[M, j]
        rr = sums[_RR, j] - r * r / sw
        rm = sums[_RM, j] - r * m / sw
        mm = gram[MM, j] - m * m / sw
        b1 = beta[0, j]
        q1 = rr - b1 * (2.0 * rm - b1 * mm)
        q2 = q3 = np.nan
        size = b1 * b1 * mm
        deep = 1
        if depth >= 2 and not np.isnan(beta[1, j]):
            deep = 2
            s = gram[S, j]
            rs = sums[_RS, j] - r * s / sw
            ms = gram[MS, j] - m * s / sw
            ss = gram[SS, j] - s * s / sw
            sm = link[SECTOR_ON_MARKET, j]
            b2 = beta[1, j]
            star_ms = ms - sm * mm
            star_ss = (ss - sm * ms) - sm * star_ms
            xy2 = (rs - sm * rm) - b1 * star_ms
            q2 = q1 - b2 * (2.0 * xy2 - b2 * star_ss)
            size += b2 * b2 * (ss + sm * sm * mm)
            if depth >= 3 and not np.isnan(beta[2, j]):
                deep = 3
                u = gram[U, j]
                ru = sums[_RU, j] - r * u / sw
                mu = gram[MU, j] - m * u / sw
                su = gram[SU, j] - s * u / sw
                uu = gram[UU, j] - u * u / sw
                us = link[SUB_ON_SECTOR, j]
                um = link[SUB_ON_MARKET, j] - us * sm
                b3 = beta[2, j]
                star_m = (mu - um * mm) - us * ms
                star_s = (su - um * ms) - us * ss
                star_uu = ((uu - um * mu) - us * su) - um * star_m - us * star_s
                xy3 = ((ru - um * rm) - us * rs) - (b1 - b2 * sm) * star_m - b2 * star_s
                q3 = q2 - b3 * (2.0 * xy3 - b3 * star_uu)
                size += b3 * b3 * (uu + um * um * mm + us * us * ss)
        if not (rr > CANCELLATION * sums[_RR, j] and size < rr / CANCELLATION):
            through_residuals[j] = 1
            continue
        variance[j] = rr / sw
        _write_shares(rr, q1, q2, q3, 1, shares, j)
        if deep >= 2:
            _write_shares(rr, q1, q2, q3, 2, shares, j)
        if deep >= 3:
            _write_shares(rr, q1, q2, q3, 3, shares, j)


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1])")
def _products(r: Floats, m: Floats, s: Floats, u: Floats, x: Floats) -> None:
    for c in range(r.size):
        x[_RR, c] = r[c] * r[c]
        x[_RM, c] = r[c] * m[c]
        x[_RS, c] = r[c] * s[c]
        x[_RU, c] = r[c] * u[c]
        x[_R, c] = r[c]


@kernel(
    "void(f8[:,::1], f8[:,::1], f8[:,::1], i8, i2[:,::1], i2[:,::1], f8[:,:,::1], b1[:,::1], i8[:,::1],"
    "f8[:,:,::1], f8[:,:,::1], u1[:,::1], f8[:,::1], i8, i8, i8, f8[::1], i8, f8[:,:,::1], f8[:,::1])"
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
    ages = weights[:window][::-1].copy()
    row, ok = np.empty(columns), np.empty(columns)
    missing = np.empty(columns + 1, np.int64)
    x = np.empty((9, columns))
    sums = np.empty((5, count))
    n = np.empty(count, np.int64)
    through_residuals = np.empty(count, np.uint8)
    run_gram, run_weight, run_link = np.empty(9 * count), np.empty(count), np.empty(3 * count)
    run_beta, run_shares = np.empty(3 * count), np.empty(9 * count)
    work = np.empty((5, window))
    m = filled[market, start : start + columns]
    vm = valid[market, start : start + columns]

    for i in range(r.shape[0]):
        for k in range(9):
            shares[k, i, start:stop] = np.nan
        variance[i, start:stop] = np.nan
        begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], start, stop)
        if begin == stop:
            continue
        split_missing(r[i, start : start + columns], row, ok)
        count_missing(ok, missing)
        while begin < stop:
            depth, _, _ = ladder(market, s_etf, u_etf)
            p = pair_of[s_etf + 1, u_etf + 1]
            c = begin - start
            length = end - begin
            span = slice(c, c + length + window - 1)
            phase = (first + begin) % window
            s_row = s_etf if depth >= 2 else none
            u_row = u_etf if depth >= 3 else none
            s, vs = filled[s_row, start : start + columns], valid[s_row, start : start + columns]
            u, vu = filled[u_row, start : start + columns], valid[u_row, start : start + columns]
            _products(row[span], m[span], s[span], u[span], x)
            window_sums(x, 5, length, phase, weights, sums)
            g = run_gram[: 9 * length].reshape(9, length)
            w = run_weight[:length].reshape(1, length)
            if missing[c + length + window - 1] == missing[c]:
                g[:] = gram[p, :, c : c + length]
                w[0] = weight[0, c : c + length]
            else:
                factor_products(ok[span], m[span], s[span], u[span], x)
                window_sums(x, 9, length, phase, weights, g)
                x[0, : length + window - 1] = ok[span]
                window_sums(x, 1, length, phase, weights, w)
            lam = run_link[: 3 * length].reshape(3, length)
            lam[:] = link[p, :, c : c + length]
            b = run_beta[: 3 * length].reshape(3, length)
            for level in range(3):
                b[level] = beta[level, i, begin:end]
            for j in range(length):
                n[j] = window - (missing[c + j + window] - missing[c + j])
            out = run_shares[: 9 * length].reshape(9, length)
            out[:] = np.nan
            _from_sums(
                sums,
                g,
                w,
                lam,
                b,
                complete[p, c : c + length],
                n[:length],
                wanted[i, begin:end],
                depth,
                min_obs,
                through_residuals,
                out,
                variance[i, begin:end],
            )
            for j in range(length):
                if through_residuals[j]:
                    deep = 0
                    while deep < depth and not np.isnan(b[deep, j]):
                        deep += 1
                    at = slice(c + j, c + j + window)
                    variance[i, begin + j] = _through_window(
                        row[at],
                        ok[at],
                        m[at],
                        vm[at],
                        s[at],
                        vs[at],
                        u[at],
                        vu[at],
                        ages,
                        b[0, j],
                        b[1, j],
                        b[2, j],
                        lam[SECTOR_ON_MARKET, j],
                        lam[SUB_ON_MARKET, j],
                        lam[SUB_ON_SECTOR, j],
                        deep,
                        work,
                        out,
                        j,
                    )
            for k in range(9):
                shares[k, i, begin:end] = out[k]
            begin, end, s_etf, u_etf = next_run(sector[i], subsector[i], wanted[i], end, stop)


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
