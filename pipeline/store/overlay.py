"""A store as a run sees it: its staged objects over the live ones. Reading falls through, writing never does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from pipeline.store.objects import Objects
from pipeline.store.seal import Damaged, sha256


class Overlay:
    """Objects of one store. `live` is the prefix of the published one, None before its first publication; `digests`
    says what was published there (`Seal.below`). Only that is read, and nothing that has become another.

    What is staged is listed once and then kept in mind, so that nothing is asked for that is not there. One process of
    a run writes a store at a time; a process that attaches later sees what was staged before.
    """

    def __init__(self, objects: Objects, staged: str, live: str | None, digests: Mapping[str, str]) -> None:
        self.objects = objects
        self.staged = staged
        self.live = live
        self.digests = digests
        self._believed: set[str] = set()

    @cached_property
    def _staged_keys(self) -> set[str]:
        return set(self.objects.keys(self.staged))

    def get(self, key: str) -> bytes | None:
        return self.get_staged(key) if key in self._staged_keys else self.get_live(key)

    def get_live(self, key: str) -> bytes | None:
        """A published object, None where none was published. Raises Damaged when it is lost or another."""
        digest = self.digests.get(key)
        if digest is None:
            return None
        data = self.objects.read(f"{self.live}/{key}")
        if data is None:
            raise Damaged(self.objects.url, [f"{self.live}/{key} is missing"])
        if key not in self._believed:
            if sha256(data) != digest:
                raise Damaged(self.objects.url, [f"{self.live}/{key} is not what was published"])
            self._believed.add(key)
        return data

    def get_staged(self, key: str) -> bytes | None:
        return self.objects.read(f"{self.staged}/{key}")

    def put(self, key: str, data: bytes) -> None:
        """Stages an object, unless the live one is the same already."""
        if key in self.digests and self.digests[key] == sha256(data):
            self.drop_staged(key)
        else:
            self.stage(key, data)

    def stage(self, key: str, data: bytes) -> None:
        self.objects.write(f"{self.staged}/{key}", data)
        self._staged_keys.add(key)

    def drop_staged(self, key: str) -> None:
        if key in self._staged_keys:
            self.objects.delete(f"{self.staged}/{key}")
            self._staged_keys.discard(key)

    def exists(self, key: str) -> bool:
        return self.is_staged(key) or self.exists_live(key)

    def is_staged(self, key: str) -> bool:
        return key in self._staged_keys

    def exists_live(self, key: str) -> bool:
        return key in self.digests

    def staged_keys(self) -> list[str]:
        """Sorted keys of what is staged now, from the storage itself."""
        keys = self.objects.keys(self.staged)
        self._staged_keys = set(keys)
        return keys

    def staged_fingerprints(self) -> dict[str, str]:
        """A content hash of everything that is staged now, by other processes of the run too."""
        found = self.objects.fingerprints(self.staged)
        self._staged_keys = set(found)
        return found

    def staged_fingerprint(self, key: str) -> str | None:
        """The content hash of one object as staged; None where it is not."""
        return self.objects.fingerprint(f"{self.staged}/{key}") if key in self._staged_keys else None

    def keys(self) -> list[str]:
        """Sorted keys of the store as the run sees it."""
        return sorted({*self.digests, *self.staged_keys()})
