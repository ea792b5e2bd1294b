"""A night: which sessions are due, wait for each delivery, compute, publish, report. Nothing of it needs a person.

A session is published when its delivery is whole, and never before: half a delivery publishes nothing, and the report
says what is missing. A delivery that comes after the session's knowledge instant moves that instant to its receipt,
which the publication declares (`restated_as_of` of its record), so that a late night leaves no holes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from pipeline.calendar import xnys
from pipeline.engine import execution
from pipeline.engine.due import due_at, why_nothing
from pipeline.engine.operations import published_range
from pipeline.engine.run import Progress, bars_from, silent
from pipeline.engine.step_findings import Told
from pipeline.landing.clock import Clock, stamp
from pipeline.landing.fetcher import follow_up
from pipeline.landing.zone import LandingZone
from pipeline.market_data.delivery import Delivery
from pipeline.quality.decisions import accepted_sessions, how_to_accept
from pipeline.quality.deliveries import listed
from pipeline.settings import Settings
from pipeline.sources import Source, SourceTables
from pipeline.vendors.contract import NIGHT, Need, reject_lines
from pipeline.vendors.fetching import fetch
from pipeline.vendors.layers import LandedSource, landed, late_deliveries, open_source, open_vendor
from security_master.errors import ExplainedError


@dataclass
class SessionReport:
    """One due session.

    missing: why it was not published. late: the receipt that its knowledge instant moved to. seconds: by phase.
    findings: what the rules found; None where nothing was computed.
    """

    session: str
    publication: str | None = None
    missing: list[str] = field(default_factory=list)
    late: str | None = None
    waited_minutes: float = 0.0
    requests: int = 0
    attempts: int = 0
    units: int = 0
    bytes: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    retried: dict[str, str] = field(default_factory=dict)
    new_shapes: list[str] = field(default_factory=list)
    rejects: list[str] = field(default_factory=list)
    rows: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    findings: Told | None = None


@dataclass
class NightReport:
    """What a night did. words: why there was nothing to do, or how it ended."""

    started: str
    words: str = ""
    sessions: list[SessionReport] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)


class GaveUp(ExplainedError, RuntimeError):
    """A delivery was not whole by the deadline, or cannot be asked for. Nothing of it was published."""


class Deliveries(Protocol):
    """Where a night's tables come from."""

    def ask(self, session: date, report: SessionReport) -> list[str]:
        """Get what there is by now; why it is not whole, [] when it is."""
        ...

    def source(self, report: SessionReport) -> Source:
        """The tables, of a whole delivery."""
        ...

    def late(self, session: date) -> np.datetime64 | None: ...


class Fetched:
    """Deliveries of vendors."""

    def __init__(self, settings: Settings, clock: Clock, environment: Mapping[str, str]) -> None:
        self.settings, self.clock, self.environment = settings, clock, environment
        self.zone = LandingZone(settings.raw_root)

    def ask(self, session: date, report: SessionReport) -> list[str]:
        need = Need(NIGHT, session, session)
        found = fetch(self.settings, need, self.clock, self.environment, zone=self.zone)
        stopped, refused = [], []
        for name, done in found.items():
            report.requests += done.requests
            report.attempts += done.attempts
            report.units += done.units
            report.bytes += done.bytes
            follow_up(report.failed, report.retried, done)
            report.new_shapes += [f"{name}: {shape}" for shape in done.new_shapes]
            for kind, count in done.classes.items():
                report.classes[kind] = report.classes.get(kind, 0) + count
            stopped += [done.stopped] * bool(done.stopped)
            refused += [done.stopped] * done.refused
        if refused:
            raise GaveUp(f"the delivery of {session} cannot be asked for, and nothing was published: {refused[0]}")
        first = self.settings.layers[0]
        missing = open_vendor(first).missing(session, landed(self.settings, first, self.zone), self.settings)
        return [*missing, *stopped]

    def source(self, report: SessionReport) -> Source:
        session = date.fromisoformat(report.session)
        source = LandedSource(self.settings, zone=self.zone)
        tables = source.load()
        batch = Need(NIGHT, session, session).batch_id
        report.rejects = [line for rejects in source.rejects.values() for line in reject_lines(rejects, batch)]
        report.rows = {table: origin.file for table, origin in tables.origins.items()}
        return _Loaded(source.name, tables)

    def late(self, session: date) -> np.datetime64 | None:
        day = np.datetime64(session, "D")
        return late_deliveries(self.settings, [day], self.zone).get(day)


class Laid:
    """Deliveries that somebody lays into a directory, or that are simulated."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._tables: SourceTables | None = None

    def ask(self, session: date, report: SessionReport) -> list[str]:
        self._tables = open_source(self.settings, self._since(session)).load()
        why = lacking(self._tables, session, self.settings)
        return [why] if why and session not in accepted_sessions(self.settings.root) else []

    def _since(self, session: date) -> np.datetime64 | None:
        """Day from which on the session's run needs all bars; None before anything is published."""
        published = published_range(self.settings)
        if published is None:
            return None
        return bars_from(self.settings, xnys().ordinal(session), xnys().ordinal(published[0]))

    def source(self, report: SessionReport) -> Source:
        assert self._tables is not None  # `ask` came first
        return _Loaded(self.settings.source, self._tables)

    def late(self, session: date) -> np.datetime64 | None:
        return None


