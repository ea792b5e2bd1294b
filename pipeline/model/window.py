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


@kernel("void(f8[::1], i8, i8, f8[::1], f8[::1])")
def _one(x: Floats, count: int, phase: int, weights: Floats, out: Floats) -> None:
    window = weights.size - 1
    step = weights[1]
    begin, end = 0, window - phase
    while begin < count:
        suffix = 0.0
        for c in range(end - 1, begin - 1, -1):
            suffix += weights[end - 1 - c] * x[c]
            if c < count:
                out[c] = suffix
        if phase == 0 or begin > 0:
            out[begin] = 0.0
        begin, end = end, end + window
    begin = window - phase if phase > 0 else 0
    while begin < count + window - 1:
        prefix = 0.0
        for c in range(begin, min(begin + window, count + window - 1)):
            prefix = step * prefix + x[c]
            j = c - window + 1
            if j >= 0:
                out[j] = weights[c - begin + 1] * out[j] + prefix
        begin += window


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], i8, i8, f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])")
def _four(
    x0: Floats,
    x1: Floats,
    x2: Floats,
    x3: Floats,
    count: int,
    phase: int,
    weights: Floats,
    out0: Floats,
    out1: Floats,
    out2: Floats,
    out3: Floats,
) -> None:
    """`_one` for four rows side by side: four independent chains of additions hide each other's latency."""
    window = weights.size - 1
    step = weights[1]
    begin, end = 0, window - phase
    while begin < count:
        s0 = s1 = s2 = s3 = 0.0
        for c in range(end - 1, begin - 1, -1):
            w = weights[end - 1 - c]
            s0 += w * x0[c]
            s1 += w * x1[c]
            s2 += w * x2[c]
            s3 += w * x3[c]
            if c < count:
                out0[c] = s0
                out1[c] = s1
                out2[c] = s2
                out3[c] = s3
        if phase == 0 or begin > 0:
            out0[begin] = out1[begin] = out2[begin] = out3[begin] = 0.0
        begin, end = end, end + window
    begin = window - phase if phase > 0 else 0
    while begin < count + window - 1:
        p0 = p1 = p2 = p3 = 0.0
        for c in range(begin, min(begin + window, count + window - 1)):
            p0 = step * p0 + x0[c]
            p1 = step * p1 + x1[c]
            p2 = step * p2 + x2[c]
            p3 = step * p3 + x3[c]
            j = c - window + 1
            if j >= 0:
                join = weights[c - begin + 1]
                out0[j] = join * out0[j] + p0
                out1[j] = join * out1[j] + p1
                out2[j] = join * out2[j] + p2
                out3[j] = join * out3[j] + p3
        begin += window


