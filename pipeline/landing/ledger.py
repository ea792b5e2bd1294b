"""What was spent of a vendor's quota, and how fast: one SQLite file that all processes of a machine share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.landing.requests import FetchError
from security_master.errors import at_file

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS units (vendor TEXT, day TEXT, used INTEGER NOT NULL, PRIMARY KEY (vendor, day))",
    "CREATE TABLE IF NOT EXISTS pace (vendor TEXT PRIMARY KEY, per_minute REAL NOT NULL, free_at REAL NOT NULL)",
)
BURST_SECONDS = 1.0
"""Requests may come together as far as a second of the rate goes."""


class QuotaSpent(FetchError):
    """The vendor's units of the day are spent, or what is left is kept for the nightly increment."""


@dataclass(frozen=True)
class Quota:
    """A vendor's limits. units: a day (from 00:00 GMT); kept: share that only the night may use; per_minute: until an
    answer says another rate."""

    units: int
    kept: float = 0.05
    per_minute: float = 1000.0


class Ledger:
    """Units and pace by vendor. Instants are given; nothing here asks for the time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with at_file(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as db:
                for statement in _SCHEMA:
                    db.execute(statement)

    def reserve(self, vendor: str, units: int, quota: Quota, now: datetime, *, night: bool) -> None:
        """Set units aside before a request. Raises QuotaSpent, and sets none aside, when they are not left."""
        allowed = quota.units if night else int(quota.units * (1 - quota.kept))
        with self._open() as db:
            used = self._used(db, vendor, now)
            if used + units > allowed:
                raise QuotaSpent(
                    f"{vendor}: {used:,} of {allowed:,} units of {_day(now)} (GMT) are spent, {units:,} more are needed"
                    + ("" if night else f" ({quota.kept:.0%} of {quota.units:,} are kept for the night)")
                )
            self._set(db, vendor, now, used + units)

    def give_back(self, vendor: str, units: int, now: datetime) -> None:
        """A failed request costs nothing."""
        with self._open() as db:
            self._set(db, vendor, now, max(self._used(db, vendor, now) - units, 0))

    def reconcile(self, vendor: str, used: int, now: datetime) -> None:
        """What the vendor itself says was used today; other machines may have spent some."""
        with self._open() as db:
            self._set(db, vendor, now, max(used, self._used(db, vendor, now)))

    def used(self, vendor: str, now: datetime) -> int:
        with self._open() as db:
            return self._used(db, vendor, now)

    def wait(self, vendor: str, quota: Quota, now: datetime) -> float:
        """Take the next place in the queue; the seconds until it is there."""
        with self._open() as db:
            row = db.execute("SELECT per_minute, free_at FROM pace WHERE vendor = ?", (vendor,)).fetchone()
            per_minute, free_at = row or (quota.per_minute, 0.0)
            at = now.timestamp()
            begins = max(free_at, at - BURST_SECONDS)
            db.execute("INSERT OR REPLACE INTO pace VALUES (?, ?, ?)", (vendor, per_minute, begins + 60 / per_minute))
            return max(begins - at, 0.0)

    def set_rate(self, vendor: str, per_minute: float, now: datetime) -> None:
        """The rate that an answer's header states."""
        with self._open() as db:
            row = db.execute("SELECT free_at FROM pace WHERE vendor = ?", (vendor,)).fetchone()
            free_at = row[0] if row else now.timestamp() - BURST_SECONDS
            db.execute("INSERT OR REPLACE INTO pace VALUES (?, ?, ?)", (vendor, per_minute, free_at))

    def pause(self, vendor: str, quota: Quota, seconds: float, now: datetime) -> None:
        """Nobody asks before so many seconds are over (`Retry-After`)."""
        with self._open() as db:
            row = db.execute("SELECT per_minute, free_at FROM pace WHERE vendor = ?", (vendor,)).fetchone()
            per_minute, free_at = row or (quota.per_minute, 0.0)
            until = max(free_at, now.timestamp() + seconds)
            db.execute("INSERT OR REPLACE INTO pace VALUES (?, ?, ?)", (vendor, per_minute, until))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with at_file(self.path):
            db = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            finally:
                db.close()

    @staticmethod
    def _used(db: sqlite3.Connection, vendor: str, now: datetime) -> int:
        row = db.execute("SELECT used FROM units WHERE vendor = ? AND day = ?", (vendor, _day(now))).fetchone()
        return row[0] if row else 0

    @staticmethod
    def _set(db: sqlite3.Connection, vendor: str, now: datetime, used: int) -> None:
        db.execute("INSERT OR REPLACE INTO units VALUES (?, ?, ?)", (vendor, _day(now), used))


def _day(now: datetime) -> str:
    return now.astimezone(UTC).date().isoformat()
