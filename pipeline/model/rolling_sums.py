"""Sums over rolling windows without subtraction ("two-stack", van Herk).

Time is cut into blocks of `window` sessions anchored on the absolute ordinal. The window that ends at position p of a
block is the suffix of the previous block from position p+1 on, plus the prefix of the current block up to p. Nothing
is ever subtracted: what has left the window leaves no trace, and a sum depends on the rows of its window and the
ordinal alone, whichever range of sessions is computed with it.

Weights halve every `half_life` sessions. Inside the suffix they count back from the end of its block, inside the prefix
from the session; joining the two costs one factor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.model.compiled import Floats, Floats1D, Ints1D, inlined, kernel

# A return of this size or more is not a return: NaN, infinity, and what would overflow when squared.
ABSURD = 1e100
# Work arrays of one window are padded with zeros to a multiple of this: sums over them need no scalar remainder.
LANES = 16


Others = tuple[Floats1D, Floats1D, Floats1D, Floats1D]
FiveSums = tuple[Floats1D, Floats1D, Floats1D, Floats1D, Floats1D]


class Weights(NamedTuple):
    """Weights of the sessions of a window.

    by_age:       (window + 1,) by_age[k] belongs to the session k sessions before the published one
    oldest_first: (window padded to a multiple of `LANES`,) the same in the order of time, then zeros
    """

    by_age: Floats1D
    oldest_first: Floats1D


class Windows(NamedTuple):
    """The windows that start at columns 0 to n - 1; phase: the ordinal of column 0 modulo the window."""

    n: int
    phase: int


def decay(window: int, half_life: float | None) -> Weights:
    """Weights that halve every `half_life` sessions; equal ones for None."""
    ages = np.arange(window + 1, dtype=np.float64)
    return _weights(np.ones(window + 1) if half_life is None else 0.5 ** (ages / half_life))


def squared(weights: Weights) -> Weights:
    """The squares of the weights: their sums give effective numbers of sessions."""
    return _weights(weights.by_age * weights.by_age)


def _weights(by_age: Floats) -> Weights:
    window = len(by_age) - 1
    oldest_first = np.zeros(-(-window // LANES) * LANES)
    oldest_first[:window] = by_age[:window][::-1]
    return Weights(by_age, oldest_first)


@inlined
def _sum_suffixes(y: Floats1D, others: Others, windows: Windows, weights: Weights, out: FiveSums) -> None:
    """The part of each window that lies in the block before that of its last session, summed from the block's end."""
    a, b, c, d = others
    ya, yb, yc, yd, y1 = out
    count, phase, ages = windows.n, windows.phase, weights.oldest_first
    window = weights.by_age.size - 1
    begin, end = 0, window - phase
    while begin < count:
        s0 = s1 = s2 = s3 = s4 = 0.0
        edge = min(max(count, begin), end)
        beyond = end - edge
        x, x0, x1, x2, x3 = y[edge:end], a[edge:end], b[edge:end], c[edge:end], d[edge:end]
        w = ages[window - beyond : window]
        for k in range(beyond - 1, -1, -1):
            s0 += w[k] * (x[k] * x0[k])
            s1 += w[k] * (x[k] * x1[k])
            s2 += w[k] * (x[k] * x2[k])
            s3 += w[k] * (x[k] * x3[k])
            s4 += w[k] * x[k]
        x, x0, x1, x2, x3 = y[begin:edge], a[begin:edge], b[begin:edge], c[begin:edge], d[begin:edge]
        w = ages[window - (end - begin) : window - beyond]
        o0, o1, o2, o3, o4 = ya[begin:edge], yb[begin:edge], yc[begin:edge], yd[begin:edge], y1[begin:edge]
        for k in range(edge - begin - 1, -1, -1):
            s0 += w[k] * (x[k] * x0[k])
            s1 += w[k] * (x[k] * x1[k])
            s2 += w[k] * (x[k] * x2[k])
            s3 += w[k] * (x[k] * x3[k])
            s4 += w[k] * x[k]
            o0[k], o1[k], o2[k], o3[k], o4[k] = s0, s1, s2, s3, s4
        if phase == 0 or begin > 0:
            # The window that is exactly this block is all prefix.
            ya[begin] = yb[begin] = yc[begin] = yd[begin] = y1[begin] = 0.0
        begin, end = end, end + window


