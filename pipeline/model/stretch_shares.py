"""Explained-risk shares of a stretch of sessions from rolling sums of products; `explained_risk` has the definitions.

The manner is that of `stretch_fit`. Where the terms that a variance is made of are far larger than the variance,
cancellation has eaten its digits, and the verdict sends the session `THROUGH_RESIDUALS`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.model.assignments import Stretch
from pipeline.model.compiled import Bytes1D, Floats1D, Floats2D, Floats3D, kernel
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
)
from pipeline.model.stretch_fit import (
    FITTED,
    NOTHING,
    THROUGH_RESIDUALS,
    Coverage,
    FactorColumns,
    Links,
    StockSums,
)

# Rows of what the levels need of the factors: 1 / sum w, means of the raw factors, variance of each level's factor,
# covariances of the cleaned factors with the raw ones above them, and how large the terms of those variances are.
_UNIT, _MEAN_M, _MEAN_S, _MEAN_U, _VAR1, _VAR2, _VAR3, _STAR_M2, _STAR_M3, _STAR_S3, _UM, _TERMS2, _TERMS3 = range(13)
CENTRED = 13


class Shares(NamedTuple):
    """The outputs: shares (9, n, T') in the order of `SHARES`, total variance (n, T')."""

    shares: Floats3D
    variance: Floats2D


class Betas1D(NamedTuple):
    """Adjusted betas of the sessions, from L1 to L3."""

    b1: Floats1D
    b2: Floats1D
    b3: Floats1D


class Left(NamedTuple):
    """What a level leaves to the next.

    verdict: FITTED, THROUGH_RESIDUALS or NOTHING; total: V0; left: the variance that is left
    terms:   the size of the terms that it is made of
    """

    verdict: Bytes1D
    total: Floats1D
    left: Floats1D
    terms: Floats1D


@kernel
def centre_factors(gram: Floats2D, link: Floats2D, link_at: int, count: int, out: Floats2D) -> None:
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


@kernel
def market_shares(
    sums: StockSums,
    factors: FactorColumns,
    betas: Betas1D,
    seen: Coverage,
    window: int,
    min_obs: int,
    rest: Left,
    out: Shares,
    cells: Stretch,
) -> None:
    """Total variance and L1 of some cells."""
    rr, rm, r1, beta = sums.rr, sums.rm, sums.r, betas.b1
    verdict, total, left, terms = rest
    here, i, at = slice(factors.at, factors.at + beta.size), cells.stock, slice(cells.begin, cells.end)
    unit, mean_m, var_m = factors.rows[_UNIT, here], factors.rows[_MEAN_M, here], factors.rows[_VAR1, here]
    variance, market, residual = out.variance[i, at], out.shares[0, i, at], out.shares[1, i, at]
    complete, wanted = seen.complete, seen.wanted
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
        due = (wanted[j] != 0) & (seen.missing_to[j] - seen.missing_from[j] <= window - min_obs)
        verdict[j] = found if due else np.uint8(NOTHING)
    for j in range(beta.size):
        v0, v1 = total[j], left[j]
        inverse = 1.0 / v0
        explained, remains = (v0 - v1) * inverse, v1 * inverse
        fitted = verdict[j] == FITTED
        variance[j] = v0 if fitted else np.nan
        market[j] = explained if fitted else np.nan
        residual[j] = remains if fitted else np.nan


@kernel
def sector_shares(
    sums: StockSums, links: Links, factors: FactorColumns, betas: Betas1D, rest: Left, out: Shares, cells: Stretch
) -> None:
    """L2 of some cells. Without gaps in the legs, a factor has one share at all its levels."""
    rm, rs, r1, sm, beta1, beta2 = sums.rm, sums.rs, sums.r, links.sm, betas.b1, betas.b2
    verdict, total, left, terms = rest
    here, i, at = slice(factors.at, factors.at + beta2.size), cells.stock, slice(cells.begin, cells.end)
    unit, mean_m, mean_s = factors.rows[_UNIT, here], factors.rows[_MEAN_M, here], factors.rows[_MEAN_S, here]
    star_m, var, size = factors.rows[_STAR_M2, here], factors.rows[_VAR2, here], factors.rows[_TERMS2, here]
    market1, market, sector = out.shares[0, i, at], out.shares[2, i, at], out.shares[3, i, at]
    residual = out.shares[4, i, at]
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
        above, explained, remains = market1[j], (v1 - v2) * inverse, v2 * inverse
        verdict[j] = found
        left[j], terms[j] = v2, sizes
        known = (found == FITTED) & (v2 == v2)
        market[j] = above if known else np.nan
        sector[j] = explained if known else np.nan
        residual[j] = remains if known else np.nan


@kernel
def subsector_shares(
    sums: StockSums, links: Links, factors: FactorColumns, betas: Betas1D, rest: Left, out: Shares, cells: Stretch
) -> None:
    """L3 of some cells. Its residual share holds V3 on the way."""
    rm, rs, ru, r1, sm, us = sums.rm, sums.rs, sums.ru, sums.r, links.sm, links.us
    beta1, beta2, beta3 = betas
    verdict, total, left, terms = rest
    here, i, at = slice(factors.at, factors.at + beta3.size), cells.stock, slice(cells.begin, cells.end)
    unit, mean_m, mean_s = factors.rows[_UNIT, here], factors.rows[_MEAN_M, here], factors.rows[_MEAN_S, here]
    mean_u, um = factors.rows[_MEAN_U, here], factors.rows[_UM, here]
    star_m, star_s = factors.rows[_STAR_M3, here], factors.rows[_STAR_S3, here]
    var, size = factors.rows[_VAR3, here], factors.rows[_TERMS3, here]
    market1, sector2 = out.shares[0, i, at], out.shares[3, i, at]
    market, sector, subsector = out.shares[5, i, at], out.shares[6, i, at], out.shares[7, i, at]
    residual = out.shares[8, i, at]
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
        first, second, explained, remains = market1[j], sector2[j], (left[j] - v3) * inverse, v3 * inverse
        known = (verdict[j] == FITTED) & (v3 == v3)
        market[j] = first if known else np.nan
        sector[j] = second if known else np.nan
        subsector[j] = explained if known else np.nan
        residual[j] = remains if known else np.nan
