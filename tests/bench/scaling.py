"""What more securities and more years cost: measured slopes, and what they say about sizes that nobody has run.

    python -m tests.bench.scaling [--stocks 300 900 2700] [--years 2 4 8] [--last 2025] [--keep DIR]

Backfills of the simulated market delivered as Parquet, by `erm3 backfill` in a process of its own: every number of
stocks over the middle number of years, and the middle number of stocks over every number of years. The two largest
numbers of stocks once more with the two workers of a cluster, over the fewest years, for the memory of a worker and the
bytes that pass the scheduler. Prints the tables of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from pipeline.calendar import xnys
from pipeline.engine.products import catalog
from pipeline.store.chunks import ChunkedArray
from tests.bench.measured import peak
from tests.bench.roots import deliver, environment, measured
from tests.engine.dask_workers import two_workers

SAID = ((10_000, 50), (100_000, 50))
"""Securities and years to speak about."""
START = "start of the program"


def backfilled(base: Path, stocks: int, years: int, last: int, address: str | None = None) -> dict[str, Any]:
    """Figures of a backfill, with the securities, sessions, objects and bytes of what it published."""
    name = f"{stocks}-{years}{'-cluster' if address else ''}"
    tables, root = base / f"tables-{stocks}-{years}", base / f"root-{name}"
    rows = deliver(tables, stocks, last - years + 1, last)
    env = environment(root, tables) | ({"ERM3_DASK_ADDRESS": address} if address else {})
    span = xnys().between(f"{last - years + 1}-01-01", f"{last}-12-31")
    found = measured(base, env, "backfill", "--start", str(span[0]), "--end", str(span[-1]))
    published = (root / ".publications" / "current").resolve()
    sizes = [path.stat().st_size for path in published.rglob("*") if path.is_file()]
    size = {"securities": rows["securities"], "sessions": len(span), "objects": len(sizes), "bytes": sum(sizes)}
    return found | size | {"stocks": stocks, "years": years}


def on_workers(base: Path, stocks: int, years: int, last: int) -> dict[str, Any]:
    """The same by two workers: memory of the larger one, and bytes that passed the scheduler."""
    with two_workers(base / f"workers-{stocks}") as workers:
        found = backfilled(base, stocks, years, last, workers.address)
        passed = workers.wire.bytes
        with Client(workers.address, set_as_default=False) as client:
            peaks = client.run(peak)
    return found | {"worker": max(peaks.values()), "passed": passed}


def slope(x: list[float], y: list[float]) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def row(found: Mapping[str, Any]) -> str:
    processor, phases = found["processor"], found["phases"]
    return (
        f"| {found['securities']:,} | {found['years']} | {processor:.0f} | {processor - phases[START]:.0f} | "
        f"{sum(found['kernels'].values()):.1f} | {found['peak'] / 1e9:.2f} | {found['objects']:,} | "
        f"{found['bytes'] / 1e6:.0f} |"
    )


def slopes(by_stocks: list[dict[str, Any]], by_years: list[dict[str, Any]]) -> list[str]:
    """Slopes in log-log of what grows, over securities and over sessions, between the two largest sizes."""
    phases = sorted(by_stocks[-1]["phases"], key=lambda phase: -by_stocks[-1]["phases"][phase])[:12]
    kinds = {"processor, without the start": lambda f: f["processor"] - f["phases"][START]}
    kinds |= {"memory": lambda f: f["peak"], "objects": lambda f: f["objects"], "bytes": lambda f: f["bytes"]}
    kinds |= {phase: (lambda f, phase=phase: f["phases"].get(phase, 0.0)) for phase in phases if phase != START}
    lines = ["| | over securities | over sessions | seconds at the largest |", "|---|---|---|---|"]
    for name, value in kinds.items():
        told = [
            f"{slope([f[axis] for f in of], [max(value(f), 1e-3) for f in of]):.2f}"
            for axis, of in (("securities", by_stocks[-2:]), ("sessions", by_years[-2:]))
        ]
        seconds = f"{value(by_stocks[-1]):.1f}" if name in phases else ""
        lines.append(f"| {name} | {told[0]} | {told[1]} | {seconds} |")
    return lines


def cost_of_a_cell(by_stocks: list[dict[str, Any]]) -> tuple[float, float]:
    """Processor seconds and bytes that one more security-session costs, between the two largest numbers of stocks."""
    a, b = by_stocks[-2:]
    more = b["securities"] * b["sessions"] - a["securities"] * a["sessions"]
    return (b["processor"] - a["processor"]) / more, (b["bytes"] - a["bytes"]) / more


def chunks(securities: int, sessions: int) -> int:
    """Objects of the data variables when every chunk has a value: of the stores with securities, for one factor set."""
    found = 0
    for spec in catalog().values():
        for variable in spec.variables if "symbol" in spec.axes else ():
            shape = (sessions, securities, len(spec.levels))[: len(variable.dims)]
            found += math.prod(ChunkedArray.declared(variable, shape).grid)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stocks", type=int, nargs="+", default=[300, 900, 2700])
    parser.add_argument("--years", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--last", type=int, default=2025)
    parser.add_argument("--keep", type=Path, help="directory for the tables and roots, which then stay")
    given = parser.parse_args()
    stocks, years = sorted(given.stocks), sorted(given.years)
    middle = stocks[len(stocks) // 2], years[len(years) // 2]
    with tempfile.TemporaryDirectory() as temporary:
        base = given.keep or Path(temporary)
        base.mkdir(parents=True, exist_ok=True)
        found = {
            size: backfilled(base, *size, given.last)
            for size in sorted({*((n, middle[1]) for n in stocks), *((middle[0], y) for y in years)})
        }
        print("| securities | years | processor s | without start | kernels | peak GB | objects | MB |")
        print("|---|---|---|---|---|---|---|---|")
        print("\n".join(map(row, found.values())), flush=True)
        by_stocks, by_years = [found[n, middle[1]] for n in stocks], [found[middle[0], y] for y in years]
        print("\n".join(slopes(by_stocks, by_years)))
        seconds, size = cost_of_a_cell(by_stocks)
        print(f"one more security-session: {seconds * 1e6:.1f} us of processor, {size:.0f} bytes")
        for securities, over in SAID:
            cells = securities * over * 252
            print(
                f"{securities:,} x {over}: {cells * seconds / 3600:.1f} processor hours, {cells * size / 1e9:.0f} GB, "
                f"{chunks(securities, over * 252):,} chunks"
            )
        for n in stocks[-2:]:
            one = on_workers(base, n, years[0], given.last)
            print(
                f"two workers, {one['securities']:,} securities, {years[0]} years: worker "
                f"{one['worker'] / 1e6:.0f} MB, run {one['peak'] / 1e6:.0f} MB, "
                f"{one['passed']:,} bytes passed the scheduler",
                flush=True,
            )


if __name__ == "__main__":
    main()
