"""The price of a night's delivery: requests, units, bytes, and what fetching and reading it takes of the processor.

    python -m tests.bench.night [--stocks 3000] [--first 2021-07-01]

Serves a fake vendor of so many names, fetches a history, and then measures one night in a process of its own, as
`erm3 nightly` has it: fetch, and the tables of everything landed. Once with the documents that earlier processes had
parsed, and once without.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.calendar import xnys
from pipeline.fake_vendor.market import FakeMarket
from pipeline.landing.clock import SteppedClock
from pipeline.settings import Settings, SimulatedMarket
from pipeline.vendors.contract import BACKFILL, NIGHT, Need
from pipeline.vendors.fetching import fetch
from pipeline.vendors.layers import LandedSource
from tests.bench.measured import peak
from tests.vendors.practice import TOKEN, morning_after, practice

SESSIONS = 300
"""Of the history; the night is the session after."""


def measured(work: dict[str, Any]) -> dict[str, Any]:
    """Fetch, or only read, in this process: what it took."""
    settings = Settings(**work["settings"])
    clock = SteppedClock(dt.datetime.fromisoformat(work["now"]))
    start, end = (dt.date.fromisoformat(work[name]) for name in ("start", "end"))
    began = time.process_time()
    reports = fetch(settings, Need(work["kind"], start, end), clock, {"ERM3_EODHD_TOKEN": TOKEN})
    fetched = time.process_time()
    tables = LandedSource(settings).load()
    return {
        "requests": sum(report.requests for report in reports.values()),
        "units": sum(report.units for report in reports.values()),
        "bytes": sum(report.bytes for report in reports.values()),
        "failed": sum(len(report.failed) for report in reports.values()),
        "fetch": fetched - began,
        "read": time.process_time() - fetched,
        "peak": peak() / 2**20,
        "bars": len(tables.prices),
        "names": tables.prices["vendor_code"].nunique(),
    }


def in_a_process(work: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.night", "--work", json.dumps(work)], check=True, capture_output=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def told(name: str, found: dict[str, Any]) -> str:
    return (
        f"| {name} | {found['requests']:,} | {found['units']:,} | {found['bytes'] / 1e6:,.1f} | {found['fetch']:.1f} | "
        f"{found['read']:.1f} | {found['peak']:,.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stocks", type=int, default=3000)
    parser.add_argument("--first", default="2021-07-01")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        print(json.dumps(measured(json.loads(asked.work))))
        return
    calendar = xnys()
    begin = calendar.ordinal(asked.first)
    last, night = (calendar.sessions[begin + asked.sessions - 1 + k].item() for k in (0, 1))
    horizon = str(calendar.sessions[begin + asked.sessions + 9])
    market = FakeMarket(SimulatedMarket(stocks=asked.stocks, first_session=asked.first, last_session=horizon))
    place = Path(tempfile.mkdtemp(prefix="night-"))
    layers: dict[str, Any] = {"sources": ("eodhd", "edgar"), "factor_sets": ("SPY_uni_mc_3000",)}
    rows = []
    with practice(place / "root", morning_after(last), market, **layers) as vendor:
        given = {"settings": vendor.settings.model_dump(mode="json", exclude={"rules"}), "end": str(last)}
        work = given | {"kind": BACKFILL, "start": asked.first, "now": vendor.clock.now().isoformat()}
        rows.append(told("first history", history := in_a_process(work)))
        vendor.at(morning_after(night))
        work |= {"kind": NIGHT, "start": str(night), "end": str(night), "now": vendor.clock.now().isoformat()}
        rows.append(told("a night", in_a_process(work)))
        shutil.rmtree(Path(vendor.settings.raw_root) / "parsed")
        rows.append(told("the same again, nothing parsed before", in_a_process(work)))
    print(f"{history['names']:,} names, {history['bars']:,} bars")
    print("| | requests | units | MB | fetch, CPU s | tables, CPU s | peak MB |\n|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
