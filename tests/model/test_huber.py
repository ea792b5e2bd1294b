"""The Huber fit: optimality, scikit-learn's objective, hostile starts, and the stress sets of the field."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import HuberRegressor

from pipeline.model import DegenerateReason, KernelParams, reason_counts
from pipeline.model.huber import AT_FLOOR, STATE, UNCONVERGED, Line, Loss, Points, Totals, _bisect, fit_huber
from tests.model import oracle
from tests.model.random_returns import assert_same_cascade, make_market

EPSILON, FLOOR = 1.35, 1e-2


def objective(b, sigma, y, x, w):
    z = np.abs(y - b * x) / sigma
    return (w * (sigma + np.where(z <= EPSILON, z * z, 2 * EPSILON * z - EPSILON**2) * sigma)).sum()


def optimality(b, sigma, y, x, w, floor):
    """KKT residual: both partial derivatives, free of units; at the floor the scale may only want to shrink."""
    z = (y - b * x) / sigma
    inside = np.abs(z) <= EPSILON
    slope = abs((w * np.clip(z, -EPSILON, EPSILON) * x).sum()) / np.sqrt((w * x * x).sum() * w.sum())
    scale = (w.sum() - EPSILON**2 * w[~inside].sum() - (w[inside] * z[inside] ** 2).sum()) / w.sum()
    if sigma <= floor * (1 + 1e-15):
        scale = min(scale, 0.0)
    return max(slope, abs(scale))


def fit(y, x, w, start=(np.nan, np.nan)):
    """(b, sigma, status, floor), from least squares or from `start`."""
    xx = (w * x * x).sum()
    b = (w * x * y).sum() / xx
    sigma = np.sqrt((w * (y - b * x) ** 2).sum() / w.sum())
    state = np.full(STATE, np.nan)
    state[:2] = start
    totals, loss = Totals(float(w.sum()), float(xx), float(np.abs(x).max())), Loss(EPSILON, float(FLOOR * sigma))
    points = Points(y, x, w, w * x, w * y)
    b, sigma_huber, _, status = fit_huber(points, totals, len(y), loss, Line(float(b), float(sigma)), 1.0, state)
    return b, sigma_huber, status, FLOOR * sigma


STRESS = {
    "normal": lambda rng, x: 0.8 * x + rng.standard_normal(x.size) * 0.015,
    "cauchy noise": lambda rng, x: 0.8 * x + rng.standard_cauchy(x.size) * 0.01,
    "ticks of 2 %": lambda rng, x: np.round((0.8 * x + rng.standard_normal(x.size) * 0.015) / 0.02) * 0.02,
    "20 % zeros": lambda rng, x: np.where(rng.random(x.size) < 0.2, 0, 0.8 * x + rng.standard_normal(x.size) * 0.015),
    "40 % zeros": lambda rng, x: np.where(rng.random(x.size) < 0.4, 0, 0.8 * x + rng.standard_normal(x.size) * 0.015),
    "60 % zeros": lambda rng, x: np.where(rng.random(x.size) < 0.6, 0, 0.8 * x + rng.standard_normal(x.size) * 0.015),
    "15-fold regime": lambda rng, x: (
        0.8 * x + rng.standard_normal(x.size) * 0.015 * np.where(np.arange(x.size) < x.size // 2, 1, 15)
    ),
    "almost the factor": lambda rng, x: x + 1e-7 * rng.standard_normal(x.size),
    "1 % of 100 times": lambda rng, x: (
        (0.8 * x + rng.standard_normal(x.size) * 0.015) * np.where(rng.random(x.size) < 0.01, 100, 1)
    ),
    "one tick of 1e6": lambda rng, x: np.where(
        np.arange(x.size) == 7, 1e6, 0.8 * x + rng.standard_normal(x.size) * 0.015
    ),
    "ticks and a halt": lambda rng, x: np.where(
        np.arange(x.size) < x.size // 3, 0, np.round((0.8 * x + rng.standard_normal(x.size) * 0.015) / 0.02) * 0.02
    ),
    "two lines": lambda rng, x: np.where(rng.random(x.size) < 0.5, 3.0, -3.0) * x + 1e-4 * rng.standard_normal(x.size),
}


@pytest.mark.parametrize("name", STRESS)
def test_stress_sets_end_at_the_optimum_from_every_start(name):
    rng = np.random.default_rng(11)
    for case in range(60):
        n = 252 if case % 2 else int(rng.integers(5, 60))
        x = rng.standard_normal(n) * 0.01
        y = STRESS[name](rng, x)
        if case % 5 == 0:
            x = np.where(np.abs(x) < 0.002, 0.0, np.round(x / 0.004) * 0.004)
        w = np.ones(n) if case % 3 else oracle.weights(n, 126).astype(float)
        w[rng.random(n) < 0.1] = 0
        if not (w * x * x).any() or not (w * y * y).any():
            continue
        b, sigma, status, floor = fit(y, x, w)
        assert status != UNCONVERGED
        assert optimality(b, sigma, y, x, w, floor) <= 1e-10
        for start in (
            (b * 1.01, sigma * 1.02),
            (0.0, sigma * 100),
            (b + 10, sigma / 50),
            (-1e5, 1e-30),
            (1e300, 1e300),
        ):
            assert fit(y, x, w, start)[:3] == (b, sigma, status)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_any_small_sample_reaches_the_optimum_whatever_the_start(data):
    """Small integers put many points on the kink, on the line and on each other."""
    n = data.draw(st.integers(4, 30))
    whole = st.integers(-6, 6)
    y = np.array(data.draw(st.lists(whole, min_size=n, max_size=n)), float) * 0.01
    x = np.array(data.draw(st.lists(whole, min_size=n, max_size=n)), float) * 0.01
    w = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0]), min_size=n, max_size=n)))
    if not (w * x * x).any():
        return
    b, sigma, status, floor = fit(y, x, w) if (w * y * y).any() else (0, 1, 0, 0)
    if not (w * y * y).any() or floor <= FLOOR * 1e-12 * np.sqrt((w * y * y).sum() / w.sum()):
        return  # an exact fit never reaches the Huber fit
    assert status != UNCONVERGED
    assert optimality(b, sigma, y, x, w, floor) <= 1e-10
    start = data.draw(st.tuples(st.floats(-20, 20), st.floats(1e-9, 1e3)))
    assert fit(y, x, w, start)[:3] == (b, sigma, status)


def test_the_objective_is_never_above_that_of_scikit_learn():
    rng = np.random.default_rng(2)
    compared = 0
    for name, make in STRESS.items():
        for case in range(4):
            x = rng.standard_normal(252) * 0.01
            y = make(rng, x)
            w = np.ones(252) if case % 2 else oracle.weights(252, 126).astype(float)
            b, sigma, status, _ = fit(y, x, w)
            if status == AT_FLOOR:
                continue
            unit_x, unit_y = x.std(), np.median(np.abs(y)) or y.std()
            try:
                theirs = HuberRegressor(epsilon=EPSILON, alpha=0, fit_intercept=False, tol=1e-9, max_iter=2000).fit(
                    x[:, None] / unit_x, y / unit_y, sample_weight=w
                )
            except ValueError:
                continue  # its line search gave up
            compared += 1
            ours = objective(b, sigma, y, x, w)
            assert ours <= objective(theirs.coef_[0] * unit_y / unit_x, theirs.scale_ * unit_y, y, x, w) * (
                1 + 1e-12
            ), name
    assert compared > 25


def test_optimality_notices_a_beta_that_is_slightly_off():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(252) * 0.01
    y, w = STRESS["normal"](rng, x), np.ones(252)
    b, sigma, _, floor = fit(y, x, w)
    assert optimality(b * (1 + 1e-8), sigma, y, x, w, floor) > 1e-10
    assert optimality(b, sigma * (1 + 1e-8), y, x, w, floor) > 1e-10


def test_bisection_alone_finds_the_same_minimum():
    """The last resort must work by itself; it is hardly ever reached."""
    rng = np.random.default_rng(4)
    for name, make in STRESS.items():
        x = rng.standard_normal(252) * 0.01
        y, w = make(rng, x), np.ones(252)
        b, sigma, _, floor = fit(y, x, w)
        found = _bisect(Points(y, x, w, w * x, w * y), w.sum(), Loss(EPSILON, float(floor)), Line(0.0, sigma))
        np.testing.assert_allclose(found, (b, sigma), rtol=1e-6, err_msg=name)


def test_windows_with_many_zero_returns_hit_the_scale_floor_and_say_so():
    params = KernelParams("huber", 252, 126, None)
    market = make_market(3, 4, 252)
    rng = np.random.default_rng(0)
    market.r[1, rng.random(market.r.shape[1]) < 0.75] = 0.0
    out = market.cascade(params)
    assert (out.reason[0, 1] == DegenerateReason.SCALE_FLOOR).all()
    assert np.isfinite(out.beta[:, 1]).all()
    assert np.isfinite(out.se[:, 1]).all()
    assert reason_counts(out.counts)["L1"] == {"scale_floor": 4}


@pytest.mark.parametrize("half_life", [None, 126.0])
def test_the_cascade_solves_every_stress_set_at_every_level_warm_or_cold(half_life):
    params = KernelParams("huber", 252, 126, half_life)
    names = list(STRESS)
    market = make_market(len(names) + 3, 40, 252)
    rng = np.random.default_rng(9)
    for i, name in enumerate(names):
        market.r[i] = STRESS[name](rng, market.etf[0]) + (
            0 if "tick" in name or "zero" in name else 0.3 * market.etf[1]
        )
    market.r[len(names)] = market.etf[0]
    market.r[len(names) + 1, :150] = 0.0
    market.r[len(names) + 2, :140] = np.nan
    market.etf[7] = market.etf[0] + 0.5 * market.etf[3] + 1e-7 * rng.standard_normal(market.etf.shape[1])
    market.sector[:2], market.subsector[:2] = 3, 7
    whole = market.cascade(params)
    assert whole.unconverged == 0
    assert np.isfinite(whole.beta).mean() > 0.9
    for t in (0, 13, 39):
        night = market.cut(252, t, t + 1).cascade(params)
        assert night.beta.tobytes() == np.ascontiguousarray(whole.beta[:, :, t : t + 1]).tobytes()
        assert night.se.tobytes() == np.ascontiguousarray(whole.se[:, :, t : t + 1]).tobytes()


def test_a_400_session_halt_ends_as_it_began():
    params = KernelParams("huber")
    market = make_market(2, 700, 252)
    halted = market.r.copy()
    halted[1, 260:660] = 0.0
    out, clean = market.with_returns(halted).cascade(params), market.cascade(params)
    assert out.unconverged == 0
    assert (out.reason[0, 1, 260:409] == DegenerateReason.ZERO_VARIANCE).all()
    assert out.beta[:, 1, 660:].tobytes() == clean.beta[:, 1, 660:].tobytes()
    assert out.beta[:, 0].tobytes() == clean.beta[:, 0].tobytes()


def test_levels_are_huber_fits_of_the_residuals_above():
    """Every level against an independent fit, through the oracle's cascade."""
    params = KernelParams("huber", 60, 30, 40.0)
    market = make_market(4, 10, 60)
    market.r[1, 20:25] = np.nan
    out = market.cascade(params)
    for i, t in np.ndindex(4, 10):
        beta, _, n_obs = oracle.cell(
            market.r[i],
            market.etf,
            0,
            market.sector[i, t],
            market.subsector[i, t],
            t,
            params,
            lambda y, x, w: fit(y, x, w)[0],
        )
        np.testing.assert_allclose(out.beta[:, i, t], beta, rtol=1e-10)
        np.testing.assert_array_equal(out.n_obs[:, i, t], n_obs)


