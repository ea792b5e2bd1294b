"""One event that comes in two forms counts once; two events of one day count as two."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.returns.hand_made import Market, cell, found


def parent(p0: float, p1: float, child: float | None = None, ratio: float = 1 / 3) -> Market:
    """X closes at `p0` and `p1`; where a child is given, it lists on session 1 and is spun off."""
    market = Market().stock("X", [p0, p1])
    if child is not None:
        market.list("C", first=1).bars("C", 1, [child]).spin_off("X", 1, "C", ratio)
    return market


def test_a_spin_off_that_is_a_dividend_too_counts_once():
    market = parent(84.0, 66.9, 56.1).dividend("X", 1, 18.7, kind="special")
    panel = market.panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx((66.9 + 18.7) / 84.0 - 1)
    assert found(panel, "event_told_twice") == [("X", 1, 1)]


def test_cash_that_is_paid_on_the_day_of_a_spin_off_counts_beside_it():
    panel = parent(84.0, 47.0, 56.1).dividend("X", 1, 18.7, kind="special").panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx((47.0 + 2 * 18.7) / 84.0 - 1)
    panel = parent(84.0, 66.9, 56.1).dividend("X", 1, 0.4).panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx((66.9 + 18.7 + 0.4) / 84.0 - 1)


@pytest.mark.parametrize(("new", "old"), [(21, 20), (11, 10), (2, 1)])
def test_a_split_that_is_a_dividend_too_counts_once(new, old):
    market = parent(100.0, 100.5 * old / new).split("X", 1, new, old)
    panel = market.dividend("X", 1, 100 * (1 - old / new)).panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx(0.005)


def test_a_dividend_on_the_day_of_a_split_counts():
    panel = parent(100.0, 49.5).split("X", 1, 2, 1).dividend("X", 1, 0.5).panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx(0.0)


@pytest.mark.parametrize(("amount", "rounded"), [(0.2475, 0.25), (37.386817, 37.39), (0.1234567, 0.123)])
def test_a_dividend_that_comes_again_rounded_counts_once(amount, rounded):
    panel = parent(100.0, 100.0 - amount).dividend("X", 1, amount).dividend("X", 1, rounded).panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx(0.0, abs=1e-9)


def test_two_dividends_of_one_day_that_differ_by_more_than_rounding_are_two():
    panel = parent(100.0, 100.0).dividend("X", 1, 0.25).dividend("X", 1, 0.30).panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx(0.0055)


@settings(max_examples=15, deadline=None)
@given(
    worth=st.floats(8.0, 40.0),
    move=st.floats(-0.03, 0.03),
    forms=st.sampled_from([("spin",), ("spin", "cash"), ("cash",), ("cash", "rounded"), ("spin", "cash", "rounded")]),
)
def test_an_event_told_in_any_forms_gives_the_return_of_one(worth, move, forms):
    market = parent(100.0, 100.0 * (1 + move) - worth, 2 * worth if "spin" in forms else None, 0.5)
    if "cash" in forms:
        market.dividend("X", 1, worth, kind="special")
    if "rounded" in forms:
        market.dividend("X", 1, round(worth, 2), kind="special")
    assert cell(market.panel(1), "X", 1)[0] == pytest.approx(move, abs=1e-6)
