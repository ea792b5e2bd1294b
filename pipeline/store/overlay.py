"""A store as a run sees it: its staged objects over the live ones. Reading falls through, writing never does."""

from __future__ import annotations

from functools import cached_property

from pipeline.store.objects import Objects


class Overlay:
    """Objects of one store. `live` is the prefix of the published one, None before its first publication.

    What is staged is listed once and then kept in mind, so that nothing is asked for that is not there. One process of
    a run writes a store at a time; a process that attaches later sees what was staged before.
    """

    def __init__(self, objects: Objects, staged: str, live: str | None) -> None:
        self.objects = objects
        self.staged = staged
        self.live = live
        self._published = None if live is None else objects.frozen(live)

    @cached_property
    def _staged_keys(self) -> set[str]:
        return set(self.objects.keys(self.staged))

    def get(self, key: str) -> bytes | None:
        return self.get_staged(key) if key in self._staged_keys else self.get_live(key)

    def get_live(self, key: str) -> bytes | None:
        return None if self._published is None else self._published.read(key)

    def get_staged(self, key: str) -> bytes | None:
        return self.objects.read(f"{self.staged}/{key}")

    def put(self, key: str, data: bytes) -> None:
        """Stages an object, unless the live one is the same already."""
        if self._published is not None and self._published.holds(key, data):
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
        return key in self._staged_keys or self.exists_live(key)

    def exists_live(self, key: str) -> bool:
        return self._published is not None and self._published.exists(key)

    def staged_keys(self) -> list[str]:
        """Sorted keys of what is staged now, from the storage itself."""
        keys = self.objects.keys(self.staged)
        self._staged_keys = set(keys)
        return keys

    def keys(self) -> list[str]:
        """Sorted keys of the store as the run sees it."""
        live = [] if self.live is None else self.objects.keys(self.live)
        return sorted({*live, *self.staged_keys()})
