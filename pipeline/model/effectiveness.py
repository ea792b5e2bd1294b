"""How well hedges worked: what is left of the variance and of the market, over trailing windows.

Rows are sessions here, (T, n): what goes in and comes out are rows of stores. Sums over windows are those of
`rolling_sums` with equal weights: a sum depends on the rows of its window and on the ordinal alone, so that a nightly
run gives the bits of a backfill.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.model.compiled import Floats, Floats1D, Floats2D, Floats3D, as_input, inlined, kernel
from pipeline.model.rolling_sums import ABSURD, Weights, Windows, decay, window_sums

# A variance below this share of the mean square is what rounding left of a constant.
CONSTANT = 1e-12


class Scratch(NamedTuple):
    """One stock's sessions, 0 where a return is missing: whether all are there, what enters the sums, and the sums."""

    have: Floats1D
    own: Floats1D
    own2: Floats1D
    left: Floats1D
    m: Floats1D
    m2: Floats1D
    r1: Floats1D
    r2: Floats1D
    mm: Floats1D
    n: Floats1D
    h1: Floats1D
    h2: Floats1D
    hm: Floats1D
    spare: Floats1D


def hedged_return(r: Floats, legs: tuple[Floats, ...], ratios: tuple[Floats, ...]) -> Floats:
    """r + sum of hedge ratio x raw ETF return: what a dollar long, hedged with these ratios, earned.

    r, legs, ratios: (T, n) each, the ratios being those published the session before. NaN where one is missing.

    >>> hedged_return(np.array([[0.02]]), (np.array([[0.01]]),), (np.array([[-1.5]]),)).round(4)
    array([[0.005]])
    """
    out = r.copy()
    for leg, ratio in zip(legs, ratios, strict=True):
        out += ratio * leg
    return out


@inlined
def _returns(hedged: Floats3D, first: int, i: int, level: int) -> bool:
    """Whether a stock has a hedged return at the row `first` or later."""
    found = 0
    for t in range(first, hedged.shape[1]):
        found += 1 if abs(hedged[level, t, i]) < ABSURD else 0
    return found > 0


@kernel
def _over_windows(
    r: Floats2D,
    hedged: Floats3D,
    market: Floats1D,
    windows: Windows,
    weights: Weights,
    work: Scratch,
    share: Floats3D,
    beta: Floats3D,
) -> None:
    """Shares and betas of all stocks and levels, (levels, T, n); the other arguments as for `effectiveness`.

    Sums that know nothing of the hedge are those of the level before wherever the same sessions are there. Who has no
    hedged return in any of the sessions costs a look.
    """
    window = weights.by_age.size - 1
    have, own, own2, left, m, m2 = work.have, work.own, work.own2, work.left, work.m, work.m2
    spare = work.spare
    for i in range(r.shape[1]):
        known = False
        for level in range(hedged.shape[0]):
            if not _returns(hedged, window - 1, i, level):
                for j in range(windows.n):
                    share[level, j, i] = beta[level, j, i] = np.nan
                continue
            others = not known
            known = True
            for t in range(r.shape[0]):
                x, h, f = r[t, i], hedged[level, t, i], market[t]
                ok = abs(x) < ABSURD and abs(h) < ABSURD and abs(f) < ABSURD
                there = 1.0 if ok else 0.0
                others = others or have[t] != there
                have[t] = there
                own[t], left[t], m[t] = (x, h, f) if ok else (0.0, 0.0, 0.0)
                own2[t], m2[t] = own[t] * own[t], m[t] * m[t]
            if others:
                window_sums(have, (own, own2, m2, m2), windows, weights, (work.r1, work.r2, work.mm, spare, work.n))
            window_sums(left, (have, left, m, m), windows, weights, (work.h1, work.h2, work.hm, spare, spare))
            for j in range(windows.n):
                n, r2, mm = work.n[j], work.r2[j], work.mm[j]
                enough = 2.0 * n >= window and abs(hedged[level, window - 1 + j, i]) < ABSURD
                own_variance, variance = r2 / n - (work.r1[j] / n) ** 2, work.h2[j] / n - (work.h1[j] / n) ** 2
                moved = own_variance > CONSTANT * r2 / n
                share[level, j, i] = max(variance, 0.0) / own_variance if enough and moved else np.nan
                beta[level, j, i] = work.hm[j] / mm if enough and mm > 0.0 else np.nan


def effectiveness(r: Floats, hedged: Floats, market: Floats, window: int, first: int) -> tuple[Floats, Floats]:
    """Variance of the hedged return over that of the stock's own, and the beta of the hedged return on the market.

    r: (window - 1 + T, n), hedged: (levels, window - 1 + T, n), market: (window - 1 + T,); the row window - 1 is the
    session with ordinal `first`. Returns two (levels, T, n). Equal weights, over the sessions of the window that have
    all three returns; NaN where these are fewer than half of the window, or the session itself has no hedged return.
    Variances have their means removed, the beta has no intercept.

    >>> r, market = np.array([[0.03], [-0.01], [0.01]]), np.array([0.02, -0.01, 0.0])
    >>> share, beta = effectiveness(r, (r - market[:, None])[None], market, window=3, first=100)
    >>> share.round(3), beta.round(3)
    (array([[[0.083]]]), array([[[0.4]]]))
    """
    r, hedged, market = (as_input(x, np.float64) for x in (r, hedged, market))
    rows = len(r)
    if hedged.ndim != 3 or hedged.shape[1:] != r.shape or market.shape != (rows,) or rows < window:
        raise ValueError(
            f"r is (T, n), hedged (levels, T, n) and market (T,) with T >= window = {window}; "
            f"found {r.shape}, {hedged.shape} and {market.shape}"
        )
    cells = (len(hedged), rows - window + 1, r.shape[1])
    share, beta = np.empty(cells), np.empty(cells)
    windows = Windows(cells[1], (first + 1) % window)
    _over_windows(r, hedged, market, windows, decay(window, None), Scratch(*np.empty((14, rows))), share, beta)
    return share, beta
