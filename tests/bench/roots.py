"""Roots to measure on: markets delivered as Parquet, `erm3` commands over them, and whether two roots are the same."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.datasets.spec import ROW_CHUNK
from pipeline.read import open_dataset, read_manifest
from pipeline.settings import SimulatedMarket
from pipeline.sources import SimulatedSource
from tests.laid import lay

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 3600.0
"""Seconds that one command may take."""


def span(first: int, last: int) -> tuple[str, str, str]:
    """First session, last session, and the one before the last."""
    days = xnys().between(f"{first}-01-01", f"{last}-12-31")
    return str(days[0]), str(days[-1]), str(days[-2])


def deliver(tables: Path, stocks: int, first: int, last: int) -> dict[str, int]:
    """The simulated market as Parquet files, the prices in parts, with a year of warm-up; rows by table."""
    days = xnys().between(f"{first - 1}-01-01", f"{last}-12-31")
    market = SimulatedMarket(stocks=stocks, first_session=str(days[0]), last_session=str(days[-1]))
    frames = {name: frame for name, frame in SimulatedSource(market).load().frames.items() if len(frame)}
    lay(tables, frames)
    return {name: len(frame) for name, frame in frames.items()}


def hold_back(tables: Path, early: Path, eve: str) -> Path:
    """`tables` at `early` as they were delivered on the eve of their last session. The part that lacks its rows."""
    shutil.copytree(tables, early)
    part = max((early / "prices.parquet").iterdir())
    rows = pd.read_parquet(part)
    rows[rows["date"] <= pd.Timestamp(eve)].to_parquet(part, index=False)
    return part


def environment(root: Path, tables: Path, home: Path | None = None) -> dict[str, str]:
    """The settings of a root, as environment variables."""
    return {
        **os.environ,
        "ERM3_ROOT": str(root),
        "ERM3_SOURCE": "files",
        "ERM3_SOURCE_PATH": str(tables),
        **({} if home is None else {"DAGSTER_HOME": str(home)}),
    }


def erm3(env: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments], cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True
    )


def finished(process: subprocess.Popen[str]) -> str:
    """Waits for a process. Raises CalledProcessError unless it ended well."""
    said, _ = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args, said)
    return said


def differences(a: Path, b: Path) -> list[str]:
    """Arrays that are not the same in two roots, bit for bit, by store and name."""
    found = []
    names = set(read_manifest(a)["stores"])
    if names != set(read_manifest(b)["stores"]):
        return ["the stores"]
    for name in sorted(names):
        with open_dataset(name, a) as one, open_dataset(name, b) as other:
            if set(one.variables) != set(other.variables):
                found.append(f"{name}: its variables")
                continue
            found += [f"{name}/{key}" for key in one.variables if not _same(one[key], other[key])]
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two arrays of stores are the same bit for bit. A block at a time: all of a family is more than memory."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    for at in range(0, one.shape[0], ROW_CHUNK):
        x, y = (np.ascontiguousarray(array[at : at + ROW_CHUNK].values) for array in (one, other))
        if not (np.array_equal(x, y) if x.dtype.kind in "OUT" else x.tobytes() == y.tobytes()):
            return False
    return True


def measured(base: Path, env: dict[str, str], *arguments: str) -> dict[str, Any]:
    """What `tests.bench.measured` says of an `erm3` command."""
    file = base / "measured.json"
    command = [sys.executable, "-m", "tests.bench.measured", str(file), *arguments]
    finished(subprocess.Popen(command, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True))
    return dict(json.loads(file.read_text()))


class Watch:
    """Seconds on the wall, and of the processors in the processes that have ended."""

    def __init__(self) -> None:
        self.began, self.used = time.perf_counter(), _processor_seconds()

    def seconds(self) -> dict[str, float]:
        return {"wall": time.perf_counter() - self.began, "processor": _processor_seconds() - self.used}

    def __str__(self) -> str:
        spent = self.seconds()
        return f"{spent['wall']:.0f} s ({spent['processor']:.0f} s of the processors)"


def _processor_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
