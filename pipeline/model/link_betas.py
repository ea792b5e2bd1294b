"""Link betas, and all else that belongs to the factor ETFs alone (docs/methodology.md, section 2).

    lambda_sm = <s,m>/<m,m>      s* = s - lambda_sm m
    lambda_um = <u,m>/<m,m>
    lambda_us = <u - lambda_um m, s*>/<s*,s*>

One set per ETF and session, over the sessions of the window in which the legs concerned are all valid. The same sums
serve every stock whose own window is complete, so the cascade and the shares read them from a `FactorPanel` and are
sure to clean with the link betas that are published.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.model.compiled import Bools, Bytes, Codes, Floats, Ints, kernel
from pipeline.model.params import KernelParams
from pipeline.model.rolling_sums import (
    LANES,
    copy_row,
    count_missing,
    decay,
    next_run,
    oldest_first,
    split_missing,
    window_sums,
)

# A cleaned factor with less than this share of the raw factor's square sum has no information of its own.
COLLINEAR = 1e-12
# Below this share, sums of squares lose too many digits to cancellation: the window is added up residual by residual.
CANCELLATION = 1e-3

# Rows of FactorPanel.gram.
MM, MS, MU, SS, SU, UU, W, M, S, U, SPARE = range(11)
GRAM = 11
# Rows of FactorPanel.link.
SECTOR_ON_MARKET, SUB_ON_MARKET, SUB_ON_SECTOR = range(3)


@dataclass(frozen=True, eq=False)
class LinkBetas:
    """Link betas of T' = T - window + 1 sessions; NaN where there are too few sessions or the factors are degenerate.

    on_market:     (E, T') lambda of each ETF on the market ETF (1 for the market itself)
    sub_on_sector: (P, T') lambda_us of each pair: subsector, cleaned of the market, on the cleaned sector
    """

    on_market: Floats
    sub_on_sector: Floats


@dataclass(frozen=True, eq=False)
class FactorPanel:
    """Window sums of the factor ETFs alone, for the pairs of one call and a range of C sessions.

    filled, valid: (E + 1, T + LANES) returns with 0 for missing, and 1/0; the last row is "no ETF" (0, valid); the last
                   columns are there to be read by full vectors, not to be used
    on_market:     (E + 1, C)
    gram:          (P, GRAM, C) weighted sums of mm ms mu ss su uu 1 m s u where all legs of the pair are valid
    link:          (P, 3, C) lambda_sm, lambda_um, lambda_us
    complete:      (P, C) 1 where the legs are valid in every session of the window
    weight2:       (C,) sum of the squared weights of a window without gaps
    """

    filled: Floats
    valid: Floats
    on_market: Floats
    gram: Floats
    link: Floats
    complete: Bytes
    weight2: Floats


@kernel("f8(f8[::1], f8[::1], f8[::1], f8[::1], f8, f8, f8[::1])")
def _sub_on_sector_by_residuals(
    m: Floats, s: Floats, u: Floats, valid: Floats, lambda_sm: float, lambda_um: float, weights: Floats
) -> float:
    """lambda_us from the residuals themselves, refined once; NaN if the cleaned sector is collinear."""
    last = m.size - 1
    square = raw = product = 0.0
    for i in range(m.size):
        w = weights[last - i] * valid[i]
        cleaned = s[i] - lambda_sm * m[i]
        square += w * cleaned * cleaned
        raw += w * s[i] * s[i]
        product += w * (u[i] - lambda_um * m[i]) * cleaned
    if not square >= COLLINEAR * raw or square == 0.0:
        return np.nan
    slope = product / square
    left = 0.0
    for i in range(m.size):
        cleaned = s[i] - lambda_sm * m[i]
        left += weights[last - i] * valid[i] * ((u[i] - lambda_um * m[i]) - slope * cleaned) * cleaned
    return slope + left / square


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], i8, i8, f8[::1], f8[::1], b1, f8[:,::1], f8[:,::1])")
def factor_sums(
    ok: Floats,
    m: Floats,
    s: Floats,
    u: Floats,
    count: int,
    phase: int,
    weights: Floats,
    ages: Floats,
    means: bool,
    x: Floats,
    out: Floats,
) -> None:
    """Rows of `FactorPanel.gram` over the sessions where ok is 1; the last three only if `means`. x: (6, *) scratch."""
    for k in range(ok.size):
        x[0, k], x[1, k], x[2, k] = m[k] * m[k], m[k] * s[k], m[k] * u[k]
        x[3, k], x[4, k], x[5, k] = s[k] * s[k], s[k] * u[k], u[k] * u[k]
    window_sums(*(ok, x[0], x[1], x[2], x[3], count, phase, weights, ages, out[MM], out[MS], out[MU], out[SS], out[W]))
    window_sums(*(ok, x[4], x[5], m, s, count, phase, weights, ages, out[SU], out[UU], out[M], out[S], out[SPARE]))
    if means:
        window_sums(
            *(ok, u, u, u, u, count, phase, weights, ages, out[U], out[SPARE], out[SPARE], out[SPARE], out[SPARE])
        )


@kernel(
    "void(f8[:,::1], f8[:,::1], i8, i2[:,::1], b1[::1], i8, i8, i8, i8, f8[::1], f8[::1], f8[::1], f8[::1],"
    "f8[:,::1], f8[:,:,::1], f8[:,:,::1], u1[:,::1], f8[::1], f8[:,::1], i8[::1], f8[:,:,::1], i8[::1])"
)
def _factor_panel(
    filled: Floats,
    valid: Floats,
    market: int,
    pairs: Codes,
    used: Bools,
    first: int,
    start: int,
    stop: int,
    min_obs: int,
    weights: Floats,
    ages: Floats,
    weights2: Floats,
    ages2: Floats,
    on_market: Floats,
    gram: Floats,
    link: Floats,
    complete: Bytes,
    weight2: Floats,
    work: Floats,
    missing: Ints,
    own: Floats,
    gaps_of: Ints,
) -> None:
    """Fill the arrays of a `FactorPanel`.

    work, missing: scratch, (8, columns), (columns + 1,)
    own, gaps_of: scratch, zero, (E + 1, 6, C), (E + 1,): sums of each ETF e over the sessions that it shares with the
    market, in rows em mm ee e m 1, and how many sessions it does not share.
    """
    window = weights.size - 1
    count = stop - start
    columns = count + window - 1
    phase = (first + start) % window
    none = filled.shape[0] - 1
    x, joint, spare = work[:6], work[6], work[7]
    m = filled[market, start : start + columns]
    vm = valid[market, start : start + columns]

    joint[:] = 1.0
    window_sums(joint, m, m, m, m, count, phase, weights2, ages2, spare, spare, spare, spare, weight2)

    on_market[:, :] = np.nan
    for e in range(none, -1, -1):
        if e < none and not used[e]:
            continue
        s = filled[e, start : start + columns]
        vs = valid[e, start : start + columns]
        for c in range(columns):
            joint[c] = vm[c] * vs[c]
            x[0, c], x[1, c], x[2, c] = m[c] * s[c], m[c] * m[c], s[c] * s[c]
        count_missing(joint, missing)
        gaps_of[e] = missing[columns]
        window_sums(
            *(joint, x[0], x[1], x[2], s, count, phase, weights, ages),
            *(own[e, 0], own[e, 1], own[e, 2], own[e, 3], own[e, 5]),
        )
        if e == none:
            window_sums(joint, m, m, m, m, count, phase, weights, ages, own[e, 4], spare, spare, spare, spare)
            continue
        for j in range(count):
            if window - (missing[j + window] - missing[j]) >= min_obs and own[e, 1, j] > 0.0:
                on_market[e, j] = own[e, 0, j] / own[e, 1, j]

    for p in range(pairs.shape[0]):
        u_row = pairs[p, 0] if pairs[p, 0] >= 0 else none
        s_row = pairs[p, 1] if pairs[p, 1] >= 0 else none
        s = filled[s_row, start : start + columns]
        u = filled[u_row, start : start + columns]
        if gaps_of[s_row] == 0 and gaps_of[u_row] == 0:
            missing[:] = 0
            joint[:] = 1.0
            window_sums(s, u, u, u, u, count, phase, weights, ages, gram[p, SU], spare, spare, spare, spare)
            copy_row(own[none, 1], gram[p, MM])
            copy_row(own[s_row, 0], gram[p, MS])
            copy_row(own[u_row, 0], gram[p, MU])
            copy_row(own[s_row, 2], gram[p, SS])
            copy_row(own[u_row, 2], gram[p, UU])
            copy_row(own[none, 5], gram[p, W])
            copy_row(own[none, 4], gram[p, M])
            copy_row(own[s_row, 3], gram[p, S])
            copy_row(own[u_row, 3], gram[p, U])
        else:
            vs = valid[s_row, start : start + columns]
            vu = valid[u_row, start : start + columns]
            for c in range(columns):
                joint[c] = vm[c] * vs[c] * vu[c]
            count_missing(joint, missing)
            factor_sums(joint, m, s, u, count, phase, weights, ages, True, x, gram[p])
        copy_row(on_market[s_row], link[p, SECTOR_ON_MARKET])
        copy_row(on_market[u_row], link[p, SUB_ON_MARKET])
        for j in range(count):
            gaps = missing[j + window] - missing[j]
            complete[p, j] = gaps == 0
            sm = on_market[s_row, j]
            um = on_market[u_row, j]
            link[p, SUB_ON_SECTOR, j] = np.nan
            if window - gaps < min_obs or np.isnan(sm) or np.isnan(um):
                continue
            mm, ms, mu = gram[p, MM, j], gram[p, MS, j], gram[p, MU, j]
            ss, su, uu = gram[p, SS, j], gram[p, SU, j], gram[p, UU, j]
            square_s = (ss - 2.0 * sm * ms) + sm * sm * mm
            square_u = (uu - 2.0 * um * mu) + um * um * mm
            if square_s > CANCELLATION * ss and square_u > CANCELLATION * uu:
                product = (su - um * ms) - sm * (mu - um * mm)
                link[p, SUB_ON_SECTOR, j] = product / square_s
            else:
                at = slice(j, j + window)
                link[p, SUB_ON_SECTOR, j] = _sub_on_sector_by_residuals(m[at], s[at], u[at], joint[at], sm, um, weights)


def fill_factors(etf: Floats) -> tuple[Floats, Floats]:
    """(filled, valid) of `FactorPanel` from raw ETF returns (E, T)."""
    filled = np.zeros((etf.shape[0] + 1, etf.shape[1] + LANES))
    valid = np.ones_like(filled)
    missing = np.empty(etf.shape[1] + 1, np.int64)
    for e in range(etf.shape[0]):
        split_missing(etf[e], filled[e], valid[e], missing, -1)
    return filled, valid


def factor_panel(
    filled: Floats,
    valid: Floats,
    market: int,
    pairs: Codes,
    used: Bools,
    first: int,
    start: int,
    stop: int,
    params: KernelParams,
) -> FactorPanel:
    """The panel of the published sessions [start, stop) of T', for `pairs` (P, 2) = (sub, sector), -1 none.

    used: (E,) ETFs whose lambda on the market is wanted; the legs of every pair must be among them.
    """
    weights = decay(params.window, params.half_life)
    count, n_pairs = stop - start, len(pairs)
    panel = FactorPanel(
        filled,
        valid,
        on_market=np.empty((filled.shape[0], count)),
        gram=np.empty((n_pairs, GRAM, count)),
        link=np.empty((n_pairs, 3, count)),
        complete=np.empty((n_pairs, count), np.uint8),
        weight2=np.empty(count),
    )
    _factor_panel(
        filled,
        valid,
        market,
        pairs,
        used,
        first,
        start,
        stop,
        params.min_obs,
        weights,
        oldest_first(weights),
        weights * weights,
        oldest_first(weights * weights),
        panel.on_market,
        panel.gram,
        panel.link,
        panel.complete,
        panel.weight2,
        np.empty((8, count + params.window - 1)),
        np.empty(count + params.window, np.int64),
        np.zeros((filled.shape[0], 6, count)),
        np.zeros(filled.shape[0], np.int64),
    )
    return panel


@kernel("i8(i2[:,::1], i2[:,::1], b1[:,::1], i8[:,::1])")
def _mark_pairs(sector: Codes, subsector: Codes, wanted: Bools, marks: Ints) -> int:
    """marks[sector + 1, subsector + 1] = 1 for each pair that a wanted cell has; returns a row out of range, or -1."""
    rows = marks.shape[0] - 1
    for i in range(wanted.shape[0]):
        begin, end, s, u = next_run(sector[i], subsector[i], wanted[i], 0, wanted.shape[1])
        while begin < wanted.shape[1]:
            if not (-1 <= s < rows and -1 <= u < rows):
                return i
            marks[s + 1, u + 1] = 1
            begin, end, s, u = next_run(sector[i], subsector[i], wanted[i], end, wanted.shape[1])
    return -1


def pairs_in_use(sector: Codes, subsector: Codes, wanted: Bools, n_etf: int) -> tuple[Codes, Ints]:
    """The (subsector, sector) pairs of the wanted cells, (P, 2), and the table [sector + 1, subsector + 1] -> P."""
    marks = np.zeros((n_etf + 1, n_etf + 1), np.int64)
    bad = _mark_pairs(sector, subsector, wanted, marks)
    if bad >= 0:
        raise ValueError(
            f"sector and subsector are rows of etf (-1 for none, below {n_etf}); stock {bad} has another value"
        )
    at = np.argwhere(marks)
    marks[at[:, 0], at[:, 1]] = np.arange(len(at))
    return np.ascontiguousarray((at - 1)[:, ::-1].astype(np.int16)), marks