@inlined
def _add_prefixes(y: Floats1D, others: Others, windows: Windows, weights: Weights, out: FiveSums) -> None:
    """The part of each window that lies in the block of its last session, joined to what `_sum_suffixes` found."""
    a, b, c, d = others
    ya, yb, yc, yd, y1 = out
    count, phase, step = windows.n, windows.phase, weights.by_age[1]
    window = weights.by_age.size - 1
    begin = window - phase if phase > 0 else 0
    stop = count + window - 1
    while begin < stop:
        s0 = s1 = s2 = s3 = s4 = 0.0
        end = min(begin + window, stop)
        edge = max(begin, min(window - 1, end))
        x, x0, x1, x2, x3 = y[begin:edge], a[begin:edge], b[begin:edge], c[begin:edge], d[begin:edge]
        for k in range(edge - begin):
            s0 = step * s0 + x[k] * x0[k]
            s1 = step * s1 + x[k] * x1[k]
            s2 = step * s2 + x[k] * x2[k]
            s3 = step * s3 + x[k] * x3[k]
            s4 = step * s4 + x[k]
        x, x0, x1, x2, x3 = y[edge:end], a[edge:end], b[edge:end], c[edge:end], d[edge:end]
        j = edge - window + 1
        o0, o1, o2, o3, o4 = ya[j:], yb[j:], yc[j:], yd[j:], y1[j:]
        join = weights.by_age[edge - begin + 1 :]
        for k in range(end - edge):
            s0 = step * s0 + x[k] * x0[k]
            s1 = step * s1 + x[k] * x1[k]
            s2 = step * s2 + x[k] * x2[k]
            s3 = step * s3 + x[k] * x3[k]
            s4 = step * s4 + x[k]
            o0[k] = join[k] * o0[k] + s0
            o1[k] = join[k] * o1[k] + s1
            o2[k] = join[k] * o2[k] + s2
            o3[k] = join[k] * o3[k] + s3
            o4[k] = join[k] * o4[k] + s4
        begin += window


@kernel
def window_sums(y: Floats1D, others: Others, windows: Windows, weights: Weights, out: FiveSums) -> None:
    """Weighted sums over windows of y times each of the others, and of y alone.

    y, others: (>= n + window - 1,), finite; out: (>= n,)

    Five sums side by side hide each other's latency, so that one alone costs no less. Each loop runs over slices that
    start where it does and has no condition inside.
    """
    _sum_suffixes(y, others, windows, weights, out)
    _add_prefixes(y, others, windows, weights, out)


@kernel
def count_missing(valid: Floats1D, missing: Ints1D) -> None:
    """missing[c] = sessions before column c whose `valid` is not 1, (valid.size + 1,)."""
    missing[0] = 0
    for c in range(valid.size):
        missing[c + 1] = missing[c] + (0 if valid[c] == 1.0 else 1)


@kernel
def copy_row(source: Floats1D, target: Floats1D) -> None:
    """target[:source.size] = source. A slice assignment would allocate, in case the two overlap."""
    for c in range(source.size):
        target[c] = source[c]


@kernel
def split_missing(x: Floats1D, filled: Floats1D, valid: Floats1D, missing: Ints1D, gaps_before: int) -> int:
    """One row of sessions, split: filled = x with 0 where there is no return, valid = 1 where there is one, else 0.

    missing[c] = sessions without a return before column c, (x.size + 1,). Integers are exact under subtraction.
    filled and valid may be longer than x; what is beyond is left alone. Returns the gaps of this row; gaps_before is
    what the last call into the same arrays returned, -1 for none: between two complete rows, valid and missing stay.
    """
    gaps = 0
    for c in range(x.size):
        ok = abs(x[c]) < ABSURD
        filled[c] = x[c] if ok else 0.0
        gaps += 0 if ok else 1
    if gaps > 0 or gaps_before != 0:
        for c in range(x.size):
            valid[c] = 1.0 if abs(x[c]) < ABSURD else 0.0
        count_missing(valid[: x.size], missing)
    return gaps
