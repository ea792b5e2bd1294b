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
from typing import NamedTuple

import numpy as np

from pipeline.model.assignments import Span
from pipeline.model.compiled import (
    Bools1D,
    Bytes2D,
    Codes2D,
    Floats,
    Floats1D,
    Floats2D,
    Floats3D,
    Ints1D,
    inlined,
    kernel,
)
from pipeline.model.params import KernelParams
from pipeline.model.rolling_sums import (
    LANES,
    Weights,
    Windows,
    copy_row,
    count_missing,
    decay,
    split_missing,
    squared,
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


class FactorPanel(NamedTuple):
    """Window sums of the factor ETFs alone, for the pairs of one call and a range of C sessions.

    market:        row of the market ETF
    filled, valid: (E + 1, T + LANES) returns with 0 for missing, and 1/0; the last row is "no ETF" (0, valid); the last
                   columns are there to be read by full vectors, not to be used
    on_market:     (E + 1, C)
    gram:          (P, GRAM, C) weighted sums of mm ms mu ss su uu 1 m s u where all legs of the pair are valid
    link:          (P, 3, C) lambda_sm, lambda_um, lambda_us
    complete:      (P, C) 1 where the legs are valid in every session of the window
    weight2:       (C,) sum of the squared weights of a window without gaps
    """

    market: int
    filled: Floats2D
    valid: Floats2D
    on_market: Floats2D
    gram: Floats3D
    link: Floats3D
    complete: Bytes2D
    weight2: Floats1D


class Legs(NamedTuple):
    """Returns of a market, a sector and a subsector ETF, 0 for missing: one length."""

    m: Floats1D
    s: Floats1D
    u: Floats1D


class _Scratch(NamedTuple):
    """columns: C + window - 1.

    products: (6, columns); joint: (columns,) where all legs are valid; missing: (columns + 1,) of it; spare: (columns,)
    own:      (E + 1, OWN, C), zero: sums of each ETF e over the sessions that it shares with the market
    """

    products: Floats2D
    joint: Floats1D
    missing: Ints1D
    spare: Floats1D
    own: Floats3D


# Rows of _Scratch.own: em, mm, ee, e, m, 1.
_EM, _MARKET_SQUARE, _EE, _E, _MARKET, _ONE = range(6)
OWN = 6


@kernel
def factor_sums(
    ok: Floats1D, legs: Legs, windows: Windows, weights: Weights, means: bool, x: Floats2D, out: Floats2D
) -> None:
    """Rows of `FactorPanel.gram` over the sessions where ok is 1; the last three only if `means`. x: (6, *) scratch."""
    m, s, u = legs
    for k in range(ok.size):
        x[0, k], x[1, k], x[2, k] = m[k] * m[k], m[k] * s[k], m[k] * u[k]
        x[3, k], x[4, k], x[5, k] = s[k] * s[k], s[k] * u[k], u[k] * u[k]
    spare = out[SPARE]
    window_sums(ok, (x[0], x[1], x[2], x[3]), windows, weights, (out[MM], out[MS], out[MU], out[SS], out[W]))
    window_sums(ok, (x[4], x[5], m, s), windows, weights, (out[SU], out[UU], out[M], out[S], spare))
    if means:
        window_sums(ok, (u, u, u, u), windows, weights, (out[U], spare, spare, spare, spare))


@kernel
def _sub_on_sector_by_residuals(
    legs: Legs, valid: Floats1D, lambda_sm: float, lambda_um: float, weights: Floats1D
) -> float:
    """lambda_us from the residuals of one window, refined once; NaN if the cleaned sector is collinear."""
    m, s, u = legs
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


@inlined
def _sums_of_etf(
    panel: FactorPanel, e: int, span: Span, windows: Windows, weights: Weights, min_obs: int, work: _Scratch
) -> None:
    """Row e of work.own, and lambda of e on the market; the row "no ETF" stands for the market itself."""
    columns = slice(span.start, span.start + work.joint.size)
    m, vm = panel.filled[panel.market, columns], panel.valid[panel.market, columns]
    s, vs = panel.filled[e, columns], panel.valid[e, columns]
    x, joint, missing, spare = work.products, work.joint, work.missing, work.spare
    for c in range(joint.size):
        joint[c] = vm[c] * vs[c]
        x[0, c], x[1, c], x[2, c] = m[c] * s[c], m[c] * m[c], s[c] * s[c]
    count_missing(joint, missing)
    own = work.own[e]
    out = (own[_EM], own[_MARKET_SQUARE], own[_EE], own[_E], own[_ONE])
    window_sums(joint, (x[0], x[1], x[2], s), windows, weights, out)
    if e == panel.filled.shape[0] - 1:
        window_sums(joint, (m, m, m, m), windows, weights, (own[_MARKET], spare, spare, spare, spare))
        return
    window = weights.by_age.size - 1
    for j in range(windows.n):
        if window - (missing[j + window] - missing[j]) >= min_obs and own[_MARKET_SQUARE, j] > 0.0:
            panel.on_market[e, j] = own[_EM, j] / own[_MARKET_SQUARE, j]


@inlined
def _sums_of_pair(
    panel: FactorPanel, p: int, s_row: int, u_row: int, legs: Legs, windows: Windows, weights: Weights, work: _Scratch
) -> None:
    """Row p of panel.gram, over the sessions work.joint; from the sums of its ETFs where those are all."""
    gram, own, spare = panel.gram[p], work.own, work.spare
    if work.missing[work.joint.size] > 0:
        factor_sums(work.joint, legs, windows, weights, True, work.products, gram)
        return
    none = own.shape[0] - 1
    window_sums(legs.s, (legs.u, legs.u, legs.u, legs.u), windows, weights, (gram[SU], spare, spare, spare, spare))
    copy_row(own[none, _MARKET_SQUARE], gram[MM])
    copy_row(own[s_row, _EM], gram[MS])
    copy_row(own[u_row, _EM], gram[MU])
    copy_row(own[s_row, _EE], gram[SS])
    copy_row(own[u_row, _EE], gram[UU])
    copy_row(own[none, _ONE], gram[W])
    copy_row(own[none, _MARKET], gram[M])
    copy_row(own[s_row, _E], gram[S])
    copy_row(own[u_row, _E], gram[U])


@inlined
def _links_of_pair(
    panel: FactorPanel, p: int, legs: Legs, weights: Weights, min_obs: int, joint: Floats1D, missing: Ints1D
) -> None:
    """Row p of panel.complete, and lambda_us of it; panel.link has the lambdas on the market already."""
    gram, link = panel.gram[p], panel.link[p]
    window = weights.by_age.size - 1
    for j in range(link.shape[1]):
        gaps = missing[j + window] - missing[j]
        panel.complete[p, j] = gaps == 0
        sm, um = link[SECTOR_ON_MARKET, j], link[SUB_ON_MARKET, j]
        link[SUB_ON_SECTOR, j] = np.nan
        if window - gaps < min_obs or np.isnan(sm) or np.isnan(um):
            continue
        mm, ms, mu = gram[MM, j], gram[MS, j], gram[MU, j]
        ss, su, uu = gram[SS, j], gram[SU, j], gram[UU, j]
        square_s = (ss - 2.0 * sm * ms) + sm * sm * mm
        square_u = (uu - 2.0 * um * mu) + um * um * mm
        if square_s > CANCELLATION * ss and square_u > CANCELLATION * uu:
            product = (su - um * ms) - sm * (mu - um * mm)
            link[SUB_ON_SECTOR, j] = product / square_s
        else:
            at = slice(j, j + window)
            here = Legs(legs.m[at], legs.s[at], legs.u[at])
            link[SUB_ON_SECTOR, j] = _sub_on_sector_by_residuals(here, joint[at], sm, um, weights.by_age)


@kernel
def _fill_panel(
    panel: FactorPanel,
    pairs: Codes2D,
    used: Bools1D,
    span: Span,
    weights: Weights,
    squares: Weights,
    min_obs: int,
    work: _Scratch,
) -> None:
    """Fill the arrays of the panel; arguments as for `factor_panel`, squares: of the weights."""
    windows = Windows(span.stop - span.start, (span.first + span.start) % (weights.by_age.size - 1))
    columns = slice(span.start, span.start + work.joint.size)
    none = panel.filled.shape[0] - 1
    joint, spare = work.joint, work.spare
    m, vm = panel.filled[panel.market, columns], panel.valid[panel.market, columns]
    joint[:] = 1.0
    window_sums(joint, (m, m, m, m), windows, squares, (spare, spare, spare, spare, panel.weight2))
    panel.on_market[:, :] = np.nan
    for e in range(none, -1, -1):
        if e == none or used[e]:
            _sums_of_etf(panel, e, span, windows, weights, min_obs, work)
    for p in range(pairs.shape[0]):
        u_row = pairs[p, 0] if pairs[p, 0] >= 0 else none
        s_row = pairs[p, 1] if pairs[p, 1] >= 0 else none
        legs = Legs(m, panel.filled[s_row, columns], panel.filled[u_row, columns])
        vs, vu = panel.valid[s_row, columns], panel.valid[u_row, columns]
        for c in range(joint.size):
            joint[c] = vm[c] * vs[c] * vu[c]
        count_missing(joint, work.missing)
        _sums_of_pair(panel, p, s_row, u_row, legs, windows, weights, work)
        copy_row(panel.on_market[s_row], panel.link[p, SECTOR_ON_MARKET])
        copy_row(panel.on_market[u_row], panel.link[p, SUB_ON_MARKET])
        _links_of_pair(panel, p, legs, weights, min_obs, joint, work.missing)


def fill_factors(etf: Floats) -> tuple[Floats, Floats]:
    """(filled, valid) of `FactorPanel` from raw ETF returns (E, T)."""
    filled = np.zeros((etf.shape[0] + 1, etf.shape[1] + LANES))
    valid = np.ones_like(filled)
    missing = np.empty(etf.shape[1] + 1, np.int64)
    for e in range(etf.shape[0]):
        split_missing(etf[e], filled[e], valid[e], missing, -1)
    return filled, valid


def factor_panel(
    filled: Floats, valid: Floats, market: int, pairs: Codes2D, used: Bools1D, span: Span, params: KernelParams
) -> FactorPanel:
    """The panel of the sessions of `span`, for `pairs` (P, 2) = (sub, sector), -1 none.

    used: (E,) ETFs whose lambda on the market is wanted; the legs of every pair must be among them.
    """
    weights = decay(params.window, params.half_life)
    rows, count, n_pairs = len(filled), span.stop - span.start, len(pairs)
    panel = FactorPanel(
        market,
        filled,
        valid,
        on_market=np.empty((rows, count)),
        gram=np.empty((n_pairs, GRAM, count)),
        link=np.empty((n_pairs, 3, count)),
        complete=np.empty((n_pairs, count), np.uint8),
        weight2=np.empty(count),
    )
    columns = count + params.window - 1
    work = _Scratch(
        products=np.empty((6, columns)),
        joint=np.empty(columns),
        missing=np.empty(columns + 1, np.int64),
        spare=np.empty(columns),
        own=np.zeros((rows, OWN, count)),
    )
    _fill_panel(panel, pairs, used, span, weights, squared(weights), params.min_obs, work)
    return panel
