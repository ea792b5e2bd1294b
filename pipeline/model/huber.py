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

from typing import NamedTuple

import numpy as np

from pipeline.model.compiled import Floats1D, inlined, kernel, reduction

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


class Points(NamedTuple):
    """The regression of y on x of one window: one length, zeros for sessions left out and beyond the window.

    w: weights; wx = w x, wy = w y
    """

    y: Floats1D
    x: Floats1D
    w: Floats1D
    wx: Floats1D
    wy: Floats1D


class Totals(NamedTuple):
    """Of all points: sum w, sum w x^2 (positive), and a bound on |x|."""

    w: float
    xx: float
    reach: float


class Loss(NamedTuple):
    """epsilon: where the loss turns linear, in units of the scale; floor: the smallest scale, in units of y."""

    epsilon: float
    floor: float


class Line(NamedTuple):
    """Parameters of a fit: slope and scale."""

    b: float
    sigma: float


class HuberFit(NamedTuple):
    """Slope and scale at the minimum, sum of w x^2 over the inliers, and CONVERGED, AT_FLOOR or UNCONVERGED."""

    b: float
    sigma: float
    xx_inside: float
    status: int


class Split(NamedTuple):
    """Inliers and outliers at a kink.

    xx, xy, yy, inside: sums of w x^2, w x y, w y^2, w over the inliers; pull: of w sign x over the outliers
    margin: the smallest distance of a residual from the kink
    """

    xx: float
    xy: float
    yy: float
    inside: float
    pull: float
    margin: float


class Solved(NamedTuple):
    """The closed form of a split: whether there is one, and whether it took residuals, for lack of digits in the sums.

    b0, rss: least squares of the inliers; flat: n - epsilon^2 sum_O w
    """

    b: float
    sigma: float
    b0: float
    rss: float
    flat: float
    possible: bool
    by_residuals: bool


@reduction
def residual_sums(points: Points, b: float) -> tuple[float, float]:
    """(sum w x e, sum w e^2) with e = y - b x."""
    y, x, w = points.y, points.x, points.w
    xe = ee = 0.0
    for i in range(y.size):
        e = y[i] - b * x[i]
        xe += w[i] * x[i] * e
        ee += w[i] * e * e
    return xe, ee


@reduction
def _classify(points: Points, b: float, kink: float) -> Split:
    """The split at (b, kink).

    The margin is taken over bit patterns, which order positive numbers as their values do: a minimum of integers is one
    that the compiler vectorises.
    """
    y, x, w, wx, wy = points
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
    return Split(xx, xy, yy, inside, above - below, np.int64(nearest).view(np.float64))


@reduction
def _inlier_residuals(points: Points, b: float, kink: float, b0: float) -> tuple[float, float]:
    """(sum w x e, sum w e^2) over the inliers at (b, kink), with e = y - b0 x."""
    y, x, w = points.y, points.x, points.w
    xe = ee = 0.0
    for i in range(y.size):
        inside = w[i] if abs(y[i] - b * x[i]) <= kink else 0.0
        e = y[i] - b0 * x[i]
        xe += inside * x[i] * e
        ee += inside * e * e
    return xe, ee


@kernel
def _slope_at_scale(points: Points, kink: float, b: float) -> float:
    """The b at which sum w clip(y - b x, -kink, kink) x = 0: Newton steps inside a shrinking bracket."""
    y, x, w = points.y, points.x, points.w
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


@kernel
def _bisect(points: Points, n: float, loss: Loss, start: Line) -> Line:
    """The minimum to about 1e-15 by bisection of dF/dsigma, which grows with sigma along the best b; n = sum w."""
    y, x, w = points.y, points.x, points.w
    epsilon, b = loss.epsilon, start.b
    low, high, top = loss.floor, max(start.sigma, loss.floor), 0.0
    for step in range(400):
        at = low if step == 0 else high if top == 0.0 else np.sqrt(low) * np.sqrt(high)
        b = _slope_at_scale(points, epsilon * at, b)
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
                return Line(b, low)
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
    return Line(b, high)


@kernel
def _guess(state: Floats1D, points: Points, window: int, n: float, epsilon: float, step: float) -> Line:
    """Where to start: the last fit's sums, one session on, solved again. Only a start, so it need not be exact.

    The oldest observation leaves the sums, all others age by one session, the newest enters, each on the side of the
    kink where the last fit has it. If that does not solve, the last fit itself.
    """
    y, x, w = points.y, points.x, points.w
    b, sigma = state[BETA], state[SIGMA]
    kink = epsilon * sigma
    xx, xy, yy = step * state[XX], step * state[XY], step * state[YY]
    inside, pull = step * state[INSIDE], step * state[PULL]
    y_out, x_out, w_out = state[FIRST_Y], state[FIRST_X], -step * state[FIRST_W]
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
    return Line(b, sigma)


