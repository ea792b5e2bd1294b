"""A stock without a share count is found at a session that had a price and could know: by a night as by a backfill."""

from __future__ import annotations

import pandas as pd

from pipeline.quality.event_rules import missing_share_counts
from pipeline.settings import DataRules

RULES = DataRules().events
DUE = RULES.shares_after


def bars(*rows: tuple[str, int, int]) -> pd.DataFrame:
    """(security, session, visible) each."""
    frame = pd.DataFrame(list(rows), columns=["sec_id", "session", "visible"])
    return frame.assign(sec_id=frame["sec_id"].astype("category"))


def found(prices: pd.DataFrame, shares: list[tuple[str, int]]) -> list[tuple[str, int, int]]:
    names = list(prices["sec_id"].cat.categories)
    securities = pd.DataFrame({"sec_id": names, "sec_type": ["etf" if name == "E" else "common" for name in names]})
    rows = missing_share_counts(prices, securities, pd.DataFrame(shares, columns=["sec_id", "visible"]), RULES)
    return list(zip(rows["sec_id"], rows["session"], rows["detected_at"], strict=True))


def test_each_stock_that_still_trades_and_has_no_count_is_found_once():
    every = [(name, t, t) for name in ("A", "B", "C", "E") for t in range(DUE + 3)]
    assert found(bars(*every), [("B", DUE), ("C", DUE + 1)]) == [("A", DUE, DUE), ("C", DUE, DUE)]


def test_it_is_found_at_a_session_that_has_a_price():
    quiet = [("A", t, t) for t in (0, 1, DUE - 1, DUE + 4)]
    assert found(bars(*quiet), []) == [("A", DUE + 4, DUE + 4)]
    assert found(bars(*quiet), [("A", DUE + 3)]) == []
    assert found(bars(*quiet[:-1]), []) == []


def test_bars_that_came_after_their_session_count_for_nothing():
    """A listing that became known at session 10: a night before could not know of it, and one later adds nothing."""
    late = [("A", t, max(t, 10)) for t in range(DUE + 20)]
    assert found(bars(*late), []) == [("A", DUE + 10, DUE + 10)]
