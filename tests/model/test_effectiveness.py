"""Realised effectiveness against each window by itself, and independent of where a run begins."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.effectiveness import effectiveness, hedged_return


@pytest.fixture(scope="module")
def market() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T, n) returns and hedged returns with gaps, (T,) returns of the market."""
    rng = np.random.default_rng(5)
    m = rng.normal(0, 0.01, 200)
    r = m[:, None] + rng.normal(0, 0.02, (200, 7))
    r[rng.random(r.shape) < 0.1] = np.nan
    hedged = r - 0.9 * m[:, None]
    hedged[:90, 3] = np.nan
    r[:, 5] = 0.0
    return r, hedged, m


@pytest.mark.parametrize("first", range(5000, 5021))
def test_a_night_gives_the_bits_of_a_backfill_wherever_a_run_begins(market, first: int):
    r, hedged, m = market
    whole = effectiveness(r, hedged[None], m, 21, first)
    for skip in (1, 13, 20, 21, 179):
        rest = effectiveness(r[skip:], hedged[None, skip:], m[skip:], 21, first + skip)
        for found, wanted in zip(rest, whole, strict=True):
            np.testing.assert_array_equal(found, wanted[:, skip:])


def test_arrays_that_do_not_fit_each_other_are_refused(market):
    r, hedged, m = market
    with pytest.raises(ValueError, match=r"with T >= window = 63; found \(200, 7\), \(200, 7\) and \(200,\)"):
        effectiveness(r, hedged, m, 63, 0)


def test_shares_and_betas_are_those_of_each_window(market):
    r, hedged, m = market
    share, beta = (found[0] for found in effectiveness(r, hedged[None], m, 63, first=5000))
    for row in range(138):
        window = slice(row, row + 63)
        for stock in range(7):
            own, left = r[window, stock], hedged[window, stock]
            have = np.isfinite(own) & np.isfinite(left)
            if have.sum() < 31.5 or np.isnan(left[-1]):
                assert np.isnan(share[row, stock])
                assert np.isnan(beta[row, stock])
                continue
            mm = m[window][have]
            assert beta[row, stock] == pytest.approx(left[have] @ mm / (mm @ mm), rel=1e-9)
            if stock == 5:
                assert np.isnan(share[row, stock]), "a return that never moves has no variance to share"
            else:
                assert share[row, stock] == pytest.approx(left[have].var() / own[have].var(), rel=1e-9)


def test_a_hedge_adds_ratio_times_raw_return_of_each_etf():
    r, legs, ratios = np.array([[0.011]]), [[[0.01]], [[0.008]], [[0.012]]], [[[-0.324]], [[-0.16]], [[-0.2]]]
    found = hedged_return(r, tuple(map(np.array, legs)), tuple(map(np.array, ratios)))
    assert found[0, 0] == pytest.approx(0.00408)