def test_the_standard_error_is_the_sandwich_of_the_m_estimator():
    params = KernelParams("huber", 120, 60, 50.0)
    market = make_market(3, 2, 120)
    out = market.cascade(params)
    w = oracle.weights(120, 50.0).astype(float)
    for i, t in np.ndindex(3, 2):
        y, x = market.r[i, t : t + 120], market.etf[0, t : t + 120]
        b, sigma, _, _ = fit(y, x, w)
        e = y - b * x
        inside = np.abs(e) <= EPSILON * sigma
        psi = np.clip(e, -EPSILON * sigma, EPSILON * sigma)
        effective = w.sum() ** 2 / (w * w).sum()
        variance = (
            (w * w * psi**2 * x * x).sum() / (w[inside] * x[inside] ** 2).sum() ** 2 * effective / (effective - 1)
        )
        assert out.se[0, i, t] == pytest.approx(np.sqrt(variance), rel=1e-11)


def test_standard_errors_cover_the_truth():
    """1,000 samples of noise around a known beta: |b - beta| < 1.96 se in about 95 % of them."""
    rng = np.random.default_rng(7)
    sessions, params = 1, KernelParams("huber", 252, 126, 126.0)
    market = make_market(1000, sessions, 252)
    market.r[:] = 1.3 * market.etf[0] + rng.standard_t(4, market.r.shape) * 0.015
    out = market.cascade(params)
    covered = np.abs(out.beta[0, :, 0] - 1.3) < 1.96 * out.se[0, :, 0]
    assert 0.92 < covered.mean() < 0.975


def test_two_runs_of_hard_data_agree():
    params = KernelParams("huber", 60, 20, None)
    market = make_market(6, 30, 60)
    ticks = market.with_returns(r=np.round(market.r / 0.02) * 0.02)
    assert_same_cascade(ticks.cascade(params), ticks.cascade(params))
