"""Objects as a read-only store of zarr-python, for xarray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype


class ReadOnlyStore(Store):
    """A store that reads through functions.

    read: the object's bytes by key, None when there is none; may be called from several threads.
    keys: all keys.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, read: Callable[[str], bytes | None], keys: Callable[[], Iterable[str]]) -> None:
        super().__init__(read_only=True)
        self._read = read
        self._keys = keys

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        data = await asyncio.to_thread(self._read, key)
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
        return await asyncio.to_thread(self._read, key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError("published and staged data is written through pipeline.store.Stage")

    async def delete(self, key: str) -> None:
        raise NotImplementedError("published and staged data is written through pipeline.store.Stage")

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in await asyncio.to_thread(self._keys):
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
