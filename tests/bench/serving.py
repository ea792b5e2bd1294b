"""`make bench-serve`: how fast `erm3 serve` answers at 3,000 stocks x 5,000 sessions; docs/benchmarks-serving.md.

    python -m tests.bench.serving [--root ROOT] [--stocks 3000] [--sessions 5000] [--seconds 60]

First each kind of question alone, warm; then 64 clients with mixed questions on the loopback. Clients and server share
the processors of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import requests

from pipeline.query import open_family
from tests.assets.browser import free_port, wait_until_it_answers
from tests.bench.whole import run_whole_model

REPORT = Path("docs/benchmarks-serving.md")
CLIENTS, ROUNDS = 64, 40


@dataclass(frozen=True)
class Kind:
    """One kind of question. asked: bound of the median in milliseconds. share: of the mixed load, in per cent."""

    name: str
    question: Callable[[random.Random], tuple[str, dict[str, Any] | None]]
    asked: int | None
    share: int


def kinds(tickers: list[str]) -> list[Kind]:
    def batch(chance: random.Random) -> dict[str, Any]:
        return {"tickers": chance.sample(tickers, 100), "metrics": ["returns"], "years": 5, "format": "parquet"}

    return [
        Kind("metrics, last session", lambda c: (f"/metrics/{c.choice(tickers)}", None), 20, 50),
        Kind(
            "metrics, another day",
            lambda c: (f"/metrics/{c.choice(tickers)}?as_of=2019-06-{c.randint(10, 28)}", None),
            None,
            5,
        ),
        Kind("industry panel", lambda c: ("/industry-panel", None), 20, 15),
        Kind("returns, 5 years", lambda c: (f"/ticker-returns?ticker={c.choice(tickers)}&years=5", None), 50, 25),
        Kind(
            "screen", lambda c: ("/rankings/top?metric=gross_return&window=21d&cohort=sector&limit=50", None), None, 4
        ),
        Kind("100 x 5 years, Parquet", lambda c: ("/batch/analyze", batch(c)), 500, 1),
    ]


def alone(address: str, kind: Kind) -> list[float]:
    """Milliseconds of single questions, after a few to warm up. A few stocks come again, as in the life of a desk."""
    chance, took = random.Random(1), []
    questions = [kind.question(chance) for _ in range(20)]
    with requests.Session() as session:
        for k in range(len(questions) + ROUNDS):
            path, body = questions[k % len(questions)]
            began = time.perf_counter()
            found = session.request("GET" if body is None else "POST", f"{address}/api{path}", json=body, timeout=60)
            took.append((time.perf_counter() - began) * 1000)
            assert found.status_code == 200, found.text[:300]
    return took[len(questions) :]


async def together(address: str, mix: list[Kind], seconds: float) -> tuple[dict[str, list[float]], int]:
    """Milliseconds by kind, and the number of answers that were none, of all clients at once."""
    took: dict[str, list[float]] = {kind.name: [] for kind in mix}
    faults, until = 0, time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal faults
        chance = random.Random(number)
        while time.perf_counter() < until:
            (kind,) = chance.choices(mix, [k.share for k in mix])
            path, body = kind.question(chance)
            began = time.perf_counter()
            async with session.request("GET" if body is None else "POST", f"{address}/api{path}", json=body) as found:
                await found.read()
                faults += found.status != 200
            took[kind.name].append((time.perf_counter() - began) * 1000)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as session:
        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return took, faults


def memory(pid: int) -> float:
    """Largest resident memory of a process so far, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(root: Path, seconds: float) -> str:
    family = open_family(root)
    tickers = family.screen("gross_return", limit=500)["ticker"].tolist()
    mix, port = kinds(tickers), free_port()
    address = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "pipeline", "serve", "--root", str(root), "--port", str(port), "--rate", "0"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        wait_until_it_answers(f"{address}/api/health", server)
        began = time.perf_counter()
        requests.get(f"{address}/api/metrics/{tickers[0]}", timeout=60)
        first = time.perf_counter() - began
        singles = {kind: alone(address, kind) for kind in mix}
        took, faults = asyncio.run(together(address, mix, seconds))
        peak = memory(server.pid)
    finally:
        server.terminate()
        server.wait()
    return report(family, first, singles, took, faults, seconds, peak)


def report(
    family: Any,
    first: float,
    singles: dict[Kind, list[float]],
    took: dict[str, list[float]],
    faults: int,
    seconds: float,
    peak: float,
) -> str:
    everything = [ms for values in took.values() for ms in values]
    stocks = len(family.cells("ds_daily").symbols)
    lines = [
        "# How fast the server answers",
        "",
        f"Made by `make bench-serve`: {stocks:,} stocks x {len(family.sessions):,} sessions on the loopback,",
        f"{os.cpu_count()} processors that clients and server share. Milliseconds, wall clock.",
        "",
        f"First question after the start (opens the publication, reads the last session): {first * 1000:,.0f} ms.",
        f"Largest memory of the server: **{peak:,.0f} MB** (asked: 1,000).",
        "",
        "## One client, warm",
        "",
        "| question | p50 | p99 | asked of p50 |",
        "|---|---|---|---|",
        *(
            f"| {kind.name} | {statistics.median(ms):.1f} | {percentile(ms, 0.99):.1f} | "
            f"{f'< {kind.asked}' if kind.asked else ''} |"
            for kind, ms in singles.items()
        ),
        "",
        f"## {CLIENTS} clients at once, mixed, {seconds:.0f} s",
        "",
        f"{len(everything):,} answers, {faults} of them errors: **{len(everything) / seconds:,.0f} a second**,",
        f"p50 {statistics.median(everything):.0f} ms, p99 {percentile(everything, 0.99):.0f} ms.",
        "",
        "| question | share | answers | p50 | p99 |",
        "|---|---|---|---|---|",
        *(
            f"| {kind.name} | {kind.share} % | {len(took[kind.name]):,} | {statistics.median(took[kind.name]):.0f} | "
            f"{percentile(took[kind.name], 0.99):.0f} |"
            for kind in singles
            if took[kind.name]
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--root", type=Path)
    arguments.add_argument("--stocks", type=int, default=3000)
    arguments.add_argument("--sessions", type=int, default=5000)
    arguments.add_argument("--seconds", type=float, default=60.0)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = given.root or Path(directory) / "root"
        if given.root is None or not root.exists():
            run_whole_model(root, given.stocks, given.sessions)
        text = measure(root, given.seconds)
    print(text)
    if (given.stocks, given.sessions) == (3000, 5000):
        REPORT.write_text(text)


if __name__ == "__main__":
    main()
