"""One writer per root: a lease kept as an object beside the stores, so that it holds between machines too.

A run may pass through several processes (the steps of an orchestrator), so the lease belongs to the run and lists the
processes that work for it. It expires when its heartbeat stops for `ttl_seconds`, and at once when it lists processes,
all of this machine, and none of them lives. Machines that share a root need clocks that agree to within the ttl.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.store.layout import LEASE
from pipeline.store.objects import Change, Objects, StoreError

TTL_SECONDS = 300.0
LONGEST_TTL_SECONDS = 3600.0
"""A lease that asks for more patience than this does not get it."""

ALIVE = f"{LEASE}.alive"
"""Locked by every process that works for the run; the kernel lets go of it when the process dies, however it dies."""


class LeaseHeld(StoreError):
    """Another run is publishing to this root."""


class LeaseUnreadable(StoreError):
    """The lease is there and cannot be read."""


class LeaseLost(StoreError):
    """This run's lease was taken over by another one."""


class Lease:
    """A lease held by `run_id`. Heartbeats from a daemon thread until `leave` or `release`."""

    def __init__(self, objects: Objects, run_id: str, clock: Callable[[], datetime], ttl: float) -> None:
        self.objects = objects
        self.run_id = run_id
        self._clock = clock
        self._ttl = ttl
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._let_go: Callable[[], None] = lambda: None
        self.taken_from: str | None = None

    def acquire(self, *, join: bool = False) -> None:
        """Takes the lease, or joins the one that this run holds already. Raises LeaseHeld or LeaseLost."""

        def change(data: bytes | None) -> bytes:
            old = self._read(data) if data else None
            processes = []
            if old and old["run_id"] == self.run_id and join:
                processes = [p for p in old["processes"] if p != this_process()]
            elif old and (alive := self._why_alive(old)):
                raise LeaseHeld(
                    f"{self.objects.url} is being written by run {old['run_id']}, {describe(old)}; {alive}. "
                    "Wait for it to end, or end it"
                )
            elif old:
                self.taken_from = f"run {old['run_id']}, {describe(old)}"
            now = self._clock().isoformat()
            since = old["since_utc"] if old and processes else now
            self._let_go()  # of an attempt before, in a bucket
            self._let_go = self.objects.hold(ALIVE)  # first: whoever reads a lease that nobody holds takes it over
            return self._document(since, now, [*processes, this_process()])

        try:
            self.objects.update(LEASE, change)
        except BaseException:
            self._let_go()
            raise
        self._stop.clear()
        self._thread = threading.Thread(target=self._beat, name="lease heartbeat", daemon=True)
        self._thread.start()

    def guard(self, action: Callable[[], None] = lambda: None) -> None:
        """Runs an action while the lease is certainly ours. Raises LeaseLost."""

        def change(data: bytes | None) -> bytes:
            lease = self._ours(data)
            action()
            return self._document(lease["since_utc"], self._clock().isoformat(), lease["processes"])

        self.objects.update(LEASE, change)

    def leave(self) -> None:
        """This process stops working for the run; the run keeps the lease until it expires or another process joins."""

        def change(data: bytes | None) -> bytes:
            lease = self._ours(data)
            others = [p for p in lease["processes"] if p != this_process()]
            return self._document(lease["since_utc"], self._clock().isoformat(), others)

        self._end_with(change)

    def release(self) -> None:
        """The run is over. Another run's lease is left alone."""

        def change(data: bytes | None) -> bytes | None:
            return None if data and self._read(data)["run_id"] == self.run_id else data

        self._end_with(change)

    def _document(self, since: str, heartbeat: str, processes: list[dict[str, Any]]) -> bytes:
        document = {
            "run_id": self.run_id,
            "since_utc": since,
            "heartbeat_utc": heartbeat,
            "ttl_seconds": self._ttl,
            "processes": processes,
        }
        return json.dumps(document, indent=1).encode()

    def _ours(self, data: bytes | None) -> dict[str, Any]:
        lease = self._read(data) if data else {}
        if lease.get("run_id") != self.run_id:
            now = f"is held by run {lease['run_id']}, {describe(lease)}" if lease else "is gone"
            raise LeaseLost(
                f"the lease on {self.objects.url} {now}; run {self.run_id} was silent for more than "
                f"{self._ttl:.0f} s and must not publish. Start it again"
            )
        return lease

    def _read(self, data: bytes) -> dict[str, Any]:
        """A lease from its bytes. Raises LeaseUnreadable."""
        try:
            lease = json.loads(data)
            known = {"run_id", "since_utc", "heartbeat_utc", "ttl_seconds", "processes"} <= lease.keys()
            _instant(lease["heartbeat_utc"])
        except (ValueError, KeyError, TypeError, AttributeError):
            known = False
        if not known:
            raise LeaseUnreadable(
                f"{LEASE} under {self.objects.url} cannot be read, so nobody knows whether a run is writing there. "
                f"When none is: `erm3 repair --root {self.objects.url} --apply` sets it aside"
            )
        return dict(lease)

    def _why_alive(self, lease: dict[str, Any]) -> str:
        """Why a lease counts as held; empty when it has expired."""
        processes = lease["processes"]
        if processes and not any(may_live(process) for process in processes):
            return ""
        if processes and all(_same_kernel(process) for process in processes) and self.objects.alive(ALIVE) is False:
            return ""  # of a container that is gone: its process numbers say nothing here, its locks do
        silent = self._clock() - _instant(lease["heartbeat_utc"])
        ttl = timedelta(seconds=min(float(lease["ttl_seconds"]), LONGEST_TTL_SECONDS))
        if silent >= ttl or silent < -ttl:  # one from the future is no sign of life
            return ""
        return (
            f"last sign of life {silent.total_seconds():.0f} s ago, "
            f"expires in {(ttl - silent).total_seconds():.0f} s without one"
        )

    def _beat(self) -> None:
        while not self._stop.wait(self._ttl / 5):
            try:
                self.guard()
            except LeaseLost:
                return
            except (StoreError, OSError):
                continue

    def _end_with(self, change: Change) -> None:
        """No more heartbeats, a last change of the lease, and only then is it held no longer."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        try:
            self.objects.update(LEASE, change)
        finally:
            self._let_go()


def holder(objects: Objects, now: datetime) -> str:
    """Who is writing to a root at an instant, in words; "" for nobody. Raises LeaseUnreadable."""
    lease, data = Lease(objects, "", lambda: now, TTL_SECONDS), objects.read(LEASE)
    found = lease._read(data) if data else None
    alive = lease._why_alive(found) if found else ""
    return f"run {found['run_id']}, {describe(found)}; {alive}" if found and alive else ""


def this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "started": _started(pid)}


def may_live(process: dict[str, Any]) -> bool:
    """False only for a process of this machine that is certainly gone (its number may have been given to another)."""
    if process["machine"] != _machine():
        return True
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _started(process["pid"]) == process["started"]


def _same_kernel(process: dict[str, Any]) -> bool:
    """Whether a process ran under the kernel that runs this one, in whatever container."""
    return "/" in process["machine"] and process["machine"].split("/")[0] == _machine().split("/")[0]


def _instant(text: str) -> datetime:
    """An instant of the lease, UTC where it does not say."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def describe(lease: dict[str, Any]) -> str:
    where = ", ".join(f"process {p['pid']} on {p['host']}" for p in lease["processes"]) or "between two processes"
    return f"{where}, since {lease['since_utc'][:19]}Z"


def _machine() -> str:
    """Distinguishes machines, and containers that count processes on their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """When the process started, in the kernel's ticks; empty where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
