"""One-regressor Huber fit with a joint scale, solved exactly (docs/methodology.md, section 3).

Minimise over (b, sigma >= floor)   F = sum w (sigma + H((y - b x)/sigma) sigma),
H(z) = z^2 for |z| <= epsilon, else 2 epsilon |z| - epsilon^2.

Once the inliers I and the signs of the outliers O are known, F is smooth and its minimum has a closed form. With
A = sum_I w x^2, b0 = sum_I w x y / A, c = sum_O w sign x, n = sum w:

    sigma^2 = RSS_I(b0) / (n - epsilon^2 sum_O w - epsilon^2 c^2 / A)        b = b0 + epsilon sigma c / A

Classify, solve, repeat until the set stands: a semismooth Newton method. F is convex, so a set that solves to itself is
the minimum, and its last digit depends on the set alone. The start can therefore be anything (yesterday's fit), unless
a point sits on the kink to rounding; then the answer is taken from the cold start, which depends on the window alone as
well. Should the classification cycle, bisection finds the minimum, and the closed form polishes it.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.compiled import Floats, kernel

CONVERGED, AT_FLOOR, UNCONVERGED = 0, 1, 2

WARM_PASSES = 8
COLD_PASSES = 24
POLISH_PASSES = 6
# A residual so near the kink (relative to it) may be counted in or out by rounding.
ON_THE_KINK = 1e-9
# Below this share of the inliers' raw squares, RSS is added up from residuals instead of from sums of products.
NEARLY_EXACT = 1e-3
# Optimality residual at which a cycle between equivalent sets (points on the kink) counts as solved.
SOLVED = 1e-12
# The same after bisection; above it the fit is reported as unconverged.
OPTIMAL = 1e-10

# Columns of the state that one session hands to the next: the fit, its sums, and the observation that leaves next.
BETA, SIGMA, XX, XY, YY, INSIDE, PULL, FIRST_Y, FIRST_X, FIRST_W = range(10)
STATE = 10

_FARTHEST = np.float64(np.finfo(np.float64).max).view(np.int64)


@kernel("UniTuple(f8, 2)(f8[::1], f8[::1], f8[::1], f8)", reorder=True)
def residual_sums(y: Floats, x: Floats, w: Floats, b: float) -> tuple[float, float]:
    """(sum w x e, sum w e^2) with e = y - b x."""
    xe = ee = 0.0
    for i in range(y.size):
        e = y[i] - b * x[i]
        xe += w[i] * x[i] * e
        ee += w[i] * e * e
    return xe, ee


@kernel("UniTuple(f8, 6)(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8, f8)", reorder=True)
def _classify(
    y: Floats, x: Floats, w: Floats, wx: Floats, wy: Floats, b: float, kink: float
) -> tuple[float, float, float, float, float, float]:
    """At (b, kink): sums over the inliers of w x^2, w x y, w y^2, w; over the outliers of w sign x; and the margin.

    The margin is the smallest distance of a residual from the kink. It is taken over bit patterns, which order positive
    numbers as their values do: a minimum of integers is one that the compiler vectorises.
    """
    xx = xy = yy = inside = above = below = 0.0
    nearest = _FARTHEST
    for i in range(y.size):
        e = y[i] - b * x[i]
        size = abs(e)
        distance = np.float64(abs(size - kink)).view(np.int64)
        nearest = distance if distance < nearest else nearest
        above += wx[i] if e > kink else 0.0
        below += wx[i] if e < -kink else 0.0
        xx += wx[i] * x[i] if size <= kink else 0.0
        xy += wx[i] * y[i] if size <= kink else 0.0
        yy += wy[i] * y[i] if size <= kink else 0.0
        inside += w[i] if size <= kink else 0.0
    return xx, xy, yy, inside, above - below, np.int64(nearest).view(np.float64)


@kernel("UniTuple(f8, 2)(f8[::1], f8[::1], f8[::1], f8, f8, f8)", reorder=True)
def _inlier_residuals(y: Floats, x: Floats, w: Floats, b: float, kink: float, b0: float) -> tuple[float, float]:
    """(sum w x e, sum w e^2) over the inliers at (b, kink), with e = y - b0 x."""
    xe = ee = 0.0
    for i in range(y.size):
        inside = w[i] if abs(y[i] - b * x[i]) <= kink else 0.0
        e = y[i] - b0 * x[i]
        xe += inside * x[i] * e
        ee += inside * e * e
    return xe, ee


@kernel("f8(f8[::1], f8[::1], f8[::1], f8, f8)")
def _slope_at_scale(y: Floats, x: Floats, w: Floats, kink: float, b: float) -> float:
    """The b at which sum w clip(y - b x, -kink, kink) x = 0: Newton steps inside a shrinking bracket."""
    low, high = np.inf, -np.inf
    for i in range(y.size):
        if w[i] > 0.0 and x[i] != 0.0:
            ratio = y[i] / x[i]
            low, high = min(low, ratio), max(high, ratio)
    if not (np.isfinite(low) and np.isfinite(high)):
        return b
    b = min(max(b, low), high)
    for _ in range(2000):
        gradient = curvature = 0.0
        for i in range(y.size):
            e = y[i] - b * x[i]
            if abs(e) <= kink:
                gradient += w[i] * x[i] * e
                curvature += w[i] * x[i] * x[i]
            else:
                gradient += (kink if e > 0.0 else -kink) * w[i] * x[i]
        if gradient > 0.0:
            low = b
        elif gradient < 0.0:
            high = b
        else:
            return b
        step = b + gradient / curvature if curvature > 0.0 else low
        if step == b:
            return b
        if not low < step < high:
            step = 0.5 * (low + high)
            if not low < step < high:
                return b
        b = step
    return b


@kernel("UniTuple(f8, 2)(f8[::1], f8[::1], f8[::1], f8, f8, f8, f8, f8)")
def _bisect(
    y: Floats, x: Floats, w: Floats, n: float, epsilon: float, floor: float, b: float, sigma: float
) -> tuple[float, float]:
    """The minimum (b, sigma) to about 1e-15 by bisection of dF/dsigma, which grows with sigma along the best b."""
    low, high, top = floor, max(sigma, floor), 0.0
    for step in range(400):
        at = low if step == 0 else high if top == 0.0 else np.sqrt(low) * np.sqrt(high)
        b = _slope_at_scale(y, x, w, epsilon * at, b)
        inside = outside = 0.0
        for i in range(y.size):
            e = (y[i] - b * x[i]) / at
            if abs(e) <= epsilon:
                inside += w[i] * e * e
            else:
                outside += w[i]
        rising = n - epsilon * epsilon * outside - inside >= 0.0
        if step == 0:
            if rising:
                return b, low
        elif top == 0.0:
            if rising:
                top = high
            else:
                low, high = high, 2.0 * high
        elif rising:
            high = at
        else:
            low = at
        if top > 0.0 and high - low <= 2e-16 * high:
            break
    return b, high


@kernel("UniTuple(f8, 2)(f8[:,::1], i8, f8[::1], f8[::1], f8[::1], i8, f8, f8, f8)")
def _guess(
    state: Floats, level: int, y: Floats, x: Floats, w: Floats, window: int, n: float, epsilon: float, step: float
) -> tuple[float, float]:
    """Where to start: the last fit's sums, one session on, solved again. Only a start, so it need not be exact.

    The oldest observation leaves the sums, all others age by one session, the newest enters, each on the side of the
    kink where the last fit has it. If that does not solve, the last fit itself.
    """
    b, sigma = state[level, BETA], state[level, SIGMA]
    kink = epsilon * sigma
    xx, xy, yy = step * state[level, XX], step * state[level, XY], step * state[level, YY]
    inside, pull = step * state[level, INSIDE], step * state[level, PULL]
    y_out, x_out, w_out = state[level, FIRST_Y], state[level, FIRST_X], -step * state[level, FIRST_W]
    y_in, x_in, w_in = y[window - 1], x[window - 1], w[window - 1]
    for k in range(2):
        yi, xi, wi = (y_out, x_out, w_out) if k == 0 else (y_in, x_in, w_in)
        e = yi - b * xi
        if abs(e) <= kink:
            xx += wi * xi * xi
            xy += wi * xi * yi
            yy += wi * yi * yi
            inside += wi
        else:
            pull += wi * xi if e > 0.0 else -wi * xi
    inverse = 1.0 / xx
    room = n - epsilon * epsilon * (n - inside + pull * pull * inverse)
    rss = yy - xy * xy * inverse
    if xx > 0.0 and room > 0.0 and rss > 0.0:
        sigma = np.sqrt(rss / room)
        b = (xy + epsilon * sigma * pull) * inverse
    return b, sigma


@kernel(
    "Tuple((f8, f8, f8, i8))(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], i8, f8, f8, f8, f8, f8, f8, f8, f8,"
    "f8[:,::1], i8)",
)
def fit_huber(
    y: Floats,
    x: Floats,
    w: Floats,
    wx: Floats,
    wy: Floats,
    window: int,
    n: float,
    xx_all: float,
    reach: float,
    epsilon: float,
    floor: float,
    step: float,
    cold_b: float,
    cold_sigma: float,
    state: Floats,
    level: int,
) -> tuple[float, float, float, int]:
    """(b, sigma, sum of w x^2 over the inliers, status) at the minimum; status: CONVERGED, AT_FLOOR or UNCONVERGED.

    y, x, w: one length, w = 0 for sessions left out and beyond the window; wx = w x, wy = w y
    n = sum w; xx_all = sum w x^2 > 0; reach >= |x|; step: the factor by which weights age in a session
    cold_*: the least-squares fit, cold_sigma >= floor > 0
    state: (levels, STATE) of any earlier fit, NaN for none; replaced by this one. It does not change the answer.
    """
    phase = 0
    b, sigma = _guess(state, level, y, x, w, window, n, epsilon, step)
    sigma = max(sigma, floor)
    if not (np.isfinite(b) and np.isfinite(sigma)):
        phase = 1
        b, sigma = cold_b, cold_sigma
    limit = WARM_PASSES if phase == 0 else COLD_PASSES
    passes = 0
    status = CONVERGED
    square = epsilon * epsilon
    while True:
        # The only place that classifies and adds up, so that one set gives one result, warm or cold.
        kink = epsilon * sigma
        xx, xy, yy, inside, pull, margin = _classify(y, x, w, wx, wy, b, kink)
        passes += 1
        next_b, next_sigma = b, 2.0 * sigma
        careful = solved = False
        inverse = 1.0 / xx
        b0 = xy * inverse
        rss = yy - b0 * xy
        flat = n - square * (n - inside)
        if xx > 0.0:
            careful = not rss > NEARLY_EXACT * yy
            if careful:
                xe, rss = _inlier_residuals(y, x, w, b, kink, b0)
                b0 += xe * inverse
            room = flat - square * (pull * pull * inverse)
            solved = room > 0.0
            if solved:
                next_sigma = max(np.sqrt(max(rss, 0.0) / room), floor)
                next_b = b0 + epsilon * next_sigma * (pull * inverse)
        shift = abs(next_b - b) * reach + epsilon * abs(next_sigma - sigma)
        if solved and shift + ON_THE_KINK * kink < margin and not (careful and phase == 0):
            # No residual can cross the kink on the way: the next parameters have this set, and so are the fixed point.
            b, sigma = next_b, next_sigma
            break
        fixed = next_b == b and next_sigma == sigma
        if phase == 0:
            if fixed or careful or passes >= limit:
                phase, limit, passes = 1, COLD_PASSES, 0
                next_b, next_sigma = cold_b, cold_sigma
        elif fixed:
            break
        elif passes >= 4:
            optimality = np.inf
            if xx > 0.0:
                slope = abs(xx * (b0 - b) + kink * pull) / (sigma * np.sqrt(xx_all * n))
                scale = (flat - (rss + xx * (b - b0) * (b - b0)) / (sigma * sigma)) / n
                optimality = max(slope, abs(min(scale, 0.0) if sigma <= floor else scale))
            if optimality <= SOLVED:
                break
            if passes >= limit and phase == 2:
                status = CONVERGED if optimality <= OPTIMAL else UNCONVERGED
                break
            if passes >= limit:
                phase, limit, passes = 2, POLISH_PASSES, 0
                next_b, next_sigma = _bisect(y, x, w, n, epsilon, floor, cold_b, cold_sigma)
        b, sigma = next_b, next_sigma
    state[level, BETA], state[level, SIGMA] = b, sigma
    state[level, XX], state[level, XY], state[level, YY] = xx, xy, yy
    state[level, INSIDE], state[level, PULL] = inside, pull
    state[level, FIRST_Y], state[level, FIRST_X], state[level, FIRST_W] = y[0], x[0], w[0]
    return b, sigma, xx, AT_FLOOR if status == CONVERGED and sigma <= floor else status
