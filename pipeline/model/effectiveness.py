"""How well hedges worked: what is left of the variance and of the market, over trailing windows.

Rows are sessions here, (T, n): what goes in and comes out are rows of stores. Sums over windows are those of
`rolling_sums` ("two-stack", without subtraction), in plain numpy: a sum depends on the rows of its window and on the
ordinal alone, so that a nightly run gives the bits of a backfill.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A variance below this share of the mean square is what rounding left of a constant.
CONSTANT = 1e-12


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


def trailing_sums(x: Floats, window: int, first: int) -> Floats:
    """Sums over the windows that end at the ordinals from `first` on.

    x: (window - 1 + T, ...) finite, its row window - 1 being the session `first`. Returns (T, ...).

    >>> trailing_sums(np.arange(6.0), 3, first=100)
    array([ 3.,  6.,  9., 12.])
    """
    rows = len(x)
    out = np.empty((rows - window + 1, *x.shape[1:]))
    begin, suffix = -((first + 1) % window), None
    while begin < rows:
        block = x[max(begin, 0) : begin + window]
        lo, hi = max(begin, window - 1), min(begin + window, rows)  # windows that end in this block
        if lo < hi:
            out[lo - window + 1 : hi - window + 1] = np.cumsum(block, axis=0)[lo - begin : hi - begin]
            older = hi - begin - (hi == begin + window)  # the window that is exactly this block has none
            if suffix is not None and lo - begin < older:
                out[lo - window + 1 : begin + older - window + 1] += suffix[lo - begin + 1 - window :][
                    : older + begin - lo
                ]
        suffix = np.cumsum(block[::-1], axis=0)[::-1] if hi == begin + window else None
        begin += window
    return out


def effectiveness(r: Floats, hedged: Floats, market: Floats, window: int, first: int) -> tuple[Floats, Floats]:
    """Variance of the hedged return over that of the stock's own, and the beta of the hedged return on the market.

    r, hedged: (window - 1 + T, n), market: (window - 1 + T,); the row window - 1 is the session with ordinal `first`.
    Returns two (T, n). Equal weights, over the sessions of the window that have all three returns; NaN where these are
    fewer than half of the window. Variances have their means removed, the beta has no intercept.

    >>> r, market = np.array([[0.03], [-0.01], [0.01]]), np.array([0.02, -0.01, 0.0])
    >>> share, beta = effectiveness(r, r - market[:, None], market, window=3, first=100)
    >>> share.round(3), beta.round(3)
    (array([[0.083]]), array([[0.4]]))
    """
    m = market[:, None]
    have = np.isfinite(r) & np.isfinite(hedged) & np.isfinite(m)
    own, left, m = np.where(have, r, 0.0), np.where(have, hedged, 0.0), np.where(have, m, 0.0)
    parts = (have.astype(np.float64), own, own * own, left, left * left, left * m, m * m)
    n, r1, r2, h1, h2, hm, mm = (trailing_sums(part, window, first) for part in parts)
    with np.errstate(invalid="ignore", divide="ignore"):
        own_variance, variance = r2 / n - (r1 / n) ** 2, h2 / n - (h1 / n) ** 2
        enough = n >= window / 2
        share = np.where(enough & (own_variance > CONSTANT * r2 / n), np.maximum(variance, 0.0) / own_variance, np.nan)
        return share, np.where(enough & (mm > 0), hm / mm, np.nan)
