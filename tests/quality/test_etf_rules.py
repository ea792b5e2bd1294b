"""Factor ETFs are held against their stocks and against each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pipeline.quality.etf_rules import Off, baskets, lookback, off_their_market, without_a_return
from pipeline.settings import EtfRules

RULES = EtfRules()
NAMES, SECTORS, T = 300, 6, 200
MARKET = 0
"""Rows of the ETFs: the market, and one for each sector."""


@dataclass
class World:
    """Stocks that follow the market and their sector, and ETFs that are their weighted means, but for a small error."""

    ret: np.ndarray
    cap: np.ndarray
    etf: np.ndarray
    close: np.ndarray
    groups: dict[int, np.ndarray]

    @classmethod
    def make(cls, seed: int = 1) -> World:
        rng = np.random.default_rng(seed)
        sector = np.arange(NAMES) % SECTORS
        market, own = 0.01 * rng.standard_normal(T), 0.006 * rng.standard_normal((SECTORS, T))
        ret = market + own[sector] + 0.015 * rng.standard_normal((NAMES, T))
        weight = np.exp(rng.standard_normal(NAMES))
        groups = {k + 1: np.repeat((sector == k)[:, None], T, axis=1) for k in range(SECTORS)}
        groups[MARKET] = np.ones((NAMES, T), bool)
        mine = [groups[k][:, 0] * weight for k in range(SECTORS + 1)]
        etf = np.array([w @ ret / w.sum() for w in mine]) + 0.0005 * rng.standard_normal((SECTORS + 1, T))
        return cls(ret, np.repeat(weight[:, None], T, axis=1), etf, np.ones_like(etf), groups)

    def off(self, begin: int = T - 20, kept: tuple[tuple[int, int], ...] = ()) -> list[Off]:
        stocks = baskets(self.ret, self.cap, self.groups.items(), len(self.etf))
        return off_their_market(self.etf, self.close, stocks, MARKET, range(1, SECTORS + 1), begin, RULES, set(kept))

    def where(self, **asked: object) -> list[tuple[int, int]]:
        return [(one.row, one.column) for one in self.off(**asked)]  # type: ignore[arg-type]


DAY = T - 5


def times(world: World, row: int, factor: float) -> None:
    """A close in another unit, and the next one right again."""
    world.etf[row, DAY] = (1 + world.etf[row, DAY]) * factor - 1
    world.etf[row, DAY + 1] = (1 + world.etf[row, DAY + 1]) / factor - 1


def test_ordinary_days_pass():
    assert World.make().where(begin=lookback(RULES)) == []


@pytest.mark.parametrize("factor", [1.1, 0.9, 1.01, 0.99])
def test_a_market_etf_in_another_unit_is_found_there_and_on_the_way_back(factor):
    world = World.make()
    times(world, MARKET, factor)
    assert world.where() == [(MARKET, DAY), (MARKET, DAY + 1)]


def test_a_market_etf_that_repeats_its_close_while_the_market_moves_is_found():
    world = World.make()
    world.ret[:, DAY] += 0.01 - world.etf[MARKET, DAY]
    world.etf[1:, DAY] += 0.01 - world.etf[MARKET, DAY]
    world.etf[MARKET, DAY] = 0.0
    found = world.off()
    assert [(one.row, one.column) for one in found] == [(MARKET, DAY)]
    assert "+0.00%" in found[0].says


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_another_etf_in_another_unit_is_found_and_the_market_is_not_blamed(factor):
    world = World.make()
    times(world, 3, factor)
    assert world.where() == [(3, DAY), (3, DAY + 1)]


def test_a_crash_in_which_all_differ_more_passes():
    world, rng = World.make(), np.random.default_rng(8)
    world.ret[:, DAY] = -0.12 + 0.06 * rng.standard_normal(NAMES)
    weight = world.cap[:, 0]
    for row, members in world.groups.items():
        mine = weight * members[:, 0]
        world.etf[row, DAY] = mine @ world.ret[:, DAY] / mine.sum() + 0.004 * rng.standard_normal()
    assert world.where() == []


def test_a_takeover_in_a_small_sector_passes():
    world = World.make()
    members = np.flatnonzero(world.groups[2][:, 0])
    world.groups[2][members[5:]] = False
    weight = world.cap[:, 0] * world.groups[2][:, 0]
    world.etf[2] = weight @ world.ret / weight.sum()
    world.ret[members[0], DAY] += 0.8  # the fund holds less of it
    assert world.where() == []


def test_all_stocks_in_another_unit_are_seen_in_the_etfs():
    world = World.make()
    world.ret[:, DAY] = (1 + world.ret[:, DAY]) * 1.5 - 1
    assert {(MARKET, DAY), (1, DAY)} <= set(world.where())


def test_what_a_person_has_released_is_published_and_is_history():
    world = World.make()
    times(world, 3, 1.1)
    assert world.where(kept=((3, DAY),)) == [(3, DAY + 1)]


def test_a_return_over_sessions_without_a_close_is_held_against_all_of_them():
    world = World.make()
    for row in (MARKET, 2):
        world.etf[row, DAY] = (1 + world.etf[row, DAY - 1]) * (1 + world.etf[row, DAY]) - 1
        world.etf[row, DAY - 1] = world.close[row, DAY - 1] = np.nan
    world.ret[:, DAY - 1] += 0.05
    world.etf[:, DAY - 1] += 0.05
    world.etf[[MARKET, 2], DAY] = (1 + world.etf[[MARKET, 2], DAY]) * 1.05 - 1
    assert world.where() == []


LOST = T - 15
"""The first session without caps."""


def without_caps() -> World:
    """Few stocks are most of each ETF, and from LOST on no cap is known."""
    world, rng = World.make(), np.random.default_rng(3)
    weight = np.where(np.arange(NAMES) < 2 * SECTORS, 60.0, 1.0)
    world.cap = np.repeat(weight[:, None], T, axis=1)
    for row, members in world.groups.items():
        mine = weight * members[:, 0]
        world.etf[row] = mine @ world.ret / mine.sum() + 0.0003 * rng.standard_normal(T)
    world.cap[:, LOST - 1 :] = np.nan
    return world


def test_where_caps_end_an_etf_is_held_against_what_its_stocks_were_if_all_weighed_alike_before():
    """As narrow as the history is while the caps are known, a session without them would be far off."""
    world = without_caps()
    stocks = baskets(world.ret, world.cap, world.groups.items(), len(world.etf))
    assert not stocks.weighted[LOST:].any()
    assert stocks.weighted[1:LOST].all()
    gap = np.abs(world.etf - stocks.mean)[MARKET]
    assert gap[LOST:].max() > max(RULES.market_floor, 10 * 1.4826 * np.median(gap[LOST - 60 : LOST]))
    assert world.where(begin=LOST - 20) == []


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_where_caps_end_a_market_etf_in_another_unit_is_still_found(factor):
    world = without_caps()
    times(world, MARKET, factor)
    assert world.where() == [(MARKET, DAY), (MARKET, DAY + 1)]


def test_what_the_sector_etfs_say_of_the_market_is_told_beside_what_the_stocks_say():
    world = World.make()
    world.etf[1:, DAY] += 0.008  # each of another hour, none by as much as its own bound
    (one,) = world.off()
    mean = baskets(world.ret, world.cap, world.groups.items(), len(world.etf)).mean[MARKET, DAY]
    assert f"by {SECTORS} sector ETFs" in one.says
    assert f"its {NAMES} stocks {mean:+.2%}" in one.says


@pytest.mark.parametrize(("make", "begin"), [(World.make, lookback(RULES)), (without_caps, LOST - 10)])
def test_a_night_and_a_backfill_give_one_verdict(make, begin):
    world = make()
    times(world, MARKET, 1.02)
    times(world, 4, 0.9)
    whole = world.off(begin=begin)
    nights: list[Off] = []
    etf = world.etf.copy()
    for t in range(begin, T):
        begins = t - lookback(RULES)
        cut = World(world.ret[:, begins : t + 1], world.cap[:, begins : t + 1], etf, world.close, {})
        groups = {row: members[:, begins : t + 1] for row, members in world.groups.items()}
        stocks = baskets(cut.ret, cut.cap, groups.items(), len(etf))
        part = etf[:, begins : t + 1], world.close[:, begins : t + 1]
        found = off_their_market(*part, stocks, MARKET, range(1, SECTORS + 1), t - begins, RULES, set())
        nights += [one._replace(column=one.column + begins) for one in found]
        for one in found:
            etf[one.row, t] = np.nan
    assert nights == whole
    assert len(whole) == 4


def test_a_return_is_missed_only_after_a_price():
    nan = np.nan
    ret, close = np.array([nan, nan, 0.01, nan, nan, 0.02]), np.array([nan, 10.0, 10.1, 99.0, nan, 10.3])
    assert without_a_return(ret, close, 0) == [3, 4]
    assert without_a_return(ret, close, 4) == [4]
    assert without_a_return(np.full(6, nan), np.full(6, nan), 0) == []
