"""What `make bench-backfill` is asked, beside what it measures: verification, Dagster, slopes, the model alone."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.calendar import xnys
from tests.bench.roots import (
    REPOSITORY,
    Watch,
    deliver,
    environment,
    finished,
    hold_back,
    measured,
    span,
)

FEWER = 10
"""Times the stocks of the market that a backfill's slope is measured from."""
SHORT = 2
"""Years of the history that a night's slope is measured from."""
SESSIONS = 5000
"""Of the model that begins at returns, at most."""


@dataclass(frozen=True)
class Market:
    """A simulated market: stocks alive on the first session, first and last published year."""

    stocks: int
    first: int
    last: int

    @property
    def years(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Beside:
    """What is measured beside a backfill and a night. None: the market is too small to tell.

    verify, dagster: `wall` and `processor` seconds. short_night, fewer_stocks: processor seconds. from_returns: seconds
    on the wall.
    """

    verify: dict[str, Any]
    dagster: dict[str, float]
    short_night: float | None
    fewer_stocks: float | None
    from_returns: float


def first_night(base: Path, env: dict[str, str], tables: Path, part: Path, eve: str) -> float:
    """Processor seconds of a first night, which keeps what it parses; the rows of the next one are delivered then."""
    spent = measured(base, env, "run", "--start", eve, "--end", eve)["processor"]
    shutil.copyfile(tables / "prices.parquet" / part.name, part)
    return float(spent)


def dagster_night(root: Path, tables: Path, home: Path, night: str) -> dict[str, float]:
    """The same night by the job, on the instance of dagster.yaml, in a process of its own."""
    lay_instance(home)
    watch = Watch()
    finished(dagster_run(environment(root, tables, home), night, night))
    return watch.seconds()


def lay_instance(home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text((REPOSITORY / "dagster.yaml").read_text())


def dagster_run(env: dict[str, str], first: str, last: str) -> subprocess.Popen[str]:
    """Every asset over a range, in one run of the job."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.backfill", "--run", first, last],
        cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def short_night(base: Path, market: Market) -> float | None:
    """Processor seconds of a night with SHORT years behind it."""
    if market.years <= SHORT:
        return None
    base.mkdir()
    begins = market.last - SHORT + 1
    deliver(base / "tables", market.stocks, begins, market.last)
    start, night, eve = span(begins, market.last)
    part = hold_back(base / "tables", base / "early", eve)
    env = environment(base / "root", base / "early")
    measured(base, env, "backfill", "--start", start, "--end", str(xnys().between(start, eve)[-2]))
    first_night(base, env, base / "tables", part, eve)
    return float(measured(base, env, "run", "--start", night, "--end", night)["processor"])


def fewer_stocks(base: Path, market: Market) -> float | None:
    """Processor seconds of a backfill of so many stocks fewer."""
    if market.stocks < 100 * FEWER:
        return None
    base.mkdir()
    deliver(base / "tables", market.stocks // FEWER, market.first, market.last)
    start, end, _ = span(market.first, market.last)
    env = environment(base / "root", base / "tables")
    return float(measured(base, env, "backfill", "--start", start, "--end", end)["processor"])


def from_returns(market: Market) -> float:
    """Seconds of the model that begins at returns which it made up itself."""
    sessions = min(252 * market.years, SESSIONS)
    command = [sys.executable, "-m", "tests.bench.whole", str(market.stocks), str(sessions)]
    said = finished(subprocess.Popen(command, cwd=REPOSITORY, env=dict(os.environ), stdout=subprocess.PIPE, text=True))
    return sum(json.loads(said.splitlines()[-1]).values())


def beside(base: Path, market: Market, whole: Path, eve_root: Path, tables: Path, night: str) -> Beside:
    """whole: a published root. eve_root: one that lacks the session `night` alone, which is in `tables`."""
    return Beside(
        verify=measured(base, environment(whole, tables), "verify"),
        dagster=dagster_night(eve_root, tables, base / "dagster_night", night),
        short_night=short_night(base / "short", market),
        fewer_stocks=fewer_stocks(base / "fewer", market),
        from_returns=from_returns(market),
    )


def table(market: Market, backfill: dict[str, Any], night: dict[str, Any], found: Beside) -> str:
    """Markdown: measured and asked. What was asked is of 3,000 stocks and twenty years."""
    kernels = sum(backfill["kernels"].values())

    def seconds(of: dict[str, Any]) -> str:
        return f"{of['wall']:.0f} s, {of['processor']:.0f} s of processor"

    def with_memory(of: dict[str, Any]) -> str:
        return f"{seconds(of)}, {of['peak'] / 1e9:.1f} GB"

    rows = [
        ("backfill", with_memory(backfill), "300 s, 480 s of processor, 4 GB"),
        ("the same over our kernels", f"{backfill['processor'] / kernels:.1f}", "4"),
        ("model from returns, at most 5,000 sessions", f"{found.from_returns:.0f} s", "60 s"),
        ("night, command line", with_memory(night), "10 s, 12 s of processor, 1.5 GB"),
        ("night, Dagster", seconds(found.dagster), "20 s"),
        ("`erm3 verify`", seconds(found.verify), "90 s"),
    ]
    if found.short_night is not None:
        grows = slope(night["processor"] / found.short_night, market.years / SHORT)
        rows.append(
            (f"slope of a night over years, from {SHORT} ({found.short_night:.1f} s)", f"{grows:.2f}", "0.1"),
        )
    if found.fewer_stocks is not None:
        grows = slope(backfill["processor"] / found.fewer_stocks, FEWER)
        fewer = market.stocks // FEWER
        rows.append(
            (f"slope of a backfill over stocks, from {fewer} ({found.fewer_stocks:.0f} s)", f"{grows:.2f}", "0.93-1.07")
        )
    lines = ["| | measured | at most |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def slope(ratio: float, times: float) -> float:
    """Of a cost that is `ratio` as high where there is `times` as much of it, in log-log."""
    return math.log(ratio) / math.log(times)
