"""deploy/: the command of the cron line and of the systemd unit, as they stand there, catches up after days off."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pipeline.calendar import xnys
from pipeline.engine import execution
from pipeline.read import history, read_manifest
from pipeline.settings import Settings

DEPLOY = Path(__file__).parents[1] / "deploy"
TOML = """
root = "published"
[simulated]
stocks = 24
first_session = "{first}"
last_session = "2030-12-31"
[model]
window = 20
min_obs = 10
[audit]
recomputed_cells = 1
"""
MISSED = 3


def unit() -> str:
    (command,) = re.findall(r"^ExecStart=(.*)$", (DEPLOY / "erm3.service").read_text(), re.M)
    (where,) = re.findall(r"^WorkingDirectory=(.*)$", (DEPLOY / "erm3.service").read_text(), re.M)
    return f"cd {where} && exec {command}"


def cron() -> str:
    (line,) = re.findall(r"^[\d* -]+\s+erm3\s+(.*)$", (DEPLOY / "erm3.cron").read_text(), re.M)
    return str(line)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/etc/erm3 of a machine whose root lacks the last sessions up to yesterday."""
    calendar, now = xnys(), np.datetime64(datetime.now(UTC).replace(tzinfo=None), "D")
    last = int(calendar.on_or_before(now - 1))
    days = calendar.sessions
    (tmp_path / "erm3.toml").write_text(TOML.format(first=days[last - 60]).replace("2030-12-31", str(days[last + 2])))
    (tmp_path / "environment").write_text("ERM3_THREADS=1\n")
    monkeypatch.chdir(tmp_path)
    execution.execute(Settings(), days[last - 8], days[last - MISSED])
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("command", [unit, cron])
def test_the_command_publishes_what_is_due_and_ends_well_when_nothing_is(command, machine: Path) -> None:
    line = command().replace("/etc/erm3", str(machine)).replace("/opt/erm3/.venv/bin/erm3", "$ERM3")
    assert "$ERM3 nightly" in line
    environment = {"ERM3": f"{sys.executable} -m pipeline", "PATH": "/usr/bin:/bin", "HOME": str(machine),
                   "PYTHONPATH": str(DEPLOY.parent)}  # fmt: skip
    line = line.replace("exec $ERM3", "$ERM3")
    for again in (False, True):
        done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("Everything is published through" in done.stdout) is again, done.stdout
    days = xnys().sessions
    through = xnys().ordinal(read_manifest(machine / "published")["complete_through"])
    assert len(history(machine / "published")) == 1 + MISSED, "one publication for each session that was missed"
    assert days[through + 1] >= np.datetime64(datetime.now(UTC).replace(tzinfo=None), "D") - 1
