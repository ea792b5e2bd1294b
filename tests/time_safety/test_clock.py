"""Nothing that computes asks what time it is, or where it runs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import pipeline
from tests.engine.published_market import stored_values

PROJECT = Path(pipeline.__file__).parents[1]
READS_THE_CLOCK = {"now", "today", "utcnow", "time", "time_ns", "localtime", "gmtime", "ctime"}
MODULES_WITH_A_CLOCK = {"datetime", "date", "time", "Timestamp", "pd"}
MAY = ("pipeline/store/", "pipeline/cli/")
"""Storing dates leases and publications; the command line measures how long it took, and dates what people decide."""


def clock_readings(source: str) -> list[str]:
    """Where a module reads the clock: calls like `datetime.now()` and `np.datetime64("now")`, imports from `time`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            call, words = node.func, [a.value for a in node.args if isinstance(a, ast.Constant)]
            if isinstance(call, ast.Attribute) and call.attr in READS_THE_CLOCK:
                owner = call.value.attr if isinstance(call.value, ast.Attribute) else getattr(call.value, "id", "")
                if owner in MODULES_WITH_A_CLOCK:
                    found.append(f"line {node.lineno}: {ast.unparse(node)}")
            if any(word in ("now", "today") for word in words):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            names = {alias.name for alias in node.names} & READS_THE_CLOCK
            found += [f"line {node.lineno}: from time import {name}" for name in sorted(names)]
    return found


def modules() -> list[Path]:
    found = [path for room in ("pipeline", "security_master") for path in (PROJECT / room).rglob("*.py")]
    return [path for path in sorted(found) if not path.relative_to(PROJECT).as_posix().startswith(MAY)]


def test_no_module_that_computes_reads_the_clock():
    assert len(modules()) > 60
    readings = {path.relative_to(PROJECT).as_posix(): clock_readings(path.read_text()) for path in modules()}
    assert {name: found for name, found in readings.items() if found} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import datetime\nx = datetime.datetime.now()",
        "from datetime import date\nx = date.today()",
        "import time\nx = time.time()",
        "from time import time_ns",
        "import numpy as np\nx = np.datetime64('now')",
        "import pandas as pd\nx = pd.Timestamp.now('UTC')",
        "import pandas as pd\nx = pd.to_datetime('today')",
    ],
)
def test_readings_of_the_clock_are_found(line: str):
    assert len(clock_readings(line)) == 1


RUN = """
import sys
from pathlib import Path
from pipeline.engine.execution import execute
from pipeline.settings import AuditBounds, ModelParameters, Settings, SimulatedMarket

settings = Settings(
    root=sys.argv[1],
    simulated=SimulatedMarket(stocks=10, first_session="2018-01-02", last_session="2018-11-09"),
    model=ModelParameters(window=21, min_obs=11, half_life=10.0, min_peers=2),
    audit=AuditBounds(recomputed_cells=2),
)
execute(settings, "2018-10-29", "2018-11-09")
"""
ELSEWHERE = "Asia/Tokyo", "America/Los_Angeles"
"""Time zones, of which one is not that of this process."""


def test_a_run_in_another_time_zone_and_with_other_hashes_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Across the end of daylight saving time in New York, on 2018-11-04: this process, and one elsewhere."""
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.setattr(sys, "argv", ["run", str(here)])
    exec(RUN, {})
    place = next(place for place in ELSEWHERE if datetime.now(ZoneInfo(place)).utcoffset() != offset_here())
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "TZ": place, "PYTHONHASHSEED": seed, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(there)], env=environment, cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(stored_values(here)) > 100
    assert stored_values(here) == stored_values(there)


def offset_here() -> timedelta | None:
    return datetime.now().astimezone().utcoffset()
