"""A fetch: rounds of plan and answers until nothing is left to ask. The only user of the network below the commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.landing.clock import Clock, stamp
from pipeline.landing.fetcher import Access, Fetcher, FetchReport
from pipeline.landing.ledger import Ledger, Quota
from pipeline.landing.requests import FetchError
from pipeline.landing.zone import LandingZone
from pipeline.settings import Settings
from pipeline.vendors.contract import NIGHT, Below, Need, Vendor
from pipeline.vendors.layers import first_tables, frames_of, landed, machine_place, open_vendor

LEDGER_FILE = "ledger.sqlite"
ROUNDS = 12
"""A plan that still asks after so many rounds asks in a circle."""


def ledger_of(settings: Settings) -> Ledger:
    """The ledger of this machine: beside a local landing zone, else in the home directory."""
    return Ledger(machine_place(settings) / LEDGER_FILE)


def units_left(settings: Settings, name: str, clock: Clock) -> int | None:
    """Units of a vendor that this machine's ledger still has for today; None where it has none to count."""
    units = settings.fetching.units.get(name, open_vendor(name).units)
    return None if units is None else max(units - ledger_of(settings).used(name, clock.now()), 0)


def fetch(
    settings: Settings,
    need: Need,
    clock: Clock,
    environment: Mapping[str, str],
    *,
    offline: bool = False,
    zone: LandingZone | None = None,
    only: str | None = None,
) -> dict[str, FetchReport]:
    """Ask every layer for what the need lacks. By vendor, what was done.

    Raises FetchError before anything is asked when a key or a contact is missing, and NotLanded offline.
    """
    zone = zone or LandingZone(settings.raw_root)
    access = {
        name: Access(name, "", Quota(0)) if offline else open_vendor(name).access(settings, environment)
        for name in settings.layers
        if only in (None, name)
    }
    ledger = ledger_of(settings)
    need = replace(need, since=stamp(clock.now()))
    reports: dict[str, FetchReport] = {}
    below: Below = None
    for name, way in access.items():
        vendor, report = open_vendor(name), FetchReport()
        fetcher = Fetcher(zone, ledger, way, clock, need.batch_id, night=need.kind == NIGHT, offline=offline)
        reports[name] = report
        if not offline:
            _reconcile(vendor, fetcher, report)
            if report.stopped:
                break
        if name != settings.layers[0]:
            below = _below(settings, zone)
        for _ in range(ROUNDS):
            bundles = vendor.plan(need, landed(settings, name, zone), settings, below)
            bundles = [bundle for bundle in bundles if any(fetcher.unasked(request) for request in bundle)]
            if not bundles:
                break
            report.add(fetcher.fetch(bundles))
            if report.stopped:
                break
        else:
            raise FetchError(f"the plan of {name} for {need.batch_id} does not end; report it, with `erm3 raw stat`")
        if report.stopped:
            break
    return reports


def _reconcile(vendor: Vendor, fetcher: Fetcher, report: FetchReport) -> None:
    """Ask the vendor, once a day in a batch, what was spent: other machines have the same key. No answer is no harm."""
    asked = vendor.usage()
    if asked is None:
        return
    request, read = asked
    today = stamp(fetcher.clock.now())[:10]
    lines = fetcher.zone.lines(source=vendor.name)
    own = [line for line in lines if (line.request_key, line.batch_id) == (request.key, fetcher.batch_id)]
    if any(line.received_at[:10] == today for line in own):
        return
    request = replace(request, nth=1 + len(own))
    report.add(fetcher.fetch([[request]]))
    line = fetcher.done(request)
    try:
        spent = read(fetcher.zone.body(line)) if line is not None else None
    except ValueError:
        return
    if spent is None:
        return
    if spent.day == today:
        fetcher.ledger.reconcile(vendor.name, spent.used, fetcher.clock.now())
    if spent.limit:
        fetcher.limit(spent.limit)


def _below(settings: Settings, zone: LandingZone) -> Below:
    """The tables of the layer with the prices."""
    first = settings.layers[0]
    return frames_of(first_tables(settings, landed(settings, first, zone)))
