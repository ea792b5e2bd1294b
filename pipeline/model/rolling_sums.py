"""Sums over rolling windows without subtraction ("two-stack", van Herk).

Time is cut into blocks of `window` sessions anchored on the absolute ordinal. The window that ends at position p of a
block is the suffix of the previous block from position p+1 on, plus the prefix of the current block up to p. Nothing
is ever subtracted: what has left the window leaves no trace, and a sum depends on the rows of its window and the
ordinal alone, whichever range of sessions is computed with it.

Weights halve every `half_life` sessions. Inside the suffix they count back from the end of its block, inside the prefix
from the session; joining the two costs one factor.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.compiled import Bools, Codes, Floats, Ints, kernel

# A return of this size or more is not a return: NaN, infinity, and what would overflow when squared.
ABSURD = 1e100
# Work arrays of one window are padded with zeros to a multiple of this: sums over them need no scalar remainder.
LANES = 16
# Sessions that nobody wants inside a run of sessions are computed along and dropped, unless they are more than this.
LONGEST_SKIP = 64


def decay(window: int, half_life: float | None) -> Floats:
    """Weights by age, (window + 1,): decay[k] belongs to the session k sessions before the published one."""
    ages = np.arange(window + 1, dtype=np.float64)
    return np.ones(window + 1) if half_life is None else 0.5 ** (ages / half_life)


def oldest_first(weights: Floats) -> Floats:
    """The weights of a window's rows, oldest first, padded with zeros to a multiple of `LANES`."""
    window = len(weights) - 1
    ages = np.zeros(-(-window // LANES) * LANES)
    ages[:window] = weights[:window][::-1]
    return ages


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], i8, i8, f8[::1], f8[::1],"
    "f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])"
)
def window_sums(
    y: Floats,
    a: Floats,
    b: Floats,
    c: Floats,
    d: Floats,
    count: int,
    phase: int,
    weights: Floats,
    ages: Floats,
    ya: Floats,
    yb: Floats,
    yc: Floats,
    yd: Floats,
    y1: Floats,
) -> None:
    """Weighted sums of y a, y b, y c, y d and y over the windows that start at columns 0 to count - 1.

    y, a, b, c, d: (>= count + window - 1,), finite; phase: ordinal of column 0 modulo the window
    weights: (window + 1,) by age; ages: (>= window,) the same, oldest first; outputs: (>= count,)

    Five sums side by side hide each other's latency, so that one alone costs no less. Each loop runs over slices that
    start where it does and has no condition inside.
    """
    window = weights.size - 1
    step = weights[1]
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
        join = weights[edge - begin + 1 :]
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


@kernel("void(f8[::1], i8[::1])")
def count_missing(valid: Floats, missing: Ints) -> None:
    """missing[c] = sessions before column c whose `valid` is not 1, (valid.size + 1,)."""
    missing[0] = 0
    for c in range(valid.size):
        missing[c + 1] = missing[c] + (0 if valid[c] == 1.0 else 1)


@kernel("void(f8[::1], f8[::1])")
def copy_row(source: Floats, target: Floats) -> None:
    """target[:source.size] = source. A slice assignment would allocate, in case the two overlap."""
    for c in range(source.size):
        target[c] = source[c]


@kernel("i8(f8[::1], f8[::1], f8[::1], i8[::1], i8)")
def split_missing(x: Floats, filled: Floats, valid: Floats, missing: Ints, gaps_before: int) -> int:
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


@kernel("b1(i2[::1], i2[::1])")
def one_assignment(sector: Codes, subsector: Codes) -> bool:
    """Whether all sessions have the first one's ETFs."""
    differs = 0
    for t in range(sector.size):
        differs |= (sector[t] ^ sector[0]) | (subsector[t] ^ subsector[0])
    return differs == 0


@kernel("UniTuple(i8, 4)(i2[::1], i2[::1], b1[::1], i8, i8)")
def next_run(sector: Codes, subsector: Codes, wanted: Bools, start: int, stop: int) -> tuple[int, int, int, int]:
    """The next run of wanted sessions with one assignment in [start, stop): (begin, end, sector, subsector).

    begin == stop when there is none. Windows are refitted wholly with the ETFs of their last session, so a run ends
    where the assignment changes. A few unwanted sessions inside a run are cheaper to compute than to skip.
    """
    begin = start
    while begin < stop and not wanted[begin]:
        begin += 1
    if begin == stop:
        return stop, stop, -1, -1
    all_wanted = 0
    for t in range(begin, stop):
        all_wanted += wanted[t]
    if all_wanted == stop - begin and one_assignment(sector[begin:stop], subsector[begin:stop]):
        return begin, stop, sector[begin], subsector[begin]
    end = begin + 1
    t = begin + 1
    while t < stop and t - end < LONGEST_SKIP:
        if wanted[t]:
            if sector[t] != sector[begin] or subsector[t] != subsector[begin]:
                break
            end = t + 1
        t += 1
    return begin, end, sector[begin], subsector[begin]
