"""An event that is told under an old and a new date counts once, on the date that the close followed."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.market_data.cleaning import clean_events, only_splits
from tests.returns.hand_made import RULES, Market, cell, day, found

OLD = 2


def closes(level: float, after: float, moves: list[int], last: int = 45) -> list[float]:
    """A calm stock whose level changes by the factor `after` on the sessions `moves`."""
    return [level * after ** sum(t >= at for at in moves) * (1 + 0.002 * (-1) ** t) for t in range(last)]


@pytest.mark.parametrize("new", [9, 14, 24, 38])
@pytest.mark.parametrize("followed", ["the old date", "the new date"])
@pytest.mark.parametrize(("num", "den"), [(2, 1), (1, 10), (3, 2)])
def test_a_split_under_two_dates_is_once_in_the_return_and_once_in_the_count(new, followed, num, den):
    at = OLD if followed == "the old date" else new
    market = Market().stock("X", closes(60.0, den / num, [at])).split("X", OLD, num, den).split("X", new, num, den)
    panel = market.panel(40)
    assert cell(panel, "X", at)[0] == pytest.approx(0.0, abs=0.01)
    other = cell(panel, "X", OLD + new - at)
    assert other[0] == pytest.approx(0.0, abs=0.01) or other[1] == ReturnFlag.EVENT_CONFLICT
    rows = only_splits(clean_events(market.tables(), RULES.cleaning).splits)
    stands = rows.sort_values("known_from").drop_duplicates("ex_date", keep="last")
    assert (stands["ratio_new"] / stands["ratio_old"]).prod() == pytest.approx(num / den)
    ((name, told, seen),) = found(panel, "duplicate_split")
    assert (name, told) == ("X", OLD + new - at)
    assert seen == new, "known with the bar of the second date"


@pytest.mark.parametrize("followed", ["the old date", "the new date"])
def test_a_large_payout_under_two_dates_counts_once(followed):
    new = 16
    at = OLD if followed == "the old date" else new
    levels = [60.0 - 9.0 * (t >= at) + 0.05 * (-1) ** t for t in range(30)]
    market = Market().stock("X", levels)
    for ex in (OLD, new):
        market.dividend("X", ex, 9.0, kind="special")
    panel = market.panel(25)
    assert cell(panel, "X", at)[0] == pytest.approx(0.0, abs=0.01)
    other = cell(panel, "X", OLD + new - at)
    assert other[0] == pytest.approx(0.0, abs=0.01) or other[1] == ReturnFlag.EVENT_CONFLICT


def test_an_event_under_two_dates_of_who_has_no_bar_is_left_as_it_is():
    market = Market().stock("X", closes(60.0, 1.0, [])).list("Y").dividend("Y", OLD, 9.0).dividend("Y", 16, 9.0)
    dividends = clean_events(market.tables(), RULES.cleaning).dividends
    assert dividends["amount"].tolist() == [9.0, 9.0]


def test_two_splits_that_the_close_followed_both_are_two():
    market = Market().stock("X", closes(60.0, 0.5, [OLD, 30])).split("X", OLD, 2, 1).split("X", 30, 2, 1)
    panel = market.panel(40)
    assert not found(panel, "duplicate_split")
    assert [cell(panel, "X", t)[0] for t in (OLD, 30)] == pytest.approx([0.0, 0.0], abs=0.01)


@pytest.mark.parametrize("apart", [21, 40])
def test_equal_small_dividends_some_weeks_apart_are_two(apart):
    market = Market().stock("X", closes(60.0, 1.0, [])).dividend("X", OLD, 0.4).dividend("X", OLD + apart, 0.4)
    panel = market.panel(44)
    assert not found(panel, "duplicate_dividend")
    for t in (OLD, OLD + apart):
        without = Market().stock("X", closes(60.0, 1.0, [])).panel(44)
        assert cell(panel, "X", t)[0] > cell(without, "X", t)[0] + 0.006


QUARTER = 20
"""Sessions between two payments of the payer below, to keep the market small."""


def payer(*ex: int, amount: float = 0.4) -> Market:
    market = Market().stock("X", closes(60.0, 1.0, [], last=160))
    for at in ex:
        market.dividend("X", at, amount)
    return market


@pytest.mark.parametrize("apart", [6, 8, 9])
def test_the_same_amount_off_the_schedule_of_an_even_payer_is_told_and_counted(apart):
    """Below what the close can show: one under two dates, or one that was paid early. Both are in the return."""
    dates = [QUARTER * k for k in range(1, 6)]
    panel = payer(*dates, dates[-1] + apart).panel(150)
    ((_, told, seen),) = found(panel, "off_schedule")
    assert told == seen == dates[-1] + apart
    assert not found(panel, "duplicate_dividend")
    assert cell(panel, "X", told)[0] > cell(payer(*dates).panel(150), "X", told)[0] + 0.006


@pytest.mark.parametrize(
    "ex",
    [
        [20, 40, 60, 80, 100, 112],  # more than half of the interval
        [20, 40, 60, 80, 88],  # a history too short to show a schedule
        [20, 30, 62, 80, 118, 126],  # none that is even
    ],
)
def test_what_is_on_schedule_or_has_none_is_not_told(ex):
    assert not found(payer(*ex).panel(150), "off_schedule")


def test_another_amount_off_schedule_is_a_dividend_of_its_own():
    market = payer(20, 40, 60, 80, 100).dividend("X", 108, 0.1)
    assert not found(market.panel(150), "off_schedule")


def test_what_is_off_schedule_is_told_of_no_session_before_it():
    dates = [20, 40, 60, 80, 100, 108]
    assert not found(payer(*dates).panel(107), "off_schedule")
    assert len(found(payer(*dates).panel(108), "off_schedule")) == 1


def test_equal_splits_months_apart_are_two_even_if_the_close_followed_one():
    market = Market().stock("X", closes(60.0, 0.5, [OLD], last=80)).split("X", OLD, 2, 1).split("X", 70, 2, 1)
    assert not found(market.panel(75), "duplicate_split")


def test_what_is_decided_on_the_second_date_changes_nothing_before_it():
    market = Market().stock("X", closes(60.0, 0.5, [24])).split("X", OLD, 2, 1).split("X", 24, 2, 1)
    whole, cut = market.panel(40), market.panel(23)
    assert np.array_equal(whole.ret[:, :24], cut.ret, equal_nan=True)
    rows = clean_events(market.tables(), RULES.cleaning).splits
    undone = rows[(rows["ratio_new"] == 1) & (rows["ex_date"] == day(OLD))]
    assert len(undone) == 1
    assert np.datetime64(undone["known_from"].iloc[0], "D") >= np.datetime64(day(24), "D")
