"""Link betas against the oracle, and the degenerate ones."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model import KernelParams, link_betas, links_of_stocks
from tests.model import oracle
from tests.model.random_returns import make_market, with_trouble

PAIRS = np.array([[4, 1], [5, 2], [6, 3], [7, 1], [5, 1]], np.int16)


@pytest.mark.parametrize("half_life", [None, 20.0])
def test_link_betas_match_the_oracle_with_gaps(half_life):
    params = KernelParams("ols", 30, 12, half_life)
    market = with_trouble(make_market(3, 60, 30))
    links = link_betas(market.etf, 0, PAIRS, market.first, params)
    w = oracle.weights(30, half_life)
    for t in range(60):
        legs = [oracle.window_of(market.etf[e], t, 30) for e in range(8)]
        for p, (u, s) in enumerate(PAIRS):
            sm, um, us = oracle.links(legs[0], legs[s], legs[u], w, 12)
            np.testing.assert_allclose(links.on_market[s, t], float(sm), rtol=1e-11)
            np.testing.assert_allclose(links.on_market[u, t], float(um), rtol=1e-11)
            np.testing.assert_allclose(links.sub_on_sector[p, t], float(us), rtol=1e-11, atol=1e-12)


def test_the_market_has_beta_one_on_itself():
    market = make_market(1, 10, 30)
    links = link_betas(market.etf, 0, PAIRS, market.first, KernelParams("ols", 30, 12, 20.0))
    assert (links.on_market[0] == 1).all()


def test_a_sector_that_is_the_market_has_no_link_for_its_subsectors():
    market = make_market(1, 10, 30)
    market.etf[1] = 0.8 * market.etf[0]
    links = link_betas(market.etf, 0, PAIRS, market.first, KernelParams("ols", 30, 12, None))
    assert np.isnan(links.sub_on_sector[[0, 3, 4]]).all()
    assert np.isfinite(links.sub_on_sector[[1, 2]]).all()


def test_a_sector_close_to_the_market_keeps_its_digits():
    """1e-4 of own variance: sums of products alone would lose four digits of it."""
    params = KernelParams("ols", 252, 126, 126.0)
    market = make_market(1, 3, 252)
    rng = np.random.default_rng(3)
    market.etf[1] = 1.1 * market.etf[0] + 1e-4 * rng.standard_normal(market.etf.shape[1])
    links = link_betas(market.etf, 0, PAIRS[:1], market.first, params)
    for t in range(3):
        m, s, u = (oracle.window_of(market.etf[e], t, 252) for e in (0, 1, 4))
        us = oracle.links(m, s, u, oracle.weights(252, 126.0), 126)[2]
        np.testing.assert_allclose(links.sub_on_sector[0, t], float(us), rtol=1e-11)


def test_links_of_stocks_looks_up_the_etfs_of_the_session():
    params = KernelParams("ols", 30, 12, None)
    market = make_market(3, 4, 30)
    market.sector[:] = [[1, 1, 2, -1], [2, 2, 2, 2], [3, 3, 3, 3]]
    market.subsector[:] = [[4, 7, 5, 4], [-1, -1, 5, 5], [6, 6, 4, 6]]
    links = link_betas(market.etf, 0, PAIRS, market.first, params)
    sm, um, us = links_of_stocks(links, PAIRS, market.sector, market.subsector)
    assert sm[0].tolist()[:3] == [links.on_market[1, 0], links.on_market[1, 1], links.on_market[2, 2]]
    assert np.isnan(sm[0, 3])
    assert um[0, 3] == links.on_market[4, 3]
    assert us[0].tolist()[:3] == [links.sub_on_sector[p, t] for t, p in enumerate((0, 3, 1))]
    assert np.isnan(us[0, 3])
    assert np.isnan(um[1, :2]).all()
    assert np.isnan(us[1, :2]).all()
    assert us[2, 3] == links.sub_on_sector[2, 3]
    assert np.isnan(us[2, 2])  # (4, 3) is not among the pairs
    empty = links_of_stocks(link_betas(market.etf, 0, PAIRS[:0], market.first, params), PAIRS[:0], *[market.sector] * 2)
    assert np.isnan(empty[2]).all()


def test_pairs_out_of_range_are_refused():
    market = make_market(1, 2, 30)
    with pytest.raises(ValueError, match="rows of etf, 0 to 7"):
        link_betas(market.etf, 0, np.array([[8, 1]], np.int16), 0, KernelParams("ols", 30, 12, None))
