"""Vasicek shrinkage and industry aggregates against a plain rewrite, their limits, and who is nobody's peer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import industry_aggregates, shrink, shrink_session


def plain(beta, se, fact, industry, log_weight, member, min_peers):
    adjusted, weight = beta.copy(), np.where(np.isnan(beta), np.nan, 0.0)
    peers = member & np.isfinite(beta) & np.isfinite(log_weight) & (log_weight > 0) & (industry > 0) & (fact >= 0)
    cells = {}
    for key in sorted({(g, f) for g, f in zip(industry[peers], fact[peers], strict=True)}):
        who = peers & (industry == key[0]) & (fact == key[1])
        w = log_weight[who]
        mean = (w * beta[who]).sum() / w.sum()
        variance = max((w * (beta[who] - mean) ** 2).sum() / w.sum(), 1e-8)
        cells[key] = (int(who.sum()), w.sum(), mean, variance)
        if who.sum() >= min_peers:
            weight[who] = se[who] ** 2 / (se[who] ** 2 + variance)
            adjusted[who] = (1 - weight[who]) * beta[who] + weight[who] * mean
    return adjusted, weight, cells


def cross_section(n, seed, industries=6, facts=4):
    rng = np.random.default_rng(seed)
    beta = rng.standard_normal(n)
    beta[rng.random(n) < 0.05] = np.nan
    se = np.abs(rng.standard_normal(n)) * 0.3
    se[np.isnan(beta)] = np.nan
    fact = rng.integers(-1, facts, n).astype(np.int16) + np.int16(20)
    fact[fact == 19] = -1
    industry = (rng.integers(0, industries, n) * 1010).astype(np.int16)
    log_weight = np.log1p(np.exp(rng.normal(22, 2, n)))
    log_weight[rng.random(n) < 0.05] = np.nan
    return beta, se, fact, industry, log_weight, rng.random(n) < 0.8


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 200), st.integers(0, 10**6), st.integers(1, 8))
def test_a_session_matches_a_plain_rewrite(n, seed, min_peers):
    arguments = cross_section(n, seed)
    out = shrink_session(*arguments, min_peers)
    adjusted, weight, cells = plain(*arguments, min_peers)
    np.testing.assert_allclose(out.adjusted, adjusted, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(out.weight, weight, rtol=1e-12, atol=1e-15)
    assert list(zip(out.cell_industry.tolist(), out.cell_fact.tolist(), strict=True)) == list(cells)
    for k, (n_cell, total, mean, variance) in enumerate(cells.values()):
        assert out.cell_n[k] == n_cell
        np.testing.assert_allclose(
            [out.cell_log_weight[k], out.cell_mean[k], out.cell_variance[k]], [total, mean, variance], rtol=1e-9
        )


def test_a_panel_is_its_sessions():
    sessions = [cross_section(150, seed) for seed in range(37)]
    panel = [np.stack(parts, axis=1) for parts in zip(*sessions, strict=True)]
    adjusted, weight = shrink(*panel, 5)
    for t, arguments in enumerate(sessions):
        one = shrink_session(*arguments, 5)
        assert adjusted[:, t].tobytes() == one.adjusted.tobytes()
        assert weight[:, t].tobytes() == one.weight.tobytes()


def test_names_appended_at_the_end_that_are_not_members_change_no_bit():
    arguments = cross_section(120, 3)
    extra = cross_section(50, 4)
    longer = [np.concatenate([a, b]) for a, b in zip(arguments, extra, strict=True)]
    longer[5][120:] = False
    longer[3][120:125], longer[2][120:125] = 9999, 3  # codes and facts nobody else has
    one, other = shrink_session(*arguments, 5), shrink_session(*longer, 5)
    assert one.adjusted.tobytes() == other.adjusted[:120].tobytes()
    assert one.weight.tobytes() == other.weight[:120].tobytes()
    for name in ("cell_industry", "cell_fact", "cell_n", "cell_log_weight", "cell_mean", "cell_variance"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert other.adjusted[120:].tobytes() == longer[0][120:].tobytes()
    assert not np.nan_to_num(other.weight[120:]).any()


def one_cell(beta, se, log_weight=None, member=None, min_peers=5):
    n = len(beta)
    return shrink_session(
        np.asarray(beta, float),
        np.asarray(se, float),
        np.full(n, 3, np.int16),
        np.full(n, 4510, np.int16),
        np.full(n, 20.0) if log_weight is None else np.asarray(log_weight, float),
        np.ones(n, bool) if member is None else np.asarray(member),
        min_peers,
    )


def test_an_exact_beta_stays_and_a_noisy_one_goes_to_the_mean():
    beta = np.array([0.5, 0.8, 1.0, 1.3, 1.9])
    out = one_cell(beta, [0.0, 1e-9, 0.3, 1e9, np.inf])
    assert out.adjusted[0] == 0.5
    assert out.adjusted[1] == pytest.approx(0.8, abs=1e-12)
    assert min(beta[2], 1.1) < out.adjusted[2] < max(beta[2], 1.1)
    assert out.adjusted[3:] == pytest.approx(1.1, abs=1e-12)


def test_a_cell_without_spread_shrinks_all_the_way():
    out = one_cell([0.7] * 6, [0.1] * 6)
    assert (out.cell_variance == 1e-8).all()
    assert out.weight == pytest.approx(np.ones(6), abs=1e-5)
    assert out.adjusted == pytest.approx(np.full(6, 0.7), abs=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 5)), min_size=5, max_size=30))
def test_the_result_lies_between_the_raw_beta_and_the_mean(rows):
    beta, se = np.array(rows).T
    out = one_cell(beta, se)
    mean = out.cell_mean[0]
    slack = 1e-12 * (1 + np.abs(beta) + abs(mean))
    assert (out.adjusted >= np.minimum(beta, mean) - slack).all()
    assert (out.adjusted <= np.maximum(beta, mean) + slack).all()
    assert ((out.weight >= 0) & (out.weight <= 1)).all()


def test_a_thin_cell_shrinks_nobody_and_is_still_reported():
    out = one_cell([0.5, 1.5, 1.0, 0.2], [0.5] * 4)
    assert out.adjusted.tolist() == [0.5, 1.5, 1.0, 0.2]
    assert out.weight.tolist() == [0, 0, 0, 0]
    assert out.cell_n.tolist() == [4]
    alone = one_cell([0.5], [0.5], min_peers=1)
    assert alone.cell_variance.tolist() == [1e-8]
    assert alone.adjusted == pytest.approx(0.5)


def test_who_is_no_peer_keeps_the_raw_beta_and_does_not_count():
    beta = [0.5, 0.8, 1.0, 1.3, 1.9, 9.0, 9.0, np.nan, 9.0]
    weight = [20, 21, 22, 23, 24, np.nan, 20, 20, 0.0]
    out = one_cell(beta, [0.3] * 9, weight, [True] * 6 + [False, True, True])
    assert out.cell_n.tolist() == [5]
    assert out.adjusted[[5, 6, 8]].tolist() == [9, 9, 9]
    assert out.weight[[5, 6, 8]].tolist() == [0, 0, 0]
    assert np.isnan(out.adjusted[7])
    assert np.isnan(out.weight[7])
    assert (out.weight[:5] > 0).all()


def test_peers_on_different_etfs_are_not_averaged_in_one_cell():
    """Two facts in one industry: two cells, each with its own mean."""
    beta = np.r_[np.full(6, 0.5), np.full(6, 2.0)]
    fact = np.r_[np.full(6, 3), np.full(6, 4)].astype(np.int16)
    out = shrink_session(
        beta, np.full(12, 0.5), fact, np.full(12, 4510, np.int16), np.full(12, 20.0), np.ones(12, bool), 5
    )
    np.testing.assert_allclose(out.adjusted, beta, rtol=1e-12)
    assert out.cell_mean.tolist() == [0.5, 2.0]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_industry_aggregates_follow_the_law_of_total_variance(seed):
    sessions = [cross_section(150, seed + t) for t in range(19)]
    beta, _, fact, industry, log_weight, member = [np.stack(p, axis=1) for p in zip(*sessions, strict=True)]
    codes = np.array([1010, 2020, 3030, 4040, 7777], np.int16)
    out = industry_aggregates(beta, fact, industry, log_weight, member, codes)
    for t, arguments in enumerate(sessions):
        _, _, cells = plain(*arguments, 5)
        for k, code in enumerate(codes):
            own = [cell for (g, _), cell in cells.items() if g == code]
            n = sum(c[0] for c in own)
            assert out.n_companies[k, t] == n
            assert out.n_facts[k, t] == len(own)
            assert out.total_log_mcap_weight[k, t] == pytest.approx(sum(c[1] for c in own), rel=1e-12)
            if n == 0:
                assert np.isnan(out.beta_mean[k, t])
                assert np.isnan(out.beta_variance[k, t])
                continue
            mean = sum(c[0] * c[2] for c in own) / n
            assert out.beta_mean[k, t] == pytest.approx(mean, rel=1e-9, abs=1e-12)
            total_variance = sum(c[0] * (c[3] + c[2] ** 2) for c in own) / n - mean**2
            assert out.beta_variance[k, t] == pytest.approx(total_variance, rel=1e-8, abs=1e-12)
            assert out.beta_variance[k, t] >= 0


def test_the_market_level_has_one_fact_per_industry():
    beta, _, fact, industry, log_weight, member = cross_section(150, 8)
    out = industry_aggregates(
        *[a[:, None] for a in (beta, np.full_like(fact, 0), industry, log_weight, member)],
        np.array([1010, 2020], np.int16),
    )
    assert out.n_facts[:, 0].tolist() == [1, 1]


def test_wrong_shapes_and_codes_are_refused():
    beta, se, fact, industry, log_weight, member = cross_section(10, 1)
    with pytest.raises(ValueError, match="fact has the shape of beta"):
        shrink_session(beta, se, fact[:5], industry, log_weight, member, 5)
    with pytest.raises(ValueError, match="ascending"):
        industry_aggregates(
            *[a[:, None] for a in (beta, fact, industry, log_weight, member)], np.array([2020, 1010], np.int16)
        )
