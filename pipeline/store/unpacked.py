"""Chunks that are kept unpacked while one look after the other reads the same ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from numpy.typing import NDArray

MOST = 256 * 2**20
"""Bytes of memory for the chunks of all stores of one audit."""


class Unpacked:
    """The last chunks that were read, in so many bytes; the one that nobody asked for the longest goes first.

    A chunk is known by the bytes that it was unpacked from, so that none is returned that storage does not hold now.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._kept: OrderedDict[tuple[str, str], tuple[bytes, NDArray]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, store: str, key: str, data: bytes, unpack: Callable[[], NDArray]) -> NDArray:
        """The chunk that `unpack()` makes of `data`, not to be written to."""
        with self._lock:
            known = self._kept.get((store, key))
            if known is not None and known[0] == data:
                self._kept.move_to_end((store, key))
                return known[1]
        chunk = unpack()
        chunk.flags.writeable = False
        with self._lock:
            before = self._kept.pop((store, key), None)
            self._kept[store, key] = data, chunk
            self._bytes += chunk.nbytes - (0 if before is None else before[1].nbytes)
            while self._bytes > self.most:
                self._bytes -= self._kept.popitem(last=False)[1][1].nbytes
        return chunk
