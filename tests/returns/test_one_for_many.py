"""One value for many: a test price in several securities, and a spin-off told as an odd split alone."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.datasets.return_flags import ReturnFlag
from tests.returns.hand_made import Market, cell, found

LEVELS = {"A": 42.0, "B": 17.5, "C": 230.0, "D": 8.8}


def fed(price: float, names: str, after: int = 3) -> Market:
    """Four stocks at their levels, of which `names` close at `price` on session 1, in ordinary trading."""
    market = Market()
    for code, level in LEVELS.items():
        market.stock(code, [level, price if code in names else level * 1.01, *[level * 1.012] * after])
    return market


@pytest.mark.parametrize("price", [100.0, 1.0, 9_999.0, 12.34, 0.01])
@pytest.mark.parametrize("names", ["ABC", "ABCD"])
def test_a_test_price_of_several_names_is_no_price_and_the_day_after_is_an_ordinary_one(price, names):
    panel = fed(price, names).panel(3)
    for code in LEVELS:
        ret, flag = cell(panel, code, 1)
        if code in names:
            assert (np.isnan(ret), flag) == (True, ReturnFlag.REJECTED_PRICE)
        assert cell(panel, code, 2)[0] == pytest.approx(0.012 if code in names else 1.012 / 1.01 - 1)
    assert found(panel, "shared_price") == [(code, 1, 1) for code in names]


def test_the_panel_of_one_of_them_is_that_of_all():
    market = fed(100.0, "ABC")
    whole, alone = market.panel(3), market.panel(3, codes=["B"])
    np.testing.assert_array_equal(alone.ret[0], whole.ret[list(whole.sec_ids).index("B")])
    cut = market.panel(1, first=1, codes=["B"])
    assert np.array_equal(cut.ret[:, -1], whole.ret[[list(whole.sec_ids).index("B")], 1], equal_nan=True)


def test_names_that_share_a_close_by_ordinary_moves_are_priced():
    market = Market()
    for code, before in zip("ABC", (10.1, 9.9, 10.05), strict=True):
        market.stock(code, [before, 10.0])
    panel = market.panel(1)
    assert all(np.isfinite(cell(panel, code, 1)[0]) for code in "ABC")
    assert not found(panel, "shared_price")


def test_names_that_move_far_in_one_session_each_to_a_close_of_its_own_are_priced():
    market = Market()
    for code, (before, after) in zip("ABC", ((10.0, 6.5), (20.0, 14.0), (31.0, 21.2)), strict=True):
        market.stock(code, [before, after, after * 1.01], volume=[1e7, 2e7, 2e7])
    panel = market.panel(2)
    assert not found(panel, "shared_price")
    assert all(np.isfinite(cell(panel, code, 1)[0]) for code in "ABC")


def test_two_names_with_one_close_are_no_test():
    assert not found(fed(100.0, "AB").panel(3), "shared_price")


def spun_off(new: int, old: int, p0: float, p1: float, child: float | None, on: int = 1, **listing) -> Market:
    market = Market().stock("GE", [p0, p1, p1 * 1.01]).split("GE", 1, new, old)
    market.stock("OLD", [50.0] * 3)
    if child is not None:
        market.list("GEV", first=on, **listing).bars("GEV", on, [child] * (3 - on))
    return market


@pytest.mark.parametrize(
    ("new", "old", "p0", "p1", "child"), [(1253, 1000, 175.36, 136.47, 131.75), (41, 32, 84.98, 70.2, 53.0)]
)
def test_a_spin_off_told_as_an_odd_split_on_the_day_a_stock_lists_is_withheld(new, old, p0, p1, child):
    panel = spun_off(new, old, p0, p1, child).panel(2)
    ret, flag = cell(panel, "GE", 1)
    assert (np.isnan(ret), flag) == (True, ReturnFlag.NO_SPIN_OFF_VALUE)
    assert cell(panel, "GE", 2)[0] == pytest.approx(0.01)


def test_with_the_child_named_it_is_valued_by_its_close():
    market = spun_off(1253, 1000, 175.36, 136.47, 131.75).spin_off("GE", 1, "GEV", 0.25)
    assert cell(market.panel(1), "GE", 1)[0] == pytest.approx((136.47 + 131.75 / 4) / 175.36 - 1)


@pytest.mark.parametrize("child", [None, "an ETF", "listed the day before"])
def test_without_a_stock_that_lists_that_day_the_ratio_is_all_there_is(child):
    market = spun_off(1253, 1000, 175.36, 136.47, None)
    if child == "an ETF":
        market.list("GEV", first=1, type="etf").bars("GEV", 1, [131.75, 131.0])
    if child == "listed the day before":
        market.list("GEV", first=0).bars("GEV", 0, [130.0, 131.75, 131.0])
    assert cell(market.panel(1), "GE", 1)[0] == pytest.approx(136.47 * 1.253 / 175.36 - 1)


def test_an_ordinary_split_on_the_day_a_stock_lists_counts():
    panel = spun_off(2, 1, 100.0, 50.5, 20.0).panel(1)
    assert cell(panel, "GE", 1)[0] == pytest.approx(0.01)
