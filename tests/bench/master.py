"""The price of a security master: generated `files` tables of any size, `erm3 security build` on them, and its growth.

    python -m tests.bench.master [--securities 30000]

Prints CPU seconds of loading, cleaning, the first build and one on top of it, for the size asked for and its half and
quarter; the slope in log-log is 1 where the cost is linear.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.market_data.cleaning import clean_events
from pipeline.market_data.delivery import master_tables
from pipeline.settings import CleaningRules
from pipeline.sources import FilesSource
from security_master import build_master
from security_master.taxonomy import shipped

LETTERS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
STEPS = ("load", "clean", "build", "build again")


def ticker(k: int) -> str:
    """The k-th four-letter ticker."""
    return "".join(LETTERS[k // 26**power % 26] for power in (3, 2, 1, 0))


def write_tables(directory: Path, n: int, seed: int = 1) -> dict[str, int]:
    """A `files` directory of n listings, 2006 to 2025; rows by table.

    Half of them end. One in six takes the ticker of a dead one and one in twenty its vendor code too; one in four
    changes its ticker, one in three splits; each files its shares every quarter and has one class or two.
    """
    random = np.random.default_rng(seed)
    days = xnys().between("2006-01-03", "2025-12-31")
    first = np.sort(random.integers(0, len(days) - 300, n))
    first[: n // 5] = 0
    last = np.where(random.random(n) < 0.5, first + random.integers(60, 3000, n), len(days))
    dead = last < len(days) - 1
    name = [ticker(k) for k in range(n)]
    code = [f"{t}.US" for t in name]
    heirs = 0
    gone = [int(k) for k in np.argsort(last) if dead[k]]
    for k in range(n):
        if random.random() < 1 / 6 and gone and last[gone[0]] + 30 < first[k]:
            before = gone.pop(0)
            name[k] = name[before]
            heirs += 1
            if heirs % 3 == 0:
                code[k] = code[before]
    number = np.arange(n)
    frames: dict[str, pd.DataFrame] = {}
    frames["securities"] = pd.DataFrame(
        {
            "vendor_code": code,
            "ticker": name,
            "name": [f"Company {k}" for k in number],
            "type": np.where(number % 9 == 0, "etf", np.where(number % 11 == 0, "reit", "common")),
            "exchange": np.where(number % 2 == 0, "NYSE", "NASDAQ"),
            "first_session": days[first],
            "last_session": np.where(dead, days[np.minimum(last, len(days) - 1)], np.datetime64("NaT")),
            "share_class_figi": [f"BBG{k:09d}" if k % 4 else "" for k in number],
            "cusip": [f"{k:09d}" if k % 3 else "" for k in number],
            "cik": [str(1_000_000 + k) for k in number],
        }
    )
    shared = frames["securities"]["vendor_code"].duplicated(keep=False).to_numpy()
    held = np.where(dead, last, len(days) - 1) - first
    renamed = np.flatnonzero((random.random(n) < 0.25) & ~shared & (held > 200))
    frames["ticker_changes"] = pd.DataFrame(
        {
            "vendor_code": [code[k] for k in renamed],
            "effective_date": days[first[renamed] + held[renamed] // 2],
            "old_ticker": [f"{name[k]}Q" for k in renamed],
            "new_ticker": [name[k] for k in renamed],
        }
    )
    split = np.flatnonzero((random.random(n) < 0.33) & (held > 100))
    frames["splits"] = pd.DataFrame(
        {
            "vendor_code": [code[k] for k in split],
            "ex_date": days[first[split] + held[split] // 3],
            "ratio_new": 2,
            "ratio_old": 1,
        }
    )
    ended = np.flatnonzero(dead)
    frames["delistings"] = pd.DataFrame(
        {
            "vendor_code": [code[k] for k in ended],
            "last_session": days[last[ended]],
            "reason": np.where(ended % 2 == 0, "merger", "exchange_drop"),
        }
    )
    quarters = held // 63
    of = np.repeat(number, quarters)
    quarter = np.arange(len(of)) - np.repeat(np.cumsum(quarters) - quarters, quarters)
    period = days[first[of] + quarter * 63]
    frames["shares"] = pd.DataFrame(
        {
            "vendor_code": np.array(code, object)[of],
            "period_end": period,
            "filed_at": period + np.timedelta64(40, "D"),
            "shares": 1e7 + of * 100.0 + quarter,
        }
    )
    industries = shipped("taxonomy")["fs_industry_code"].to_numpy(object)
    moved = np.flatnonzero(held > 500)
    frames["classification"] = pd.DataFrame(
        {
            "vendor_code": [code[k] for k in (*number, *moved)],
            "valid_from": np.concatenate([days[first], days[first[moved] + 300]]),
            "fs_industry_code": industries[np.concatenate([number, moved + 7]) % len(industries)],
        }
    )
    frames["prices"] = pd.DataFrame(
        {
            "vendor_code": code * 2,
            "date": np.concatenate([days[first], days[np.minimum(last, len(days) - 1)]]),
            "close": 20.0,
        }
    )
    for table, frame in frames.items():
        for column in frame.select_dtypes("datetime").columns:
            frame[column] = pd.Series(frame[column].dt.strftime("%Y-%m-%d"), dtype="str")
        frame.to_parquet(directory / f"{table}.parquet", index=False)
    return {table: len(frame) for table, frame in frames.items()}


def timed(seconds: dict[str, float], step: str, work: Callable[[], Any]) -> Any:
    began = time.process_time()
    done = work()
    seconds[step] = time.process_time() - began
    return done


def measure(directory: Path, n: int) -> dict[str, float]:
    """CPU seconds by step, of this process; the master is left in the directory."""
    rows = write_tables(directory, n)
    seconds: dict[str, float] = {}
    tables = timed(seconds, "load", lambda: FilesSource(directory).load())
    tables = timed(seconds, "clean", lambda: clean_events(tables, CleaningRules()))
    path = directory / "security_master.sqlite"
    frames = master_tables(tables)
    first = timed(seconds, "build", lambda: build_master(path, frames, batch_id="first"))
    again = timed(seconds, "build again", lambda: build_master(path, frames, batch_id="second", previous=path))
    assert again.build_id == first.build_id
    assert n * 0.95 <= len(first.minted) + len(first.open_questions) <= n * 1.05, (len(first.minted), n)
    return seconds | {"rows": sum(rows.values()), "megabytes": path.stat().st_size / 2**20}


def slope(sizes: list[int], seconds: list[float] | NDArray[np.float64]) -> float:
    """Of the cost against the size in log-log."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--securities", type=int, default=30_000)
    asked = arguments.parse_args().securities
    sizes = [asked // 4, asked // 2, asked]
    found = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as directory:
            found.append(measure(Path(directory), n))
    print("| securities | rows | " + " | ".join(STEPS) + " | master |")
    print("|---|---|" + "---|" * len(STEPS) + "---|")
    for n, row in zip(sizes, found, strict=True):
        steps = " | ".join(f"{row[step]:.1f} s" for step in STEPS)
        print(f"| {n:,} | {row['rows']:,.0f} | {steps} | {row['megabytes']:.0f} MB |")
    slopes = " | ".join(f"{slope(sizes, [row[step] for row in found]):.2f}" for step in STEPS)
    print(f"| slope | | {slopes} | |")


if __name__ == "__main__":
    main()
