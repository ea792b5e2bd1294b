"""`erm3 raw`: what vendors answered, kept byte for byte. `erm3 fetch`: ask them. `erm3 fake-vendor`: a practice one."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.console import DAY, INSTANT, AsJson, Root, SourceName, commands, out, print_json, settings_of

if TYPE_CHECKING:
    from pipeline.landing.requests import Line
    from pipeline.landing.zone import LandingZone

app = commands("""What vendors answered: every request with its answer, kept byte for byte (docs/vendors.md).""")
Raw = Annotated[str | None, typer.Option("--raw", help="The landing zone; `raw` under the root by default.")]
Of = Annotated[str | None, typer.Option("--source", help="Only this vendor.")]


def _zone(root: str | None, raw: str | None) -> LandingZone:
    """The landing zone. Raises NotLanded where nothing was ever landed."""
    from pipeline.landing.requests import NotLanded
    from pipeline.landing.zone import MANIFEST, LandingZone

    zone = LandingZone(settings_of(root=root, raw=raw).raw_root)
    if not zone.objects.children(MANIFEST):
        raise NotLanded(f"no answer of a vendor was ever kept in {zone.objects.url}; `erm3 fetch` asks for a history")
    return zone


def _row(line: Line) -> str:
    size = f"{line.bytes:,}" if line.object else "-"
    note = f"  {line.note}" if line.note else ""
    return f"{line.received_at[:19]}  {line.answer:<13} {size:>12}  {line.sha256[:10]:<10}  {line.request_key}{note}"


@app.command("list")
def list_lines(
    match: Annotated[str, typer.Argument(help="Part of a request, e.g. `eod/AAPL`; all without it.")] = "",
    source: Of = None,
    batch: Annotated[str | None, typer.Option(help="Only this batch, e.g. night-20261030.")] = None,
    answer: Annotated[
        str | None, typer.Option("--class", help="Only answers of this class, e.g. SUSPECT_EMPTY.")
    ] = None,
    known_as_of: Annotated[datetime | None, typer.Option(formats=INSTANT, help="Received by this UTC instant.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The last so many.")] = 50,
    as_json: AsJson = False,
    root: Root = None,
    raw: Raw = None,
) -> None:
    """Requests with what came back, the latest last."""
    cut = known_as_of.replace(tzinfo=UTC) if known_as_of else None
    lines = [
        line
        for line in _zone(root, raw).lines(cut, source)
        if match in line.request_key and batch in (None, line.batch_id) and answer in (None, line.answer.value)
    ]
    if as_json:
        print_json([json.loads(line.to_json()) for line in lines[-limit:]])
        return
    for line in lines[-limit:]:
        out.print(_row(line))
    out.print(f"{len(lines):,} requests" + (f", the last {limit} shown" if len(lines) > limit else ""))


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="A request as `list` prints it, or the first digits of a digest.")],
    shape: Annotated[bool, typer.Option("--shape", help="Key paths and types of the body instead.")] = False,
    root: Root = None,
    raw: Raw = None,
) -> None:
    """The manifest line of the latest answer, and its body."""
    from pipeline.landing.requests import NotLanded
    from pipeline.landing.shape import shape_of_body

    zone = _zone(root, raw)
    found = [
        line for line in zone.lines() if line.request_key == what or (line.sha256 and line.sha256.startswith(what))
    ]
    if not found:
        raise NotLanded(f"{zone.objects.url} has no answer to {what!r}; `erm3 raw list` shows what there is")
    line = found[-1]
    out.print(json.dumps(json.loads(line.to_json()), indent=2))
    if not line.object:
        out.print("No body came back.")
        return
    body = zone.body(line)
    out.print("\n".join(shape_of_body(body)) if shape else body.decode("utf-8", "replace"))


@app.command()
def verify(root: Root = None, raw: Raw = None) -> None:
    """Read every body and compare it with its digest; exit status 1 when one is lost or changed."""
    zone = _zone(root, raw)
    problems, orphans = zone.verify()
    for problem in problems:
        out.print(problem)
    if orphans:
        out.print(f"{len(orphans)} bodies have no line: a fetch was cut off between the two. They harm nobody.")
    out.print(f"{len(zone.lines()):,} lines; {len(problems)} problems in {zone.objects.url}")
    raise typer.Exit(1 if problems else 0)


@app.command()
def stat(source: Of = None, as_json: AsJson = False, root: Root = None, raw: Raw = None) -> None:
    """By batch: attempts, classes of answers, bytes, first and last receipt."""
    zone = _zone(root, raw)
    batches: dict[str, list[Line]] = {}
    for line in zone.lines(source=source):
        batches.setdefault(f"{line.source} {line.batch_id}", []).append(line)
    rows = [_batch(name, lines) for name, lines in batches.items()]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        classes = ", ".join(f"{kind} {count:,}" for kind, count in sorted(row["classes"].items()))
        size = f"{row['attempts']:>6,} attempts {row['bytes']:>14,} bytes"
        out.print(f"{row['batch']:<28} {row['first']} to {row['last']}  {size}  {classes}")


def _batch(name: str, lines: list[Line]) -> dict[str, Any]:
    return {
        "batch": name,
        "attempts": len(lines),
        "bytes": sum(line.bytes for line in lines),
        "classes": dict(Counter(line.answer.value for line in lines)),
        "first": lines[0].received_at[:19],
        "last": lines[-1].received_at[:19],
    }


def fetch(
    start: Annotated[datetime, typer.Option(formats=DAY, help="First session of the history.")],
    end: Annotated[datetime, typer.Option(formats=DAY, help="Last session of the history.")],
    source: SourceName = None,
    root: Root = None,
    raw: Raw = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nobody; an answer that is not landed is an error.")
    ] = False,
) -> None:
    """Ask the vendors for a first history. Interrupted, or at the day's quota, the same command goes on later.

    Nothing is computed: `erm3 backfill` reads what was landed. Exit status 3 when it is incomplete and resumable.
    """
    from pipeline.landing.clock import RunningClock
    from pipeline.vendors.contract import BACKFILL, Need
    from pipeline.vendors.fetching import fetch as fetch_all

    settings = settings_of(source=source, root=root, raw=raw)
    if not settings.fetched:
        raise typer.BadParameter("only vendors are fetched; set --source eodhd, or `sources` in erm3.toml")
    need = Need(BACKFILL, start.date(), end.date())
    reports = fetch_all(settings, need, RunningClock(datetime.now(UTC)), os.environ, offline=offline)
    stopped = False
    for name, report in reports.items():
        classes = ", ".join(f"{kind} {count:,}" for kind, count in sorted(report.classes.items()))
        done = f"{report.requests:,} requests, {report.units:,} units, {report.bytes:,} bytes"
        out.print(f"{name}: {done}; {classes or 'all landed'}")
        for key, why in list(report.failed.items())[:20]:
            out.print(f"  {key}: {why}")
        for shape in report.new_shapes:
            out.print(f"  a new shape: {shape}")
        if report.stopped:
            out.print(f"  stopped: {report.stopped}")
            stopped = True
    raise typer.Exit(3 if stopped else 0)


def fake_vendor(
    now: Annotated[datetime, typer.Option(formats=INSTANT, help="The vendor's clock, UTC.")],
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    faults: Annotated[str | None, typer.Option(help="A JSON file with planned faults (docs/vendors.md).")] = None,
    token: Annotated[str, typer.Option(help="The key that it accepts.")] = "practice",
) -> None:
    """Serve a practice vendor on the loopback, made from the simulated market (ERM3_SIMULATED__*).

    Its clock stands until it is set: POST /__clock. GET /__log says what was asked.
    """
    from pathlib import Path

    from pipeline.fake_vendor.faults import FaultPlan
    from pipeline.fake_vendor.market import FakeMarket
    from pipeline.fake_vendor.server import FakeVendor, serve

    settings = settings_of()
    plan = FaultPlan()
    if faults:
        try:
            plan.set(json.loads(Path(faults).read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise typer.BadParameter(f"{faults} is no list of faults: {error}", param_hint="--faults") from None
    vendor = FakeVendor(FakeMarket(settings.simulated), now.replace(tzinfo=UTC), token=token, faults=plan)
    server = serve(vendor, port)
    out.print(
        f"serving http://127.0.0.1:{server.server_address[1]}/api, clock {vendor.now:%Y-%m-%dT%H:%M:%SZ}, key {token}"
    )
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.shutdown()
