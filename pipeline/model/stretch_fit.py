"""The cascade of a stretch of sessions from rolling sums of products: `ols` and `ridge` without gaps in the legs.

Each level takes from the sums what is left of the one above. Where that is so little that cancellation has eaten its
digits, the verdict sends the session `THROUGH_RESIDUALS`.

Loops are short and choose between values already computed: the compiler turns a choice between computing and not, or a
loop over more arrays than it will check for overlap, into one session at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.model.assignments import Stretch
from pipeline.model.compiled import Bools1D, Bytes1D, Codes1D, Floats1D, Floats2D, Ints1D, inlined, kernel
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
    W,
)
from pipeline.model.reasons import DegenerateReason
from pipeline.model.window_fit import Betas

_TOO_FEW_OBS = int(DegenerateReason.TOO_FEW_OBS)
_LEVEL_ABOVE = int(DegenerateReason.LEVEL_ABOVE)

# What the rolling sums of a session came to.
FITTED, THROUGH_RESIDUALS, NOTHING = 0, 1, 2

# Rows of what the levels need of the factors: 1/(<x,x> + penalty), <x,x> and 1/(<x,x> (n_eff - 1)) for the factor x of
# each level, and the products of the cleaned factors with the raw ones above them.
_INVERSE1, _SQUARE1, _ERROR1, _INVERSE2, _SQUARE2, _ERROR2, _INVERSE3, _SQUARE3, _ERROR3 = range(9)
_STAR_M2, _STAR_M3, _STAR_S3, _UM = range(9, 13)
CLEANED = 13


class StockSums(NamedTuple):
    """Window sums of a stock's returns r: with themselves, with the raw returns of its ETFs, and alone."""

    rr: Floats1D
    rm: Floats1D
    rs: Floats1D
    ru: Floats1D
    r: Floats1D


class FactorColumns(NamedTuple):
    """Rows of sums of the factors (of `clean_factors`, or of `centre_factors`), from column `at` on."""

    rows: Floats2D
    at: int


class Links(NamedTuple):
    """lambda_sm and lambda_us of the sessions."""

    sm: Floats1D
    us: Floats1D


class Coverage(NamedTuple):
    """Of the windows of some cells.

    missing_from, missing_to: sessions without a return before their first session, and before the first one after them
    complete: whether the legs are valid in all sessions; wanted: whether the cell is
    """

    missing_from: Ints1D
    missing_to: Ints1D
    complete: Bytes1D
    wanted: Bools1D


class Remainder(NamedTuple):
    """What a level leaves to the next: its residual squares, and FITTED, THROUGH_RESIDUALS or NOTHING."""

    rss: Floats1D
    verdict: Bytes1D


class Level(NamedTuple):
    """The cells of one level of `Betas`."""

    beta: Floats1D
    se: Floats1D
    n_obs: Codes1D
    reason: Bytes1D


@inlined
def level_of(out: Betas, level: int, cells: Stretch) -> Level:
    """A view of the outputs."""
    i, begin, end = cells
    return Level(
        out.beta[level, i, begin:end],
        out.se[level, i, begin:end],
        out.n_obs[level, i, begin:end],
        out.reason[level, i, begin:end],
    )


@kernel
def clean_factors(
    gram: Floats2D, weight2: Floats1D, link: Floats2D, link_at: int, count: int, alpha: float, out: Floats2D
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


@kernel
def market_level(
    sums: StockSums, factors: FactorColumns, seen: Coverage, window: int, min_obs: int, left: Remainder, level: Level
) -> None:
    """L1 of some cells."""
    rr, rm, rss, verdict = sums.rr, sums.rm, left.rss, left.verdict
    beta, se, n_obs, reason = level
    here = slice(factors.at, factors.at + beta.size)
    inverse, square, error = factors.rows[_INVERSE1, here], factors.rows[_SQUARE1, here], factors.rows[_ERROR1, here]
    complete, wanted = seen.complete, seen.wanted
    for j in range(beta.size):
        b = rm[j] * inverse[j]
        beta[j] = b
        rss[j] = rr[j] - b * (2.0 * rm[j] - b * square[j])
    for j in range(beta.size):
        verdict[j] = FITTED if rss[j] > CANCELLATION * rr[j] else THROUGH_RESIDUALS
    for j in range(beta.size):
        n_obs[j] = window - (seen.missing_to[j] - seen.missing_from[j])
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


@kernel
def sector_level(
    sums: StockSums, links: Links, factors: FactorColumns, market: Floats1D, left: Remainder, level: Level
) -> None:
    """L2 of some cells; market: their betas of L1."""
    rr, rm, rs, sm, rss, verdict = sums.rr, sums.rm, sums.rs, links.sm, left.rss, left.verdict
    beta, se = level.beta, level.se
    here = slice(factors.at, factors.at + beta.size)
    inverse, square, error = factors.rows[_INVERSE2, here], factors.rows[_SQUARE2, here], factors.rows[_ERROR2, here]
    star_m = factors.rows[_STAR_M2, here]
    for j in range(beta.size):
        xy = (rs[j] - sm[j] * rm[j]) - market[j] * star_m[j]
        b = xy * inverse[j]
        rest = rss[j] - b * (2.0 * xy - b * square[j])
        found = THROUGH_RESIDUALS if verdict[j] == FITTED and not rest > CANCELLATION * rr[j] else verdict[j]
        e = np.sqrt(rest * error[j])
        verdict[j] = found
        rss[j] = rest
        beta[j] = b if found == FITTED else np.nan
        se[j] = e if found == FITTED else np.nan


@kernel
def subsector_level(
    sums: StockSums,
    links: Links,
    factors: FactorColumns,
    market: Floats1D,
    sector: Floats1D,
    left: Remainder,
    level: Level,
) -> None:
    """L3 of some cells; market, sector: their betas of L1 and L2."""
    rr, rm, rs, ru, rss, verdict = sums.rr, sums.rm, sums.rs, sums.ru, left.rss, left.verdict
    sm, us, beta, se = links.sm, links.us, level.beta, level.se
    here = slice(factors.at, factors.at + beta.size)
    inverse, square, error = factors.rows[_INVERSE3, here], factors.rows[_SQUARE3, here], factors.rows[_ERROR3, here]
    star_m, star_s, um = factors.rows[_STAR_M3, here], factors.rows[_STAR_S3, here], factors.rows[_UM, here]
    for j in range(beta.size):
        of_u = (ru[j] - um[j] * rm[j]) - us[j] * rs[j]
        xy = (of_u - (market[j] - sector[j] * sm[j]) * star_m[j]) - sector[j] * star_s[j]
        b = xy * inverse[j]
        rest = rss[j] - b * (2.0 * xy - b * square[j])
        found = THROUGH_RESIDUALS if verdict[j] == FITTED and not rest > CANCELLATION * rr[j] else verdict[j]
        e = np.sqrt(rest * error[j])
        verdict[j] = found
        beta[j] = b if found == FITTED else np.nan
        se[j] = e if found == FITTED else np.nan


@kernel
def same_sessions(above: Level, level: Level) -> None:
    """Counts of a lower level whose legs have no gaps: those of the level above."""
    for j in range(level.n_obs.size):
        level.n_obs[j] = above.n_obs[j]
    for j in range(level.n_obs.size):
        level.reason[j] = _LEVEL_ABOVE if above.reason[j] != 0 else 0
