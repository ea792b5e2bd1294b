"""Objects under a root: what the room needs of a disk or a bucket. An object is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from security_master.errors import ExplainedError

Result = TypeVar("Result")
Change = Callable[[bytes | None], bytes | None]


SHARES = 8
"""Into so many shares for each thread many tasks are cut: where some take longer, others are left for the rest."""


class StoreError(ExplainedError, RuntimeError):
    """Something that staging or publishing refuses or cannot do. The message says what to do next."""


class Objects(ABC):
    """Objects by key (`ds_daily.zarr/return/0.0`) under one root.

    url:         the root as a person would write it.
    concurrency: how many requests at a time serve this storage well.
    few:         how many objects are read or written one after the other sooner than threads take them over.
    on_change:   called before each change with a verb and a key; tests stop a run there.
    """

    url: str
    concurrency: int
    few: int
    on_change: Callable[[str, str], None]

    def __init__(self) -> None:
        self.on_change = _nothing

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """The object's bytes; None when there is none."""

    @abstractmethod
    def write(self, key: str, data: bytes, *, on_disk: bool = False) -> None:
        """Whole or not at all. on_disk: it outlives a crash of the machine from then on."""

    @abstractmethod
    def exists(self, key: str) -> bool: ...

    @abstractmethod
    def keys(self, prefix: str) -> list[str]:
        """Sorted keys below a prefix (a directory), relative to it."""

    @abstractmethod
    def fingerprints(self, prefix: str) -> dict[str, str]:
        """A content hash of every object below a prefix, by relative key, sorted."""

    @abstractmethod
    def fingerprint(self, key: str) -> str | None:
        """The content hash of one object; None when there is none."""

    @abstractmethod
    def digest(self, key: str) -> str | None:
        """SHA-256 (hex) of one object; None when there is none."""

    def digest_now(self, key: str) -> str | None:
        """As `digest`, of the bytes as they are read now."""
        data = self.read(key)
        return None if data is None else hashlib.sha256(data).hexdigest()

    def write_file(self, key: str, path: Path) -> None:
        """As `write`, with the content of a file. Raises OSError for a file that cannot be read."""
        self.write(key, path.read_bytes())

    def file(self, key: str) -> Path | None:
        """The file of this machine that holds an object, for reading only; None where there is no such file."""
        return None

    def alive(self, key: str) -> bool | None:
        """Whether a process of this kernel holds `key` (see `hold`); None where that cannot be known."""
        return None

    def hold(self, key: str) -> Callable[[], None]:
        """Holds `key` for as long as this process lives, or until what is returned is called, once or more."""
        return lambda: None

    @abstractmethod
    def delete(self, key: str) -> None:
        """Deletes an object; nothing happens when there is none."""

    @abstractmethod
    def delete_tree(self, prefix: str) -> None: ...

    @abstractmethod
    def children(self, prefix: str) -> list[str]:
        """Sorted names directly below a prefix; empty when there is none."""

    @abstractmethod
    def update(self, key: str, change: Change) -> None:
        """Replaces an object by `change(its bytes or None)`, atomically against every other `update` of the key.

        `change` returns the new bytes or None for "delete"; when it raises, nothing is changed.
        """

    def map(self, task: Callable[[Any], Result], items: Iterable[Any]) -> list[Result]:
        """Does a task for every item, a bounded number at a time, results in order. Raises the first error."""
        items = list(items)
        if len(items) <= self.few:
            return [task(item) for item in items]
        share = -(-len(items) // (SHARES * self.concurrency))  # to hand over a small file costs more than to read it
        shares = [items[k : k + share] for k in range(0, len(items), share)]
        with ThreadPoolExecutor(self.concurrency) as pool:
            return [result for done in pool.map(lambda mine: [task(item) for item in mine], shares) for result in done]


def _nothing(verb: str, key: str) -> None:
    """What happens before a change unless a test wants something."""


def document(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object from its bytes. Raises StoreError, which names it, for anything else."""
    try:
        found = json.loads(data)
    except ValueError:  # of undecodable bytes too
        found = None
    if not isinstance(found, dict):
        raise StoreError(
            f"{where} cannot be read: a JSON object was expected, {len(data)} other bytes were found. "
            "If a run is going on there, start a new one; if it was published, see `erm3 repair`"
        )
    return found
