"""Ex-dates from record dates, around days on which banks rest and the exchange trades."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.calendar import ex_sessions, xnys


@pytest.mark.parametrize(
    ("record_date", "ex_date", "why"),
    [
        ("2017-11-14", "2017-11-13", "two days to settle; Veterans Day was a Saturday, and no bank made up for it"),
        ("2018-11-14", "2018-11-13", "Veterans Day was a Sunday, the Monday after settled nothing"),
        ("2018-11-13", "2018-11-09", "so a record date on the Tuesday goes ex on the Friday"),
        ("2023-10-11", "2023-10-10", "Columbus Day was the Monday before"),
        ("2023-10-10", "2023-10-06", "and a record date the day after it goes ex before the weekend"),
        ("2024-06-04", "2024-06-04", "one day to settle: ex on the record date"),
    ],
)
def test_an_ex_date_follows_from_settlement_and_the_holidays_of_banks(record_date: str, ex_date: str, why: str) -> None:
    assert xnys().sessions[ex_sessions([record_date])][0] == np.datetime64(ex_date), why
