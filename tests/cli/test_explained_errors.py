"""Every error that tells a person what to do ends a command with its message and status 1."""

from __future__ import annotations

from typing import NoReturn

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.runs import app
from tests.explained_errors import SAID, every_error

COMMANDS = {
    "run": ("pipeline.engine.execution.execute", "run --start 2020-01-02 --end 2020-01-03 --quiet"),
    "quality": ("pipeline.reports.quality_report.published_findings", "quality list"),
    "security": ("pipeline.read.published_master", "security queue"),
}
"""A function below each group of commands, and a command that calls it."""


def ended(error: Exception, group: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    """How a command ends when what it calls raises an error."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    function, command = COMMANDS[group]
    monkeypatch.setattr(function, fail)
    return CliRunner().invoke(app, command.split())


@pytest.mark.parametrize("group", COMMANDS)
@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_an_explained_error_is_its_message_as_it_is_and_status_1(error, group, monkeypatch):
    done = ended(error, group, monkeypatch)
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert done.stderr == f"{type(error).__name__}: {error}\n"
    assert SAID in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("group", COMMANDS)
@pytest.mark.parametrize("error", [ValueError("shapes"), KeyError("column")], ids=["ValueError", "KeyError"])
def test_a_fault_of_the_program_keeps_its_traceback(error, group, monkeypatch):
    assert ended(error, group, monkeypatch).exception is error


def test_a_wrong_setting_is_named_with_status_2(monkeypatch):
    monkeypatch.setenv("ERM3_THREADS", "none")
    done = CliRunner().invoke(app, ["quality", "list"])
    assert done.exit_code == 2
    assert done.stderr.startswith("threads: ")
