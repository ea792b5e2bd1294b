"""A bound of another size gives another result: no rule has a number of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.returns.panel import DailyPanel, daily_panel
from pipeline.settings import DataRules
from tests.returns.hand_made import ORIGIN, Market, day, found, returns

LAST = 12


def panel(market: Market, **groups: dict[str, Any]) -> DailyPanel:
    rules = DataRules.model_validate(groups)
    facts = market.facts(rules=rules)
    return daily_panel(facts, facts.securities["sec_id"].to_numpy(object), ORIGIN, ORIGIN + LAST, rules)


def jump() -> Market:
    return Market().stock("X", [100.0, 100.5, 175.0, 176.0, 175.5])


def sentinel() -> Market:
    return Market().stock("X", [100.0, 101.0, 99_999.0, 100.0])


def without_volume() -> Market:
    return Market().stock("X", [50.0, 50.1, 50.2, 50.2, 50.2, 50.2, 50.2], [1e6, 1e6, 1e6, 0.0, 0.0, 0.0, 0.0])


def bankrupt() -> Market:
    return Market().stock("X", [10.0, 9.0, 8.0], last_session=day(2)).delisting("X", 2, "bankruptcy")


def taken_over() -> Market:
    child = Market().stock("X", [10.0, 10.1, 10.2]).list("Y").quiet("Y", 5.0, last=0)
    return child.delisting("X", 2, "merger", successor_code="Y", successor_ratio=2.0)


def paid_twice() -> Market:
    return Market().stock("X", [50.0] * 8).dividend("X", 2, 1.0).dividend("X", 5, 1.0)


def paid_abroad() -> Market:
    market = Market().stock("X", [50.0] * 8).dividend("X", 6, 1.0, currency="EUR")
    return market.add("fx_rates", date=day(2), currency="EUR", usd_rate=1.25)


def odd_split() -> Market:
    return Market().stock("X", [50.0, 50.0, 40.0, 40.0]).split("X", 2, 6, 5)


CHANGES: list[tuple[Callable[[], Market], str, dict[str, Any]]] = [
    (jump, "outliers", {"jump": 0.8}),
    (jump, "outliers", {"sigmas": 100.0}),
    (sentinel, "bars", {"sentinel": 50_000.0}),
    (without_volume, "bars", {"stale_sessions": 3}),
    (bankrupt, "delistings", {"imputed": -0.6}),
    (taken_over, "delistings", {"successor_max_age": 1}),
    (paid_twice, "cleaning", {"duplicate_days": 1}),
    (paid_abroad, "events", {"fx_max_age": 3}),
    (odd_split, "cleaning", {"small_term": 4}),
]


@pytest.mark.parametrize(("market", "group", "bounds"), CHANGES, ids=lambda value: getattr(value, "__name__", None))
def test_another_bound_gives_another_return_or_another_finding(market, group, bounds):
    usual, other = panel(market()), panel(market(), **{group: bounds})
    same = np.array_equal(usual.ret, other.ret, equal_nan=True) and np.array_equal(usual.flag, other.flag)
    assert not (same and usual.quarantine.equals(other.quarantine))


def test_an_imputed_delisting_return_is_the_one_that_is_set():
    assert returns(panel(bankrupt()), "X")[3] == -0.3
    assert returns(panel(bankrupt(), delistings={"imputed": -0.6}), "X")[3] == -0.6


def test_a_move_is_outlying_from_the_bound_that_is_set():
    assert found(panel(jump()), "extreme_return") == [("X", 2, 2)]
    assert found(panel(jump(), outliers={"jump": 0.8}), "extreme_return") == []
