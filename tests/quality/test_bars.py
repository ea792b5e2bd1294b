"""Look-ups in delivered bars."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.quality.bars import closes_before

BARS = pd.DataFrame(
    [
        ("A", 1, 10.0, 1),
        ("A", 3, np.nan, 3),
        ("A", 5, 12.0, 5),
        ("A", 5, 13.0, 7),  # a correction
        ("B", 2, 20.0, 4),  # late
        ("C", 4, 30.0, 4),
    ],
    columns=["sec_id", "session", "close", "visible"],
).astype({"sec_id": "category", "session": "int32", "visible": "int32"})


def before(*events: tuple[str, int]) -> list[float]:
    return closes_before(BARS, pd.DataFrame(events, columns=["sec_id", "ex"]).astype({"ex": "int32"})).tolist()


def test_the_close_before_an_event_is_the_last_one_printed_on_an_earlier_session():
    assert before(("A", 6), ("C", 5), ("A", 5), ("A", 2), ("A", 9)) == [12.0, 30.0, 10.0, 10.0, 12.0]


def test_there_is_none_before_the_first_bar_of_late_bars_only_or_of_somebody_without_bars():
    assert np.isnan(before(("A", 1), ("B", 9), ("nobody", 9), ("C", 4))).all()
    assert before() == []
