"""A store as a run sees it: its staged objects over the live ones. Reading falls through, writing never does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from pipeline.store.filesystem import Objects

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype


class Overlay:
    """Objects of one store. `live` is None before its first publication."""

    def __init__(self, objects: Objects, staged: str, live: str | None) -> None:
        self.objects = objects
        self.staged = staged
        self.live = live

    def get(self, key: str) -> bytes | None:
        data = self.objects.read(f"{self.staged}/{key}")
        return self.get_live(key) if data is None else data

    def get_live(self, key: str) -> bytes | None:
        return None if self.live is None else self.objects.read(f"{self.live}/{key}")

    def get_staged(self, key: str) -> bytes | None:
        return self.objects.read(f"{self.staged}/{key}")

    def put(self, key: str, data: bytes) -> None:
        """Stages an object, unless the live one is the same already."""
        if self.live is not None and self.objects.holds(f"{self.live}/{key}", data):
            if self.objects.exists(f"{self.staged}/{key}"):
                self.objects.delete(f"{self.staged}/{key}")
            return
        self.objects.write(f"{self.staged}/{key}", data)

    def exists(self, key: str) -> bool:
        return self.objects.exists(f"{self.staged}/{key}") or self.exists_live(key)

    def exists_live(self, key: str) -> bool:
        return self.live is not None and self.objects.exists(f"{self.live}/{key}")

    def drop_staged(self, key: str) -> None:
        if self.objects.exists(f"{self.staged}/{key}"):
            self.objects.delete(f"{self.staged}/{key}")

    def staged_keys(self) -> list[str]:
        return self.objects.keys(self.staged)


class OverlayStore(Store):
    """An overlay as a read-only zarr store, for xarray."""

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, overlay: Overlay) -> None:
        super().__init__(read_only=True)
        self.overlay = overlay

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OverlayStore) and other.overlay is self.overlay

    __hash__ = object.__hash__

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        data = self.overlay.get(key)
        if data is None:
            return None
        match byte_range:
            case RangeByteRequest(start, end):
                data = data[start:end]
            case OffsetByteRequest(offset):
                data = data[offset:]
            case SuffixByteRequest(suffix):
                data = data[-suffix:]
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return self.overlay.exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError("an overlay is read through zarr and written through StagedStore")

    async def delete(self, key: str) -> None:
        raise NotImplementedError("an overlay is read through zarr and written through StagedStore")

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        live = [] if self.overlay.live is None else self.overlay.objects.keys(self.overlay.live)
        for key in sorted({*live, *self.overlay.staged_keys()}):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        top = prefix.rstrip("/") + "/" if prefix else ""
        seen = set()
        async for key in self.list_prefix(top):
            name = key[len(top) :].split("/", 1)[0]
            if name not in seen:
                seen.add(name)
                yield name
