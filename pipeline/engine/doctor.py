"""What a night needs, looked at one by one: each is well, or it says what to do. Nothing is changed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.engine.due import NotReady, due_at, why_nothing
from pipeline.engine.execution import code_version
from pipeline.model.huber import residual_sums
from pipeline.outside import machine
from pipeline.read import read_manifest
from pipeline.settings import Settings
from pipeline.sources import FilesSource
from pipeline.sources.specs import TABLES
from pipeline.store.filesystem import open_objects
from pipeline.store.lease import LEASE, LeaseUnreadable, holder
from pipeline.store.objects import document
from pipeline.vendors.layers import open_vendor

FREE_BYTES = 2 << 30
"""Room that a night wants: a run keeps what it stages beside what is published."""
PATIENCE_SECONDS = 5.0
PACKAGES = ("numpy", "numba", "pandas", "zarr", "pyarrow", "dagster")


@dataclass(frozen=True)
class Line:
    """What was looked at and found. do: what a person should do about it; "" where all is well."""

    what: str
    found: str
    do: str = ""

    @property
    def well(self) -> bool:
        return not self.do


def examine(settings: Settings, now: datetime, environment: Mapping[str, str]) -> Iterator[Line]:
    """Looks at everything. An error that a person can act on is a line too."""
    looks: dict[str, Callable[[], Line]] = {
        "versions": _versions,
        "kernels": _kernels,
        "root": lambda: _root(settings, now),
        "published": lambda: _published(settings, now),
        "disk": lambda: _disk(settings),
        "source": lambda: _source(settings, environment),
        "schedules": lambda: _schedules(settings, environment),
    }
    for what, look in looks.items():
        try:
            yield look()
        except Exception as error:
            said = machine.explained(error)
            if said is None:
                raise
            yield Line(what, said[0], said[1])


def _versions() -> Line:
    of = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return Line("versions", f"erm3 {code_version()}, Python {sys.version.split()[0]}, {of}")


def _kernels() -> Line:
    """Where the compiled kernels are kept, and whether they lay there: else every process compiles for a minute."""
    stats = residual_sums.stats  # type: ignore[attr-defined]
    loaded = "loaded from" if stats.cache_hits else "compiled just now and kept in"
    able = os.access(stats.cache_path, os.W_OK) or bool(stats.cache_hits)
    do = "" if able else "each process compiles for a minute: set NUMBA_CACHE_DIR to a directory that can be written"
    return Line("kernels", f"{loaded} {stats.cache_path}", do)


def _root(settings: Settings, now: datetime) -> Line:
    objects = open_objects(settings.root)
    if "://" not in settings.root:
        place = _nearest(Path(settings.root))
        if not place.is_dir() or not os.access(place, os.W_OK):
            return Line(
                "root", f"{settings.root}: {place} cannot be written", "mend the permissions, or name another root"
            )
    try:
        if who := holder(objects, now):
            return Line("root", f"{objects.url} is being written by {who}", "wait for it, or end it")
    except LeaseUnreadable as error:
        return Line("root", f"{objects.url}: its lease cannot be read", str(error))
    silent = document(objects.read(LEASE) or b"{}", LEASE).get("run_id")
    if "://" not in settings.root and not Path(settings.root).is_dir():
        return Line("root", f"{objects.url} is not there yet; the first run makes it")
    left = f"; run {silent} ended without giving its lease back, the next one takes it over" if silent else ""
    return Line("root", f"{objects.url}, nobody is writing{left}")


def _published(settings: Settings, now: datetime) -> Line:
    try:
        due = due_at(settings, now)
    except NotReady as reason:
        return Line("published", "not yet", f"{reason} (erm3 backfill --start D)")
    manifest = read_manifest(settings.root)
    found = f"through {due.published}, by {manifest['publication']} at {manifest['published_utc'][:19]}Z"
    ends = settings.simulated.last_session
    if not settings.fetched and settings.source == "simulated" and str(due.published) >= ends:
        return Line("published", f"{found}; the simulated market ends on {ends}")
    if not due.missing:
        return Line("published", f"{found}; nothing is due: {why_nothing(settings, now, due)}")
    which = f"{due.missing[0]} to {due.missing[-1]}" if len(due.missing) > 1 else str(due.missing[0])
    return Line("published", f"{found}; {len(due.missing)} sessions are due, {which}", "erm3 nightly publishes them")


def _disk(settings: Settings) -> Line:
    if "://" in settings.root:
        return Line("disk", "the root is in a bucket")
    place = _nearest(Path(settings.root))
    free = shutil.disk_usage(place).free
    do = (
        ""
        if free >= FREE_BYTES
        else f"make room: a run stages beside what is published, {FREE_BYTES >> 30} GiB at least"
    )
    return Line("disk", f"{free / 2**30:,.1f} GiB free at {place}", do)


def _source(settings: Settings, environment: Mapping[str, str]) -> Line:
    if settings.source == "simulated" and not settings.fetched:
        market = settings.simulated
        return Line("source", f"simulated: {market.stocks} stocks, {market.first_session} to {market.last_session}")
    if not settings.fetched:
        source = FilesSource(str(settings.source_path))
        found = source.found()
        absent = [name for name, table in TABLES.items() if table.required and name not in found]
        do = f"{', '.join(absent)} is not there; `erm3 check {source.path}` says more" if absent else ""
        return Line("source", f"files: {source.path} has {', '.join(found) or 'no table'}", do)
    reached = []
    for name in settings.layers:
        access = open_vendor(name).access(settings, environment)
        for url in dict.fromkeys((access.base_url, *access.hosts.values())):
            if problem := _unreachable(url):
                return Line("source", f"{name}: {problem}", "look at the network, its proxy and its names")
            reached.append(f"{name} answers at {urlsplit(url).hostname}")
    return Line("source", "; ".join(reached))


def _unreachable(url: str) -> str:
    """Why nobody listens at an address; "" where somebody does. Nothing is asked, so it costs no unit of a plan."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), PATIENCE_SECONDS).close()
    except OSError as error:
        return f"{parts.hostname}:{port} does not answer ({error.strerror or error})"
    return ""


def _schedules(settings: Settings, environment: Mapping[str, str]) -> Line:
    """Who starts the nights: the timer, cron, or Dagster's schedules where DAGSTER_HOME names an instance."""
    found = [what for what, there in (("the timer erm3.timer", _timer()), ("cron", _cron())) if there]
    off = "systemctl enable --now erm3.timer, or deploy/erm3.cron, or Dagster's schedules (docs/operations.md)"
    if "DAGSTER_HOME" in environment:
        asked = [sys.executable, "-m", "assets"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=120)
        said = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["it says nothing"]
        if done.returncode == 0:
            found.append(f"Dagster: {said[-1]}")
        else:
            off = f"Dagster in {environment['DAGSTER_HOME']}: {said[-1]}"
    if found:
        return Line("schedules", "; ".join(found))
    if settings.layers == ("simulated",):
        return Line("schedules", f"none; the simulated market needs none. With another source: {off}")
    return Line("schedules", "nothing starts a night by itself", off)


def _timer() -> bool:
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").is_dir():
        return False
    return subprocess.run(["systemctl", "is-active", "--quiet", "erm3.timer"], check=False).returncode == 0


def _cron() -> bool:
    places = [path for path in Path("/etc/cron.d").glob("*") if os.access(path, os.R_OK)]
    return any("erm3 nightly" in path.read_text(errors="replace") for path in places)


def _nearest(path: Path) -> Path:
    """The directory itself, or the first one above it that is there."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())
