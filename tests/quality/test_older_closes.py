"""Digests of what was delivered: every other close is found, and what is no other close is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.quality.older_closes import rewritten_years, year_digests
from pipeline.quality.tickers import rewritten_tickers
from pipeline.settings import DeliveryRules, DriftRules

UNTIL, KNOWN = np.datetime64("2019-03-29"), np.datetime64("2019-03-29T20:15:00")
RULES = DriftRules(few_years=0, years=0.5)
CODES = ("A", "B", "C")
NAMES = {code: f"T{code}" for code in CODES}


def bars() -> pd.DataFrame:
    """Three securities over two years, as a source hands them out."""
    days = pd.bdate_range("2018-01-02", "2019-04-30").to_numpy().astype("datetime64[s]")
    close = 50 + np.random.default_rng(1).normal(0, 1, (len(CODES), len(days))).cumsum(1)
    return pd.DataFrame(
        {
            "vendor_code": pd.Categorical(np.repeat(CODES, len(days)), categories=list(CODES)),
            "date": np.tile(days, len(CODES)),
            "close": close.round(2).ravel(),
            "known_from": np.tile(days, len(CODES)) + np.timedelta64(20, "h"),
        }
    )


BARS = bars()
BEFORE = year_digests(BARS, UNTIL, KNOWN)


def found(prices: pd.DataFrame, names: dict[str, str] = NAMES) -> list[tuple[str, str]]:
    rows = rewritten_years(BEFORE, year_digests(prices, UNTIL, KNOWN), names, "2019-03-29", 0, RULES)
    return list(zip(rows["rule"], rows["evidence"], strict=True))


def test_years_are_told_apart_and_later_sessions_are_not_in_them():
    assert list(zip(BEFORE["vendor_code"], BEFORE["year"], strict=True)) == [
        (code, year) for code in CODES for year in (2018, 2019)
    ]
    assert BEFORE["bars"].sum() == (BARS["date"] <= UNTIL).sum()
    later = BARS.assign(close=BARS["close"].mask(BARS["date"] > UNTIL, 1.0))
    assert found(later) == []


@settings(max_examples=20, deadline=None)
@given(
    at=st.integers(0, len(BARS) - 1),
    factor=st.sampled_from([1.5, 1.0001, 0.1, -1.0]),
    order=st.permutations(range(len(CODES))),
)
def test_any_single_close_is_found_in_its_year_and_in_no_other(at, factor, order):
    prices = pd.concat([BARS.iloc[:0], *[BARS[BARS["vendor_code"] == CODES[k]] for k in order]])
    assert found(prices) == []
    prices = prices.assign(close=prices["close"].mask(prices.index == at, prices["close"] * factor))
    row = BARS.loc[at]
    if row["date"] > UNTIL:
        assert found(prices) == []
        return
    ((rule, said),) = found(prices)
    assert rule == "rewritten_year"
    assert said == (
        f"closes of 1 of 3 securities in {row['date'].year} are others than those delivered when 2019-03-29 was "
        f"published: T{row['vendor_code']} ({row['vendor_code']})"
    )


def test_two_closes_exchanged_and_one_missing_or_added_are_others():
    """A sum that forgot the day, or the security, would miss an exchange."""
    exchanged, there = BARS.copy(), BARS.index[:2]
    exchanged.loc[there, "close"] = BARS.loc[there[::-1], "close"].to_numpy()
    assert len(found(exchanged)) == 1
    assert len(found(BARS.drop(index=10))) == 1
    between = BARS.index[BARS["vendor_code"] == "A"][5], BARS.index[BARS["vendor_code"] == "B"][5]
    exchanged = BARS.copy()
    exchanged.loc[list(between), "close"] = BARS.loc[list(between[::-1]), "close"].to_numpy()
    ((rule, said),) = found(exchanged)
    assert rule == "rewritten_years"
    assert "2 of 3 securities in 2018" in said


def test_a_declared_correction_new_years_and_who_has_left_the_vendor_s_tables_are_no_others():
    corrected = BARS.iloc[[7]].assign(close=1.0, known_from=KNOWN + np.timedelta64(1, "D"))
    assert found(pd.concat([BARS, corrected])) == []
    older = BARS.iloc[:200].assign(date=BARS["date"].iloc[:200] - np.timedelta64(730, "D"))
    assert found(pd.concat([older, BARS])) == []
    gone = BARS[BARS["vendor_code"] != "C"]
    assert found(gone, {"A": "TA", "B": "TB"}) == []
    assert {rule for rule, _ in found(gone)} == {"rewritten_year"}, "still listed, and its closes are gone"


def test_closes_that_are_not_there_have_no_digest():
    assert year_digests(BARS.iloc[:0], UNTIL, KNOWN).empty
    assert year_digests(BARS.assign(close=np.nan), UNTIL, KNOWN).empty
    assert year_digests(BARS, np.datetime64("2017-12-29"), KNOWN).empty


CHANGES = pd.DataFrame({"vendor_code": ["A"], "old_ticker": ["FB"], "new_ticker": ["META"]})


def others(before: dict[str, str], now: dict[str, str], changes: pd.DataFrame = CHANGES.iloc[:0]) -> list[str]:
    return rewritten_tickers(before, now, changes, "2019-03-29", 0, DeliveryRules())["evidence"].tolist()


def test_tickers_in_a_circle_or_shifted_are_exchanged():
    listed = {f"C{k}": f"T{k}" for k in range(400)}
    circle = listed | {"C1": "T2", "C2": "T3", "C3": "T1"}
    (said,) = others(listed, circle)
    assert "3 of 400" in said
    assert "T1 is now T2 (C1), T2 is now T3 (C2), T3 is now T1 (C3)" in said
    shifted = {f"C{k}": f"T{(k + 7) % 400}" for k in range(400)}
    assert "400 of 400" in others(listed, shifted)[0]


def test_many_other_tickers_are_one_stop_and_a_few_or_told_ones_are_none():
    listed = {f"C{k}": f"T{k}" for k in range(400)}
    assert others(listed, {code: f"X{ticker}" for code, ticker in listed.items()}) != []
    assert others(listed, listed | {f"C{k}": f"X{k}" for k in range(4)}) == []
    told = pd.DataFrame({"vendor_code": list(listed), "old_ticker": list(listed.values()), "new_ticker": "X"})
    assert others(listed, dict.fromkeys(listed, "X"), told) == []


def test_who_takes_the_ticker_of_one_that_ended_or_told_its_change_has_exchanged_nothing():
    before = {"A": "FB", "B": "XYZ", "C": "OLD"}
    assert others(before, {"A": "META", "B": "FB", "C": "OLD"}, CHANGES) == []
    assert others(before, {"A": "FB", "B": "OLD"}) == [], "C ended"
    assert len(others(before, {"A": "META", "B": "FB", "C": "OLD"})) == 1, "nobody told that FB is META"
