"""What a run lands: the facts that its sessions may use, and no more."""

from __future__ import annotations

from dataclasses import fields

import pandas as pd

from pipeline.market_data.landing import cut, load_facts, save_facts
from pipeline.market_data.point_in_time import Facts

FIRST, LAST = 10, 20


def facts() -> Facts:
    """Bars of A from session 1 on and of B from 9 on; B's bar of 15 is delivered late, and so is a split."""
    bars = [("A", 1, 1), ("A", 9, 9), ("A", 10, 10), ("A", 20, 20), ("A", 21, 21), ("B", 8, 12), ("B", 9, 9)]
    bars += [("B", 15, 15), ("B", 15, 30)]
    prices = pd.DataFrame(bars, columns=["sec_id", "session", "visible"]).astype({"sec_id": "category"})
    splits = pd.DataFrame({"sec_id": ["A", "A"], "ex": [5, 15], "visible": [25, 15]})
    empty = {field.name: pd.DataFrame({"visible": pd.Series(dtype="int32")}) for field in fields(Facts)}
    given = empty | {"prices": prices, "splits": splits, "securities": pd.DataFrame({"sec_id": ["A", "B"]})}
    return Facts(**{**given, "restated_as_of": None})


def test_rows_that_become_visible_after_the_last_session_are_left_out():
    landed = cut(facts(), FIRST, LAST)
    assert landed.prices["visible"].max() == LAST
    assert landed.splits[["ex", "visible"]].to_numpy().tolist() == [[15, 15]]


def test_bars_before_the_first_session_are_left_out_but_for_the_first_one_on_time():
    landed = cut(facts(), FIRST, LAST)
    rows = list(landed.prices[["sec_id", "session"]].itertuples(index=False, name=None))
    assert rows == [("A", 1), ("A", 10), ("A", 20), ("B", 9), ("B", 15)]


def test_what_is_landed_is_what_the_steps_load(tmp_path):
    landed = cut(facts(), FIRST, LAST)
    save_facts(landed, tmp_path)
    for name in ("prices", "splits", "securities"):
        pd.testing.assert_frame_equal(getattr(load_facts(tmp_path), name), getattr(landed, name))
