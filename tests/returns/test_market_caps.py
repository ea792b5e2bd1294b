"""Counts, turnover and splits are evidence for each other: no market cap beats a wrong one."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.market_caps import lookback, market_caps
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


def test_the_cap_of_a_session_depends_on_no_other_than_those_of_the_look_back():
    rng, back = np.random.default_rng(5), lookback(RULES)
    flag = rng.choice([ReturnFlag.ORDINARY, ReturnFlag.EVENT_CONFLICT, ReturnFlag.EVENT_MOVED], (40, 120)).astype(
        np.int16
    )
    shares = 1e6 * 2.0 ** np.cumsum(rng.integers(-1, 2, (40, 120)), axis=1)
    volume, close = rng.uniform(0, 4e6, (40, 120)), rng.uniform(1, 100, (40, 120))
    whole = market_caps(close, volume, flag, shares, RULES)[0]
    for t in (back, 60, 119):
        part = [values[:, t - back : t + 1] for values in (close, volume, flag, shares)]
        assert np.array_equal(market_caps(*part, RULES)[0][:, -1], whole[:, t], equal_nan=True)
