"""Chunks that are kept unpacked, within a bound, while several look at the same ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import TypeVar, cast

from numpy.typing import NDArray

CACHE_BYTES = 256 << 20
Chunk = TypeVar("Chunk", bound=NDArray | None)


class ChunkCache:
    """Unpacked chunks, the one used longest ago leaves first. A chunk that is not stored takes no room.

    reads: how often something was read for it.
    """

    def __init__(self, size: int = CACHE_BYTES) -> None:
        self.size, self.used, self.reads = size, 0, 0
        self._kept: OrderedDict[Hashable, NDArray | None] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, read: Callable[[], Chunk]) -> Chunk:
        """The chunk kept under a key, or what read() gives, not to be written to; what was not asked for longest goes
        when room is short."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return cast(Chunk, self._kept[key])
        chunk = read()  # outside the lock: two threads may read the same one
        if chunk is not None:
            chunk.flags.writeable = False
        with self._lock:
            self.reads += 1
            if key not in self._kept:
                self._kept[key] = chunk
                self.used += _bytes(chunk)
            while self.used > self.size and len(self._kept) > 1:
                self.used -= _bytes(self._kept.popitem(last=False)[1])
        return chunk


def _bytes(chunk: NDArray | None) -> int:
    return 256 if chunk is None else chunk.nbytes
