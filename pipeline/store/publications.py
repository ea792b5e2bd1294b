"""What a root has published: which publication is live, where an earlier one lies, how the next one gets there.

`publish_local` and `publish_cloud` are the two ways; everything else in the room works on `Publications`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipeline.store.layout import MANIFEST, PUBLICATIONS, PUBLISH_LOG, join
from pipeline.store.objects import Objects
from pipeline.store.seal import Damaged, Seal, read_manifest, read_seal

NUMBER_DIGITS = 6


@dataclass(frozen=True)
class Plan:
    """What a publication consists of.

    publication: its id; `base` is the id of the one that it replaces, None for the first.
    workspace:   prefix of the run's staging area.
    stores:      staged stores by name: the prefix of their staged objects. files: staged files by name: their keys.
    documents:   manifest and log record by key.
    restates:    whether published rows may change.
    keep, keep_for: what is neither among the last `keep` publications, nor was replaced less than `keep_for` before
                 `now`, nor by a restatement, may be removed.
    in_lease:    runs an action while the lease is certainly ours, or raises LeaseLost.
    """

    publication: str
    base: str | None
    workspace: str
    stores: Mapping[str, str]
    files: Mapping[str, str]
    documents: Mapping[str, bytes]
    restates: bool
    keep: int
    keep_for: timedelta
    now: datetime
    in_lease: Callable[[Callable[[], None]], None]


LOOKS = 3
"""So often a reader looks before it takes a root for damaged: one look may see both sides of a switch."""


class Publications(ABC):
    """The publications under one root."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    @abstractmethod
    def current(self) -> str | None:
        """Id of the live publication; None before the first one."""

    @abstractmethod
    def live_prefix(self, publication: str) -> str:
        """Where the stores lie of a publication that is live."""

    @abstractmethod
    def traces(self) -> list[str]:
        """What lies in the root that only a publication leaves; looked at when no publication is live."""

    @abstractmethod
    def check_pointer(self) -> None:
        """Raises Damaged when the live publication is not the last one that was published."""

    @abstractmethod
    def recover(self) -> list[str]:
        """Completes or clears away what an interrupted publication left, and says what. The caller holds the lease."""

    @abstractmethod
    def publish(self, plan: Plan) -> None:
        """Makes a plan live. Raises StoreError, after which readers see the publication before or the new one."""

    def prefix(self, publication: str) -> str | None:
        """Where a complete publication lies; None when it is no longer there.

        A copy of its own comes first: while the live one is being restated in a bucket, the copy is still whole.
        """
        kept = f"{PUBLICATIONS}/{publication}"
        if self.objects.exists(f"{kept}/{MANIFEST}"):
            return kept
        return self.live_prefix(publication) if publication == self.current() else None

    def kept(self) -> list[str]:
        """Ids of the publications that are there complete, oldest first."""
        current = self.current()
        names = {*self.objects.children(PUBLICATIONS)} | ({current} if current else set())
        return sorted(name for name in names if name[:NUMBER_DIGITS].isdigit() and self.prefix(name) is not None)

    def manifest(self) -> dict[str, Any] | None:
        """The live manifest; None before the first publication. Raises Damaged when it is lost or not whole."""
        current = self._current()
        if current is None:
            return None
        where = join(self.live_prefix(current), MANIFEST)
        try:
            return read_manifest(self.objects.read(where), where)
        except ValueError as error:
            raise Damaged(self.objects.url, [str(error)]) from error

    def seal(self) -> Seal | None:
        """The live publication with the digests of its objects; None before the first one. Raises Damaged."""
        current = self._current()
        if current is None:
            return None
        try:
            return read_seal(self.objects, self.live_prefix(current), current)
        except ValueError as error:
            raise Damaged(self.objects.url, [str(error)]) from error

    def _current(self) -> str | None:
        """`current`, but nothing that was published is taken for nothing.

        The first publication may be finished between two looks of a reader, so what is seen must be seen again.
        """
        for _ in range(LOOKS):
            current = self.current()
            traces = self.traces() if current is None else []
            if not traces:
                return current
        raise Damaged(self.objects.url, [f"nothing says which publication is live, but there is {traces[0]}"])

    def highest(self) -> int:
        """The highest number that a publication has had here, as far as anything shows; 0 for none."""
        names = [name for name in self.objects.children(PUBLICATIONS) if name[:NUMBER_DIGITS].isdigit()]
        return max([0, *map(number_of, names), *self._logged()])

    def record(self, number: int) -> dict[str, Any] | None:
        """One record of the publish log; None when there is none. Raises Damaged for one that cannot be read."""
        current = self.current()
        if current is None:
            return None
        key = join(self.live_prefix(current), log_key(number))
        data = self.objects.read(key)
        if data is None:
            return None
        try:
            return dict(json.loads(data))
        except ValueError as error:
            raise Damaged(self.objects.url, [f"{key} cannot be read"]) from error

    def records(self) -> list[dict[str, Any]]:
        """The whole publish log, oldest first."""
        return [record for record in self.objects.map(self.record, self._logged()) if record]

    def _logged(self) -> list[int]:
        current = self.current()
        if current is None:
            return []
        names = self.objects.keys(join(self.live_prefix(current), PUBLISH_LOG))
        return sorted(int(name.partition(".")[0]) for name in names if name[:NUMBER_DIGITS].isdigit())


def publication_id(number: int, run_id: str) -> str:
    return f"{number:0{NUMBER_DIGITS}d}-{run_id}"


def number_of(publication: str) -> int:
    """The number in a publication's id. Raises ValueError for another kind of name."""
    return int(publication[:NUMBER_DIGITS])


def log_key(number: int) -> str:
    return f"{PUBLISH_LOG}/{number:0{NUMBER_DIGITS}d}.json"