@kernel("void(f8[:,::1], i8, i8, i8, f8[::1], f8[:,::1])")
def window_sums(x: Floats, rows: int, count: int, phase: int, weights: Floats, out: Floats) -> None:
    """out[k, j] = sum of weights[age] * x[k, j : j + window] for each row k < rows and start j < count.

    x: (K, >= count + window - 1), finite; phase: ordinal of column 0 modulo the window; weights: (window + 1,) by age.
    """
    k = 0
    while k + 4 <= rows:
        _four(x[k], x[k + 1], x[k + 2], x[k + 3], count, phase, weights, out[k], out[k + 1], out[k + 2], out[k + 3])
        k += 4
    while k < rows:
        _one(x[k], count, phase, weights, out[k])
        k += 1


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], i8, i8, f8[::1], f8[::1],f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])"
)
def stock_sums(
    r: Floats,
    m: Floats,
    s: Floats,
    u: Floats,
    count: int,
    phase: int,
    weights: Floats,
    ages: Floats,
    rr: Floats,
    rm: Floats,
    rs: Floats,
    ru: Floats,
    r1: Floats,
) -> None:
    """`window_sums` of r*r, r*m, r*s, r*u and r, with the products made on the way; bit for bit the same sums.

    ages: (>= window,) the weights of a window's rows, oldest first. Each loop is written for slices that start where it
    does, and without a condition inside, which is what makes it fast.
    """
    window = weights.size - 1
    step = weights[1]
    begin, end = 0, window - phase
    while begin < count:
        a0 = a1 = a2 = a3 = a4 = 0.0
        edge = min(max(count, begin), end)
        beyond = end - edge
        x0, x1, x2, x3, w = r[edge:end], m[edge:end], s[edge:end], u[edge:end], ages[window - beyond : window]
        for k in range(beyond - 1, -1, -1):
            a0 += w[k] * (x0[k] * x0[k])
            a1 += w[k] * (x0[k] * x1[k])
            a2 += w[k] * (x0[k] * x2[k])
            a3 += w[k] * (x0[k] * x3[k])
            a4 += w[k] * x0[k]
        within = edge - begin
        x0, x1, x2, x3 = r[begin:edge], m[begin:edge], s[begin:edge], u[begin:edge]
        w = ages[window - beyond - within : window - beyond]
        o0, o1, o2, o3, o4 = rr[begin:edge], rm[begin:edge], rs[begin:edge], ru[begin:edge], r1[begin:edge]
        for k in range(within - 1, -1, -1):
            a0 += w[k] * (x0[k] * x0[k])
            a1 += w[k] * (x0[k] * x1[k])
            a2 += w[k] * (x0[k] * x2[k])
            a3 += w[k] * (x0[k] * x3[k])
            a4 += w[k] * x0[k]
            o0[k], o1[k], o2[k], o3[k], o4[k] = a0, a1, a2, a3, a4
        if phase == 0 or begin > 0:
            rr[begin] = rm[begin] = rs[begin] = ru[begin] = r1[begin] = 0.0
        begin, end = end, end + window
    begin = window - phase if phase > 0 else 0
    stop = count + window - 1
    while begin < stop:
        p0 = p1 = p2 = p3 = p4 = 0.0
        end = min(begin + window, stop)
        edge = max(begin, min(window - 1, end))
        x0, x1, x2, x3 = r[begin:edge], m[begin:edge], s[begin:edge], u[begin:edge]
        for k in range(edge - begin):
            p0 = step * p0 + x0[k] * x0[k]
            p1 = step * p1 + x0[k] * x1[k]
            p2 = step * p2 + x0[k] * x2[k]
            p3 = step * p3 + x0[k] * x3[k]
            p4 = step * p4 + x0[k]
        x0, x1, x2, x3 = r[edge:end], m[edge:end], s[edge:end], u[edge:end]
        j = edge - window + 1
        o0, o1, o2, o3, o4 = rr[j:], rm[j:], rs[j:], ru[j:], r1[j:]
        join = weights[edge - begin + 1 :]
        for k in range(end - edge):
            p0 = step * p0 + x0[k] * x0[k]
            p1 = step * p1 + x0[k] * x1[k]
            p2 = step * p2 + x0[k] * x2[k]
            p3 = step * p3 + x0[k] * x3[k]
            p4 = step * p4 + x0[k]
            o0[k] = join[k] * o0[k] + p0
            o1[k] = join[k] * o1[k] + p1
            o2[k] = join[k] * o2[k] + p2
            o3[k] = join[k] * o3[k] + p3
            o4[k] = join[k] * o4[k] + p4
        begin += window


@kernel("void(f8[::1], f8[::1])")
def copy_row(source: Floats, target: Floats) -> None:
    """target[:source.size] = source. A slice assignment would allocate, in case the two overlap."""
    for c in range(source.size):
        target[c] = source[c]


@kernel("void(f8[::1], f8[::1], f8[::1])")
def split_missing(x: Floats, filled: Floats, valid: Floats) -> None:
    """filled = x with 0 where there is no return, valid = 1 where there is one, else 0; one row of sessions.

    filled and valid may be longer than x; what is beyond is left alone.
    """
    for c in range(x.size):
        ok = abs(x[c]) < ABSURD
        filled[c] = x[c] if ok else 0.0
        valid[c] = 1.0 if ok else 0.0


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
    end = begin + 1
    t = begin + 1
    while t < stop and t - end < LONGEST_SKIP:
        if wanted[t]:
            if sector[t] != sector[begin] or subsector[t] != subsector[begin]:
                break
            end = t + 1
        t += 1
    return begin, end, sector[begin], subsector[begin]


@kernel("void(f8[::1], i8[::1])")
def count_missing(valid: Floats, missing: Ints) -> None:
    """missing[c] = sessions without a return before column c; (size + 1,). Integers: exact under subtraction."""
    missing[0] = 0
    for c in range(missing.size - 1):
        missing[c + 1] = missing[c] + (0 if valid[c] == 1.0 else 1)
