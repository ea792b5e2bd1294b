"""Since when a vendor code is known to be a security's."""

from __future__ import annotations

import pandas as pd

from security_master.dates import END, NEVER
from security_master.intervals import standing_beliefs

COLUMNS = ["vendor_code", "sec_id", "valid_from", "valid_to", "known_from", "known_to"]


def since(*beliefs: tuple[str, str, str, str]) -> list[tuple[str, str, str]]:
    rows = pd.DataFrame([("ABC", "S1", *belief) for belief in beliefs], columns=COLUMNS)
    found = standing_beliefs(rows)
    return list(found[["valid_from", "valid_to", "known_from"]].itertuples(index=False, name=None))


def test_a_listing_whose_end_becomes_known_is_known_since_it_began():
    found = since(("2018-01-02", END, "2018-01-02", "2019-04-26"), ("2018-01-02", "2019-04-27", "2019-04-26", NEVER))
    assert found == [("2018-01-02", "2019-04-27", "2018-01-02")]


def test_a_company_that_comes_back_under_its_code_is_known_from_its_return():
    found = since(
        ("2018-01-02", END, "2018-01-02", "2019-04-26"),
        ("2018-01-02", "2019-04-27", "2019-04-26", NEVER),
        ("2019-05-06", END, "2019-05-10", NEVER),
    )
    assert found == [("2018-01-02", "2019-04-27", "2018-01-02"), ("2019-05-06", END, "2019-05-10")]


def test_an_earlier_start_that_becomes_known_later_is_a_stretch_of_its_own():
    found = since(("2019-01-02", END, "2019-01-02", "2020-03-02"), ("2018-01-02", END, "2020-03-02", NEVER))
    assert found == [("2018-01-02", "2019-01-02", "2020-03-02"), ("2019-01-02", END, "2019-01-02")]


def test_what_is_no_longer_believed_is_left_out():
    assert since(("2018-01-02", END, "2018-01-02", "2019-04-26")) == []
