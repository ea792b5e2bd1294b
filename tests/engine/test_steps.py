"""Stores are computed two at a time, and audited beside: what a run does when an audit, or a step, fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.audits import Check
from pipeline.engine import execution
from pipeline.engine.run import Run

PATIENCE = 60.0


def made(lineage: Mapping[str, str]) -> Run:
    """A run of stores of one letter, by what they are made from."""
    specs = {
        name: SimpleNamespace(dataset_id=name, lineage=tuple(inputs), factor_set=None)
        for name, inputs in lineage.items()
    }
    return cast(Run, SimpleNamespace(stage=SimpleNamespace(directory="staging"), specs=specs))


RUN = made({"a": "", "b": "a", "c": "b"})


def check(store: str, passed: bool) -> list[Check]:
    return [Check("a_check", store, passed, 2.0, 1.0, 1, "how far")]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> dict[str, Event]:
    """By store, whether its step has begun."""
    events = {name: Event() for name in "abc"}
    monkeypatch.setattr(execution, "step", lambda run, name: events[name].set())
    return events


def test_a_store_is_audited_while_the_next_one_is_computed(begun, monkeypatch):
    def audit(run: Run, name: str) -> list[Check]:
        assert name != "a" or begun["b"].wait(PATIENCE), "the next step waits for the audit"
        return check(name, passed=True)

    monkeypatch.setattr(execution, "audit_store", audit)
    checks = execution.stage_stores(RUN, "abc")
    assert list(checks) == ["a", "b", "c"]
    assert [found.store for each in checks.values() for found in each] == ["a", "b", "c"]


def test_no_step_is_begun_after_an_audit_has_failed(monkeypatch):
    begun = []

    def step(run: Run, name: str) -> None:
        begun.append(name)
        time.sleep(0.01)  # for the thread of the audit to come to its end, which takes one of these at most

    monkeypatch.setattr(execution, "step", step)
    monkeypatch.setattr(execution, "audit_store", lambda run, name: check(name, passed=name != "0"))
    with pytest.raises(execution.AuditFailed, match=r"^0: 1 checks failed"):
        execution.stage_stores(made({str(k): "" for k in range(1000)}), [str(k) for k in range(1000)])
    assert len(begun) < 1000


def test_the_first_store_that_failed_is_named(begun, monkeypatch):
    def audit(run: Run, name: str) -> list[Check]:
        assert begun["b"].wait(PATIENCE)
        return check(name, passed=False)

    monkeypatch.setattr(execution, "audit_store", audit)
    with pytest.raises(execution.AuditFailed, match=r"^a:"):
        execution.stage_stores(RUN, "ab")


@pytest.mark.parametrize(("passed", "says"), [(True, "no space left"), (False, r"^a: 1 checks failed")])
def test_a_step_that_cannot_read_a_store_that_failed_is_not_the_reason_to_hear_of(passed, says, begun, monkeypatch):
    def step(run: Run, name: str) -> Any:
        if name == "b":
            raise RuntimeError("no space left")

    monkeypatch.setattr(execution, "step", step)
    monkeypatch.setattr(execution, "audit_store", lambda run, name: check(name, passed))
    with pytest.raises(RuntimeError, match=says):
        execution.stage_stores(RUN, "abc")


def test_stores_that_are_made_from_the_same_ones_are_computed_at_the_same_time(monkeypatch):
    begun = {name: Event() for name in "abc"}

    def step(run: Run, name: str) -> None:
        begun[name].set()
        assert name != "b" or begun["c"].wait(PATIENCE), "c waits for b, which it does not need"

    monkeypatch.setattr(execution, "step", step)
    monkeypatch.setattr(execution, "audit_store", lambda run, name: check(name, passed=True))
    assert list(execution.stage_stores(made({"a": "", "b": "a", "c": "a"}), "abc")) == ["a", "b", "c"]


def test_a_store_is_begun_once_those_that_it_is_made_from_are_staged(monkeypatch):
    staged: set[str] = set()

    def step(run: Run, name: str) -> None:
        assert staged.issuperset(run.specs[name].lineage)
        time.sleep(0.02)
        staged.add(name)

    monkeypatch.setattr(execution, "step", step)
    monkeypatch.setattr(execution, "audit_store", lambda run, name: check(name, passed=True))
    execution.stage_stores(made({"a": "", "b": "a", "c": "a", "d": "bc", "e": "d", "f": "ae"}), "abcdef")
    assert staged == set("abcdef")


def test_what_is_made_from_a_store_that_could_not_be_computed_is_not_begun(monkeypatch):
    begun = []

    def step(run: Run, name: str) -> None:
        begun.append(name)
        if name == "b":
            raise RuntimeError("no space left")

    monkeypatch.setattr(execution, "step", step)
    monkeypatch.setattr(execution, "audit_store", lambda run, name: check(name, passed=True))
    with pytest.raises(RuntimeError, match="no space left"):
        execution.stage_stores(made({"a": "", "b": "a", "c": "b", "d": "c"}), "abcd")
    assert begun == ["a", "b"]
