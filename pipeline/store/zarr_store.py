"""Objects as a read-only store of zarr-python, for xarray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from zarr.buffer import default_buffer_prototype
from zarr.storage import MemoryStore, WrapperStore

if TYPE_CHECKING:
    from zarr.abc.buffer import Buffer, BufferPrototype
    from zarr.abc.store import ByteRequest


class ReadOnlyStore(WrapperStore[MemoryStore]):
    """A store that reads through functions: zarr's store of a mapping, over a mapping that asks when it is asked.

    read: the object's bytes by key, None when there is none; may be called from several threads.
    keys: all keys.
    """

    def __init__(self, read: Callable[[str], bytes | None], keys: Callable[[], Iterable[str]]) -> None:
        self._objects = _Objects(read, keys)
        super().__init__(MemoryStore(self._objects, read_only=True))  # type: ignore[arg-type]  # it is never written to

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Reads in a thread, so that the chunks of one request are read at the same time."""
        found = await asyncio.to_thread(self._objects.get, key)
        return None if found is None else await MemoryStore({key: found}).get(key, prototype, byte_range)


class _Objects(Mapping[str, "Buffer"]):
    __eq__, __hash__ = object.__eq__, object.__hash__  # comparing contents would read two stores whole

    def __init__(self, read: Callable[[str], bytes | None], keys: Callable[[], Iterable[str]]) -> None:
        self._read, self._keys = read, keys

    def __getitem__(self, key: str) -> Buffer:
        data = self._read(key)
        if data is None:
            raise KeyError(key)
        return default_buffer_prototype().buffer.from_bytes(data)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return sum(1 for _ in self._keys())
