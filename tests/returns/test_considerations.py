"""What a holder got is counted in full or not at all, and an event that the price follows late is still its event."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.return_flags import ReturnFlag
from tests.returns.hand_made import RULES, Market, cell, day, found, returns

NAN = float("nan")


def merged(p0: float, heir_first: int | None, **terms: object) -> Market:
    """A stock X that ends at `p0` on session 1; its heir H closes at 40 from `heir_first` on."""
    market = Market().stock("X", [p0, p0]).list("H", first=heir_first if heir_first is not None else 0)
    if heir_first is not None:
        market.bars("H", heir_first, [40.0] * (6 - heir_first))
    return market.delisting("X", 1, "merger", **terms)


def test_shares_of_a_company_that_lists_the_next_session_count_at_their_first_close():
    market = merged(55.0, 2, cash=16.5, successor_code="H", successor_ratio=1.0)
    market.owners = {"H": [(str(day(2))[:10], "H")]}  # nobody has the code on the last session
    r, flag = cell(market.panel(3), "X", 2)
    assert (r, flag) == (pytest.approx((16.5 + 40.0) / 55.0 - 1), ReturnFlag.DELISTING)
    assert r != pytest.approx(16.5 / 55.0 - 1)  # the cash alone


def test_a_successor_that_traded_before_counts_at_its_close_of_the_last_session():
    market = merged(55.0, 0, cash=16.5, successor_code="H", successor_ratio=1.0).bars("H", 6, [80.0])
    assert cell(market.panel(3), "X", 2)[0] == pytest.approx(56.5 / 55.0 - 1)


@pytest.mark.parametrize("heir_first", [None, 4])
def test_shares_that_nobody_can_value_at_the_booking_leave_no_part_behind(heir_first):
    market = merged(55.0, heir_first, cash=16.5, successor_code="H", successor_ratio=1.0)
    panel = market.panel(4)
    assert cell(panel, "X", 2) == (0.0, ReturnFlag.DELISTING_IMPUTED)
    assert found(panel, "delisting_imputed") == [("X", 2, 2)]


@pytest.mark.parametrize("terms", [{"successor_code": "H"}, {}])
def test_cash_far_below_the_last_close_of_a_merger_is_a_part_of_what_was_paid(terms):
    assert cell(merged(55.0, 0, cash=16.5, **terms).panel(3), "X", 2)[1] == ReturnFlag.DELISTING_IMPUTED


def test_shares_in_a_ratio_of_nobody_are_no_cash_merger():
    assert cell(merged(55.0, 0, cash=16.5, successor_ratio=0.5).panel(3), "X", 2)[1] == ReturnFlag.DELISTING_IMPUTED


@pytest.mark.parametrize("terms", [{"successor_code": "H"}, {}])
def test_a_cash_merger_that_names_its_acquirer_is_worth_its_cash(terms):
    assert cell(merged(55.0, 0, cash=55.5, **terms).panel(3), "X", 2) == (
        pytest.approx(55.5 / 55.0 - 1),
        ReturnFlag.DELISTING,
    )


def test_what_a_liquidation_paid_may_be_far_below_the_last_close():
    market = Market().stock("X", [5.0, 5.0]).delisting("X", 1, "liquidation", cash=0.5)
    assert cell(market.panel(3), "X", 2) == (pytest.approx(-0.9), ReturnFlag.DELISTING)


@settings(max_examples=10, deadline=None)
@given(
    cash=st.one_of(st.none(), st.floats(0.5, 60)),
    ratio=st.one_of(st.none(), st.floats(0.05, 2)),
    named=st.booleans(),
    heir_first=st.sampled_from([None, 0, 2, 4]),
)
def test_no_return_of_a_held_position_ignores_a_part_of_its_consideration(cash, ratio, named, heir_first):
    terms = {"cash": cash, "successor_ratio": ratio, "successor_code": "H" if named else None}
    r, flag = cell(merged(55.0, heir_first, **terms).panel(3), "X", 2)
    if flag == ReturnFlag.DELISTING_IMPUTED:
        assert r == 0.0
    else:
        shares = 0.0 if ratio is None else ratio * 40.0
        assert r == pytest.approx(((cash or 0.0) + shares) / 55.0 - 1)
        assert ratio is None or (named and heir_first in (0, 2))


# several children, and large events far from their date ---------------------------------------------------------------


def test_two_children_and_a_reverse_split_of_one_day_all_count():
    market = Market().stock("X", [27.0, 57.9]).split("X", 1, 1, 3)
    for child, price, ratio in (("A", 28.0, 0.2), ("B", 26.1, 0.1)):
        market.list(child, first=1).bars(child, 1, [price]).spin_off("X", 1, child, ratio)
    assert cell(market.panel(1), "X", 1)[0] == pytest.approx((57.9 / 3 + 5.6 + 2.61) / 27.0 - 1)


def test_two_children_of_whom_nobody_knows_anything_are_two_all_the_same():
    market = Market().stock("X", [20.0, 18.5]).list("A").list("B")
    market.spin_off("X", 1, "A", 1.0, value=1.0).spin_off("X", 1, "B", 1.0, value=0.5)
    market.owners = {"A": [("2030-01-01", "A")], "B": [("2030-01-01", "B")]}
    assert cell(market.panel(1, codes=["X"]), "X", 1)[0] == pytest.approx(0.0)


def test_a_corrected_ratio_of_one_child_replaces_it_and_leaves_the_other():
    market = Market().stock("X", [20.0, 17.0]).list("A", first=1).bars("A", 1, [10.0]).list("B", first=1)
    market.bars("B", 1, [10.0]).spin_off("X", 1, "A", 0.5, known_from=np.datetime64("2014-04-01T12:00", "us"))
    market.spin_off("X", 1, "A", 0.2, known_from=np.datetime64("2014-04-02T12:00", "us")).spin_off("X", 1, "B", 0.1)
    assert cell(market.panel(1), "X", 1)[0] == pytest.approx((17.0 + 2.0 + 1.0) / 20.0 - 1)


@pytest.mark.parametrize(("amount", "after"), [(37.4, 3.7), (11.0, 29.6), (10.3, 30.2)])
@pytest.mark.parametrize("sessions", [1, 5, 10])
def test_a_payout_that_goes_ex_after_it_is_paid_counts_where_the_price_follows(amount, after, sessions):
    market = Market().stock("X", [40.0] + [40.0 + 0.1 * k for k in range(sessions)] + [40.0, after, after])
    ex, follows = 1, sessions + 2
    panel = market.dividend("X", ex, amount, kind="special").panel(follows + 1)
    assert cell(panel, "X", ex)[1] in (ReturnFlag.EVENT_CONFLICT, ReturnFlag.EVENT_MOVED)
    assert cell(panel, "X", follows) == (pytest.approx((after + amount) / 40.0 - 1), ReturnFlag.EVENT_MOVED)
    assert cell(panel, "X", follows + 1) == (0.0, ReturnFlag.ORDINARY)


@pytest.mark.parametrize(("new", "old"), [(10, 1), (1, 8), (2, 1)])
def test_a_split_dated_two_weeks_early_counts_where_the_price_follows(new, old):
    after = 80.0 * old / new
    market = Market().stock("X", [80.0] * 11 + [after * 1.01, after]).split("X", 1, new, old)
    panel = market.panel(12)
    assert cell(panel, "X", 11) == (pytest.approx(0.01), ReturnFlag.EVENT_MOVED)
    assert cell(panel, "X", 12)[1] == ReturnFlag.ORDINARY


def test_an_event_is_used_once_only():
    market = Market().stock("X", [40.0, 40.0, 40.0, 40.0, 29.0, 29.0, 21.0]).dividend("X", 1, 11.0, kind="special")
    panel = market.panel(6)
    assert cell(panel, "X", 4)[0] == pytest.approx(0.0)
    assert cell(panel, "X", 6)[0] == pytest.approx(21.0 / 29.0 - 1)


def test_a_fall_long_after_an_ordinary_dividend_is_a_fall():
    market = Market().stock("X", [40.0, 40.0, 40.0, 40.0, 40.0, 40.0, 34.5]).dividend("X", 1, 5.0, kind="special")
    assert cell(market.panel(6), "X", 6)[0] == pytest.approx(34.5 / 40.0 - 1)


def test_a_payout_that_the_price_followed_explains_no_later_fall():
    market = Market().stock("X", [40.0, 29.0, 29.0, 29.0, 29.0, 22.0]).dividend("X", 1, 11.0, kind="special")
    assert returns(market.panel(5), "X")[1] == pytest.approx(0.0)
    assert cell(market.panel(5), "X", 5)[0] == pytest.approx(22.0 / 29.0 - 1)


def test_a_split_and_a_payout_that_both_wait_are_each_used_where_the_price_follows_it():
    closes = [80.0, 80.0, 80.2, 79.8, 69.8, 69.9, 70.1, 70.0, 35.1, 35.0]
    market = Market().stock("X", closes).split("X", 1, 2, 1).dividend("X", 2, 10.0, kind="special")
    panel = market.panel(9)
    assert cell(panel, "X", 4)[0] == pytest.approx((69.8 + 10.0) / 79.8 - 1)
    assert cell(panel, "X", 8)[0] == pytest.approx(2 * 35.1 / 70.0 - 1)
    assert np.prod(1 + np.nan_to_num(returns(panel, "X")[1:])) == pytest.approx(2 * 35.0 / 80.0 + 10.0 / 79.8, abs=0.01)


@pytest.mark.parametrize("halt", [1, 3])
def test_an_event_that_waits_over_a_halt_counts_with_the_first_price_after_it(halt):
    closes = [40.0, 40.1, 40.0, *[np.nan] * halt, 29.1, 29.0]
    panel = Market().stock("X", closes).dividend("X", 1, 11.0, kind="special").panel(len(closes) - 1)
    assert cell(panel, "X", 3 + halt)[0] == pytest.approx((29.1 + 11.0) / 40.0 - 1)
    assert cell(panel, "X", 4 + halt)[0] == pytest.approx(29.0 / 29.1 - 1)


def test_an_event_further_off_than_any_due_bill_explains_nothing():
    late = RULES.outliers.due_bill_sessions + 5
    panel = (
        Market().stock("X", [40.0] * (late + 1) + [29.0, 29.0]).dividend("X", 1, 11.0, kind="special").panel(late + 2)
    )
    assert cell(panel, "X", late + 1)[0] == pytest.approx(29.0 / 40.0 - 1)


def test_a_split_that_the_price_followed_explains_no_later_halving():
    """The neighbour: it crashes to half within the sessions in which a split would still be waited for."""
    volume = [1e6] * 6 + [4e7, 3e7]
    market = Market().stock("X", [80.0, 40.0, 40.2, 40.1, 40.0, 40.1, 19.7, 19.6], volume=volume).split("X", 1, 2, 1)
    panel = market.panel(7)
    assert cell(panel, "X", 1)[0] == pytest.approx(0.0)
    assert cell(panel, "X", 6)[0] == pytest.approx(19.7 / 40.1 - 1)
