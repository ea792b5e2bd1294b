"""Every error that tells a person what to do ends a step with its message alone, and is not tried again."""

# No `from __future__ import annotations` here: Dagster looks at the annotation of `context` itself.

from typing import Any

import dagster as dg
import pytest
from dagster import DagsterExecutionInterruptedError

from assets import staging
from assets.deployment import Deployment
from assets.staging import explained
from pipeline.settings import Settings
from tests.explained_errors import SAID, every_error


def failed(error: Exception) -> Any:
    """What is recorded of a step that ends in an error."""

    @dg.asset
    def step(context: dg.AssetExecutionContext) -> None:
        with explained(context, Deployment()):
            raise error

    result = dg.materialize([step], raise_on_error=False)
    data = result.failure_data_for_node("step")
    assert data is not None
    return data


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_an_explained_error_is_a_failure_with_its_message_and_without_a_trace_of_its_cause(error):
    data = failed(error)
    assert data.user_failure_data is not None
    assert data.user_failure_data.description == f"{type(error).__name__}: {error}"
    assert SAID in data.user_failure_data.description
    assert data.error.cause is None
    assert data.error.context is None


def test_a_fault_of_the_program_keeps_its_traceback():
    data = failed(KeyError("no such column"))
    assert data.user_failure_data is None
    assert "no such column" in data.error.cause.message


def test_what_the_machine_refuses_is_a_failure_with_the_file_and_a_way_out():
    data = failed(PermissionError(13, "Permission denied", "/there/prices.csv"))
    assert data.user_failure_data is not None
    assert "/there/prices.csv: Permission denied. Make room" in data.user_failure_data.description


def test_a_step_that_is_interrupted_gives_the_lease_back(tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "asked", lambda context: ("2020-01-02", "2020-01-03"))
    settings = Settings(root=str(tmp_path), source="simulated")

    @dg.asset
    def step(context: dg.AssetExecutionContext) -> None:
        with staging.begun(context, settings, Deployment()):
            assert (tmp_path / ".lease").exists()
            raise DagsterExecutionInterruptedError

    with pytest.raises(DagsterExecutionInterruptedError):
        dg.materialize([step])
    assert not (tmp_path / ".lease").exists()
    (stage,) = tmp_path.glob(".staging/*/stage.json")
    assert "DagsterExecutionInterruptedError" in stage.read_text()
