"""A delisting row that full trading contradicts is withdrawn from the contradicting bar on; a row with terms stands."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pipeline.datasets.return_flags import ReturnFlag
from tests.returns.hand_made import Market, cell, close_of, day, equal, found, returns

NAN = float("nan")


@pytest.mark.parametrize("reason", ["voluntary", "unknown", "exchange_drop", "merger", "liquidation", "bankruptcy"])
def test_a_stock_that_trades_on_keeps_its_returns_whatever_a_row_without_terms_says(reason):
    panel = Market().stock("X", [64.0, 64.65, 65.96, 66.05, 66.4]).delisting("X", 1, reason).panel(4)
    closes = [64.65, 65.96, 66.05, 66.4]
    assert returns(panel, "X")[2:] == pytest.approx([b / a - 1 for a, b in pairwise(closes)])
    assert found(panel, "delisting_contradicted") == [("X", 2, 2)]
    assert found(panel, "bar_after_delisting") == []


def test_a_removal_has_its_first_price_over_the_counter_and_goes_on():
    market = Market().stock("X", [0.45, 0.45, 0.36, 0.345, 0.35], volume=[1e6, 1e6, 2e4, 2e4, 2e4])
    panel = market.delisting("X", 1, "exchange_drop").panel(4)
    assert cell(panel, "X", 2) == (pytest.approx(-0.2), ReturnFlag.DELISTING)
    assert returns(panel, "X")[3:] == pytest.approx([0.345 / 0.36 - 1, 0.35 / 0.345 - 1])


def test_a_loss_of_nine_tenths_after_a_removal_is_neither_imputed_nor_withheld():
    market = Market().stock("X", [2.0, 2.0, 0.2, 0.21], volume=[1e6, 1e6, 5e6, 1e6]).delisting("X", 1, "bankruptcy")
    panel = market.panel(3)
    assert cell(panel, "X", 2) == (pytest.approx(-0.9), ReturnFlag.DELISTING)
    assert cell(panel, "X", 3)[0] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("reason", "terms", "closes", "volume"),
    [
        ("merger", {"cash": 5.5}, [5.1, 5.2], 1e6),  # the acquirer under the same code
        ("merger", {"successor_code": "H", "successor_ratio": 0.5}, [10.0, 10.1], 1e6),
        ("merger", {}, [50.0, 51.0], 1e6),  # ten times the price: another company
        ("voluntary", {}, [5.0, 5.0], 1e6),  # the last bar again and again
        ("voluntary", {}, [5.1, 5.2], 2e4),  # a fiftieth of the volume
        ("exchange_drop", {}, [5.1, 5.0], 0.0),
    ],
)
def test_bars_that_are_no_trading_of_the_same_company_leave_the_row_as_it_is(reason, terms, closes, volume):
    market = Market().stock("X", [5.0, 5.0], volume=1e6).stock("H", [10.0] * 4).bars("X", 2, closes, volume=volume)
    panel = market.delisting("X", 1, reason, **terms).panel(3)
    assert cell(panel, "X", 2)[1] in (ReturnFlag.DELISTING, ReturnFlag.DELISTING_IMPUTED)
    assert cell(panel, "X", 3)[1] == ReturnFlag.NOT_LISTED
    assert found(panel, "delisting_contradicted") == []


def test_the_next_listing_of_a_code_contradicts_no_delisting_of_the_one_before():
    market = Market().stock("X", [5.0, 5.0], last_session=day(1)).list("X", first=2).bars("X", 2, [5.1, 5.2])
    market.owners = {"X": [("1900-01-01", "old"), (str(day(2))[:10], "new")]}
    panel = market.delisting("X", 1, "unknown").panel(3, codes=["old", "new"])
    assert cell(panel, "old", 2)[1] == ReturnFlag.DELISTING_IMPUTED
    assert cell(panel, "new", 2)[1] == ReturnFlag.FIRST_SESSION


def test_a_relisting_after_the_return_was_booked_starts_anew_and_nothing_counts_twice():
    market = Market().stock("X", [5.0, 5.0] + [NAN] * 4 + [4.0 + 0.01 * k for k in range(12)])
    panel = market.delisting("X", 1, "exchange_drop").panel(17)
    assert cell(panel, "X", 2) == (-0.30, ReturnFlag.DELISTING_IMPUTED)
    assert np.isnan(returns(panel, "X")[3:13]).all()
    assert cell(panel, "X", 12)[1] == ReturnFlag.GAP_TOO_LONG
    assert np.isfinite(returns(panel, "X")[13:]).all()


def test_a_row_that_comes_while_the_stock_trades_changes_nothing():
    market = Market().stock("X", [64.0, 64.65, 65.96, 66.05, 66.4])
    late = market.delisting("X", 1, "unknown", known_from=close_of(3)).panel(4)
    assert np.isfinite(returns(late, "X")[1:]).all()


def test_a_night_says_about_a_contradicted_row_what_the_backfill_says():
    market = Market().stock("X", [64.0, 64.65, 65.96, 66.05, 66.4]).delisting("X", 1, "voluntary")
    for offset in range(5):
        assert equal(market.panel(offset, first=offset), _column(market, offset))


def _column(market: Market, offset: int):
    """The same session from a run that knows nothing of the sessions after it."""
    known = Market()
    known.rows = {
        name: [row for row in rows if name != "prices" or row["date"] <= day(offset)]
        for name, rows in market.rows.items()
    }
    return known.panel(offset, first=offset)
