"""Explained-risk shares of one window through its residuals; `explained_risk` has the definitions."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.model.compiled import Floats1D, Floats2D, Floats3D, kernel
from pipeline.model.link_betas import Legs
from pipeline.model.window_fit import ROUNDING


class Lambdas(NamedTuple):
    """Link betas of one session."""

    sm: float
    um: float
    us: float


class Slopes(NamedTuple):
    """Adjusted betas of one session, from L1 to L3."""

    b1: float
    b2: float
    b3: float


class Variances(NamedTuple):
    """Variance of the returns, of what each level leaves, and the mean square of the returns."""

    v0: float
    v1: float
    v2: float
    v3: float
    square: float


@kernel
def _variance(e: Floats1D, w: Floats1D) -> float:
    """Variance under the weights w, mean removed in a second pass."""
    total = mean = square = 0.0
    for i in range(e.size):
        total += w[i]
        mean += w[i] * e[i]
    mean /= total
    for i in range(e.size):
        square += w[i] * (e[i] - mean) ** 2
    return square / total


@kernel
def _variances(r: Floats1D, legs: Legs, w: Floats1D, slopes: Slopes, links: Lambdas, work: Floats2D) -> Variances:
    """Of one window under the weights w. work: (>= 3, >= window) scratch."""
    m, s, u = legs
    total = square = 0.0
    for i in range(r.size):
        sector = s[i] - links.sm * m[i]
        work[0, i] = r[i] - slopes.b1 * m[i]
        work[1, i] = work[0, i] - slopes.b2 * sector
        work[2, i] = work[1, i] - slopes.b3 * ((u[i] - links.um * m[i]) - links.us * sector)
        total += w[i]
        square += w[i] * r[i] * r[i]
    size = r.size
    v1, v2, v3 = _variance(work[0, :size], w), _variance(work[1, :size], w), _variance(work[2, :size], w)
    return Variances(_variance(r, w), v1, v2, v3, square / total)


@kernel
def shares_of_window(
    r: Floats1D,
    valid: Floats1D,
    legs: Legs,
    valid_legs: Legs,
    weights: Floats1D,
    slopes: Slopes,
    links: Lambdas,
    depth: int,
    work: Floats2D,
    shares: Floats3D,
    i: int,
    t: int,
) -> float:
    """Total variance; the shares of the first `depth` levels go into cell (i, t), which is preset to NaN.

    r, legs: of the window, 0 for missing; valid, valid_legs: 1/0; weights: oldest first; work: (4, >= window) scratch
    """
    w = work[3, : r.size]
    for k in range(r.size):
        w[k] = weights[k] * valid[k]
    b1, b2, b3 = slopes.b1, slopes.b2 if depth >= 2 else 0.0, slopes.b3 if depth >= 3 else 0.0
    links = Lambdas(links.sm if depth >= 2 else 0.0, links.um if depth >= 3 else 0.0, links.us if depth >= 3 else 0.0)
    whole = _variances(r, legs, w, Slopes(0.0, 0.0, 0.0), Lambdas(0.0, 0.0, 0.0), work)
    if whole.v0 <= ROUNDING * whole.square:
        return 0.0
    for level in range(1, depth + 1):
        leg = valid_legs.m if level == 1 else valid_legs.s if level == 2 else valid_legs.u
        for k in range(r.size):
            w[k] *= leg[k]
        used = Slopes(b1, b2 if level >= 2 else 0.0, b3 if level >= 3 else 0.0)
        v0, v1, v2, v3, square = _variances(r, legs, w, used, links, work)
        if not v0 > ROUNDING * square:
            continue
        if level == 1:
            shares[0, i, t], shares[1, i, t] = (v0 - v1) / v0, v1 / v0
        elif level == 2:
            shares[2, i, t], shares[3, i, t], shares[4, i, t] = (v0 - v1) / v0, (v1 - v2) / v0, v2 / v0
        else:
            shares[5, i, t], shares[6, i, t] = (v0 - v1) / v0, (v1 - v2) / v0
            shares[7, i, t], shares[8, i, t] = (v2 - v3) / v0, v3 / v0
    return whole.v0