@inlined
def _solve(points: Points, n: float, loss: Loss, at: Line, split: Split) -> Solved:
    """The minimum if its split is that of `at`; n = sum w. Where it is not possible, `at` with twice the scale."""
    xx, xy, pull = split.xx, split.xy, split.pull
    square = loss.epsilon * loss.epsilon
    inverse = 1.0 / xx
    b0 = xy * inverse
    rss = split.yy - b0 * xy
    flat = n - square * (n - split.inside)
    b, sigma = at.b, 2.0 * at.sigma
    by_residuals = possible = False
    if xx > 0.0:
        by_residuals = not rss > NEARLY_EXACT * split.yy
        if by_residuals:
            xe, rss = _inlier_residuals(points, at.b, loss.epsilon * at.sigma, b0)
            b0 += xe * inverse
        room = flat - square * (pull * pull * inverse)
        possible = room > 0.0
        if possible:
            sigma = max(np.sqrt(max(rss, 0.0) / room), loss.floor)
            b = b0 + loss.epsilon * sigma * (pull * inverse)
    return Solved(b, sigma, b0, rss, flat, possible, by_residuals)


@inlined
def _optimality(totals: Totals, loss: Loss, at: Line, split: Split, solved: Solved) -> float:
    """The larger of both partial derivatives of F at (b, sigma), free of units; at the floor sigma cannot shrink."""
    if not split.xx > 0.0:
        return np.inf
    b, sigma = at
    slope = abs(split.xx * (solved.b0 - b) + loss.epsilon * sigma * split.pull) / (
        sigma * np.sqrt(totals.xx * totals.w)
    )
    off = b - solved.b0
    scale = (solved.flat - (solved.rss + split.xx * off * off) / (sigma * sigma)) / totals.w
    return max(slope, abs(min(scale, 0.0) if sigma <= loss.floor else scale))


@inlined
def _keep(state: Floats1D, points: Points, at: Line, split: Split) -> None:
    """Replace the state that the next session starts from."""
    state[BETA], state[SIGMA] = at
    state[XX], state[XY], state[YY], state[INSIDE], state[PULL] = split.xx, split.xy, split.yy, split.inside, split.pull
    state[FIRST_Y], state[FIRST_X], state[FIRST_W] = points.y[0], points.x[0], points.w[0]


@kernel
def fit_huber(
    points: Points, totals: Totals, window: int, loss: Loss, least_squares: Line, step: float, state: Floats1D
) -> HuberFit:
    """The minimum of F over the points.

    window: length of the window inside the padded points; step: the factor by which weights age in a session
    least_squares: the cold start, with sigma >= floor > 0
    state: (STATE,) of any earlier fit, NaN for none; replaced by this one. It does not change the answer.
    """
    phase = 0
    at = _guess(state, points, window, totals.w, loss.epsilon, step)
    at = Line(at.b, max(at.sigma, loss.floor))
    if not (np.isfinite(at.b) and np.isfinite(at.sigma)):
        phase, at = 1, least_squares
    limit = WARM_PASSES if phase == 0 else COLD_PASSES
    passes = 0
    status = CONVERGED
    while True:
        # The only place that classifies and adds up, so that one set gives one result, warm or cold.
        kink = loss.epsilon * at.sigma
        split = _classify(points, at.b, kink)
        passes += 1
        solved = _solve(points, totals.w, loss, at, split)
        to = Line(solved.b, solved.sigma)
        shift = abs(to.b - at.b) * totals.reach + loss.epsilon * abs(to.sigma - at.sigma)
        safe = shift + ON_THE_KINK * kink < split.margin
        if solved.possible and safe and not (solved.by_residuals and phase == 0):
            # No residual can cross the kink on the way: the next parameters have this set, and so are the fixed point.
            at = to
            break
        fixed = to.b == at.b and to.sigma == at.sigma
        if phase == 0:
            if fixed or solved.by_residuals or passes >= limit:
                phase, limit, passes, to = 1, COLD_PASSES, 0, least_squares
        elif fixed:
            break
        elif passes >= 4:
            optimality = _optimality(totals, loss, at, split, solved)
            if optimality <= SOLVED:
                break
            if passes >= limit and phase == 2:
                status = CONVERGED if optimality <= OPTIMAL else UNCONVERGED
                break
            if passes >= limit:
                phase, limit, passes = 2, POLISH_PASSES, 0
                to = _bisect(points, totals.w, loss, least_squares)
        at = to
    _keep(state, points, at, split)
    return HuberFit(at.b, at.sigma, split.xx, AT_FLOOR if status == CONVERGED and at.sigma <= loss.floor else status)
