"""Look-ups in delivered bars."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.quality.bars import Bars, close_of, closes_before, first_close_of

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


def test_the_bars_of_a_security_are_its_own_and_none_of_one_that_has_none():
    bars = Bars(BARS.assign(volume=1.0))
    assert [bars.of(name).session.tolist() for name in "ABC"] == [[1, 3, 5, 5], [2], [4]]
    assert bars.of("nobody").close.tolist() == []
    assert np.isnan(close_of(bars.of("nobody"), 5, 9))


def test_a_close_is_the_last_one_known_of_its_session_or_of_one_that_is_not_too_old():
    bars = Bars(BARS.assign(volume=1.0)).of("A")
    assert [close_of(bars, 5, known) for known in (5, 7)] == [12.0, 13.0]
    assert np.isnan(close_of(bars, 3, 9)), "of the session itself, which has none"
    assert close_of(bars, 3, 9, max_age=2) == 10.0
    assert first_close_of(bars, 1, 7) == 13.0
    assert np.isnan(first_close_of(bars, 5, 9))
