"""`ols` and `ridge` against the long-double oracle and the libraries; edges of the definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from statsmodels.regression.rolling import RollingOLS

from pipeline.model import DegenerateReason, KernelParams, cascade, link_betas, reason_counts
from tests.model import oracle
from tests.model.random_returns import make_market, with_trouble

REASON = DegenerateReason


def assert_matches_oracle(market, params, tolerance=1e-11):
    """Betas to `tolerance` of the larger of beta and se, standard errors relatively, counts and NaN pattern exactly."""
    out = market.cascade(params)
    for i, t in np.ndindex(market.wanted.shape):
        if not market.wanted[i, t]:
            assert np.isnan(out.beta[:, i, t]).all()
            assert np.isnan(out.se[:, i, t]).all()
            assert not out.n_obs[:, i, t].any()
            continue
        beta, se, n_obs = oracle.cell(
            market.r[i], market.etf, 0, market.sector[i, t], market.subsector[i, t], t, params
        )
        where = f"stock {i}, session {t}: {out.reason[:, i, t]}"
        np.testing.assert_array_equal(out.n_obs[:, i, t], n_obs, where)
        np.testing.assert_array_equal(np.isnan(out.beta[:, i, t]), np.isnan(beta), where)
        with np.errstate(invalid="ignore"):
            scale = np.maximum(np.abs(beta), se)
            assert not (np.abs(out.beta[:, i, t] - beta) > tolerance * scale).any(), where
            assert not (np.abs(out.se[:, i, t] - se) > tolerance * se).any(), where
        assert (np.isnan(beta) == (out.reason[:, i, t] != REASON.NONE)).all(), where


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_random_masks_windows_and_minima_match_a_long_double_oracle(data):
    window = data.draw(st.integers(2, 40), "window")
    params = KernelParams(
        data.draw(st.sampled_from(["ols", "ridge"]), "estimator"),
        window,
        data.draw(st.integers(2, window), "min_obs"),
        data.draw(st.sampled_from([None, 3.0, 20.0, 126.0]), "half_life"),
        ridge_alpha=data.draw(st.sampled_from([0.0, 1e-5, 1e-2]), "alpha"),
    )
    market = make_market(4, data.draw(st.integers(1, 60), "sessions"), window, data.draw(st.integers(0, 10**6), "seed"))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6), "mask"))
    r, etf = market.r.copy(), market.etf.copy()
    r[rng.random(r.shape) < data.draw(st.sampled_from([0.0, 0.02, 0.4]), "missing")] = np.nan
    etf[1:][rng.random(etf[1:].shape) < data.draw(st.sampled_from([0.0, 0.0, 0.05]), "leg gaps")] = np.nan
    first = data.draw(st.integers(0, 500), "first")
    if window < 4:
        # Two or three observations leave nothing for a third regression: any residual is rounding.
        market = replace(market, subsector=np.full_like(market.subsector, -1))
        market = replace(market, sector=np.full_like(market.sector, -1))
    elif params.min_obs < 5:
        params = replace(params, min_obs=min(5, window))
        market = replace(market, subsector=np.full_like(market.subsector, -1))
    assert_matches_oracle(replace(market, r=r, etf=etf, first=first), params)


@pytest.mark.parametrize("estimator", ["ols", "ridge"])
@pytest.mark.parametrize("half_life", [None, 25.0])
def test_trouble_of_every_kind_matches_the_oracle(estimator, half_life):
    params = KernelParams(estimator, 40, 15, half_life, ridge_alpha=1e-5)
    assert_matches_oracle(with_trouble(make_market(12, 110, 40)), params)


def test_a_full_window_matches_the_oracle():
    assert_matches_oracle(with_trouble(make_market(10, 3, 252)), KernelParams("ols"))


def test_the_oracle_catches_a_beta_that_is_off_by_a_hair():
    market = make_market(2, 3, 40)
    params = KernelParams("ols", 40, 15, None)
    market.r[1, 20] *= 1 + 1e-8
    out = market.cascade(params)
    market.r[1, 20] /= 1 + 1e-8
    beta, _, _ = oracle.cell(market.r[1], market.etf, 0, market.sector[1, 0], market.subsector[1, 0], 0, params)
    assert (np.abs(out.beta[:, 1, 0] - beta) > 1e-11 * np.abs(beta)).any()


def test_each_level_is_a_rolling_ols_of_statsmodels_with_gaps():
    """`missing="drop"`, because "skip" is wrong for good after one NaN."""
    window, params = 60, KernelParams("ols", 60, 30, None)
    market = make_market(3, 40, window)
    market.r[1, [5, 30, 31, 70]] = np.nan
    out = market.cascade(params)
    for i, t in ((0, 0), (0, 39), (1, 0), (1, 20), (1, 39), (2, 17)):
        w = slice(t, t + window)
        ok = np.isfinite(market.r[i, w])
        m, s, u = (market.etf[e, w] for e in (0, market.sector[i, t], market.subsector[i, t]))
        pairs = np.array([[market.subsector[i, t], market.sector[i, t]]], np.int16)
        links = link_betas(market.etf[:, w], 0, pairs, market.first + t, params)
        sm_, um_, us_ = links.on_market[pairs[0, 1], 0], links.on_market[pairs[0, 0], 0], links.sub_on_sector[0, 0]
        y = market.r[i, w]
        for level, x in enumerate((m, s - sm_ * m, (u - um_ * m) - us_ * (s - sm_ * m))):
            fit = RollingOLS(y[ok], x[ok][:, None], window=int(ok.sum()), missing="drop").fit()
            assert out.beta[level, i, t] == pytest.approx(fit.params[-1, 0], rel=1e-9)
            assert out.se[level, i, t] == pytest.approx(fit.bse[-1, 0], rel=1e-9)
            y = y - out.beta[level, i, t] * x


def test_ridge_is_the_ridge_of_sklearn_and_alpha_zero_is_ols():
    market = make_market(2, 5, 60)
    params = KernelParams("ridge", 60, 30, 40.0, ridge_alpha=1e-4)
    w = oracle.weights(60, 40.0).astype(float)
    out = market.cascade(params)
    for t in range(5):
        fit = Ridge(alpha=1e-4 * w.sum(), fit_intercept=False).fit(
            market.etf[0, t : t + 60, None], market.r[0, t : t + 60], sample_weight=w
        )
        assert out.beta[0, 0, t] == pytest.approx(fit.coef_[0], rel=1e-9)
    same = market.cascade(replace(params, ridge_alpha=0.0))
    assert same.beta.tobytes() == market.cascade(replace(params, estimator="ols")).beta.tobytes()


def test_without_gaps_the_cascade_is_the_joint_regression():
    """Frisch-Waugh: the coefficients on raw returns are those of one OLS on (m, s, u)."""
    market = make_market(6, 4, 252)
    for half_life in (None, 126.0):
        params = KernelParams("ols", half_life=half_life)
        out = market.cascade(params)
        w = oracle.weights(252, half_life).astype(float)
        for i, t in np.ndindex(6, 4):
            legs = [0, market.sector[i, t], market.subsector[i, t]]
            x = market.etf[legs, t : t + 252].T
            joint = sm.WLS(market.r[i, t : t + 252], x, weights=w).fit().params
            lam = oracle.links(
                *[oracle.window_of(market.etf[e], t, 252) for e in legs], oracle.weights(252, half_life), 2
            )
            b_m, b_s, b_u = out.beta[:, i, t]
            expanded = [
                b_m - b_s * float(lam[0]) - b_u * float(lam[1] - lam[2] * lam[0]),
                b_s - b_u * float(lam[2]),
                b_u,
            ]
            np.testing.assert_allclose(expanded, joint, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("estimator", ["ols", "huber"])
def test_min_obs_is_met_exactly_or_not_at_all(estimator):
    params = KernelParams(estimator, 40, 20, None)
    market = make_market(3, 1, 40)
    market.r[0, :21] = np.nan
    market.r[1, :20] = np.nan
    out = market.cascade(params)
    assert out.n_obs[0, :, 0].tolist() == [19, 20, 40]
    assert np.isnan(out.beta[:, 0, 0]).all()
    assert np.isfinite(out.beta[:, 1:, 0]).all()
    assert np.isfinite(out.se[:, 1:, 0]).all()
    assert reason_counts(out.counts) == {"L1": {"too_few_obs": 1}, "L2": {"level_above": 1}, "L3": {"level_above": 1}}


@pytest.mark.parametrize("estimator", ["ols", "huber"])
def test_a_window_needs_just_enough_columns(estimator):
    params = KernelParams(estimator, 40, 20, None)
    market = make_market(2, 2, 40)
    assert market.cascade(params).beta.shape == (3, 2, 2)
    assert market.cut(40, 0, 1).cascade(params).beta.shape == (3, 2, 1)
    with pytest.raises(ValueError, match="T >= window = 40"):
        cascade(market.r[:, :39], market.etf[:, :39], 0, market.sector, market.subsector, market.wanted, 0, params)


@pytest.mark.parametrize("estimator", ["ols", "ridge", "huber"])
def test_a_level_without_information_of_its_own_is_nan_with_its_reason(estimator):
    params = KernelParams(estimator, 40, 20, None)
    market = make_market(8, 1, 40)
    sector, subsector, etf, r = market.sector, market.subsector, market.etf, market.r
    sector[:, 0], subsector[:, 0] = 1, 4
    sector[0] = 0  # the market again
    subsector[1] = 1  # the sector again
    subsector[2] = 0  # the market again
    sector[3] = -1
    subsector[4] = -1
    sector[5], subsector[5] = 2, 5
    etf[2] = 1.3 * etf[0]  # collinear with the market
    subsector[6] = 6
    etf[6] = etf[0] + 0.5 * etf[1]  # collinear with market and sector
    r[7] = 0.0  # a halt
    out = market.cascade(params)
    none = REASON.NONE
    expected = [
        (none, REASON.SAME_ETF, REASON.LEVEL_ABOVE),
        (none, none, REASON.SAME_ETF),
        (none, none, REASON.SAME_ETF),
        (none, REASON.NO_ETF, REASON.LEVEL_ABOVE),
        (none, none, REASON.NO_ETF),
        (none, REASON.COLLINEAR, REASON.LEVEL_ABOVE),
        (none, none, REASON.COLLINEAR),
        (REASON.ZERO_VARIANCE, REASON.LEVEL_ABOVE, REASON.LEVEL_ABOVE),
    ]
    assert [tuple(out.reason[:, i, 0]) for i in range(8)] == expected
    np.testing.assert_array_equal(np.isnan(out.beta), out.reason != none)
    np.testing.assert_array_equal(np.isnan(out.se), out.reason != none)
    assert out.counts.sum() == 3 * 8


@pytest.mark.parametrize("estimator", ["ols", "huber"])
def test_a_flat_market_gives_nan_and_a_constant_one_a_beta(estimator):
    params = KernelParams(estimator, 40, 20, None)
    market = make_market(1, 1, 40)
    market.etf[0] = 0.0
    assert market.cascade(params).reason[:, 0, 0].tolist() == [
        REASON.ZERO_VARIANCE,
        REASON.LEVEL_ABOVE,
        REASON.LEVEL_ABOVE,
    ]
    market.etf[0] = 0.001
    out = market.cascade(replace(params, estimator="ols"))
    assert out.beta[0, 0, 0] == pytest.approx(market.r[0].mean() / 0.001, rel=1e-11)


@pytest.mark.parametrize("estimator", ["ols", "ridge", "huber"])
@pytest.mark.parametrize("multiple", [1.0, 1.1, -2.0])
def test_a_stock_that_is_a_multiple_of_the_market_fits_exactly(estimator, multiple):
    params = KernelParams(estimator, 40, 20, 30.0)
    market = make_market(1, 5, 40)
    market.r[0] = multiple * market.etf[0]
    out = market.cascade(params)
    np.testing.assert_allclose(out.beta[0, 0], multiple, rtol=1e-15)
    assert (out.beta[1:] == 0).all()
    assert (out.se == 0).all()
    assert (out.reason == REASON.EXACT_FIT).all()


@pytest.mark.parametrize("estimator", ["ols", "huber"])
def test_a_changed_assignment_refits_the_whole_window_with_the_etf_of_the_day(estimator):
    params = KernelParams(estimator, 40, 20, 30.0)
    market = make_market(2, 30, 40)
    before = market.cascade(params)
    changed = replace(market, sector=np.full_like(market.sector, 2), subsector=np.full_like(market.subsector, 6))
    after = changed.cascade(params)
    mixed = replace(market, sector=market.sector.copy(), subsector=market.subsector.copy())
    mixed.sector[:, 11:], mixed.subsector[:, 11:] = 2, 6
    out = mixed.cascade(params)
    assert out.beta.tobytes() == np.concatenate([before.beta[:, :, :11], after.beta[:, :, 11:]], axis=2).tobytes()
    assert out.se.tobytes() == np.concatenate([before.se[:, :, :11], after.se[:, :, 11:]], axis=2).tobytes()


def test_legs_that_start_late_join_when_they_have_min_obs_sessions():
    params = KernelParams("ols", 40, 20, None)
    market = make_market(1, 41, 40)
    market.sector[:], market.subsector[:] = 1, 4
    market.etf[4, :30] = np.nan
    out = market.cascade(params)
    assert np.isfinite(out.beta[:2]).all()
    assert np.isnan(out.beta[2, 0, :10]).all()
    assert out.n_obs[2, 0, 9:12].tolist() == [19, 20, 21]
    assert np.isfinite(out.beta[2, 0, 10:]).all()
    assert (out.reason[2, 0, :10] == REASON.TOO_FEW_OBS).all()


def test_arguments_of_the_wrong_shape_or_range_are_named():
    params = KernelParams("ols", 40, 20, None)
    market = make_market(2, 3, 40)
    with pytest.raises(ValueError, match=r"sector is \(n, T - window \+ 1\) = \(2, 3\); found \(2, 2\)"):
        replace(market, sector=market.sector[:, :2]).cascade(params)
    market.sector[1, 2] = 8
    with pytest.raises(ValueError, match=r"rows of etf .* stock 1"):
        market.cascade(params)
    with pytest.raises(ValueError, match="market is a row of etf, 0 to 7; found 8"):
        cascade(market.r, market.etf, 8, market.sector, market.subsector, market.wanted, 0, params)
    with pytest.raises(ValueError, match="min_obs"):
        KernelParams(min_obs=300)
    with pytest.raises(ValueError, match="huber_epsilon"):
        KernelParams(huber_epsilon=1.0)
    with pytest.raises(ValueError, match="half_life"):
        KernelParams(half_life=0.0)
