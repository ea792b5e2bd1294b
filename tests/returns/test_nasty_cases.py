"""The cases that catch naive return code. Each excludes the tempting wrong answer by name."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from pipeline.calendar import ex_sessions, xnys
from pipeline.datasets.return_flags import ReturnFlag
from pipeline.market_data.cleaning import clean_events
from pipeline.market_data.point_in_time import build_facts
from pipeline.sources.files import FilesSource
from tests.returns.hand_made import (
    LEAD,
    ORIGIN,
    RULES,
    FakeMaster,
    Market,
    cell,
    close_of,
    day,
    flags,
    found,
    returns,
)

NAN = float("nan")


def tomorrow(p0: float, p1: float) -> Market:
    """A stock X that closes at `p0` on session 0 and at `p1` on session 1."""
    return Market().stock("X", [p0, p1])


# 1 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("basis", "right", "other_basis"), [("post", 0.02, 0.015), ("pre", 0.015, 0.02)])
def test_01_split_and_dividend_on_one_day_follow_the_stated_basis(basis, right, other_basis):
    panel = tomorrow(100, 50.5).split("X", 1, 2, 1).dividend("X", 1, 0.5, basis=basis).panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx(right)
    assert cell(panel, "X", 1)[0] != pytest.approx(other_basis)
    assert found(panel, "basis_review") == [("X", 1, 1)]  # 50 bp apart: a person is asked


def test_01_a_basis_that_hardly_matters_asks_nobody():
    panel = tomorrow(100, 50.5).split("X", 1, 2, 1).dividend("X", 1, 0.2).panel(1)
    assert found(panel, "basis_review") == []


# 2, 3, 4 ------------------------------------------------------------------------------------------------------------


def test_02_a_reverse_split_is_no_gain_of_1500_percent():
    panel = tomorrow(1.13, 18.08).split("X", 1, 1, 20).panel(1)
    r, flag = cell(panel, "X", 1)
    assert r == pytest.approx(-0.2)
    assert r != pytest.approx(15.0)
    assert flag == ReturnFlag.WITH_EVENTS


def test_03_cash_in_lieu_of_fractions_is_no_dividend():
    r, _ = cell(tomorrow(1.00, 20.0).split("X", 1, 1, 20).panel(1), "X", 1)
    thirty_three_shares = (1 * 20.0 + 13 / 20 * 20.0) / (33 * 1.00) - 1  # one new share, cash for 13 old ones
    assert r == pytest.approx(thirty_three_shares) == pytest.approx(0.0)
    assert r != pytest.approx((20.0 / 20 + 13 / 20) / 1.0 - 1)  # the cash taken as a dividend per share


def test_04_serial_reverse_splits_stay_finite_and_exact():
    market, price = Market().list("X").quiet("X", 0.8), 0.8
    for t in range(20):
        if t in (5, 10, 15):
            old = {5: 30, 10: 300, 15: 35}[t]
            market.split("X", t, 1, old)
            price *= old
        market.bars("X", t, [price])
        price *= 1.0 if t in (4, 9, 14) else 0.9  # falls back towards pennies
    r = np.array(returns(market.panel(19), "X"))[1:]
    assert r[[4, 9, 14]] == pytest.approx(0.0, abs=1e-15)  # no drift on the days of the splits
    assert np.delete(r, [4, 9, 14]) == pytest.approx(-0.1)  # and never the factor 315,000


# 5, 6 ---------------------------------------------------------------------------------------------------------------


def spin_off(close: float, ex_close: float, child_close: float, ratio: float) -> Market:
    market = tomorrow(close, ex_close).list("CHILD", first=1).bars("CHILD", 1, [child_close])
    return market.spin_off("X", 1, "CHILD", ratio)


@pytest.mark.parametrize(
    ("close", "ex_close", "child", "ratio", "right", "without_child"),
    [
        (51.20, 43.18, 8.42, 1.0, 0.007812, -0.156641),
        (32.60, 29.40, 15.28, 0.25, 0.019018, -0.098160),
        (80, 73, 30, 0.25, 0.00625, -0.0875),
        (24.14, 19.00, 24.00, 0.241917, 0.027589, -0.212925),
    ],
)
def test_05_a_spin_off_counts_with_the_childs_first_close(close, ex_close, child, ratio, right, without_child):
    panel = spin_off(close, ex_close, child, ratio).panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx(right, abs=1e-6)
    assert cell(panel, "X", 1)[0] != pytest.approx(without_child, abs=1e-3)
    assert cell(panel, "CHILD", 1) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.FIRST_SESSION)


def test_05_without_a_close_of_the_child_the_stated_value_is_used_and_without_either_nothing():
    stated = tomorrow(80, 73).list("CHILD").spin_off("X", 1, "CHILD", 0.25, value=7.5).panel(1)
    assert cell(stated, "X", 1)[0] == pytest.approx(0.00625)
    unknown = tomorrow(80, 73).list("CHILD").spin_off("X", 1, "CHILD", 0.25).panel(1)
    assert cell(unknown, "X", 1) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.NO_SPIN_OFF_VALUE)


@pytest.mark.parametrize(
    ("new", "old", "p0", "p1"), [(1253, 1000, 175.36, 136.47), (41, 32, 84.98, 70.20), (26, 25, 10.82, 10.66)]
)
def test_06_a_spin_off_written_as_an_odd_split_never_changes_the_share_count(new, old, p0, p1):
    market = tomorrow(p0, p1).split("X", 1, new, old)
    panel = market.panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx(p1 * new / old / p0 - 1)
    assert cell(panel, "X", 1)[0] != pytest.approx(p1 / p0 - 1)
    assert found(panel, "spin_off_as_split") == [("X", 1, 1)]
    kinds = market.facts().splits["kind"].tolist()
    assert kinds == ["spin_off"]
    assert "split" not in kinds  # market cap times 1.253


# 7, 8 ---------------------------------------------------------------------------------------------------------------


def test_07_a_large_dividend_dated_before_its_due_bill_ex_date_makes_no_pair_of_outliers():
    closes = [100.0, 100.5, 101.0, 72.0]  # 30 dollars leave on session 3, two sessions after the delivered ex-date
    panel = Market().stock("X", closes).dividend("X", 1, 30.0, kind="special").panel(3)
    r = returns(panel, "X")
    assert np.isnan(r[1])
    assert flags(panel, "X")[1] == ReturnFlag.EVENT_CONFLICT
    assert r[3] == pytest.approx((72 + 30) / 101 - 1)
    assert flags(panel, "X")[3] == ReturnFlag.EVENT_MOVED
    assert r[1] != pytest.approx((100.5 + 30) / 100 - 1)  # +30 %
    assert r[3] != pytest.approx(72 / 101 - 1)  # -29 %


@pytest.mark.parametrize("ex", ["2014-05-08", "2017-09-07", "2024-05-29"])
def test_08_a_dividend_counts_on_its_ex_date_in_every_settlement_era(ex):
    k = xnys().ordinal(ex) - ORIGIN
    market = Market().list("X", first=k - LEAD).quiet("X", 40.0, k - LEAD, k - 4)
    market.bars("X", k - 3, [40.0, 40.0, 40.0, 39.0, 39.0, 39.0, 39.0]).dividend("X", k, 1.0)
    panel = market.panel(k + 3, first=k - 3)
    assert returns(panel, "X") == [0.0] * 7  # exactly on the day: no lag by one, two or three sessions


@pytest.mark.parametrize(
    ("record", "right", "constant_lags"),
    [
        ("2014-05-12", "2014-05-08", ("2014-05-09", "2014-05-12")),  # T+3: two sessions before
        ("2017-08-31", "2017-08-29", ("2017-08-30", "2017-08-31")),
        ("2017-09-08", "2017-09-07", ("2017-09-06", "2017-09-08")),  # T+2: one
        ("2024-05-24", "2024-05-23", ("2024-05-22", "2024-05-24")),
        ("2024-05-29", "2024-05-29", ("2024-05-24", "2024-05-28")),  # T+1: the record date itself
    ],
)
def test_08_the_record_date_gives_the_ex_date_by_era_and_no_constant_lag_does(record, right, constant_lags):
    for ex, off in ((right, False), *((wrong, True) for wrong in constant_lags)):
        k = xnys().ordinal(ex) - ORIGIN
        market = Market().list("X", first=k - LEAD).quiet("X", 40.0, k - LEAD, k - 1).bars("X", k, [39.5])
        panel = market.dividend("X", k, 0.5, record_date=np.datetime64(record, "s")).panel(k, first=k)
        assert found(panel, "ex_date_off_record") == ([("X", k, k)] if off else [])


def test_08_a_stock_dividend_has_a_record_date_too_and_without_one_nothing_is_said():
    k = xnys().ordinal("2014-05-09") - ORIGIN  # a session later than the record date 2014-05-12 gives
    for more, flagged in (({"record_date": np.datetime64("2014-05-12", "s")}, 2), ({}, 0)):
        market = tomorrow(100, 95).stock("Y", [100.0] * (k + 1)).bars("X", 2, [95.0] * (k - 1))
        market.split("X", k, 21, 20, **more).dividend("Y", k, 0.1, **more)
        assert len(found(market.panel(k), "ex_date_off_record")) == flagged


def test_07_a_payout_of_a_quarter_of_the_price_goes_ex_after_it_is_paid_and_no_rule_shifts_it():
    record = {"record_date": day(0)}
    panel = tomorrow(100, 75).dividend("X", 1, 25.0, kind="special", **record).panel(1)
    assert cell(panel, "X", 1)[0] == 0.0
    assert found(panel, "ex_date_off_record") == []
    small = tomorrow(100, 76).dividend("X", 1, 24.0, kind="special", **record).panel(1)
    assert found(small, "ex_date_off_record") == [("X", 1, 1)]
    split = tomorrow(100, 50).split("X", 1, 2, 1, **record).panel(1)
    assert found(split, "ex_date_off_record") == []


def test_08_the_two_days_a_year_on_which_banks_rest_while_the_exchange_trades_do_not_settle():
    assert xnys().sessions[ex_sessions(["2013-10-15"])][0] == np.datetime64("2013-10-10")  # Columbus Day was the 14th
    assert xnys().sessions[ex_sessions(["2019-11-12"])][0] == np.datetime64("2019-11-08")  # Veterans Day was the 11th


# 9 to 13: identities -------------------------------------------------------------------------------------------------


def fox_and_news() -> Market:
    """NWSA becomes FOXA on session 1, spins off a new company, and that company takes the ticker NWSA the same day."""
    market = Market().list("NWSA", last_session=day(0)).quiet("NWSA", 32.60).bars("NWSA", 0, [32.60])
    market.list("NWSA", first=1).list("FOXA", first=1)
    market.bars("FOXA", 1, [29.40, 29.50]).bars("NWSA", 1, [15.28, 15.30])
    market.spin_off("FOXA", 1, "NWSA", 0.25)
    market.owners = {"NWSA": [("1900-01-01", "fox"), (str(day(1))[:10], "news")], "FOXA": [("1900-01-01", "fox")]}
    return market


def test_09_an_event_on_the_day_of_a_ticker_change_is_joined_by_identity():
    r, _ = cell(fox_and_news().panel(1, codes=["fox", "news"]), "fox", 1)
    assert r == pytest.approx(0.019018, abs=1e-6)
    assert r != pytest.approx(29.40 / 32.60 - 1)  # the event lost, because keyed by a ticker


def test_10_a_ticker_that_changes_hands_over_night_makes_two_series():
    panel = fox_and_news().panel(2, codes=["fox", "news"])
    assert cell(panel, "news", 1) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.FIRST_SESSION)
    assert cell(panel, "news", 2)[0] == pytest.approx(15.30 / 15.28 - 1)
    assert cell(panel, "news", 1)[0] != pytest.approx(
        15.28 / 32.60 - 1
    )  # the old NWSA close spliced to the new company


def recycled(gap: int, old_close: float, new_close: float) -> Market:
    """Code XYZ: the old company ends on session 0, a new one begins after `gap` sessions."""
    market = Market().list("XYZ", last_session=day(0)).quiet("XYZ", old_close).bars("XYZ", 0, [old_close])
    market.list("XYZ", first=gap).bars("XYZ", gap, [new_close, new_close])
    market.owners = {"XYZ": [("1900-01-01", "old"), (str(day(gap))[:10], "new")]}
    return market


@pytest.mark.parametrize("gap", [1, 8])
def test_11_the_first_return_of_a_recycled_ticker_is_missing(gap):
    panel = recycled(gap, 10.0, 30.0).panel(gap + 1, codes=["old", "new"])
    assert cell(panel, "new", gap) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.FIRST_SESSION)
    assert not np.isclose(np.nan_to_num(panel.ret), 2.0).any()  # close to close across companies


def test_12_waste_management_does_not_inherit_washington_mutual():
    market = Market().list("WM", last_session=day(0)).quiet("WM", 0.16).bars("WM", 0, [0.16])
    market.list("WMI").quiet("WMI", 28.50, last=220).list("WM", first=221).bars("WM", 221, [28.58])
    market.owners = {"WM": [("1900-01-01", "wamu"), (str(day(200))[:10], "waste")], "WMI": [("1900-01-01", "waste")]}
    r, _ = cell(market.panel(221, first=215, codes=["wamu", "waste"]), "waste", 221)
    assert r == pytest.approx(28.58 / 28.50 - 1)
    assert r != pytest.approx(28.58 / 0.16 - 1, rel=0.1)  # +17,762 %


def test_13_a_ticker_that_returns_to_its_owner_is_one_series():
    market = Market().list("QQQ").list("QQQQ", first=3).quiet("QQQ", 40.0)
    market.bars("QQQ", 0, [40.0, 40.4, 40.8]).bars("QQQQ", 3, [41.2, 41.6]).bars("QQQ", 5, [42.0])
    market.owners = {"QQQ": [("1900-01-01", "q")], "QQQQ": [("1900-01-01", "q")]}
    panel = market.panel(5, codes=["q"])
    closes = [40.0, 40.4, 40.8, 41.2, 41.6, 42.0]
    assert returns(panel, "q")[1:] == [b / a - 1 for a, b in pairwise(closes)]
    assert ReturnFlag.FIRST_SESSION not in flags(panel, "q")  # the second QQQ as a new security


# 14 to 19: delistings ------------------------------------------------------------------------------------------------


def test_14_a_cash_merger_pays_its_cash_on_the_next_session():
    market = Market().stock("TWTR", [53.35, 53.70]).delisting("TWTR", 1, "merger", cash=54.20)
    panel = market.panel(4)
    r, flag = cell(panel, "TWTR", 2)
    assert r == pytest.approx(0.00931, abs=1e-5)
    assert flag == ReturnFlag.DELISTING
    assert r not in (0.0, pytest.approx(NAN, nan_ok=True))
    assert flags(panel, "TWTR")[3:] == [ReturnFlag.NOT_LISTED] * 2
    assert np.isnan(returns(panel, "TWTR")[3:]).all()


def test_15_a_stock_merger_is_worth_the_successors_shares():
    market = Market().stock("S", [8.60, 8.62]).stock("TMUS", [83.00, 83.90, 85.00])
    market.delisting("S", 1, "merger", successor_code="TMUS", successor_ratio=0.10256)
    r, _ = cell(market.panel(2), "S", 2)
    assert r == pytest.approx(0.10256 * 83.90 / 8.62 - 1) == pytest.approx(-0.0018, abs=1e-4)
    assert r not in (-1.0, 0.0)


def test_16_a_mixed_merger_is_worth_both_parts_and_the_ticker_goes_on_elsewhere():
    market = Market().stock("AGN", [240.0, 241.0], last_session=day(1)).stock("ACT", [300.0, 307.51, 310.0])
    market.delisting("AGN", 1, "merger", cash=129.22, successor_code="ACT", successor_ratio=0.3683)
    market.list("AGN", first=60).bars("AGN", 60, [310.0])
    market.owners = {
        "AGN": [("1900-01-01", "allergan"), (str(day(60))[:10], "actavis")],
        "ACT": [("1900-01-01", "actavis")],
    }
    panel = market.panel(60, codes=["allergan", "actavis"])
    assert cell(panel, "allergan", 2)[0] == pytest.approx((129.22 + 0.3683 * 307.51) / 241.0 - 1)
    assert np.isnan(returns(panel, "allergan")[3:]).all()  # the successor's prices do not continue the old AGN


@pytest.mark.parametrize(
    ("exchange", "last_return", "right", "summed"), [("NYSE", -0.10, -0.37, -0.40), ("NASDAQ", -0.35, -0.7075, -0.90)]
)
def test_17_18_an_imputed_delisting_return_compounds_with_the_last_return(exchange, last_return, right, summed):
    closes = [2.0 / (1 + last_return), 2.0]
    market = Market().stock("X", closes, volume=[1e6, 2e7], exchange=exchange).delisting("X", 1, "exchange_drop")
    panel = market.panel(3)
    r = np.array(returns(panel, "X"))
    compounded = np.prod(1 + r[1:3]) - 1
    assert compounded == pytest.approx(right)
    assert compounded != pytest.approx(summed)
    assert compounded != pytest.approx(last_return)  # the delisting ignored
    assert flags(panel, "X")[2] == ReturnFlag.DELISTING_IMPUTED


def test_19_a_bankruptcy_goes_on_over_the_counter_and_the_new_company_is_another():
    market = Market().stock("GM", [1.00, 0.75], last_session=day(3)).bars("GM", 2, [0.61, 0.60], volume=2e7)
    market.delisting("GM", 1, "bankruptcy").list("GM", first=40).bars("GM", 40, [34.19])
    market.owners = {"GM": [("1900-01-01", "motors liquidation"), (str(day(40))[:10], "new gm")]}
    panel = market.panel(40, codes=["motors liquidation", "new gm"])
    r, flag = cell(panel, "motors liquidation", 2)
    assert (r, flag) == (pytest.approx(0.61 / 0.75 - 1), ReturnFlag.DELISTING)
    assert cell(panel, "motors liquidation", 3)[0] == pytest.approx(0.60 / 0.61 - 1)
    assert np.isnan(returns(panel, "motors liquidation")[4:]).all()
    assert cell(panel, "new gm", 40)[1] == ReturnFlag.FIRST_SESSION
    assert not np.isclose(np.nan_to_num(panel.ret), 34.19 / 0.61 - 1).any()  # the new GM appended


# 20, 21: gaps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dividend", "right"), [(None, -0.30), (0.40, -0.28)])
def test_20_a_halt_is_missing_and_the_first_session_after_it_carries_the_move(dividend, right):
    market = Market().stock("X", [20.0] + [NAN] * 9 + [14.0])
    if dividend:
        market.dividend("X", 5, dividend)
    panel = market.panel(10)
    r = returns(panel, "X")
    assert r[10] == pytest.approx(right)
    assert flags(panel, "X")[10] == ReturnFlag.OVER_GAP
    assert np.isnan(r[1:10]).all()
    assert not (np.array(r[1:10]) == 0).any()  # zeros, or a close carried forward


def test_20_a_gap_beyond_max_gap_gives_no_return():
    panel = Market().stock("X", [20.0] + [NAN] * 10 + [14.0, 14.0]).panel(12)
    assert cell(panel, "X", 11) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.GAP_TOO_LONG)
    assert cell(panel, "X", 12) == (0.0, ReturnFlag.ORDINARY)


def test_21_a_relisting_after_months_makes_no_return_of_800_percent():
    market = Market().stock("X", [1.0, 0.9]).delisting("X", 1, "exchange_drop")
    market.bars("X", 170, [8.1, 8.2], volume=1e6)
    panel = market.panel(171)
    assert cell(panel, "X", 2) == (-0.30, ReturnFlag.DELISTING_IMPUTED)
    assert cell(panel, "X", 170) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.GAP_TOO_LONG)
    assert cell(panel, "X", 171)[0] == pytest.approx(8.2 / 8.1 - 1)
    assert not (np.nan_to_num(panel.ret) > 1).any()


# 22 to 24: distributions ---------------------------------------------------------------------------------------------


def test_22_a_new_share_class_is_a_distribution_and_no_two_for_one():
    panel = spin_off(1135.10, 571.50, 569.74, 1.0).panel(1)
    r, _ = cell(panel, "X", 1)
    assert r == pytest.approx(0.005409, abs=1e-6)
    assert r != pytest.approx(0.006960, abs=1e-4)  # as a 2:1 split
    assert r != pytest.approx(-0.4965, abs=1e-3)  # as nothing


def test_23_a_small_true_up_stock_dividend_counts():
    r, _ = cell(tomorrow(565.06, 555.37).split("X", 1, 10027455, 10000000).panel(1), "X", 1)
    assert r == pytest.approx(-0.014450, abs=1e-6)
    assert r != pytest.approx(-0.017149, abs=1e-6)


def test_24_a_foreign_dividend_is_converted_at_its_ex_date():
    market = tomorrow(40, 39.8).dividend("X", 1, 0.5, currency="EUR")
    market.add("fx_rates", currency="EUR", date=day(0), usd_rate=1.20)
    market.add("fx_rates", currency="EUR", date=day(1), usd_rate=1.10)
    r, _ = cell(market.panel(1), "X", 1)
    assert r == pytest.approx(0.00875)
    assert r != pytest.approx(0.00750)  # EUR taken for USD


def test_24_a_currency_that_changes_is_flagged_and_so_is_a_first_one_unlike_the_price():
    market = Market().stock("X", [40.0] * 30)
    for session in (1, 30):
        market.add("fx_rates", currency="EUR", date=day(session - 1), usd_rate=1.1)
    market.dividend("X", 1, 0.5, currency="EUR").dividend("X", 10, 0.5).dividend("X", 20, 0.5)
    rows = found(market.panel(29), "currency_change")
    assert rows == [("X", 1, 1), ("X", 1, 10), ("X", 10, 10)]  # the lone first one is named again by the second


def test_24_a_foreign_dividend_without_a_fresh_rate_gives_no_return():
    market = tomorrow(40, 39.8).dividend("X", 1, 0.5, currency="EUR")
    panel = market.add("fx_rates", currency="EUR", date=day(-30), usd_rate=1.10).panel(1)
    assert cell(panel, "X", 1) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.NO_FX_RATE)
    assert found(panel, "no_fx_rate") == [("X", 1, 1)]


# 25 to 30: vendor errors ---------------------------------------------------------------------------------------------


def test_25_a_price_in_pence_is_rejected_on_the_day():
    panel = Market().stock("X", [512.0, 5.12, 514.0]).panel(2)
    r = returns(panel, "X")
    assert np.isnan(r[1])
    assert flags(panel, "X")[1] == ReturnFlag.BAD_PRINT
    assert np.isnan(panel.close[0, 1])
    assert r[2] == pytest.approx(514 / 512 - 1)
    assert r[1] != pytest.approx(-0.99)
    assert r[2] != pytest.approx(514 / 5.12 - 1)  # +9,900 %
    assert found(panel, "bad_print") == [("X", 1, 1)]


def test_26_a_split_delivered_twice_counts_once():
    market = Market().stock("X", [100.0, 51.0, 51.0, 51.0, 51.0])
    market.split("X", 1, 2, 1).split("X", 1, 2, 1, known_from=close_of(-3)).split("X", 4, 2, 1)
    panel = market.panel(4)
    assert returns(panel, "X")[1:] == pytest.approx([0.02, 0, 0, 0])
    assert cell(panel, "X", 1)[0] != pytest.approx(1.04)
    assert found(panel, "duplicate_split") == [("X", 4, 4)]


@pytest.mark.parametrize("days", [1, 3, 4, 5])
def test_27_a_dividend_delivered_twice_within_a_week_counts_once(days):
    market = Market().stock("X", [100.0] + [99.0] * 6).dividend("X", 1, 1.0).dividend("X", 1 + days, 1.0)
    panel = market.panel(6)
    assert returns(panel, "X")[1:] == [0.0] * 6
    assert found(panel, "duplicate_dividend") == [("X", 1 + days, 1 + days)]


def test_27_of_two_deliveries_the_one_that_its_record_date_explains_is_kept():
    market = Market().stock("X", [100.0, 100.0, 100.0, 99.0, 99.0]).list("Y")  # it went ex on 2014-05-06
    known = np.datetime64("2014-04-20T12:00:00", "us")
    for ex in (1, 3):
        market.dividend("X", ex, 1.0, record_date=np.datetime64("2014-05-08", "s"), known_from=known)
    panel = market.panel(4)
    assert returns(panel, "X")[1:] == [0.0, 0.0, 0.0, 0.0]
    assert returns(panel, "X")[1] != pytest.approx(0.01)
    assert found(panel, "duplicate_dividend") == [("X", 1, 1)]


def test_27_the_payments_of_a_weekly_payer_are_no_duplicates():
    market = Market().stock("X", [100.0] * 20).dividend("X", 1, 0.11)
    for ex in (6, 11, 16):
        market.dividend("X", ex, 0.1)
    assert {day(b) - day(a) for a, b in ((1, 6), (6, 11), (11, 16))} == {np.timedelta64(7, "D")}
    r = returns(market.panel(19), "X")
    assert [round(r[ex], 6) for ex in (1, 6, 11, 16)] == [0.0011, 0.001, 0.001, 0.001]


@pytest.mark.parametrize(("delivered", "name"), [(1, "a day early"), (3, "a day late")])
def test_28_a_split_on_the_wrong_day_makes_no_pair_of_outliers(delivered, name):
    panel = Market().stock("X", [100.0, 100.0, 51.0, 51.0]).split("X", delivered, 2, 1).panel(3)
    r = np.array(returns(panel, "X"))
    assert r[2] == pytest.approx(0.02)
    assert flags(panel, "X")[2] == ReturnFlag.EVENT_MOVED
    for outlier in (1.0, -0.49, 1.04):
        assert not np.isclose(r[1:], outlier).any(), name
    assert ("X", 2, 2) in found(panel, "misdated_event")


@pytest.mark.parametrize(("delivered", "told"), [(1, 2), (3, 3)])
def test_28_a_stock_dividend_on_the_wrong_day_is_doubted_and_stays_where_it_is(delivered, told):
    closes = [42.0, 42.0, 40.0, 40.1, 40.1]  # 21:20 on session 2
    market = Market().list("X").bars("X", -LEAD, [42.0 * 1.004 ** (k % 2) for k in range(LEAD)])
    market.bars("X", 0, closes).split("X", delivered, 21, 20)
    panel = market.panel(4)
    assert found(panel, "misdated_event") == [("X", 2, told)]  # by the first session that can tell
    assert returns(panel, "X")[delivered] == pytest.approx(closes[delivered] * 1.05 / closes[delivered - 1] - 1)
    assert flags(panel, "X")[delivered] == ReturnFlag.WITH_EVENTS
    nightly = [found(market.panel(k, first=k), "misdated_event") for k in range(5)]
    assert nightly == [[("X", 2, told)] if k == told else [] for k in range(5)]


def test_28_a_stock_dividend_on_its_day_is_not_doubted_and_neither_is_one_within_the_noise():
    right = Market().stock("X", [42.0, 42.0, 40.0, 40.1]).split("X", 2, 21, 20).panel(3)
    assert found(right, "misdated_event") == []
    wild = Market().list("X").bars("X", -LEAD, [42.0 * 1.04 ** (k % 2) for k in range(LEAD)])
    wild.bars("X", 0, [42.0, 42.0, 40.0, 40.1]).split("X", 1, 21, 20)
    assert found(wild.panel(3), "misdated_event") == []


def test_29_a_wrong_ratio_is_caught_on_its_day_and_its_correction_is_a_new_version():
    market = Market().stock("X", [1.0, 20.4], volume=[1e6, 5e4]).split("X", 1, 1, 12)
    market.split("X", 1, 1, 20, known_from=close_of(8))
    first_print = market.panel(9)
    assert cell(first_print, "X", 1) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.EVENT_CONFLICT)
    assert found(first_print, "split_ratio_contradicted") == [("X", 1, 1)]
    assert found(first_print, "late_event") == [("X", 1, 8)]
    restated = market.panel(9, restated_as_of=close_of(8))
    assert cell(restated, "X", 1)[0] == pytest.approx(0.02)
    assert cell(first_print, "X", 1)[0] != pytest.approx(0.02)  # the published value silently rewritten


def test_30_a_missing_reverse_split_is_quarantined():
    market = Market().stock("TDW", [0.90, 0.92]).bars("TDW", 2, [29.7, 29.9], volume=1e6 * 31 / 1000)
    panel = market.panel(3)
    assert cell(panel, "TDW", 2) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.MISSING_SPLIT)
    assert cell(panel, "TDW", 3)[0] == pytest.approx(29.9 / 29.7 - 1)
    assert not (np.nan_to_num(panel.ret) > 1).any()  # +3,125 %


# 31 to 37: what prices pretend to be ----------------------------------------------------------------------------------


def test_31_a_raw_close_that_is_not_raw_is_contradicted_by_the_second_series():
    market = Market().list("A").quiet("A", 40.27, last=-1)
    market.bars("A", 0, [40.27, 44.40], total_return_close=[44.00, 44.40])  # closes before session 1 are scaled
    panel = market.panel(1)
    assert found(panel, "vendor_disagrees") == [("A", 1, 1)]
    row = panel.quarantine[panel.quarantine["rule"] == "vendor_disagrees"].iloc[0]
    assert (row["observed"], row["expected"]) == (pytest.approx(0.10256, abs=1e-4), pytest.approx(0.00909, abs=1e-4))


def test_32_a_dividend_that_is_split_adjusted_already_is_reported():
    market = Market().list("AAPL").quiet("AAPL", 600.0, last=-1).bars("AAPL", 0, [600.0] * 40)
    for ex in (-80, -60, -40, -20, 0):
        market.dividend("AAPL", ex, 2.65 if ex < 0 else 0.0946)
    assert found(market.panel(5), "yield_jump") == [("AAPL", 0, 0)]  # 28 times too small, and not believed silently


def test_33_a_genuine_squeeze_is_kept():
    closes = [39.36, 65.01, 76.79, 147.98, 347.51, 193.60, 325.00, 225.00]
    market = Market().list("GME").quiet("GME", 39.36).bars("GME", 0, closes, volume=9e7)
    panel = market.panel(7)
    expected = [b / a - 1 for a, b in pairwise(closes)]
    assert returns(panel, "GME")[1:] == expected  # no imaginary split repairs it, nothing is winsorised
    assert ReturnFlag.EXTREME_KEPT in flags(panel, "GME")


@pytest.mark.parametrize("price", [1e6, 0.0, -3.0, np.inf])
def test_34_a_sentinel_is_no_price(price):
    panel = Market().stock("X", [50.0, price, 51.0]).panel(2)
    assert cell(panel, "X", 1) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.REJECTED_PRICE)
    assert cell(panel, "X", 2)[0] == pytest.approx(51 / 50 - 1)
    assert not np.isinf(panel.ret).any()
    assert np.isnan(panel.close[0, 1])
    assert found(panel, "impossible_price") == [("X", 1, 1)]


def test_34_a_stock_that_really_costs_a_million_is_priced():
    market = Market().list("BRK.A").quiet("BRK.A", 998_000.0).bars("BRK.A", 0, [999_000.0, 1_001_000.0])
    assert cell(market.panel(1), "BRK.A", 1)[0] == pytest.approx(1_001_000 / 999_000 - 1)


def test_35_from_the_fifth_repetition_without_volume_a_close_is_no_price():
    market = Market().list("X").quiet("X", 10.0).bars("X", 0, [10.0] * 8, volume=0)
    market.bars("X", 8, [10.4], volume=500)
    panel = market.panel(8)
    r, f = returns(panel, "X"), flags(panel, "X")
    assert r[:4] == [0.0] * 4
    assert f[4:8] == [ReturnFlag.STALE_PRICE] * 4
    assert np.isnan(r[4:8]).all()  # zero returns would lower every beta
    assert r[8] == pytest.approx(0.04)


@pytest.mark.parametrize("volume", [1.0, 1e6, 3e9])
def test_35_a_bar_that_is_repeated_with_its_volume_is_no_trading_either(volume):
    market = Market().list("X").quiet("X", 10.0).bars("X", 0, [10.0] * 9, volume=[volume] * 9)
    market.bars("X", 9, [10.4], volume=500)
    panel = market.panel(9)
    assert flags(panel, "X")[5:9] == [ReturnFlag.STALE_PRICE] * 4
    assert np.isnan(panel.close[0, 5:9]).all()  # nothing that asks whether it traded finds a price
    assert returns(panel, "X")[9] == pytest.approx(0.04)


@pytest.mark.parametrize("closes", [[10.0] * 9, [10.0 + 0.01 * (k % 2) for k in range(9)]], ids=["pinned", "moving"])
def test_35_a_stock_that_is_pinned_to_an_offer_trades_with_other_volumes_and_is_priced(closes):
    volumes = [1e5 + k for k in range(9)] if len(set(closes)) == 1 else [1e5] * 9
    panel = Market().list("X").quiet("X", 10.0).bars("X", 0, closes, volume=volumes).panel(8)
    assert ReturnFlag.STALE_PRICE not in flags(panel, "X")


def test_36_prices_after_a_delisting_are_left_out():
    market = Market().stock("X", [5.0, 5.0] + [5.0] * 12).delisting("X", 1, "merger", cash=5.5)
    panel = market.panel(13)
    assert cell(panel, "X", 2) == (pytest.approx(0.1), ReturnFlag.DELISTING)
    assert np.isnan(returns(panel, "X")[3:]).all()
    assert np.isnan(panel.close[0, 2:]).all()
    assert len(found(panel, "bar_after_delisting")) == 12


def test_36_each_run_of_rows_that_belong_to_nobody_is_reported_by_its_first_row():
    listed = {"vendor_code": "Y", "ticker": "Y", "type": "common", "first_session": day(40)}
    market = tomorrow(10.0, 10.1).add("securities", known_from=close_of(-1), **listed)
    market.bars("Y", 0, [5.0] * 8).bars("Y", 25, [6.0] * 2)
    market.owners = {"Y": [(str(day(40))[:10], "Y")]}
    rows = market.facts().findings
    rows = rows[rows["rule"] == "no_security"]
    assert (rows["session"] - ORIGIN).tolist() == [0, 25]
    assert (rows["detected_at"] - ORIGIN).tolist() == [0, 25]
    longer = market.bars("Y", 27, [6.0] * 5).facts().findings
    assert longer[longer["rule"] == "no_security"].equals(rows)  # what comes later changes nothing

    market.rows["securities"][-1]["known_from"] = close_of(40)  # until then nobody has heard of the code
    rows = market.facts().findings
    rows = rows[rows["rule"] == "no_security"]
    assert (rows[["session", "detected_at"]] - ORIGIN).to_numpy().tolist() == [[0, 40]]


def test_37_a_volume_beyond_32_bits_survives_and_an_overflow_is_no_volume():
    market = Market().list("C").quiet("C", 3.0).bars("C", 0, [3.0, 3.1, 3.2], volume=[3e9, -1_294_967_296, 2.5e9])
    panel = market.panel(2)
    assert panel.volume[0, 0] == 3_000_000_000
    assert np.isnan(panel.volume[0, 1])
    assert panel.volume[0, 1] != np.int64(3_000_000_000).astype(np.int32)
    assert found(panel, "impossible_volume") == [("C", 1, 1)]
    assert np.isfinite(returns(panel, "C")[1:]).all()  # the prices are as good as before


# 38 to 45: time, calendar, text ---------------------------------------------------------------------------------------


def test_38_a_bar_known_before_its_session_closed_is_left_out():
    market = Market().stock("X", [50.0, 51.0])
    market.add("prices", vendor_code="X", date=day(2), close=47.0, known_from=close_of(2) - np.timedelta64(2, "h"))
    panel = market.panel(2)
    assert cell(panel, "X", 2) == (pytest.approx(NAN, nan_ok=True), ReturnFlag.NO_PRICE)
    assert found(panel, "bar_before_close") == [("X", 2, 2)]


def test_39_dates_are_plain_dates_in_every_time_zone(monkeypatch, tmp_path):
    (tmp_path / "securities.csv").write_text("vendor_code,ticker,type\nX,X,common\n")
    (tmp_path / "prices.csv").write_text("vendor_code,date,close\nX,2020-07-21,100\nX,2020-07-22,98\nX,2020-07-23,98\n")
    (tmp_path / "dividends.csv").write_text("vendor_code,ex_date,amount\nX,2020-07-22,2\n")
    expected = None
    for zone in ("UTC", "America/New_York", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        tables = FilesSource(tmp_path).load()
        facts = build_facts(clean_events(tables, RULES.cleaning), FakeMaster(tables), xnys(), RULES)
        assert xnys().sessions[facts.dividends["ex"].iloc[0]] == np.datetime64("2020-07-22")  # not a day early
        expected = facts if expected is None else expected
        pd.testing.assert_frame_equal(facts.prices, expected.prices)


@pytest.mark.parametrize("closed", ["2012-10-29", "2018-12-05", "2025-01-09", "2021-07-05"])
def test_40_a_bar_on_a_closed_day_is_left_out_and_an_event_moves_to_the_next_session(closed):
    k = int(xnys().on_or_after(np.datetime64(closed))) - ORIGIN
    market = Market().list("X", first=k - LEAD).quiet("X", 30.0, k - LEAD, k - 1).bars("X", k, [29.0, 29.0])
    market.add("prices", vendor_code="X", date=np.datetime64(closed), close=30.0)
    market.add("dividends", vendor_code="X", ex_date=np.datetime64(closed), amount=1.0)
    panel = market.panel(k + 1, first=k - 1)
    assert returns(panel, "X")[1:] == [0.0, 0.0]
    assert found(panel, "bar_on_closed_day") == [("X", k, k)]
    assert found(panel, "event_on_closed_day") == [("X", k, k)]


def test_41_when_issued_prints_do_not_value_the_regular_shares():
    market = spin_off(1135.10, 571.50, 569.74, 1.0)
    market.list("GOOCV", first=-5, type="when_issued").bars(
        "GOOCV", -5, [567.0, 568.0, 725.95, 567.0, 567.0, 567.0, 725.95]
    )
    panel = market.panel(1)
    assert cell(panel, "X", 1)[0] == pytest.approx(0.005409, abs=1e-6)
    assert cell(panel, "X", 1)[0] != pytest.approx((571.50 + 725.95) / 1135.10 - 1, abs=1e-3)
    assert cell(panel, "CHILD", 1)[1] == ReturnFlag.FIRST_SESSION  # its series does not start with the when-issued line


def test_42_rights_and_warrants_count_with_their_first_price():
    r, _ = cell(spin_off(51.20, 43.18, 8.42, 1.0).panel(1), "X", 1)
    assert r == pytest.approx(0.007812, abs=1e-6)
    assert r != pytest.approx(43.18 / 51.20 - 1, abs=1e-3)


def test_43_later_liquidating_payments_are_a_new_version_of_the_value():
    market = Market().stock("X", [4.0, 4.0]).delisting("X", 1, "liquidation", cash=1.0, known_from=close_of(1))
    market.delisting("X", 1, "liquidation", cash=3.5, known_from=close_of(60))
    assert cell(market.panel(80), "X", 2)[0] == pytest.approx(1.0 / 4.0 - 1)
    assert cell(market.panel(80, restated_as_of=close_of(60)), "X", 2)[0] == pytest.approx(3.5 / 4.0 - 1)
    assert cell(market.panel(80), "X", 2)[0] != -1.0


def test_44_a_matured_note_and_the_one_that_takes_its_ticker_are_two_series():
    market = Market().list("VXX", type="etf", last_session=day(0)).quiet("VXX", 45.0).bars("VXX", 0, [45.0])
    market.list("VXXB", type="etf").quiet("VXXB", 30.0).bars("VXXB", 0, [30.0] * 60)
    market.list("VXX", type="etf", first=60).bars("VXX", 60, [30.3])
    market.owners = {"VXX": [("1900-01-01", "vxx"), (str(day(60))[:10], "vxxb")], "VXXB": [("1900-01-01", "vxxb")]}
    panel = market.panel(60, codes=["vxx", "vxxb"])
    assert cell(panel, "vxxb", 60)[0] == pytest.approx(0.01)
    assert cell(panel, "vxxb", 60)[0] != pytest.approx(30.3 / 45.0 - 1)


@pytest.mark.parametrize("ticker", ["NA", "NULL", "TRUE", "ON", "DEC", "nan"])
def test_45_a_ticker_that_looks_like_something_else_has_returns(ticker, tmp_path):
    (tmp_path / "securities.csv").write_text(f"vendor_code,ticker,type\n{ticker},{ticker},common\n")
    rows = f"{ticker},2020-07-21,100\n{ticker},2020-07-22,98\n"
    (tmp_path / "prices.csv").write_text(f"vendor_code,date,close\n{rows}")
    (tmp_path / "dividends.csv").write_text(f"vendor_code,ex_date,amount\n{ticker},2020-07-22,2\n")
    tables = FilesSource(tmp_path).load()
    facts = build_facts(clean_events(tables, RULES.cleaning), FakeMaster(tables), xnys(), RULES)
    assert set(facts.prices["sec_id"]) == {ticker}
    assert facts.dividends["sec_id"].tolist() == [ticker]
