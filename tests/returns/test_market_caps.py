"""Counts, turnover and splits are evidence for each other: no market cap beats a wrong one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.currencies import rates
from pipeline.returns.market_caps import Known, lookback, market_caps, twins_of
from pipeline.settings import DataRules

RULES = DataRules()
T = 60
EX = 30


def caps(shares, close=10.0, volume=1e6, flags=None):
    """One stock over T sessions; `flags` by session."""
    flag = np.full((1, T), ReturnFlag.ORDINARY, np.int16)
    for at, value in (flags or {}).items():
        flag[0, at] = value
    grid = [np.broadcast_to(np.asarray(values, float), (1, T)) for values in (close, volume, shares)]
    cap, found = market_caps(grid[0], grid[1], flag, grid[2], RULES)
    return cap[0], [(one.column, one.rule) for one in found]


def stepped(before, after, at=EX):
    return np.where(np.arange(T) < at, before, after)


@pytest.mark.parametrize("ratio", [10.0, 2.0, 0.05])
@pytest.mark.parametrize("wait", [1, 3, 11])
def test_a_split_that_the_close_follows_later_counts_from_there(ratio, wait):
    flags = {EX: ReturnFlag.EVENT_CONFLICT, EX + wait: ReturnFlag.EVENT_MOVED}
    cap, found = caps(stepped(1e8, 1e8 * ratio), stepped(80.0, 80.0 / ratio, EX + wait), flags=flags)
    assert cap == pytest.approx(np.full(T, 8e9))
    assert not found


def test_a_split_that_the_close_followed_at_once_counts_at_once():
    cap, _ = caps(stepped(1e8, 1e9), stepped(80.0, 8.0), flags={EX: ReturnFlag.WITH_EVENTS})
    assert cap == pytest.approx(np.full(T, 8e9))


def test_a_dividend_that_the_close_did_not_follow_leaves_the_count_alone():
    cap, _ = caps(1e8, flags={EX: ReturnFlag.EVENT_CONFLICT})
    assert cap == pytest.approx(np.full(T, 1e9))


@pytest.mark.parametrize("count", [1.0, 100.0, 900_000.0])
def test_a_count_below_what_is_traded_day_after_day_gives_no_cap_and_one_finding(count):
    cap, found = caps(count)
    first = RULES.cleaning.usual_sessions // 2
    assert np.isnan(cap[first:]).all()
    assert found == [(first, "share_count_below_volume")]


def test_a_few_days_on_which_all_shares_change_hands_are_a_squeeze():
    volume = np.where((np.arange(T) >= 20) & (np.arange(T) < 29), 5e7, 1e5)
    cap, found = caps(1e7, volume=volume)
    assert np.isfinite(cap).all()
    assert not found


def test_without_a_volume_a_count_is_believed():
    cap, found = caps(100.0, volume=np.nan)
    assert np.isfinite(cap).all()
    assert not found


@pytest.mark.parametrize("ratio", [10.0, 2.0, 0.1])
def test_a_split_that_is_never_followed_leaves_no_cap_until_another_count_is_known(ratio):
    shares = stepped(1e8, 1e8 * ratio, 10)
    shares[50:] = 1.01e8  # a filing in the true unit
    cap, found = caps(shares, flags={10: ReturnFlag.EVENT_CONFLICT})
    waits = 10 + RULES.outliers.due_bill_sessions + 1
    assert cap[:waits] == pytest.approx(1e9)
    assert np.isnan(cap[waits:50]).all()
    assert cap[50:] == pytest.approx(1.01e9)
    assert found == [(waits, "share_count_contradicted")]


def test_a_close_that_fell_by_a_split_nobody_told_has_no_cap_until_the_count_says_so():
    shares = stepped(1e8, 2e8, 40)
    cap, found = caps(shares, stepped(80.0, 40.0, EX), flags={EX: ReturnFlag.MISSING_SPLIT})
    assert np.isnan(cap[EX:40]).all()
    assert np.isfinite(cap[[*range(EX), *range(40, T)]]).all()
    assert found == [(EX, "share_count_contradicted")]


def test_a_close_that_really_halved_keeps_its_cap():
    cap, found = caps(1e8, stepped(80.0, 40.0), flags={EX: ReturnFlag.EXTREME_KEPT})
    assert np.isfinite(cap).all()
    assert not found


def test_a_contradicted_count_does_not_come_and_go_with_the_volume():
    volume = np.where(np.arange(T) < 30, 3e7, np.where(np.arange(T) % 3 == 0, 3e7, 1e7))
    shares = stepped(2e7, 1.2e8, 50)
    cap, _ = caps(shares, volume=volume)
    assert np.isnan(cap[11:50]).all()
    assert np.isfinite(cap[50:]).all()


def known(n=1, rate=1.0, pairs=(), since=(), shares=None, before=0, cap=np.nan):
    twins = np.zeros((n, T), bool) if shares is None else twins_of(shares, np.array(pairs), np.array(since))
    stored = np.full((n, before), 10.0), np.full((n, before), cap)
    return Known(np.broadcast_to(np.asarray(rate, float), (n, T)), twins, *stored)


def together(shares, given):
    n = len(shares)
    close, flag = np.full((n, T), 10.0), np.full((n, T), ReturnFlag.ORDINARY, np.int16)
    return market_caps(close, np.full((n, T), 1e5), flag, shares, RULES, given)


def test_two_classes_with_exactly_one_count_have_no_cap_and_others_keep_theirs():
    shares = np.array([np.full(T, 5.98e9), stepped(8.6e8, 5.98e9), np.full(T, 5.98e9), np.full(T, 8.6e8)])
    cap, found = together(shares, known(4, pairs=[(0, 1)], since=[0], shares=shares))
    assert np.isfinite(cap[:2, :EX]).all()
    assert np.isnan(cap[:2, EX:]).all()
    assert np.isfinite(cap[2:]).all(), "a company with as many shares by chance"
    assert {(one.row, one.column, one.rule) for one in found} == {(i, EX, "share_count_contradicted") for i in (0, 1)}


def test_classes_whose_kinship_is_not_known_yet_are_not_compared():
    shares = np.full((2, T), 5.98e9)
    cap, _ = together(shares, known(2, pairs=[(0, 1)], since=[45], shares=shares))
    assert np.isfinite(cap[:, :45]).all()
    assert np.isnan(cap[:, 45:]).all()


def test_a_cap_is_in_dollars_and_there_is_none_without_a_rate():
    rate = np.where(np.arange(T) < EX, 0.0091, np.nan)
    cap, found = together(np.full((1, T), 1e9), known(rate=rate))
    assert cap[0, :EX] == pytest.approx(9.1e7)
    assert np.isnan(cap[0, EX:]).all()
    assert [(one.column, one.rule) for one in found] == [(EX, "no_fx_rate")]


def test_a_rate_of_some_days_ago_counts_and_one_of_later_or_too_old_does_not():
    fx = pd.DataFrame(
        {"currency": "JPY", "session": [10, 20], "usd_rate": [0.009, 0.01], "visible": [10, 22]},
    )
    at = np.array([9, 10, 15, 16, 20, 22])
    found = rates(fx, np.full(6, "JPY", object), at, at, 5)
    np.testing.assert_array_equal(found, [np.nan, 0.009, 0.009, np.nan, np.nan, 0.01])


def test_what_was_published_says_which_counts_are_in_doubt():
    shares = stepped(1e8, 1.02e8, 40)[None]
    cap, found = together(shares, known(before=20))
    assert np.isnan(cap[0, 20:40]).all()
    assert np.isfinite(cap[0, 40:]).all()
    assert not found, "it was found when it began"


def test_a_range_of_sessions_after_what_was_published_is_that_of_the_whole():
    rng, back = np.random.default_rng(5), lookback(RULES)
    kinds = [ReturnFlag.ORDINARY] * 30 + [ReturnFlag.EVENT_CONFLICT, ReturnFlag.EVENT_MOVED, ReturnFlag.MISSING_SPLIT]
    flag = rng.choice(kinds, (40, 240)).astype(np.int16)
    shares = 1e6 * 2.0 ** np.cumsum(rng.choice([0, 0, 0, 0, 0, 0, 1, -1], (40, 240)), axis=1)
    volume, close = rng.uniform(0, 4e6, (40, 240)), rng.uniform(1, 100, (40, 240))
    close[rng.random(close.shape) < 0.05] = np.nan
    whole = market_caps(close, volume, flag, shares, RULES)[0]
    assert 0.1 < np.isnan(whole[np.isfinite(close)]).mean() < 0.9
    for t in range(back, 240):
        part = [values[:, t - back : t + 1] for values in (close, volume, flag, shares)]
        published = [values[:, t - back : t] for values in (close, whole)]
        beside = Known(np.ones((40, back + 1)), np.zeros((40, back + 1), bool), *published)
        assert np.array_equal(market_caps(*part, RULES, beside)[0][:, -1], whole[:, t], equal_nan=True)
