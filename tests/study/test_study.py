"""The study's own arithmetic, on a small market whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.study import measures
from tests.study.panel import Panel
from tests.study.variants import DEFAULT, Hedges, Variant, kernel


@pytest.fixture(scope="module")
def market() -> Panel:
    """12 stocks on three ETFs, 700 sessions; betas stand still."""
    rng = np.random.default_rng(3)
    m, s, u = rng.normal(0, [[0.01], [0.005], [0.005]], (3, 700))
    etf = np.stack([m, m + s, m + s + u])
    r = rng.uniform(0.5, 1.5, (12, 3)) @ np.stack([m, s, u]) + rng.normal(0, 0.01, (12, 700))
    cells = r.shape
    days = np.arange("2018-01-01", "2019-12-02", dtype="datetime64[D]")[:700]
    one, two = np.ones(cells, np.int16), np.full(cells, 2, np.int16)
    pairs = np.array([[2, 1]], np.int16)
    return Panel("hand made", days, 0, r, etf, 0, pairs, one, two, one, np.ones(cells), np.ones(12))


def test_a_hedge_is_held_against_the_session_after_it(market: Panel) -> None:
    ratios = np.zeros((6, *market.r.shape))
    ratios[5, :, 99] = -1.0
    left = measures.hedged(market, ratios)
    assert (left[2, :, 100] == market.r[:, 100] - market.etf[2, 100]).all()
    assert (left[2, :, 99] == market.r[:, 99]).all()


def test_more_levels_leave_less_and_longer_windows_too_where_betas_stand_still(market: Panel) -> None:
    hedges = Hedges(market)
    default = measures.hedged(market, hedges.of(Variant("default", "default")))
    shares = [measures.against(market, default[k], default[k]).share for k in range(3)]
    assert shares[0] > shares[1] > shares[2]
    longer = measures.hedged(market, hedges.of(Variant("longer", "window", kernel(504, None))))
    found = measures.against(market, longer[2], default[2])
    assert found.mean < 0
    assert found.low < found.mean < found.high


def test_ratios_that_are_kept_for_a_month_cost_less_and_hedge_worse(market: Panel) -> None:
    hedges = Hedges(market)
    daily, monthly = (hedges.of(Variant("x", "x", every=every)) for every in (1, "month"))
    assert measures.turnover(market, monthly)[2] < measures.turnover(market, daily)[2] / 2
    month = market.sessions.astype("datetime64[M]")
    inside = np.append(False, month[1:] == month[:-1]) & (np.arange(700) > 300)
    changed = np.abs(np.diff(monthly[0], axis=1, prepend=np.nan)) > 0
    assert not changed[:, inside & np.append(month[1:] == month[:-1], False)].any()


def test_a_promise_is_that_of_explained_risk_and_what_came_that_of_the_store(market: Panel) -> None:
    hedges = Hedges(market)
    left = measures.hedged(market, hedges.of(Variant("default", "default")))
    promised = measures.promised(market, hedges.adjusted(Variant("default", "default")), DEFAULT)
    assert np.isfinite(promised[2, :, -1]).all()
    came = measures.came(market, left, 63)
    want = left[2, :, -63:].var(axis=1) / market.r[:, -63:].var(axis=1)
    np.testing.assert_allclose(came[2, :, -1], want, rtol=1e-9)
