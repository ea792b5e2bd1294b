"""What may not matter: the range computed, the tile, threads, order, history, the future, what has left the window."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import KernelParams, link_betas, tile
from tests.model.random_returns import assert_same_bits, assert_same_cascade, make_market, with_trouble

ALL = [
    KernelParams("ols", 30, 12, None),
    KernelParams("ols", 30, 12, 20.0),
    KernelParams("ridge", 30, 12, 20.0, ridge_alpha=1e-5),
    KernelParams("huber", 30, 12, None),
    KernelParams("huber", 30, 12, 20.0),
]
every_estimator = pytest.mark.parametrize("params", ALL, ids=lambda p: f"{p.estimator}-{p.half_life}")


def everything(market, params):
    """Cascade, shares and variance with the raw betas."""
    out = market.cascade(params)
    return out, *market.explained_risk(out.beta, params)


def assert_same_cells(whole, part, start, stop, what):
    for name in ("beta", "se", "n_obs", "reason"):
        assert_same_bits(getattr(whole[0], name)[:, :, start:stop], getattr(part[0], name), f"{what} {name}")
    assert_same_bits(whole[1][:, :, start:stop], part[1], f"{what} shares")
    assert_same_bits(whole[2][:, start:stop], part[2], f"{what} variance")


@every_estimator
def test_a_nightly_run_equals_the_backfill_to_the_bit(params):
    """Every session, so every position in the block, with gaps and changes of every kind."""
    market = with_trouble(make_market(12, 70, params.window))
    whole = everything(market, params)
    for t in range(market.sessions):
        night = everything(market.cut(params.window, t, t + 1), params)
        assert_same_cells(whole, night, t, t + 1, f"session {t}")


def test_a_nightly_run_equals_the_backfill_with_the_default_parameters():
    params = KernelParams()
    market = with_trouble(make_market(6, 260, params.window))
    whole = everything(market, params)
    block_edge = params.window - 1 - (market.first + params.window - 1) % params.window
    for t in (0, 1, 100, block_edge, block_edge + 1, 259):
        assert_same_cells(whole, everything(market.cut(params.window, t, t + 1), params), t, t + 1, f"session {t}")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_chunks_tiles_and_blocks_give_identical_bits(data):
    params = data.draw(st.sampled_from(ALL))
    market = with_trouble(make_market(10, 80, params.window, data.draw(st.integers(0, 99))))
    whole = everything(market, params)
    start = data.draw(st.integers(0, 79), "start")
    stop = data.draw(st.integers(start + 1, 80), "stop")
    stocks = data.draw(st.permutations(range(10)), "stocks")[: data.draw(st.integers(1, 10), "size")]
    block = tile.BLOCK
    try:
        tile.BLOCK = data.draw(st.integers(1, 100), "block")
        part = everything(market.cut(params.window, start, stop).pick(stocks), params)
    finally:
        tile.BLOCK = block
    picked = (
        replace(
            whole[0],
            beta=whole[0].beta[:, stocks],
            se=whole[0].se[:, stocks],
            n_obs=whole[0].n_obs[:, stocks],
            reason=whole[0].reason[:, stocks],
        ),
        whole[1][:, stocks],
        whole[2][stocks],
    )
    assert_same_cells(picked, part, start, stop, "part")


@every_estimator
def test_threads_give_identical_bits(params):
    market = with_trouble(make_market(16, 60, params.window))
    whole = everything(market, params)
    tiles = [slice(i, i + 4) for i in range(0, 16, 4)]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda tile: everything(market.pick(tile), params), tiles))
    assert_same_bits(whole[0].beta, np.concatenate([p[0].beta for p in parts], axis=1), "beta")
    assert_same_bits(whole[0].se, np.concatenate([p[0].se for p in parts], axis=1), "se")
    assert_same_bits(whole[1], np.concatenate([p[1] for p in parts], axis=1), "shares")
    assert (sum(p[0].counts for p in parts) == whole[0].counts).all()


@every_estimator
def test_unwanted_neighbours_change_nothing(params):
    market = with_trouble(make_market(6, 50, params.window))
    whole = everything(market, params)
    lonely = np.zeros_like(market.wanted)
    lonely[:, ::7] = market.wanted[:, ::7]
    few = everything(replace(market, wanted=lonely), params)
    for one, other in ((whole[0].beta, few[0].beta), (whole[0].se, few[0].se), (whole[1], few[1])):
        assert_same_bits(one[:, lonely], other[:, lonely])
        assert np.isnan(other[:, ~lonely]).all()
    assert not few[0].n_obs[:, ~lonely].any()
    assert not few[0].reason[:, ~lonely].any()
    assert np.isnan(few[2][~lonely]).all()


@every_estimator
def test_the_future_changes_nothing(params):
    """Everything after session t at random, assignments too: outputs up to t keep their bits."""
    market = with_trouble(make_market(10, 60, params.window))
    whole = everything(market, params)
    rng = np.random.default_rng(5)
    for t in (0, 17, 29, 58):
        r, etf = market.r.copy(), market.etf.copy()
        sector, subsector, wanted = market.sector.copy(), market.subsector.copy(), market.wanted.copy()
        known = t + params.window
        r[:, known:] = rng.standard_normal(r[:, known:].shape) * 10.0 ** rng.integers(-3, 8)
        etf[:, known:] = np.where(rng.random(etf[:, known:].shape) < 0.3, np.nan, 7.0)
        sector[:, t + 1 :] = rng.integers(-1, 8, sector[:, t + 1 :].shape)
        subsector[:, t + 1 :] = rng.integers(-1, 8, sector[:, t + 1 :].shape)
        wanted[:, t + 1 :] = rng.random(sector[:, t + 1 :].shape) < 0.5
        other = everything(replace(market, r=r, etf=etf, sector=sector, subsector=subsector, wanted=wanted), params)
        past = (
            replace(
                other[0],
                beta=other[0].beta[:, :, : t + 1],
                se=other[0].se[:, :, : t + 1],
                n_obs=other[0].n_obs[:, :, : t + 1],
                reason=other[0].reason[:, :, : t + 1],
            ),
            other[1][:, :, : t + 1],
            other[2][:, : t + 1],
        )
        assert_same_cells(whole, past, 0, t + 1, f"up to {t}")


@every_estimator
@pytest.mark.parametrize("poison", [1e6, -1e6, np.nan, np.inf, -np.inf, 1e200, 1e-300])
def test_poison_leaves_no_trace_outside_its_windows(params, poison):
    market = make_market(4, 70, params.window)
    clean = everything(market, params)
    for victim, row, column in (("r", 1, 45), ("etf", 0, 45), ("etf", 5, 45)):
        r, etf = market.r.copy(), market.etf.copy()
        (r if victim == "r" else etf)[row, column] = poison
        dirty = everything(market.with_returns(r, etf), params)
        untouched = np.ones(market.sessions, bool)
        untouched[column - params.window + 1 : column + 1] = False
        for one, other in ((clean[0].beta, dirty[0].beta), (clean[0].se, dirty[0].se), (clean[1], dirty[1])):
            assert_same_bits(one[:, :, untouched], other[:, :, untouched], f"{victim} {poison}")
        assert dirty[0].unconverged == 0
        touched = clean[0].beta[:, 1, ~untouched] != dirty[0].beta[:, 1, ~untouched]
        assert victim == "etf" or touched.any()


@every_estimator
def test_an_emptied_window_recovers(params):
    market = make_market(3, 100, params.window)
    r = market.r.copy()
    r[1, 30:75] = np.nan
    dirty = everything(market.with_returns(r), params)
    clean = everything(market, params)
    assert np.isnan(dirty[0].beta[:, 1, 44]).all()
    assert (dirty[0].n_obs[:, 1, 44] == 0).all()
    assert_same_bits(dirty[0].beta[:, 1, 75:], clean[0].beta[:, 1, 75:])
    assert_same_bits(dirty[1][:, 1, 75:], clean[1][:, 1, 75:])


@every_estimator
def test_history_before_the_window_changes_nothing(params):
    market = make_market(4, 50, params.window)
    r, etf = market.r.copy(), market.etf.copy()
    r[:, :20], etf[:, :20] = 99.0, np.nan
    assert_same_bits(
        market.cascade(params).beta[:, :, 20:], market.with_returns(r, etf).cascade(params).beta[:, :, 20:]
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.sampled_from(ALL), st.integers(-8, 8), st.integers(0, 99))
def test_scaling_returns_scales_betas(params, power, seed):
    """By a power of two: rounding scales along, so the bits do."""
    if params.estimator == "ridge":
        params = replace(params, ridge_alpha=0.0)
    market = make_market(3, 12, params.window, seed)
    scale = 2.0**power
    one, other = market.cascade(params), market.with_returns(r=market.r * scale).cascade(params)
    assert_same_bits(one.beta * scale, other.beta)
    assert_same_bits(one.se * scale, other.se)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.sampled_from([p for p in ALL if p.estimator != "ridge"]), st.floats(-3, 3), st.integers(0, 99))
def test_adding_the_market_to_a_stock_raises_its_market_beta_and_nothing_else(params, k, seed):
    market = make_market(3, 12, params.window, seed)
    one, other = market.cascade(params), market.with_returns(r=market.r + k * market.etf[0]).cascade(params)
    np.testing.assert_allclose(other.beta[0], one.beta[0] + k, rtol=0, atol=1e-9)
    np.testing.assert_allclose(other.beta[1:], one.beta[1:], rtol=0, atol=1e-9)
    np.testing.assert_allclose(other.se, one.se, rtol=1e-9)


def test_the_link_betas_of_a_night_are_those_of_the_backfill():
    params = ALL[1]
    market = with_trouble(make_market(3, 70, params.window))
    pairs = np.array([[4, 1], [5, 2], [6, 3], [7, 1], [1, 1]], np.int16)
    whole = link_betas(market.etf, 0, pairs, market.first, params)
    for t in range(70):
        night = link_betas(market.etf[:, t : t + 30], 0, pairs, market.first + t, params)
        assert_same_bits(whole.on_market[:, t : t + 1], night.on_market)
        assert_same_bits(whole.sub_on_sector[:, t : t + 1], night.sub_on_sector)


def test_the_same_run_twice_is_the_same():
    market = with_trouble(make_market(5, 20, 30))
    assert_same_cascade(market.cascade(ALL[4]), market.cascade(ALL[4]))
