"""Counts of filings: their unit, and who may confirm whom."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.market_data.share_counts import leave_out_jumps
from pipeline.settings import CleaningRules

RULES = CleaningRules()


def read(filings, splits=()):
    """filings: (period end, filed, count); splits: (ex-date, ratio). Counts that stay, by period, and the rules."""
    period, filed, count = zip(*filings, strict=True)
    at = pd.to_datetime(list(filed)).astype("datetime64[us]")
    shares = pd.DataFrame(
        {
            "vendor_code": "A",
            "period_end": pd.to_datetime(list(period)).astype("datetime64[s]"),
            "filed_at": at,
            "shares": np.array(count, float),
            "known_from": at,
        }
    )
    ex = pd.to_datetime([day for day, _ in splits])
    rows = pd.DataFrame(
        {
            "vendor_code": pd.Series(["A"] * len(splits), dtype=object),
            "ex_date": ex.astype("datetime64[s]"),
            "known_from": ex.astype("datetime64[us]"),
            "ratio_new": np.array([ratio for _, ratio in splits], float),
            "ratio_old": np.ones(len(splits)),
        }
    )
    kept, doubts = leave_out_jumps(shares, rows, RULES)
    return {f"{row.period_end:%Y-%m-%d}": row.shares for row in kept.itertuples()}, [one.rule for one in doubts]


GOOGLE = [("2022-03-31", "2022-04-26", 658.8e6), ("2022-06-30", "2022-07-27", 13_078e6)]


@pytest.mark.parametrize("ratio", [20.0, 10.0, 3.0, 2.0, 0.1])
def test_a_count_that_is_in_the_units_after_a_later_split_is_carried_back(ratio):
    counts, rules = read([GOOGLE[0], (*GOOGLE[1][:2], 658.8e6 * ratio * 0.993)], [("2022-07-18", ratio)])
    assert counts["2022-06-30"] == pytest.approx(658.8e6 * 0.993)
    assert rules == ["share_count_restated"]


def test_the_right_counts_after_it_are_believed():
    later = ("2022-09-30", "2022-10-25", 12_971e6)
    counts, rules = read([*GOOGLE, later], [("2022-07-18", 20.0)])
    assert counts["2022-09-30"] == 12_971e6
    assert rules == ["share_count_restated"]


def test_a_count_in_the_units_of_its_period_stays():
    counts, rules = read([GOOGLE[0], ("2022-06-30", "2022-07-27", 653.9e6)], [("2022-07-18", 20.0)])
    assert counts["2022-06-30"] == 653.9e6
    assert not rules


def test_a_company_that_doubles_its_shares_without_a_split_stays():
    counts, rules = read([GOOGLE[0], ("2022-06-30", "2022-07-27", 1_310e6)])
    assert counts["2022-06-30"] == 1_310e6
    assert not rules


THOUSANDS = [
    ("2013-12-28", "2014-01-28", 892_447_000),
    ("2013-09-28", "2014-04-24", 899_213),
    ("2014-03-29", "2014-04-24", 861_745),
]


def test_rows_of_one_filing_do_not_confirm_each_other():
    counts, rules = read([*THOUSANDS, ("2014-06-28", "2014-07-24", 860_000_000)])
    assert counts == {"2013-12-28": 892_447_000, "2014-06-28": 860_000_000}
    assert rules == ["share_count_jump"] * 2


def test_a_second_filing_still_confirms():
    counts, _ = read([*THOUSANDS, ("2014-06-28", "2014-07-24", 860_000)])
    assert counts["2014-06-28"] == 860_000
