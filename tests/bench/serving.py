"""`make bench-serve`: how fast `erm3 serve` answers at 3,000 stocks x 5,000 sessions; docs/benchmarks-serving.md.

    python -m tests.bench.serving [--root ROOT] [--stocks 3000] [--sessions 5000] [--seconds 60]

First each kind of question alone, warm; then 64 clients with mixed questions on the loopback, and half way the next
session is published below them. Clients and server share the processors of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import requests

from pipeline.engine import execution
from pipeline.query import open_family
from tests.assets.browser import free_port, wait_until_it_answers
from tests.bench.whole import run_whole_model, staged_model

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
        return {
            "tickers": chance.sample(tickers, min(100, len(tickers))),
            "metrics": ["returns"],
            "years": 5,
            "format": "parquet",
        }

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


@dataclass
class Load:
    """What all clients at once saw: milliseconds by kind; answers that were none; bodies (their digests) by question
    and publication; how often a client was answered from an earlier publication than before; seconds to publish."""

    took: dict[str, list[float]]
    faults: int = 0
    bodies: dict[tuple[str, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))
    back: int = 0
    publishing: float = 0.0

    @property
    def publications(self) -> list[str]:
        return sorted({publication for _, publication in self.bodies})

    @property
    def half_way(self) -> int:
        """Questions that one publication answered in two ways."""
        return sum(len(answers) > 1 for answers in self.bodies.values())


async def together(address: str, mix: list[Kind], seconds: float, publish: Callable[[], Any]) -> Load:
    """All clients at once, and half way a publication."""
    load = Load({kind.name: [] for kind in mix})
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        chance, newest = random.Random(number), ""
        while time.perf_counter() < until:
            (kind,) = chance.choices(mix, [k.share for k in mix])
            path, body = kind.question(chance)
            began = time.perf_counter()
            async with session.request("GET" if body is None else "POST", f"{address}/api{path}", json=body) as found:
                content = await found.read()
                load.faults += found.status != 200
                publication = found.headers.get("X-Publication", "")
            load.took[kind.name].append((time.perf_counter() - began) * 1000)
            load.bodies[f"{path} {json.dumps(body)}", publication].add(hashlib.sha256(content).digest())
            load.back += publication < newest
            newest = max(newest, publication)

    async def publisher() -> None:
        await asyncio.sleep(seconds / 2)
        began = time.perf_counter()
        await asyncio.to_thread(publish)
        load.publishing = time.perf_counter() - began

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as session:
        await asyncio.gather(publisher(), *(client(number) for number in range(CLIENTS)))
    return load


def memory(pid: int) -> float:
    """Largest resident memory of a process so far, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(root: Path, stocks: int, seconds: float) -> str:
    """The report. The root is one session longer afterwards."""
    family = open_family(root)
    reached = len(family.sessions)
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
        with staged_model(root, stocks, reached, reached + 1) as (run, _):
            load = asyncio.run(together(address, mix, seconds, lambda: execution.publish(run)))
        assert len(load.publications) == 2, "the load ended before the publication did"
        peak = memory(server.pid)
    finally:
        server.terminate()
        server.wait()
    return report(family, first, singles, load, seconds, peak)


def report(
    family: Any,
    first: float,
    singles: dict[Kind, list[float]],
    load: Load,
    seconds: float,
    peak: float,
) -> str:
    took = load.took
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
        f"{len(everything):,} answers, {load.faults} of them errors: **{len(everything) / seconds:,.0f} a second**,",
        f"p50 {statistics.median(everything):.0f} ms, p99 {percentile(everything, 0.99):.0f} ms.",
        f"After {seconds / 2:.0f} s the next session was published ({load.publishing:.1f} s). One question to one",
        f"publication had two different answers {load.half_way} times; a client went back to the one before",
        f"{load.back} times.",
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
        text = measure(root, given.stocks, given.seconds)
    print(text)
    if (given.stocks, given.sessions) == (3000, 5000):
        REPORT.write_text(text)


if __name__ == "__main__":
    main()
