"""scikit-learn agrees with the slow implementation, and disagrees with mistakes that writer and checker share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.audits import estimates, outside_judge, reference
from pipeline.audits.scope import Check, Scope
from pipeline.calendar import xnys
from pipeline.settings import AuditBounds, ModelParameters

EPSILON, FLOOR = 1.35, 0.01
WEIGHTS = 0.5 ** (np.arange(251, -1, -1) / 126)
SEEDS = range(4)


def window(seed: int, unit: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """A factor and a stock with fat tails, in daily returns."""
    rng = np.random.default_rng(seed)
    x = unit * rng.standard_t(4, len(WEIGHTS))
    return x, rng.normal(1, 0.5) * x + 2 * unit * rng.standard_t(3, len(WEIGHTS))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("unit", [1e-4, 0.01, 1.0])
def test_the_judge_finds_the_slope_and_scale_of_the_slow_implementation(seed: int, unit: float) -> None:
    x, y = window(seed, unit)
    slope, scale = outside_judge.huber_fit(x, y, WEIGHTS, EPSILON, FLOOR)
    wanted, wanted_scale = reference.huber_fit(x, y, WEIGHTS, EPSILON, FLOOR)
    assert abs(slope - wanted) <= 2e-6 * (1 + abs(wanted))
    assert scale == pytest.approx(wanted_scale, rel=5e-6)


def test_the_judge_has_no_opinion_on_a_fit_that_rests_on_the_floor_of_the_scale() -> None:
    x, y = window(0)
    y[:200] = x[:200]
    assert np.isnan(outside_judge.huber_fit(x, y, WEIGHTS, EPSILON, 0.9)).all()


SHARED_MISTAKES = {
    "another epsilon": lambda x, y, w, epsilon, floor: reference.huber_fit(x, y, w, 1.4, floor),
    "no half-life": lambda x, y, w, epsilon, floor: reference.huber_fit(x, y, np.ones_like(w), epsilon, floor),
    "least squares": lambda x, y, w, epsilon, floor: ((w * x * y).sum() / (w * x * x).sum(), 1.0),
    "an intercept": lambda x, y, w, epsilon, floor: reference.huber_fit(x, y - y.mean(), w, epsilon, floor),
}


def audited(monkeypatch: pytest.MonkeyPatch, fit: Any) -> Check:
    """`betas_recomputed` of one stock on one session, where writer and slow implementation both fit with `fit`."""
    calendar = xnys()
    model = ModelParameters()
    x, y = window(1)
    cell = reference.cell

    def wrong_cell(r: Any, m: Any, s: Any, u: Any, p: Any, huber: Any = fit) -> reference.Cell:
        return cell(r, m, s, u, p, huber)

    monkeypatch.setattr(estimates.reference, "cell", wrong_cell)
    written = wrong_cell(y, x, None, None, estimates.cell_parameters(model))
    values = {"factor_beta": written.beta, "beta_se": written.se, "n_obs": written.n_obs, "fact": (1, 0, 0)}
    view = SimpleNamespace(
        teo=calendar.sessions[300:301],
        symbol=np.array(["E1"], object),
        read=lambda var, rows, cols: np.array(values[var], np.float32)[None, None],
        flags=lambda var: {1: "SPY"},
    )
    returns = {"ds_daily": y, "ds_etf": x}
    history: dict[str, Any] = {
        name: SimpleNamespace(window=lambda *_, r=r: r[None], first_row=0, warm_up=None) for name, r in returns.items()
    }
    scope = Scope(
        family=SimpleNamespace(view=lambda name: view, history=history.__getitem__), calendar=calendar,
        factor_set=None, model=model, bounds=AuditBounds(), first=300, last=300, master=None,
    )  # fmt: skip
    scope.__dict__["etf_ids"] = {"SPY": "E0"}
    return estimates.betas_recomputed("ds_erm3_betas", scope)[0]


def test_a_right_beta_passes_and_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    check = audited(monkeypatch, reference.huber_fit)
    assert check.passed
    assert check.cells == 3 + 2 + 1  # n_obs of three levels, beta and s.e. of one, and its beta once more


@pytest.mark.parametrize("mistake", SHARED_MISTAKES)
def test_a_mistake_that_writer_and_slow_implementation_share_is_seen(mistake: str, monkeypatch) -> None:
    check = audited(monkeypatch, SHARED_MISTAKES[mistake])
    assert not check.passed
    assert [cell["against"] for cell in check.worst] == ["scikit-learn"]
