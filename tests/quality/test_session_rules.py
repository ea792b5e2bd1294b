"""Faults of whole deliveries stop the session before anything is computed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.market_data.gate import delivery_faults, refuse_undecided
from pipeline.quality.decisions import COLUMNS
from pipeline.quality.deliveries import lost_tables
from pipeline.quality.drift import Drift, drift, drift_findings, first_prints
from pipeline.quality.findings import concat_findings
from pipeline.quality.session_rules import (
    BatchFault,
    market_correlation,
    panel_findings,
    parted_from_the_stocks,
    shifted_codes,
)
from tests.returns.hand_made import ORIGIN, RULES, Market, day

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


def check(market: Market, first: int = 1, last: int = 15, decisions: pd.DataFrame | None = None) -> None:
    faults = delivery_faults(market.facts(), [(ORIGIN + first, ORIGIN + last)], RULES.sessions)
    refuse_undecided(faults, decisions)


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


def unchanged(market: Market) -> None:
    before = {row["vendor_code"]: row for row in rows_of(market, 6)}
    for row in rows_of(market, 7):
        row.update(close=before[row["vendor_code"]]["close"])


def another_unit(factor: float, names: int = 40) -> Callable[[Market], None]:
    def spoil(market: Market) -> None:
        for row in rows_of(market, 7)[:names]:
            row["close"] = round(row["close"] * factor, 4)

    return spoil


def crash(market: Market) -> None:
    """As on 2020-03-16: the median falls by 12 %, and the names differ by half as much."""
    rng = np.random.default_rng(3)
    for row in rows_of(market, 7):
        row["close"] = round(row["close"] * float(np.exp(-0.13 + 0.06 * rng.standard_normal())), 2)


def quiet(market: Market) -> None:
    before = {row["vendor_code"]: row for row in rows_of(market, 6)}
    for row in rows_of(market, 7)[:10]:
        row.update(close=before[row["vendor_code"]]["close"])


@pytest.mark.parametrize("legitimate", [None, crash, quiet, another_unit(1.2, 15)])
def test_an_ordinary_market_a_crash_and_a_quiet_day_pass(legitimate):
    market = ordinary_market()
    if legitimate:
        legitimate(market)
    check(market, 1, 7)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (partial, "coverage"),
        (broken, "broken_session"),
        (shifted, "shifted_code"),
        (unchanged, "unchanged_closes"),
        (another_unit(1.2), "moved_as_one"),
        (another_unit(1.5), "moved_as_one"),
        (another_unit(0.5), "moved_as_one"),
    ],
)
def test_a_wrong_delivery_stops_the_session(spoil, rule):
    market = ordinary_market()
    spoil(market)
    with pytest.raises(BatchFault, match=rule) as fault:
        check(market)
    assert set(fault.value.findings["rule"]) == {rule}
    if rule != "shifted_code":
        check(market, 1, 6)  # the sessions before are fine
        with pytest.raises(BatchFault):
            check(market, 7, 7)


def test_a_partial_delivery_lists_who_has_no_price_and_its_answer_holds_for_the_members_too():
    market = ordinary_market()
    partial(market)
    facts = market.facts()
    found = delivery_faults(facts, [(ORIGIN + 7, ORIGIN + 7)], RULES.sessions, lambda ids: [f"<{one}>" for one in ids])
    (says,) = found["evidence"]
    assert says.startswith("40.0% of the names priced the session before have one; without one: <")
    assert says.endswith("> and 14 more")
    tonight = int(found["session"].iloc[0])
    accepted = pd.DataFrame([("*", tonight, "release", "coverage", 0)], columns=COLUMNS)
    members = found.assign(rule="missing_members")
    refuse_undecided(concat_findings([found, members]), accepted)
    with pytest.raises(BatchFault, match="stale_session"):
        refuse_undecided(found.assign(rule="stale_session"), accepted)


def test_a_session_that_repeats_closes_and_volumes_says_both():
    market = ordinary_market()
    stale(market)
    with pytest.raises(BatchFault) as fault:
        check(market)
    assert set(fault.value.findings["rule"]) == {"stale_session", "unchanged_closes"}


def test_a_handful_of_names_is_no_crowd():
    check(Market().stock("X", [10.0, 10.0, 10.0]), 1, 2)


def test_each_range_is_looked_at_by_itself():
    market = ordinary_market()
    stale(market)
    facts = market.facts()
    ranges = [(ORIGIN + 1, ORIGIN + 6), (ORIGIN + 8, ORIGIN + 15)]
    assert delivery_faults(facts, ranges, RULES.sessions).empty
    again = delivery_faults(facts, [*ranges, (ORIGIN + 7, ORIGIN + 7)], RULES.sessions)
    assert set(again["session"]) == {ORIGIN + 7}


def test_a_person_can_accept_a_delivery_or_withhold_it():
    market = ordinary_market()
    stale(market)
    decided = pd.DataFrame({"sec_id": ["*"], "session": [ORIGIN + 7], "decision": ["release"], "visible": [0]})
    check(market, decisions=decided)
    released = market.panel(15, codes=NAMES, decisions=decided)
    assert (released.ret[:, 7] == 0).all()
    check(market, decisions=decided.assign(decision="confirm"))
    withheld = market.panel(15, codes=NAMES, decisions=decided.assign(decision="confirm"))
    assert (withheld.flag[:, 7] == ReturnFlag.BATCH_FAULT).all()
    assert np.isnan(withheld.ret[:, 7]).all()
    assert np.isfinite(withheld.ret[:, 8]).all()


def test_an_acceptance_names_its_rule_and_what_another_rule_says_still_stops():
    market = ordinary_market()
    stale(market)
    one = {"sec_id": "*", "session": ORIGIN + 7, "decision": "release", "visible": 0}
    decided = pd.DataFrame([{**one, "rule": "stale_session"}])
    with pytest.raises(BatchFault) as fault:
        check(market, decisions=decided)
    assert fault.value.findings["rule"].tolist() == ["unchanged_closes"]
    assert f"release '*' {str(day(7))[:10]} --rule unchanged_closes --reason" in str(fault.value)
    check(market, decisions=pd.concat([decided, pd.DataFrame([{**one, "rule": "unchanged_closes"}])]))


def test_withholding_the_prices_of_a_session_accepts_no_loss_of_a_table():
    lost = lost_tables({"splits": {"rows": 9, "securities": 9, "last": ""}}, {}, (), "", ORIGIN + 7, RULES.deliveries)
    one = {"sec_id": "*", "session": ORIGIN + 7, "decision": "confirm", "rule": "", "visible": 0}
    with pytest.raises(BatchFault, match="lost_table"):
        refuse_undecided(lost, pd.DataFrame([one]))
    refuse_undecided(lost, pd.DataFrame([{**one, "decision": "release", "rule": "lost_table"}]))


def test_a_decision_about_another_session_accepts_nothing():
    market = ordinary_market()
    stale(market)
    other = pd.DataFrame({"sec_id": ["*"], "session": [ORIGIN + 8], "decision": ["release"], "visible": [0]})
    with pytest.raises(BatchFault):
        check(market, decisions=other)


def test_a_decision_about_shifted_dates_holds_for_all_of_them_and_one_about_another_cell_for_none():
    market = ordinary_market()
    shifted(market)
    cell = pd.DataFrame({"sec_id": ["N03"], "session": [ORIGIN + 1], "decision": ["release"], "visible": [0]})
    with pytest.raises(BatchFault, match="N03") as fault:
        check(market, decisions=cell)
    asked = fault.value.findings["session"].iloc[0]
    check(market, decisions=cell.assign(session=asked))
    with pytest.raises(BatchFault, match="N03"):
        check(market, decisions=cell.assign(session=asked, sec_id="N04"))
    later = pd.DataFrame({"sec_id": "N03", "rule": "bar_on_closed_day", "session": [5, 10, 15, 20, 200, 205, 210]})
    later["detected_at"] = later["session"]
    assert shifted_codes(later, 0, 300, RULES.sessions)["session"].tolist() == [15, 210]
    assert shifted_codes(later, 20, 20, RULES.sessions)["session"].tolist() == [15]  # a night asks about the run


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
    found = panel_findings(ret, counts, 100, RULES.sessions)
    assert sorted(zip(found["rule"], found["session"], strict=True)) == [
        ("event_count", 103),
        ("event_count", 105),
        ("median_move", 104),
        ("zero_returns", 102),
    ]
    assert panel_findings(ret[:5], counts, 100, RULES.sessions).empty  # too few names to say anything


def test_a_market_etf_that_goes_its_own_way_is_found():
    rng = np.random.default_rng(2)
    months = np.repeat(np.array(["2020-01", "2020-02"], "datetime64[M]"), 20)
    market = 0.01 * rng.standard_normal(40)
    ret = market[:, None] + 0.01 * rng.standard_normal((40, 50))
    cap = np.ones_like(ret)
    assert market_correlation(ret, cap, market, months, RULES.sessions).empty
    market[20:] = np.roll(market[20:], 1)
    found = market_correlation(ret, cap, market, months, RULES.sessions)
    assert found["month"].tolist() == [np.datetime64("2020-02")]


def test_a_market_etf_that_parts_from_the_stocks_is_told_once_and_a_night_agrees_with_a_backfill():
    rng = np.random.default_rng(3)
    stocks = 0.01 * rng.standard_normal(80)
    market, names = stocks + 0.001 * rng.standard_normal(80), np.full(80, 50)
    rules = RULES.sessions
    assert parted_from_the_stocks(stocks, names, market, 1, 1, rules).empty
    market[40:60] = rng.permutation(market[40:60])
    found = parted_from_the_stocks(stocks, names, market, 1, 1, rules)
    assert len(found) == 1, "of a stretch the first session"
    (told,) = found["session"]
    assert 40 < told < 60
    assert found["observed"].lt(rules.night_correlation).all()
    back = rules.correlation_sessions + 1
    nights = [
        parted_from_the_stocks(*(each[t - back : t + 1] for each in (stocks, names, market)), back, t, rules)
        for t in range(back, 80)
    ]
    assert pd.concat(nights, ignore_index=True).equals(found)


def delivered(market: Market, last: int = ORIGIN + 15) -> pd.DataFrame:
    """The bars that a run through a session leaves for the next one."""
    return first_prints(market.facts().prices, last - RULES.drift.sessions + 1, last)


def test_rewritten_history_is_drift_and_a_declared_correction_is_not():
    market = ordinary_market()
    before = delivered(market)
    same = drift(before, ordinary_market().facts().prices)
    assert (len(same.changed), same.compared) == (0, len(before))
    assert len(before) == 40 * 16
    for row in rows_of(market, 9)[:2]:
        row["close"] = round(row["close"] * 1.02, 2)
    rewritten = drift(before, market.facts().prices)
    assert rewritten.changed["sec_id"].tolist() == NAMES[:2]
    rows = drift_findings(rewritten, ORIGIN + 16, RULES.drift)
    assert sorted(rows["rule"]) == ["drift", "rewritten_bar", "rewritten_bar"]
    corrected = ordinary_market()
    for name in NAMES[:2]:
        corrected.bars(name, 9, [51.0], known_from=day(13) + np.timedelta64(1, "h"))
    assert drift(before, corrected.facts().prices).changed.empty


def test_a_bar_that_is_gone_or_has_another_volume_is_rewritten_and_a_back_adjusted_close_is_not():
    before = delivered(ordinary_market())
    market = ordinary_market()
    gone, other = rows_of(market, 9)[3], rows_of(market, 8)[4]
    market.rows["prices"] = [row for row in market.rows["prices"] if row is not gone]
    other["volume"] += 1
    for row in market.rows["prices"]:
        row["total_return_close"] = row["close"] * 0.97
    changed = drift(before, market.facts().prices).changed
    assert list(zip(changed["sec_id"], changed["session"] - ORIGIN, strict=True)) == [("N03", 9), ("N04", 8)]


def test_a_rewritten_bar_among_thousands_is_flagged_and_stops_nothing():
    changed = drift(delivered(ordinary_market()), ordinary_market().facts().prices).changed
    one = pd.DataFrame({"sec_id": ["X"], "session": [7], "close_before": [1.0], "close_after": [2.0]})
    one = one.assign(volume_before=5.0, volume_after=5.0)
    assert changed.empty
    assert drift_findings(Drift(one, 1000), 9, RULES.drift)["rule"].tolist() == ["rewritten_bar"]
    assert set(drift_findings(Drift(one, 999), 9, RULES.drift)["rule"]) == {"drift", "rewritten_bar"}


def test_only_the_sessions_that_an_earlier_run_could_see_are_compared():
    early = delivered(ordinary_market(), ORIGIN + 10)
    assert early["session"].max() == ORIGIN + 10
    late = ordinary_market()
    late.bars("N00", 9, [51.0], known_from=day(13) + np.timedelta64(1, "h"))
    assert delivered(late, ORIGIN + 10).equals(early)
