"""Faults of whole deliveries stop the session before anything is computed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.daily import refuse_batch_faults
from pipeline.quality import BatchFault, drift, market_correlation, panel_findings
from pipeline.return_flags import ReturnFlag
from tests.returns.market import ORIGIN, Market, day

NAMES = [f"N{k:02d}" for k in range(40)]


def ordinary_market(sessions: int = 16) -> Market:
    rng = np.random.default_rng(5)
    market = Market()
    for name in NAMES:
        market.list(name, first=0)
        closes = 50 * np.exp(np.cumsum(0.01 * rng.standard_normal(sessions)))
        market.bars(
            name, 0, np.round(closes, 2).tolist(), volume=rng.integers(1000, 9000, sessions).astype(float).tolist()
        )
    return market


def rows_of(market: Market, offset: int) -> list[dict]:
    return [row for row in market.rows["prices"] if row["date"] == day(offset)]


def check(market: Market, first: int = 1, last: int = 15) -> None:
    refuse_batch_faults(market.facts(), ORIGIN + first, ORIGIN + last)


def stale(market: Market) -> None:
    before = {row["vendor_code"]: row for row in rows_of(market, 6)}
    for row in rows_of(market, 7):
        row.update(close=before[row["vendor_code"]]["close"], volume=before[row["vendor_code"]]["volume"])


def partial(market: Market) -> None:
    gone = {id(row) for row in rows_of(market, 7)[16:]}  # 60 % are missing
    market.rows["prices"] = [row for row in market.rows["prices"] if id(row) not in gone]


def broken(market: Market) -> None:
    for row in rows_of(market, 7)[:5]:
        row["close"] *= 100


def shifted(market: Market) -> None:
    for row in market.rows["prices"]:
        if row["vendor_code"] == "N03":
            row["date"] = row["date"] - np.timedelta64(1, "D")


def test_an_ordinary_market_passes():
    check(ordinary_market())


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [(stale, "stale_session"), (partial, "coverage"), (broken, "broken_session"), (shifted, "shifted_code")],
)
def test_a_wrong_delivery_stops_the_session(spoil, rule):
    market = ordinary_market()
    spoil(market)
    with pytest.raises(BatchFault, match=rule) as fault:
        market.panel(15, codes=NAMES)
    assert set(fault.value.findings["rule"]) == {rule}
    if rule != "shifted_code":
        check(market, 1, 6)  # the sessions before are fine
        with pytest.raises(BatchFault):
            check(market, 7, 7)


def test_a_handful_of_names_is_no_crowd():
    market = Market().stock("X", [10.0, 10.0, 10.0])
    market.panel(2)


def test_a_person_can_accept_a_delivery_or_withhold_it():
    market = ordinary_market()
    stale(market)
    decided = pd.DataFrame({"sec_id": ["*"], "session": [ORIGIN + 7], "decision": ["release"], "visible": [0]})
    released = market.panel(15, codes=NAMES, decisions=decided)
    assert (released.ret[:, 7] == 0).all()
    withheld = market.panel(15, codes=NAMES, decisions=decided.assign(decision="confirm"))
    assert (withheld.flag[:, 7] == ReturnFlag.BATCH_FAULT).all()
    assert np.isnan(withheld.ret[:, 7]).all()
    assert np.isfinite(withheld.ret[:, 8]).all()


def test_a_decision_about_another_session_accepts_nothing():
    market = ordinary_market()
    stale(market)
    other = pd.DataFrame({"sec_id": ["*"], "session": [ORIGIN + 8], "decision": ["release"], "visible": [0]})
    with pytest.raises(BatchFault):
        market.panel(15, codes=NAMES, decisions=other)


def test_bars_that_came_late_do_not_fill_a_hole_of_their_session():
    market = ordinary_market()
    for row in rows_of(market, 7)[16:]:
        row["known_from"] = day(8) + np.timedelta64(30, "h")
    with pytest.raises(BatchFault, match="coverage"):
        check(market, 7, 7)


def test_odd_sessions_are_flagged():
    rng = np.random.default_rng(1)
    ret = 0.01 * rng.standard_normal((40, 6))
    ret[:, 2] = 0.0
    ret[:, 4] *= 20
    counts = {"split": np.array([0, 0, 0, 9, 0, 0]), "dividend": np.array([1, 2, 3, 1, 2, 30])}
    found = panel_findings(ret, counts, first=100)
    assert sorted(zip(found["rule"], found["session"], strict=True)) == [
        ("event_count", 103),
        ("event_count", 105),
        ("median_move", 104),
        ("zero_returns", 102),
    ]
    assert panel_findings(ret[:5], counts, first=100).empty  # too few names to say anything


def test_a_market_etf_that_goes_its_own_way_is_found():
    rng = np.random.default_rng(2)
    months = np.repeat(np.array(["2020-01", "2020-02"], "datetime64[M]"), 20)
    market = 0.01 * rng.standard_normal(40)
    ret = market[:, None] + 0.01 * rng.standard_normal((40, 50))
    cap = np.ones_like(ret)
    assert market_correlation(ret, cap, market, months).empty
    market[20:] = np.roll(market[20:], 1)
    found = market_correlation(ret, cap, market, months)
    assert found["month"].tolist() == [np.datetime64("2020-02")]


def test_rewritten_history_is_drift_and_a_declared_correction_is_not():
    market = ordinary_market()
    before = market.facts().prices
    same = drift(before, ordinary_market().facts().prices)
    assert (len(same.changed), same.compared, same.hold()) == (0, len(before), False)
    for row in rows_of(market, 9)[:2]:
        row["close"] = round(row["close"] * 1.02, 2)
    rewritten = drift(before, market.facts().prices)
    assert rewritten.changed["sec_id"].tolist() == NAMES[:2]
    assert rewritten.hold()
    corrected = ordinary_market()
    for name in NAMES[:2]:
        corrected.bars(name, 9, [51.0], known_from=day(13) + np.timedelta64(1, "h"))
    assert not drift(before, corrected.facts().prices).hold()
