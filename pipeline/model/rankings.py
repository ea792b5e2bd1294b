"""Returns compounded over trailing windows, and ranks within cohorts.

Rows are sessions here, (T, n), as in `effectiveness`. A product over a window is taken without division ("two-stack",
as in `rolling_sums`): it depends on the rows of its window and on the ordinal alone, so that a nightly run gives the
bits, and so the ranks, of a backfill.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.compiled import (
    Codes,
    Codes3D,
    Floats,
    Floats1D,
    Floats2D,
    Ints1D,
    Ints2D,
    Singles,
    Singles3D,
    as_input,
    kernel,
)
from pipeline.model.rolling_sums import ABSURD


@kernel
def _compound(
    r: Floats2D, window: int, least: int, phase: int, suffix: Floats2D, prefix: Floats1D, have: Ints1D, out: Floats2D
) -> None:
    """suffix: (window, n), its row p the product from position p of the last whole block on; have: returns so far."""
    rows, n = r.shape
    have[:] = 0
    for t in range(rows):
        p = (t + phase) % window
        for i in range(n):
            ok = abs(r[t, i]) < ABSURD
            have[i] += 1 if ok else 0
            prefix[i] = (prefix[i] if p > 0 and t > 0 else 1.0) * ((1.0 + r[t, i]) if ok else 1.0)
        if t >= window - 1:
            j = t - window + 1
            for i in range(n):
                whole = prefix[i] if p == window - 1 else suffix[p + 1, i] * prefix[i]
                out[j, i] = whole - 1.0 if have[i] >= least else np.nan
                have[i] -= 1 if abs(r[j, i]) < ABSURD else 0
        if p == window - 1:
            for q in range(window - 1, max(window - 1 - t, 0) - 1, -1):
                at = t - (window - 1 - q)
                for i in range(n):
                    factor = 1.0 + r[at, i] if abs(r[at, i]) < ABSURD else 1.0
                    suffix[q, i] = factor * (suffix[q + 1, i] if q < window - 1 else 1.0)


def compounded(r: Floats, window: int, least: int, first: int) -> Floats:
    """prod(1 + r) - 1 over the windows that end at the sessions from the ordinal `first` on, (T, n).

    r: (window - 1 + T, n) returns, the row window - 1 being the session `first`. Missing returns are left out; NaN
    where a window has fewer than `least`.

    >>> compounded(np.array([[0.1], [0.1], [np.nan], [-0.5]]), window=2, least=1, first=7).round(2).T
    array([[ 0.21,  0.1 , -0.5 ]])
    """
    r = as_input(r, np.float64)
    rows, n = r.shape
    if rows < window:
        raise ValueError(f"r is (window - 1 + T, n) with window = {window}; found {r.shape}")
    out = np.empty((rows - window + 1, n))
    have = np.zeros(n, np.int64)
    _compound(r, window, least, (first + 1) % window, np.empty((window, n)), np.empty(n), have, out)
    return out


@kernel
def _rank(
    values: Floats2D,
    order: Ints2D,
    cohorts: Codes3D,
    count: Ints1D,
    at: Ints1D,
    last: Floats1D,
    rank: Singles3D,
    size: Singles3D,
) -> None:
    """order: (T, n) stocks by falling value, NaN last; count, at, last: work of each code."""
    rows, n = values.shape
    for c in range(cohorts.shape[0]):
        for t in range(rows):
            count[:] = 0
            for i in range(n):
                rank[c, t, i] = np.nan
            for k in range(n):
                i = order[t, k]
                v, code = values[t, i], cohorts[c, t, i]
                if np.isnan(v):
                    break
                if code > 0:
                    count[code] += 1
                    if count[code] == 1 or v < last[code]:
                        at[code], last[code] = count[code], v
                    rank[c, t, i] = at[code]
            for i in range(n):
                size[c, t, i] = np.nan if np.isnan(rank[c, t, i]) else count[cohorts[c, t, i]]


def ranks(values: Floats, cohorts: Codes) -> tuple[Singles, Singles]:
    """Rank of each stock in its cohort, and how many the cohort has; (cohorts, T, n) float32 each.

    values: (T, n), NaN for who is not ranked. cohorts: (cohorts, T, n) int16, who has one code is one cohort; 0 for
    none. Rank 1 is the largest value, equal ones share the smallest rank.

    >>> rank, size = ranks(np.array([[3.0, 5.0, 3.0, np.nan]]), np.array([[[1, 1, 1, 1]], [[2, 2, 0, 7]]], np.int16))
    >>> rank[:, 0].tolist(), size[:, 0].tolist()
    ([[2.0, 1.0, 2.0, nan], [2.0, 1.0, nan, nan]], [[3.0, 3.0, 3.0, nan], [2.0, 2.0, nan, nan]])
    """
    values, cohorts = as_input(values, np.float64), as_input(cohorts, np.int16)
    if cohorts.shape[1:] != values.shape:
        raise ValueError(f"cohorts is (cohorts, T, n) with the (T, n) of values, {values.shape}; found {cohorts.shape}")
    codes = int(cohorts.max(initial=0)) + 1
    rank, size = np.empty(cohorts.shape, np.float32), np.empty(cohorts.shape, np.float32)
    work = np.empty(codes, np.int64), np.empty(codes, np.int64), np.empty(codes)
    _rank(values, np.argsort(-values, axis=1), cohorts, *work, rank, size)
    return rank, size
