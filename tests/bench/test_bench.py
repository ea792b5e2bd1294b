"""The benchmark's peers compute what we compute, so that the times are of the same work."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import model
from tests.bench import peers
from tests.bench.__main__ import EQUAL, Panel

WINDOW, SESSIONS = 252, 20


@pytest.mark.parametrize("sums", [peers.cumulative_sums, peers.pandas_sums])
def test_the_peers_by_sums_give_our_betas_and_hedge_ratios(sums: peers.Sums) -> None:
    panel = Panel.of(3, SESSIONS, WINDOW)
    found = peers.cascade_by_sums(np.ascontiguousarray(panel.r.T), *panel.etf, WINDOW, sums)
    pairs = np.array([[2, 1]], np.int16)
    ours = model.cascade(panel.r, panel.etf, 0, panel.sector, panel.subsector, panel.wanted, 0, EQUAL)
    links = model.link_betas(panel.etf, 0, pairs, 0, EQUAL)
    ratios = model.hedge_ratios_of_stocks(ours.beta, links, pairs, panel.sector, panel.subsector)
    for k, name in enumerate(("beta_m", "beta_s", "beta_u")):
        np.testing.assert_allclose(found[name].T, ours.beta[k], rtol=1e-9)
    for k, name in zip((3, 4, 5), ("hr_m", "hr_s", "hr_u"), strict=True):
        np.testing.assert_allclose(found[name].T, ratios[k], rtol=1e-8)


def test_the_regression_peer_gives_the_negative_hedge_ratios() -> None:
    panel = Panel.of(1, SESSIONS, WINDOW)
    found = peers.statsmodels_cascade(panel.r[0], *panel.etf, WINDOW, full=False)[WINDOW - 1 :]
    pairs = np.array([[2, 1]], np.int16)
    ours = model.cascade(panel.r, panel.etf, 0, panel.sector, panel.subsector, panel.wanted, 0, EQUAL)
    links = model.link_betas(panel.etf, 0, pairs, 0, EQUAL)
    ratios = model.hedge_ratios_of_stocks(ours.beta, links, pairs, panel.sector, panel.subsector)
    np.testing.assert_allclose(found.T, -ratios[3:, 0], rtol=1e-8)
