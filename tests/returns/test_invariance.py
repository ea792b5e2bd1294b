"""Returns do not depend on the future, on the order of rows, on how the range is cut, or on the unit of prices."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.calendar import xnys
from pipeline.datasets.return_flags import ReturnFlag
from pipeline.market_data.cleaning import CleanTables, clean_events
from pipeline.market_data.point_in_time import Facts, build_facts
from pipeline.returns import outliers, single_cells
from pipeline.returns.ordinary import Ordinary
from pipeline.returns.panel import DailyPanel, daily_panel, lookback
from pipeline.returns.total_return import Event, total_return
from pipeline.returns.window import Step
from pipeline.sources.tables import SourceTables
from tests.returns.hand_made import ORIGIN, RULES, FakeMaster, Market, day, equal, until

LENGTH = 60


def seeds(many: int) -> list[Any]:
    """The first market, and others that `make test-slow` looks at too."""
    return [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, many))]


quick = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def random_market(seed: int, length: int = LENGTH) -> Market:
    """Six stocks with everything that can happen: events, halts, bad prints, late rows, corrections, delistings."""
    rng = np.random.default_rng(seed)
    market = Market()
    for code in "ABCDEF":
        market.list(code, first=-95)
        price, volume = float(rng.uniform(5, 200)), 1e6
        for t in range(-95, length):
            price *= float(np.exp(0.02 * rng.standard_t(3)))
            shown, known = round(price, 4), None
            roll = rng.uniform()
            if t > 0 and roll < 0.03:
                new, old = [(2, 1), (3, 1), (3, 2), (1, 10), (1253, 1000), (21, 20)][rng.integers(6)]
                price *= old / new
                shown = round(price, 4)
                at = t + int(rng.choice([0, 0, 0, 0, -1, 1]))
                late = xnys().closes[ORIGIN + t + int(rng.integers(1, 6))] if rng.uniform() < 0.2 else None
                if rng.uniform() < 0.9:
                    market.split(code, at, new, old, known_from=late)
            elif t > 0 and roll < 0.07:
                amount = round(price * float(rng.choice([0.005, 0.01, 0.2])), 4)
                price -= amount
                shown = round(price, 4)
                market.dividend(code, t, amount, basis=str(rng.choice(["pre", "post"])))
            elif roll < 0.09:
                shown = float(rng.choice([0.0, 1e6, shown * 100, shown / 100, shown * 1.9]))
            elif roll < 0.13:
                continue  # no bar
            elif roll < 0.15:
                known = xnys().closes[ORIGIN + t + int(rng.integers(1, 4))]
            elif roll < 0.16:
                correction = xnys().closes[ORIGIN + t + int(rng.integers(1, 8))]
                market.bars(code, t, [round(shown * 1.01, 4)], known_from=correction)
            market.bars(code, t, [shown], volume=float(volume * rng.uniform(0.5, 2)), known_from=known)
    market.delisting("A", length - 15, "merger", cash=50.0)
    market.delisting("B", length - 20, "bankruptcy", known_from=xnys().closes[ORIGIN + length - 10])
    return market


def clean(tables: SourceTables) -> CleanTables:
    return clean_events(tables, RULES.cleaning)


def panel_of(facts: Facts, first: int = 0, last: int = LENGTH - 1) -> DailyPanel:
    return daily_panel(facts, sorted(facts.securities["sec_id"]), ORIGIN + first, ORIGIN + last, RULES)


@pytest.mark.parametrize("seed", seeds(12))
def test_one_session_at_a_time_is_the_same_as_all_at_once(seed):
    facts = random_market(seed).facts()
    whole = panel_of(facts)
    nights = [panel_of(facts, t, t) for t in range(LENGTH)]
    glued = replace(
        whole,
        **{name: np.hstack([getattr(night, name) for night in nights]) for name in ("close", "volume", "ret", "flag")},
        quarantine=pd.concat([night.quarantine for night in nights if len(night.quarantine)], ignore_index=True),
    )
    assert len(set(whole.flag.ravel())) > 7  # the market is as nasty as it should be
    assert equal(whole, glued)


@pytest.mark.parametrize("seed", seeds(3))
def test_bars_before_the_look_back_change_nothing(seed):
    facts = random_market(seed).facts()
    first = LENGTH - 4
    prices = facts.prices
    openings = ~prices.duplicated("sec_id")
    recent = prices[(prices["session"] >= ORIGIN + first - lookback(RULES)) | openings].reset_index(drop=True)
    assert len(recent) < len(prices)
    assert equal(panel_of(facts, first), panel_of(replace(facts, prices=recent), first))


@pytest.mark.parametrize("seed", seeds(3))
@pytest.mark.parametrize("cut", [5, 23, 41, 52])
def test_nothing_known_later_changes_a_published_return(seed, cut):
    facts = random_market(seed).facts()
    whole, known = panel_of(facts, 0, cut), panel_of(until(facts, ORIGIN + cut), 0, cut)
    assert equal(whole, known)


@pytest.mark.parametrize("seed", seeds(3))
@pytest.mark.parametrize("cut", [11, 37])
def test_facts_built_from_what_was_known_give_the_same_returns(seed, cut):
    tables = random_market(seed).tables()
    instant = xnys().closes[ORIGIN + cut] + np.timedelta64(RULES.vendor_delay_minutes, "m")
    whole = panel_of(build_facts(clean(tables), FakeMaster(tables), xnys(), RULES), 0, cut)
    part = panel_of(build_facts(clean(tables.as_known(instant)), FakeMaster(tables), xnys(), RULES), 0, cut)
    assert equal(whole, part)


@pytest.mark.parametrize("seed", seeds(3))
def test_cells_that_are_not_judged_would_be_judged_the_same(seed, monkeypatch):
    """The few cells that are judged one by one are all that need it."""
    facts = random_market(seed).facts()
    usual = panel_of(facts)

    def every_cell(ordinary: Ordinary) -> set[tuple[int, int]]:
        return set(np.ndindex(ordinary.ret.shape))

    monkeypatch.setattr(single_cells, "cells_to_judge", every_cell)
    thorough = panel_of(facts)
    differ = usual.flag != thorough.flag
    opening = (usual.flag == ReturnFlag.FIRST_SESSION) | (usual.flag == ReturnFlag.GAP_TOO_LONG)
    assert not (differ & ~opening).any()
    np.testing.assert_array_equal(usual.ret, thorough.ret)


@pytest.mark.parametrize("seed", seeds(3))
def test_quiet_steps_are_those_that_every_rule_lets_pass(seed, monkeypatch):
    facts, is_quiet, quiet = random_market(seed).facts(), outliers._is_quiet, []

    def asked(step: Step) -> bool:
        quiet.append(is_quiet(step))
        return False

    usual = panel_of(facts)
    monkeypatch.setattr(outliers, "_is_quiet", asked)
    assert equal(usual, panel_of(facts))
    assert sum(quiet) > len(quiet) / 4
    monkeypatch.setattr(outliers, "_is_quiet", lambda step: True)  # it matters who is
    assert not equal(usual, panel_of(facts))


@settings(quick, max_examples=5)
@given(seed=st.integers(0, 49), order=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_a_second_delivery_change_nothing(seed, order):
    tables = random_market(seed, length=25).tables()
    rng = np.random.default_rng(order)

    def shuffled_twice(frame: pd.DataFrame) -> pd.DataFrame:
        twice = pd.concat([frame, frame], ignore_index=True)
        return twice.iloc[rng.permutation(len(twice))].reset_index(drop=True)

    names = ("prices", "splits", "dividends", "delistings")
    messy = replace(tables, **{name: shuffled_twice(getattr(tables, name)) for name in names})
    tidy = build_facts(clean(tables), FakeMaster(tables), xnys(), RULES)
    facts = build_facts(clean(messy), FakeMaster(tables), xnys(), RULES)
    a, b = panel_of(tidy, 0, 24), panel_of(facts, 0, 24)
    for name in ("close", "volume", "ret", "flag"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


prices = st.floats(0.5, 1e4, allow_nan=False)
ratios = st.tuples(st.integers(1, 30), st.integers(1, 30))
cash = st.floats(0, 0.3, allow_nan=False)


@quick
@given(p0=prices, p1=prices, ratio=ratios, dividend=cash, scale=st.integers(-8, 8))
def test_the_unit_of_prices_does_not_matter(p0, p1, ratio, dividend, scale):
    unit = 2.0**scale
    split = Event("split", Fraction(*ratio), "pre", 1)
    plain = total_return(p0, p1, [split, Event("cash", dividend * p0, "pre", 2)])
    assert total_return(p0 * unit, p1 * unit, [split, Event("cash", dividend * p0 * unit, "pre", 2)]) == plain


@quick
@given(p0=prices, p1=prices, first=ratios, second=ratios)
def test_splits_commute_and_two_are_one(p0, p1, first, second):
    a, b = Fraction(*first), Fraction(*second)
    both = [Event("split", a, "pre", 1), Event("split", b, "pre", 2)]
    swapped = [Event("split", b, "pre", 1), Event("split", a, "pre", 2)]
    assert total_return(p0, p1, both) == total_return(p0, p1, swapped) == total_return(p0, p1, [Event("split", a * b)])


@quick
@given(
    p0=st.floats(20, 200),
    move=st.floats(-0.05, 0.05),
    ratio=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    amount=st.floats(0, 0.02),
    basis=st.sampled_from(["pre", "post"]),
)
def test_the_panel_computes_the_definition(p0, move, ratio, amount, basis):
    new, old = ratio
    p1 = round((p0 * (1 + move) - amount * p0) * old / new, 4)
    dividend = round(amount * p0 * (old / new if basis == "post" else 1), 6)
    market = Market().stock("X", [p0, p1]).split("X", 1, new, old).dividend("X", 1, dividend, basis=basis)
    events = [Event("split", Fraction(new, old)), Event("cash", dividend, basis)]
    got = market.panel(1).ret[0, 1]
    assert got == pytest.approx(total_return(p0, p1, events), abs=4e-16)


THREE_CLOSES = [50.0, 50.5, 51.0]


@cache
def without_events() -> DailyPanel:
    return Market().stock("X", THREE_CLOSES).panel(2)


@quick
@given(ex=st.integers(3, 30), new=st.integers(1, 20), old=st.integers(1, 20), amount=st.floats(0.01, 20))
def test_an_event_in_the_future_changes_no_earlier_return(ex, new, old, amount):
    later = (
        Market()
        .stock("X", THREE_CLOSES)
        .split("X", ex, new, old, known_from=xnys().closes[ORIGIN + 2])
        .dividend("X", ex, amount)
    )
    assert equal(without_events(), later.panel(2))


@pytest.mark.parametrize("seed", range(5))
def test_what_is_cleaned_away_depends_on_nothing_known_later(seed):
    tables: SourceTables = random_market(seed).tables()
    whole = clean(tables)
    for cut in (10, 30, 50):
        instant = xnys().closes[ORIGIN + cut]
        part = clean(tables.as_known(instant))
        for name in ("splits", "dividends"):
            full = getattr(whole, name)
            expected = full[full["known_from"] <= instant].reset_index(drop=True)
            pd.testing.assert_frame_equal(getattr(part, name).reset_index(drop=True), expected)


def test_the_window_of_a_judgement_lies_within_the_look_back():
    assert lookback(RULES) >= RULES.outliers.window(RULES.max_gap) + 60 + RULES.max_gap
    assert day(0) == np.datetime64("2014-05-01")