@dataclass(frozen=True)
class _Loaded:
    """A source whose tables are read."""

    name: str
    tables: SourceTables

    def load(self) -> SourceTables:
        return self.tables


def lacking(tables: SourceTables, session: date, settings: Settings) -> str:
    """Why the prices of a session are not whole against the session before; "" when they are."""
    calendar = xnys()
    day = np.datetime64(session, "s")
    before = calendar.sessions[calendar.ordinal(session) - 1].astype("datetime64[s]")
    dates = tables.prices["date"].to_numpy()
    codes = tables.prices["vendor_code"]
    now, then = set(codes[dates == day]), set(codes[dates == before])
    ended = pd.Timestamp(session)
    gone = tables.securities["last_session"] < ended
    then -= set(tables.securities.loc[gone, "vendor_code"])
    if not now:
        return f"no prices of {session} were delivered"
    share = len(now & then) / max(len(then), 1)
    if then and share < settings.fetching.coverage:
        listings = tables.securities.drop_duplicates("vendor_code", keep="last").set_index("vendor_code")["ticker"]
        absent = [str(listings[code]) for code in sorted(then - now)]
        return (
            f"prices of {session}: {share:.1%} of the {len(then):,} names of the session before, expected "
            f"{settings.fetching.coverage:.0%}; without one: {listed(absent)}. {how_to_accept(session)}"
        )
    return ""


def nightly(
    settings: Settings, clock: Clock, environment: Mapping[str, str], progress: Progress = silent
) -> NightReport:
    """Publish every session that is due, in order. Raises GaveUp at the deadline, and what a run raises.

    Nothing is done on a holiday, or when another night of this machine is at work; the report says so.
    """
    report = NightReport(stamp(clock.now()))
    due = due_at(settings, clock.now())
    if not due.missing:
        why = why_nothing(settings, clock.now(), due)
        report.words = f"{why} Everything is published through {due.published}."
        return report
    try:
        with _alone(settings):
            return _publish_due(settings, clock, environment, progress, report)
    except Timeout:
        report.words = "Another night is at work on this machine; nothing was done."
        return report


def _publish_due(
    settings: Settings, clock: Clock, environment: Mapping[str, str], progress: Progress, report: NightReport
) -> NightReport:
    deliveries: Deliveries = Fetched(settings, clock, environment) if settings.fetched else Laid(settings)
    deadline = clock.now() + timedelta(minutes=settings.fetching.deadline_minutes)
    try:
        for session in due_at(settings, clock.now()).missing:
            told = SessionReport(str(session))
            report.sessions.append(told)
            began = time.perf_counter()
            _wait(deliveries, session, told, clock, settings, deadline)
            told.seconds = {"wait for the delivery": time.perf_counter() - began}
            source = Delivery.of(settings, deliveries.source(told))
            late = deliveries.late(session)
            told.late = None if late is None else str(late)
            outcome = execution.execute(settings, session, session, None, progress, source, late)
            told.seconds |= outcome.seconds
            told.findings = outcome.findings
            told.publication = outcome.publication.publication if outcome.publication else None
        report.words = f"Published through {report.sessions[-1].session}."
    except BaseException as error:
        report.words = f"{type(error).__name__}: {error}"
        raise
    finally:
        keep(settings, report, clock.now())
    return report


def _wait(
    deliveries: Deliveries,
    session: date,
    told: SessionReport,
    clock: Clock,
    settings: Settings,
    deadline: datetime,
) -> None:
    """Ask until the delivery is whole. Raises GaveUp at the deadline."""
    began = clock.now()
    pause = settings.fetching.poll_minutes * 60
    while True:
        told.missing = deliveries.ask(session, told)
        told.waited_minutes = round((clock.now() - began).total_seconds() / 60, 1)
        if not told.missing:
            return
        if clock.now() + timedelta(seconds=pause) > deadline:
            failed = "; ".join(f"{key}: {why}" for key, why in list(told.failed.items())[:5])
            raise GaveUp(
                f"the delivery of {session} is not whole after {settings.fetching.deadline_minutes:g} minutes, and "
                f"nothing of it was published: {'; '.join(told.missing)}"
                + (f". Requests that failed: {failed}" if failed else "")
                + ". The next night catches up; `erm3 raw list` shows what came"
            )
        clock.sleep(pause)


def keep(settings: Settings, report: NightReport, now: datetime) -> None:
    """The report as `raw/nights/STAMP.json`, for those who look in the morning."""
    zone = LandingZone(settings.raw_root)
    zone.objects.write(f"nights/{stamp(now).replace(':', '')}.json", report.to_json().encode())


def _alone(settings: Settings) -> AbstractContextManager[Any]:
    """One night at a time on this machine; the lease of the root holds between machines."""
    if "://" in settings.raw_root:
        return nullcontext()
    place = Path(settings.raw_root)
    place.mkdir(parents=True, exist_ok=True)
    return FileLock(place / "night.lock", timeout=0)
