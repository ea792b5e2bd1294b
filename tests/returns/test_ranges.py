"""Open, high and low are evidence about a close only where they are prices in its unit."""

from __future__ import annotations

import pytest

from pipeline.datasets.return_flags import ReturnFlag
from tests.returns.hand_made import LEAD, Market, cell, found

BEFORE, AFTER = 7.30, 9.15


def moved(history: dict[str, float], day: dict[str, float]) -> Market:
    """A stock that gains a quarter; open, high and low are multiples of the close, then of that day's."""
    market = Market().list("A").quiet("A", BEFORE)
    market.bars("A", 0, [AFTER, AFTER * 1.004, AFTER * 0.998], volume=4e6)
    for k, row in enumerate(market.rows["prices"]):
        scales = history if k != LEAD else day
        row.update({name: row["close"] * scale if scale > 0 else scale for name, scale in scales.items()})
    return market


ORDINARY = {"open": 1.0, "high": 1.004, "low": 0.996}


@pytest.mark.parametrize("nothing", [0.0, -1.0])
@pytest.mark.parametrize("always", [True, False], ids=["always", "that day"])
def test_a_field_that_is_no_price_says_nothing_of_the_close(nothing, always):
    blank = {"open": nothing, "high": nothing, "low": nothing}
    panel = moved(blank if always else ORDINARY, blank).panel(2)
    assert cell(panel, "A", 0) == (pytest.approx(AFTER / BEFORE - 1), ReturnFlag.ORDINARY)
    assert cell(panel, "A", 1)[0] == pytest.approx(0.004)
    assert not found(panel, "bad_print")


@pytest.mark.parametrize("unit", [0.01, 100.0, 1.5])
def test_ranges_in_another_unit_all_along_withhold_nothing(unit):
    other = {name: scale * unit for name, scale in ORDINARY.items()}
    panel = moved(other, other).panel(2)
    assert cell(panel, "A", 0)[0] == pytest.approx(AFTER / BEFORE - 1)
    assert cell(panel, "A", 2)[0] == pytest.approx(0.998 / 1.004 - 1)


def test_one_close_far_outside_a_range_that_held_the_others_is_a_bad_print():
    panel = moved(ORDINARY, {name: scale * 0.75 for name, scale in ORDINARY.items()}).panel(2)
    assert cell(panel, "A", 0)[1] == ReturnFlag.BAD_PRINT
    assert cell(panel, "A", 1)[0] == pytest.approx(AFTER * 1.004 / BEFORE - 1)


def test_ranges_that_change_their_unit_cost_one_session_and_not_eleven():
    market = moved(ORDINARY, ORDINARY)
    for row in market.rows["prices"][LEAD:]:
        row.update({name: row[name] * 100 for name in ORDINARY})
    panel = market.panel(2)
    assert cell(panel, "A", 0)[1] == ReturnFlag.BAD_PRINT
    assert cell(panel, "A", 1)[0] == pytest.approx(AFTER * 1.004 / BEFORE - 1)
    assert cell(panel, "A", 2)[1] == ReturnFlag.ORDINARY
