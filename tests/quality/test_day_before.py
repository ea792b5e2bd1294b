"""Members of a session are held against the session before: who is missing, whose class or count is another one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.quality.day_before import Stocks, against_the_day_before
from pipeline.settings import DayBeforeRules

N = 100
RULES = DayBeforeRules()


def stocks() -> Stocks:
    rng = np.random.default_rng(4)
    ret = 0.02 * rng.standard_normal((N, 2))
    close = np.cumprod(1 + ret, axis=1) * 50
    shares = np.exp(0.5 * rng.standard_normal((N, 1))) * 1e8
    industry = np.repeat(100 + np.arange(N)[:, None] % 9, 2, axis=1)
    names = np.array([f"S{k:02d}" for k in range(N)], object)
    flag = np.full((N, 2), int(ReturnFlag.ORDINARY), np.int16)
    return Stocks(names, close, close * shares, ret, industry, flag, np.repeat(shares, 2, axis=1))


def unpriced(count: int, flag: ReturnFlag = ReturnFlag.NO_PRICE) -> Callable[[Stocks], None]:
    def spoil(market: Stocks) -> None:
        market.close[:count, 1] = market.ret[:count, 1] = market.cap[:count, 1] = np.nan
        market.flag[:count, 1] = flag

    return spoil


def one_class(market: Stocks) -> None:
    market.industry[:, 1] = 101


def shifted_classes(market: Stocks) -> None:
    market.industry[:, 1] = np.roll(market.industry[:, 1], 7)


def reclassified(market: Stocks) -> None:
    market.industry[:6, 1] = 300


def counts(factor: float, names: int = N) -> Callable[[Stocks], None]:
    def spoil(market: Stocks) -> None:
        market.cap[:names, 1] *= factor

    return spoil


def disbelieved(market: Stocks) -> None:
    market.cap[:, 1] = np.nan


def too_old(market: Stocks) -> None:
    """No count of shares is young enough any more, as with a single delivery of counts."""
    market.cap[:, 1] = market.shares[:, 1] = np.nan


def split(market: Stocks) -> None:
    """The close halves, the shares double, and the return knows of it."""
    market.close[:20, 1] /= 2


def the_largest_is_missing(market: Stocks) -> None:
    market.cap[:4] *= 40
    unpriced(4)(market)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (unpriced(10), "missing_members"),
        (unpriced(28), "missing_members"),
        (the_largest_is_missing, "missing_members"),
        (one_class, "classes_rewritten"),
        (shifted_classes, "classes_rewritten"),
        (counts(1e-3), "counts_rewritten"),
        (counts(1e-3, 20), "counts_rewritten"),
        (disbelieved, "counts_rewritten"),
    ],
)
def test_what_changed_for_many_overnight_stops_with_names(spoil, rule):
    market = stocks()
    spoil(market)
    found = against_the_day_before(market, 500, lambda ids: [f"ticker {one}" for one in ids], RULES)
    stops = found[found["outcome"] == "stop"]
    assert stops["rule"].tolist() == [rule]
    assert stops["session"].tolist() == [500]
    assert "ticker S" in stops["evidence"].iloc[0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda market: None,
        unpriced(3),
        unpriced(20, ReturnFlag.NOT_LISTED),
        unpriced(20, ReturnFlag.BAD_PRINT),
        reclassified,
        counts(1e-3, 3),
        counts(1.2),
        too_old,
        split,
    ],
)
def test_ordinary_changes_stop_nothing(spoil):
    market = stocks()
    spoil(market)
    found = against_the_day_before(market, 500, list, RULES)
    assert found[found["outcome"] == "stop"].empty


def test_each_missing_member_is_a_finding():
    market = stocks()
    unpriced(3)(market)
    found = against_the_day_before(market, 500, list, RULES)
    assert found["rule"].tolist() == ["missing_member"] * 3
    assert found["sec_id"].tolist() == ["S00", "S01", "S02"]


def test_what_is_no_member_is_not_looked_at():
    market = stocks()
    market.cap[:30, 0] = np.nan
    unpriced(30)(market)
    assert against_the_day_before(market, 500, list, RULES).empty
