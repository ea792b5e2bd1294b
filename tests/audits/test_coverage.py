"""A fall of the covered share is a fault of the betas, and not the arrival of stocks that cannot have one yet."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.audits import estimates
from pipeline.audits.scope import Check
from pipeline.calendar import xnys
from pipeline.settings import AuditBounds, ModelParameters

OLD, NEW, SESSIONS = 40, 10, 3
FIRST = xnys().ordinal("2019-01-02")
MODEL = ModelParameters()


def audited(
    monkeypatch: pytest.MonkeyPatch, member: np.ndarray, returns: np.ndarray, beta: np.ndarray
) -> dict[str, Check]:
    """The checks about coverage by name. member, returns: (sessions, n); beta: (sessions, n, levels), NaN for none."""
    days = xnys().sessions[FIRST : FIRST + SESSIONS]
    symbols = np.array([f"S{k:02d}" for k in range(OLD + NEW)], dtype=object)
    view = SimpleNamespace(teo=days, symbol=symbols, read=lambda name, rows, cols: beta[rows])
    scope = SimpleNamespace(
        family=SimpleNamespace(view=lambda store: view),
        calendar=xnys(),
        first=FIRST,
        last=FIRST + SESSIONS - 1,
        model=MODEL,
        bounds=AuditBounds(coverage_floor=0.9),
        blocks=lambda: [(FIRST, FIRST + SESSIONS - 1)],
        rows=lambda view, a, b: slice(a - FIRST, b - FIRST + 1),
    )
    monkeypatch.setattr(estimates, "members_of", lambda scope, symbols, a, b: member)
    monkeypatch.setattr(estimates, "returns_in_window", lambda scope, symbols, a, b: returns)
    monkeypatch.setattr(estimates, "with_causes", lambda check, *rest: check)
    return {check.name: check for check in estimates.coverage("ds_erm3_betas", scope)}  # type: ignore[arg-type]


def market(returns_of_new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Old stocks with betas, and on the last session new members without one."""
    member = np.ones((SESSIONS, OLD + NEW), bool)
    member[:-1, OLD:] = False
    returns = np.full(member.shape, MODEL.window)
    returns[:, OLD:] = returns_of_new
    beta = np.where(member[..., None], 1.0, np.nan) * np.ones(3)
    beta[-1, OLD:] = np.nan
    return member, returns, beta


@pytest.mark.parametrize("returns", [0, 1, MODEL.min_obs - 1])
def test_members_too_young_for_a_beta_are_no_fall(monkeypatch, returns):
    checks = audited(monkeypatch, *market(returns))
    assert all(check.passed for check in checks.values())
    assert checks["coverage_holds"].counts["last:members"] == OLD


def test_members_that_are_old_enough_and_have_none_are_a_fall(monkeypatch):
    checks = audited(monkeypatch, *market(MODEL.min_obs))
    assert not checks["coverage_holds"].passed
    assert checks["coverage_holds"].value == pytest.approx(NEW / (OLD + NEW))
    assert not checks["coverage_floor"].passed


def test_a_young_member_that_has_a_beta_is_counted(monkeypatch):
    member, returns, beta = market(0)
    beta[-1, OLD:] = 1.0
    assert audited(monkeypatch, member, returns, beta)["coverage_holds"].counts["last:members"] == OLD + NEW
