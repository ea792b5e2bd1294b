"""`erm3 practice`: a vendor, a backfill and three nights, on this machine and in a minute."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import out, settings_of

if TYPE_CHECKING:
    from pipeline.fake_vendor.server import FakeVendor
    from pipeline.settings import Settings

FIRST, LAST = "2021-07-01", "2022-09-30"
HISTORY_ENDS = 279
"""Session (counted from the first) through which the first history goes: the next one brings a rename."""
NIGHTS = (280, 283, 284)
"""Sessions on whose mornings after a night is run: two are missed between, and 283 brings a split that comes late."""
KEY = "practice"


def practice(
    root: Annotated[str, typer.Option(help="Directory to begin anew; it must not exist yet.")] = "data/practice",
) -> None:
    """Serve a fake vendor, fetch and publish a history, run three nights: a rename, a 429, two days off, a late split.

    Ends with what was asked, kept and published. Everything goes over HTTP on the loopback, as it would with a key.
    """
    from pipeline.calendar import xnys
    from pipeline.cli.nightly import tell
    from pipeline.engine import operations
    from pipeline.engine.night import nightly
    from pipeline.fake_vendor.market import FakeMarket
    from pipeline.fake_vendor.server import FakeVendor, serve
    from pipeline.landing.clock import SteppedClock
    from pipeline.settings import SimulatedMarket
    from pipeline.vendors.contract import BACKFILL, Need
    from pipeline.vendors.fetching import fetch

    if Path(root).exists():
        raise typer.BadParameter(f"{root} exists; name another directory, or remove it")
    market = SimulatedMarket(stocks=32, first_session=FIRST, last_session=LAST)
    calendar = xnys()
    begin = calendar.ordinal(FIRST)
    end = calendar.sessions[begin + HISTORY_ENDS].item()
    clock = SteppedClock(_morning_after(end))
    vendor = FakeVendor(FakeMarket(market), clock.now(), token=KEY)
    server = serve(vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = _settings(root, f"http://127.0.0.1:{server.server_address[1]}")
    environment = {"ERM3_EODHD_TOKEN": KEY}
    out.print(f"A fake vendor at {settings.fetching.urls['eodhd']}; it is the morning after {end} there.\n")
    for name, done in fetch(settings, Need(BACKFILL, date.fromisoformat(FIRST), end), clock, environment).items():
        out.print(f"history from {name}: {done.requests:,} requests, {done.units:,} units, {done.bytes:,} bytes")
    for outcome in operations.backfill(settings, calendar.sessions[begin + 253].item(), end):
        if outcome.publication is not None:
            out.print(f"published {outcome.publication.publication}")
    vendor.late = {"TEXA": 2}  # its 1:8
    vendor.faults.set([{"match": "/eod-bulk-last-day", "fault": "429", "argument": 2}])
    for session in (calendar.sessions[begin + number] for number in NIGHTS):
        vendor.now = _morning_after(session.item())
        clock.set(vendor.now)
        out.print(f"\nThe morning after {session}:")
        tell(nightly(settings, clock, environment))
    server.shutdown()
    _picture(settings, vendor)


def _settings(root: str, url: str) -> Settings:
    return settings_of(
        root=root,
        sources=("eodhd", "edgar"),
        factor_sets=("SPY_uni_mc_500",),
        fetching={"urls": {"eodhd": f"{url}/api", "edgar": url}, "contact": "Practice practice@example.com"},
    )


def _morning_after(session: date) -> datetime:
    return datetime.combine(session + timedelta(days=1), time(9, 20), UTC)


def _picture(settings: Settings, vendor: FakeVendor) -> None:
    """What was asked, kept and published, a line for each batch."""
    from pipeline.landing.zone import LandingZone
    from pipeline.read import history

    zone = LandingZone(settings.raw_root)
    batches: dict[str, Counter[str]] = {}
    for line in zone.lines():
        batches.setdefault(line.batch_id, Counter())[line.answer.value] += 1
    widest = max(sum(counts.values()) for counts in batches.values())
    out.print("\nasked, and what came back")
    for batch, counts in batches.items():
        bar = "#" * max(1, round(30 * sum(counts.values()) / widest))
        out.print(f"  {batch:<28} {bar:<30} {', '.join(f'{kind} {n}' for kind, n in sorted(counts.items()))}")
    bodies = list(Path(settings.raw_root).rglob("*.gz"))
    kept = sum(path.stat().st_size for path in bodies)
    out.print(f"kept: {len(bodies):,} bodies, {kept:,} bytes compressed, in {settings.raw_root}")
    out.print(f"the vendor counted {len(vendor.log):,} requests, {sum(vendor.used.values()):,} units")
    out.print("published")
    for row in history(settings.root).itertuples(index=False):
        out.print(f"  {row.publication}")
    out.print(f"\nLook around: erm3 raw list --root {settings.root}; erm3 raw verify --root {settings.root}")
