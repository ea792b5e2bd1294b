"""A store as a run sees it: its staged objects over the live ones. Reading falls through, writing never does."""

from __future__ import annotations

from pipeline.store.objects import Objects


class Overlay:
    """Objects of one store. `live` is the prefix of the published one, None before its first publication."""

    def __init__(self, objects: Objects, staged: str, live: str | None) -> None:
        self.objects = objects
        self.staged = staged
        self.live = live
        self._published = None if live is None else objects.frozen(live)

    def get(self, key: str) -> bytes | None:
        data = self.get_staged(key)
        return self.get_live(key) if data is None else data

    def get_live(self, key: str) -> bytes | None:
        return None if self._published is None else self._published.read(key)

    def get_staged(self, key: str) -> bytes | None:
        return self.objects.read(f"{self.staged}/{key}")

    def put(self, key: str, data: bytes) -> None:
        """Stages an object, unless the live one is the same already."""
        if self._published is not None and self._published.holds(key, data):
            self.drop_staged(key)
        else:
            self.objects.write(f"{self.staged}/{key}", data)

    def drop_staged(self, key: str) -> None:
        self.objects.delete(f"{self.staged}/{key}")

    def exists(self, key: str) -> bool:
        return self.exists_live(key) or self.objects.exists(f"{self.staged}/{key}")

    def exists_live(self, key: str) -> bool:
        return self._published is not None and self._published.exists(key)

    def staged_keys(self) -> list[str]:
        return self.objects.keys(self.staged)

    def keys(self) -> list[str]:
        """Sorted keys of the store as the run sees it."""
        live = [] if self.live is None else self.objects.keys(self.live)
        return sorted({*live, *self.staged_keys()})
