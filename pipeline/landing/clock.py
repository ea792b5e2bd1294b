"""Time as an argument: nothing below the commands asks the machine for it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What time it is, and waiting."""

    def now(self) -> datetime:
        """An aware instant in UTC."""
        ...

    def sleep(self, seconds: float) -> None: ...


class RunningClock:
    """A clock that stood at `start` when it was made and has gone on since."""

    def __init__(self, start: datetime) -> None:
        self._start = start.astimezone(UTC)
        self._began = time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=time.monotonic() - self._began)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SteppedClock:
    """A clock that moves only when somebody sleeps: a night passes in no time. `slept`: the waits, in seconds."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)
        self._lock = threading.Lock()
        self.slept: list[float] = []

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self._now += timedelta(seconds=seconds)

    def set(self, instant: datetime) -> None:
        """Move on to a later instant; an earlier one changes nothing."""
        with self._lock:
            self._now = max(self._now, instant.astimezone(UTC))


def stamp(instant: datetime) -> str:
    """An instant as the manifest has it: `2026-10-30T22:00:00.000000Z`. Text order is time order."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def instant(text: str) -> datetime:
    """The instant of a stamp."""
    return datetime.fromisoformat(text)
