"""What the machine could do at best: the arithmetic and the memory traffic of the work, and nothing else."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@numba.njit(fastmath=True, nogil=True, cache=True)
def ols_floor(r: Floats, m: Floats, s: Floats, u: Floats, out: Floats) -> None:
    """Per stock-session: read one return, update five sums of products, write 22 outputs.

    The outputs stand for betas, errors, ratios and shares; there is no window, no solve and no missing value.
    r: (n, T); m, s, u: (T,); out: (n, 22, T).
    """
    n, sessions = r.shape
    for i in range(n):
        rr = rm = rs = ru = total = 0.0
        for t in range(sessions):
            x = r[i, t]
            rr = 0.9 * rr + x * x
            rm = 0.9 * rm + x * m[t]
            rs = 0.9 * rs + x * s[t]
            ru = 0.9 * ru + x * u[t]
            total = 0.9 * total + x
            out[i, 0, t] = rr
            out[i, 1, t] = rm
            out[i, 2, t] = rs
            out[i, 3, t] = ru
            out[i, 4, t] = total
        for k in range(5, 22):
            for t in range(sessions):
                out[i, k, t] = r[i, t]


@numba.njit(fastmath=True, nogil=True, cache=True)
def huber_floor(r: Floats, m: Floats, w: Floats, window: int, passes: int, out: Floats) -> None:
    """Per stock-session: `passes` runs over the window that classify a residual and add up what an active set needs.

    r: (n, T); m: (T,); w: (window,); out: (n, T).
    """
    n, sessions = r.shape
    for i in range(n):
        for t in range(window - 1, sessions):
            beta, scale = 1.0, 0.02
            for _ in range(passes):
                xx = xy = rss = cut = weight = 0.0
                first = t - window + 1
                for k in range(window):
                    x, y = m[first + k], r[i, first + k]
                    e = y - beta * x
                    inside = abs(e) <= scale
                    v = w[k] if inside else 0.0
                    xx += v * x * x
                    xy += v * x * y
                    rss += v * e * e
                    weight += v
                    cut += 0.0 if inside else w[k] * x * np.sign(e)
                beta = (xy + scale * cut) / (xx + 1e-300)
            out[i, t] = beta + rss + weight


@numba.njit(nogil=True, cache=True)
def copy(a: Floats, b: Floats) -> None:
    """One read and one write of each element."""
    for i in range(a.size):
        b[i] = a[i]
