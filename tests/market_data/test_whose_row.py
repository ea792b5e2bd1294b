"""Whose a row is that is filed under a code which its security did not have that day: one rule for facts and master."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.calendar import xnys
from pipeline.market_data.cleaning import clean_events
from pipeline.market_data.delivery import master_of
from pipeline.market_data.point_in_time import Facts, build_facts
from pipeline.returns.panel import daily_panel
from security_master import SecurityMaster
from tests.returns.hand_made import LEAD, ORIGIN, RULES, Market, close_of, day

CHANGE = 20
SAME = {"share_class_figi": "BBG001SQCQC5"}


@contextmanager
def joined(market: Market, path: Path) -> Iterator[tuple[Facts, SecurityMaster]]:
    cleaned = clean_events(market.tables(), RULES.cleaning)
    master_of(path / "master.sqlite", cleaned, "test")
    with SecurityMaster.open(path / "master.sqlite") as master:
        yield build_facts(cleaned, master, xnys(), RULES), master


def renamed() -> Market:
    """OLD until the change, NEW from then on, one security at 10.0; SPY beside it."""
    market = Market().list("OLD", last_session=day(CHANGE - 1), **SAME).list("NEW", first=CHANGE, **SAME)
    market.quiet("OLD", 10.0, last=CHANGE - 1).bars("NEW", CHANGE, [10.0, 10.1] * 10)
    market.add("ticker_changes", vendor_code="NEW", effective_date=day(CHANGE), old_ticker="OLD", new_ticker="NEW")
    return market.list("SPY", type="etf").quiet("SPY", 100.0, last=CHANGE + 19)


def who(master: SecurityMaster, code: str, offset: int) -> str:
    return str(master.assign([code], [day(offset)])[0])


def ret(facts: Facts, sec_id: str, offset: int) -> float:
    at = ORIGIN + offset
    return float(daily_panel(facts, [sec_id], at, at, RULES).ret[0, 0])


@pytest.mark.parametrize(("code", "ex"), [("NEW", 10), ("NEW", CHANGE - 1), ("OLD", CHANGE + 5), ("OLD", 10)])
def test_a_dividend_counts_under_the_code_of_before_and_of_today(code, ex, tmp_path):
    with joined(renamed(), tmp_path) as (without, master):
        one = who(master, "NEW", CHANGE)
        assert who(master, "OLD", CHANGE - 1) == one
        plain = ret(without, one, ex)
    with joined(renamed().dividend(code, ex, 0.5), tmp_path) as (facts, _):  # no row says when it became known
        assert ret(facts, one, ex) == pytest.approx(plain + 0.05, abs=2e-3)
        assert not (facts.findings["rule"] == "no_security").any()


@pytest.mark.parametrize(("code", "ex"), [("NEW", 10), ("OLD", CHANGE + 5)])
def test_a_split_is_in_the_returns_of_whom_it_is_in_the_count(code, ex, tmp_path):
    market = renamed().split(code, ex, 2, 1)
    market.add("shares", vendor_code=code, period_end=day(-30), filed_at=day(-20), shares=1e6)
    for row in market.rows["prices"]:
        if row["date"] >= day(ex) and row["vendor_code"] != "SPY":
            row["close"] /= 2
    with joined(market, tmp_path) as (facts, master):
        one = who(master, "NEW", CHANGE)
        assert abs(ret(facts, one, ex)) < 0.03
        days = np.array([day(ex - 1), day(ex)])
        counts = master.shares_panel([one], days, days + np.timedelta64(23, "h"), 400)
        assert counts[0].tolist() == [1e6, 2e6]
        assert not (facts.findings["rule"] == "no_share_count").any()


def test_a_row_that_states_its_instant_is_known_no_sooner_than_its_code(tmp_path):
    market = renamed().dividend("NEW", 10, 0.5, known_from=close_of(9))
    market.add(
        "shares", vendor_code="NEW", period_end=day(-30), filed_at=day(-20), shares=1e6, known_from=close_of(-19)
    )
    with joined(market, tmp_path) as (facts, master):
        assert facts.dividends["visible"].tolist() == [ORIGIN + CHANGE]
        days = np.array([day(CHANGE - 1), day(CHANGE)])
        counts = master.shares_panel([who(master, "NEW", CHANGE)], days, days + np.timedelta64(23, "h"), 400)
        assert np.isnan(counts[0, 0])
        assert counts[0, 1] == 1e6


def test_what_a_master_took_is_what_is_joined(tmp_path):
    market = renamed()
    for k, (code, ex) in enumerate([("NEW", -40), ("NEW", 3), ("OLD", 7), ("OLD", CHANGE + 9), ("NEW", CHANGE + 12)]):
        market.split(code, ex, 3 + k, 1)
    with joined(market, tmp_path) as (facts, master):
        rows = master._store.table("corp_action")
        ours = {(r.sec_id, str(xnys().sessions[r.ex])) for r in facts.splits.itertuples()}
        assert ours == set(zip(rows["sec_id"], rows["ex_date"], strict=True))
        assert len(ours) == 5


def test_who_had_the_code_before_keeps_what_is_dated_then(tmp_path):
    market = renamed().list("NEW", first=-LEAD, last_session=day(-30), name="Another", share_class_figi="BBG000OTHER1")
    market.rows["securities"][-1]["ticker"] = "ANO"
    market.quiet("NEW", 44.0, last=-30).dividend("NEW", -50, 1.0)
    with joined(market, tmp_path) as (facts, master):
        assert facts.dividends["sec_id"].tolist() == [who(master, "NEW", -50)]
        assert who(master, "NEW", -50) != who(master, "NEW", CHANGE)


def test_what_is_dated_before_its_security_existed_is_nobodys(tmp_path):
    market = renamed().dividend("NEW", -LEAD - 200, 1.0).dividend("SPY", -LEAD - 200, 1.0)
    with joined(market, tmp_path) as (facts, _):
        assert facts.dividends.empty
        assert (facts.findings["rule"] == "no_security").sum() == 2


def test_bars_under_todays_code_before_its_change_stand_beside_those_of_the_security(tmp_path):
    market = renamed().bars("NEW", 0, [55.0] * CHANGE)  # another company had it then, and is not listed
    with joined(market, tmp_path) as (facts, master):
        one = who(master, "NEW", CHANGE)
        assert abs(ret(facts, one, 10)) < 0.03
        assert (facts.findings["rule"] == "no_security").sum() == 1
