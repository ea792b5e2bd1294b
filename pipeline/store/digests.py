"""SHA-256 of files that several steps ask for: read once for each state of a file.

A file that is replaced or written to has another number, time or size. Two changes may bear one time, so what was
changed just before it was read is read again. A copy keeps the time of its original, and with it the digest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

State = tuple[int, int, int, int]

SETTLED = 100_000_000
"""Nanoseconds after a change within which another one may bear the same time, on any clock of a file system."""

_known: dict[State, str] = {}


def state_of(status: os.stat_result) -> State:
    """What another content of a file would not share: device, number, time of the last change, size."""
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def known_digest(state: State) -> str | None:
    """The digest of a file in this state, where `file_digest` or `copy_file` had to do with it."""
    return _known.get(state)


def file_digest(path: Path, *, anew: bool = False) -> str:
    """SHA-256 (hex) of a file. anew: what was read before is not believed. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        began, state = time.time_ns(), state_of(os.fstat(file.fileno()))
        found = None if anew else _known.get(state)
        if found is None:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if began - state[2] > SETTLED:
                _known[state] = found
    return found


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its time, in place of what is at `target`. Raises OSError."""
    state = state_of(source.stat())
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    os.utime(target, ns=(state[2], state[2]))
    copied = state_of(target.stat())
    if state in _known and copied[2:] == state[2:] and state_of(source.stat()) == state:
        _known[copied] = _known[state]
