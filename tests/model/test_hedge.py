"""Hedge ratios, shares, decomposition and L*: identities, worked example and reference rows of the methodology."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model import (
    HEDGE_RATIOS,
    SHARES,
    KernelParams,
    decompose,
    hedge_ratios,
    hedge_ratios_of_stocks,
    link_betas,
    links_of_stocks,
    lstar_level,
)
from tests.model import oracle
from tests.model.random_returns import make_market, with_trouble

PAIRS = np.array([[u, s] for s in range(1, 4) for u in range(4, 8)], np.int16)


def test_the_worked_example_of_the_methodology():
    beta = np.array([0.5, 0.3, 0.2])
    sm, um, us = 0.6, 0.4, 0.7
    ratios = dict(zip(HEDGE_RATIOS, hedge_ratios(beta, sm, um, us), strict=True))
    assert ratios["L3_market_HR"] == pytest.approx(-0.324, abs=1e-15)
    assert ratios["L3_sector_HR"] == pytest.approx(-0.16, abs=1e-15)
    assert ratios["L3_subsector_HR"] == pytest.approx(-0.2, abs=1e-15)
    factor, combined, residual = decompose(0.011, 0.01, 0.008, 0.012, beta, (sm, um, us))
    assert residual[2] == pytest.approx(0.00408, abs=1e-15)
    hedged = 0.011 + ratios["L3_market_HR"] * 0.01 + ratios["L3_sector_HR"] * 0.008 + ratios["L3_subsector_HR"] * 0.012
    assert hedged == pytest.approx(0.00408, abs=1e-15)
    assert combined[2] == pytest.approx(factor.sum(), abs=1e-15)


def test_without_the_cross_term_the_worked_example_fails():
    """The published text that drops lambda_us lambda_sm: the market hedge is off by beta_u times the product."""
    right = hedge_ratios(np.array([0.5, 0.3, 0.2]), 0.6, 0.4, 0.7)[3]
    assert right - -(0.5 - 0.3 * 0.6 - 0.2 * 0.4) == pytest.approx(-0.2 * 0.7 * 0.6)


@pytest.mark.parametrize(
    "row",
    [
        (-2.12363529, 0.21453381, -1.54688668, 0.21716428, 0.15669858, -1.27551520),
        (-2.15420675, 1.28696299, -2.27661014, 1.28914213, -0.86515832, -1.05678785),
    ],
    ids=["INTC", "AMD"],
)
def test_the_reference_rows_of_the_methodology(row):
    beta = -np.array([row[0], row[2], row[5]])
    np.testing.assert_allclose(hedge_ratios(beta, 1.51153, 2.0209, 1.33561), row, rtol=0, atol=1e-4)


@pytest.mark.parametrize("estimator", ["ols", "ridge", "huber"])
def test_both_paths_replicate_the_return_at_every_level(estimator):
    params = KernelParams(estimator, 40, 20, 30.0, ridge_alpha=1e-5)
    market = with_trouble(make_market(10, 50, 40))
    beta = market.cascade(params).beta
    links = link_betas(market.etf, 0, PAIRS, market.first, params)
    lambdas = links_of_stocks(links, PAIRS, market.sector, market.subsector)
    ratios = hedge_ratios(beta, *lambdas)
    of_stocks = hedge_ratios_of_stocks(beta, links, PAIRS, market.sector, market.subsector)
    assert of_stocks.tobytes() == ratios.tobytes()
    at = np.arange(market.sessions)
    r, m = market.r[:, 39:], market.etf[0, 39:]
    s, u = market.etf[market.sector, 39 + at], market.etf[market.subsector, 39 + at]
    factor, combined, residual = decompose(r, m, s, u, beta, lambdas)
    by_level = (
        ratios[0] * m,
        ratios[1] * m + ratios[2] * s,
        ratios[3] * m + ratios[4] * s + ratios[5] * u,
    )
    for level in range(3):
        np.testing.assert_allclose(-by_level[level], combined[level], rtol=0, atol=1e-14)
        np.testing.assert_allclose(combined[level] + residual[level], r + 0 * combined[level], rtol=0, atol=1e-15)
        assert np.isfinite(combined[level]).sum() > 100
        np.testing.assert_array_equal(np.isnan(factor[level]), np.isnan(combined[level]))


def test_the_hedged_return_has_no_market_beta_left():
    params = KernelParams("ols", 252, 126, None)
    market = make_market(5, 1, 252)
    beta = market.cascade(params).beta
    links = link_betas(market.etf, 0, PAIRS, market.first, params)
    ratios = hedge_ratios(beta, *links_of_stocks(links, PAIRS, market.sector, market.subsector))
    m = market.etf[0]
    for i in range(5):
        s, u = market.etf[market.sector[i, 0]], market.etf[market.subsector[i, 0]]
        hedged = market.r[i] + ratios[3, i, 0] * m + ratios[4, i, 0] * s + ratios[5, i, 0] * u
        for leg in (m, s, u):
            assert abs(hedged @ leg) < 1e-13


@pytest.mark.parametrize("estimator", ["ols", "huber"])
@pytest.mark.parametrize("half_life", [None, 25.0])
def test_shares_match_the_oracle_with_adjusted_betas(estimator, half_life):
    params = KernelParams(estimator, 40, 15, half_life)
    market = with_trouble(make_market(12, 90, 40))
    rng = np.random.default_rng(0)
    beta = market.cascade(params).beta
    beta[1:] += 0.2 * rng.standard_normal(beta[1:].shape)
    shares, variance = market.explained_risk(beta, params)
    for i, t in np.ndindex(market.wanted.shape):
        if not market.wanted[i, t]:
            assert np.isnan(shares[:, i, t]).all()
            continue
        expected, v0 = oracle.shares(
            market.r[i], market.etf, 0, market.sector[i, t], market.subsector[i, t], beta[:, i, t], t, params
        )
        if v0 == 0:
            assert variance[i, t] == 0
            assert np.isnan(shares[:, i, t]).all()
            continue
        np.testing.assert_allclose(shares[:, i, t], expected.astype(float), rtol=0, atol=1e-11, err_msg=f"{i}, {t}")
        np.testing.assert_allclose(variance[i, t], float(v0), rtol=1e-11)


@pytest.mark.parametrize("estimator", ["ols", "huber"])
def test_shares_add_to_one_at_each_level_even_where_legs_have_gaps(estimator):
    params = KernelParams(estimator, 40, 15, 25.0)
    market = with_trouble(make_market(12, 90, 40))
    shares, _ = market.explained_risk(market.cascade(params).beta, params)
    for names in (range(2), range(2, 5), range(5, 9)):
        total = shares[list(names)].sum(axis=0)
        assert np.isfinite(total).sum() > 200
        np.testing.assert_allclose(total[np.isfinite(total)], 1, rtol=0, atol=1e-12)
    assert len(SHARES) == 9


def test_huge_adjusted_betas_do_not_break_the_sum_of_shares():
    params = KernelParams("ols", 40, 15, None)
    market = make_market(2, 10, 40)
    beta = market.cascade(params).beta * 1e4
    shares, _ = market.explained_risk(beta, params)
    expected, _ = oracle.shares(
        market.r[0], market.etf, 0, market.sector[0, 3], market.subsector[0, 3], beta[:, 0, 3], 3, params
    )
    np.testing.assert_allclose(shares[:, 0, 3], expected.astype(float), rtol=1e-11)


def test_a_stock_that_did_not_move_has_variance_zero_and_no_shares():
    params = KernelParams("ols", 40, 15, None)
    market = make_market(3, 2, 40)
    market.r[1] = 0.0
    market.r[2] = 0.01
    shares, variance = market.explained_risk(np.ones((3, 3, 2)), params)
    assert (variance[1:] == 0).all()
    assert np.isnan(shares[:, 1:]).all()
    assert np.isfinite(shares[:, 0]).all()


def test_the_market_itself_explains_all_of_its_risk():
    params = KernelParams("huber", 40, 15, 30.0)
    market = make_market(1, 2, 40)
    market.r[0] = market.etf[0]
    shares, _ = market.explained_risk(market.cascade(params).beta, params)
    np.testing.assert_allclose(shares[:, 0, 0], [1, 0, 1, 0, 0, 1, 0, 0, 0], rtol=0, atol=1e-15)


def test_a_level_without_beta_has_no_shares_and_the_levels_above_keep_theirs():
    params = KernelParams("ols", 40, 15, None)
    market = make_market(3, 2, 40)
    beta = market.cascade(params).beta
    beta[2, 0], beta[1:, 1], beta[:, 2] = np.nan, np.nan, np.nan
    shares, variance = market.explained_risk(beta, params)
    assert np.isfinite(shares[:5, 0]).all()
    assert np.isnan(shares[5:, 0]).all()
    assert np.isfinite(shares[:2, 1]).all()
    assert np.isnan(shares[2:, 1]).all()
    assert np.isnan(shares[:, 2]).all()
    assert np.isfinite(variance).all()


def test_lstar_takes_the_deepest_level_that_pays():
    nan = np.nan
    sector = np.array([0.05, 0.05, 0.001, 0.001, nan, nan, 0.05, 0.001, 0.01])
    subsector = np.array([0.05, 0.001, 0.05, 0.001, nan, 0.05, nan, nan, 0.0099])
    out = lstar_level(sector, subsector, 0.01)
    assert out.dtype == np.uint8
    assert out.tolist() == [3, 2, 3, 1, 0, 3, 2, 1, 2]
