"""The chunks of one store in the overlay of a run: rows of them read, regions of them written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from numpy.typing import NDArray

from pipeline.store.chunks import ChunkedArray, Region
from pipeline.store.objects import StoreError
from pipeline.store.overlay import Overlay
from pipeline.store.unpacked import ChunkCache

T = TypeVar("T")


class StoredChunks:
    """unpacked: where chunks are kept unpacked while several look at the same ones; None to keep none."""

    def __init__(self, name: str, overlay: Overlay, live: Mapping[str, Any]) -> None:
        """name: the store's; live: the published metadata, empty for a store that is new."""
        self.name, self.overlay = name, overlay
        self.unpacked: ChunkCache | None = None
        self._live = live

    def rows(self, array: ChunkedArray, index: tuple[int, ...], rows: slice) -> NDArray:
        """Some rows of a chunk. One of which much is read is kept unpacked, a few rows are not."""
        key, data = array.key(index), self.overlay.get(array.key(index))
        if self.unpacked is None or data is None or 2 * (rows.stop - rows.start) <= array.chunks[0]:
            return self._unpack(array, index, data, rows)
        everything = slice(0, array.chunks[0])
        return self.unpacked.get((self.name, key, data), lambda: self._unpack(array, index, data, everything))[rows]

    def packed(
        self, array: ChunkedArray, index: tuple[int, ...], before: bytes | None, inside: Region, values: NDArray
    ) -> bytes | None:
        """The bytes of a chunk with other values in a region, None for one that is not stored.

        before: its bytes, None where there are none or where the region is all of it.
        """
        key = array.key(index)
        if before is not None and self.overlay.exists_live(key):
            data = self._damage_explained(key, lambda: array.replace_rows(before, inside, values))
            if data is not None:
                return data
        everything = slice(0, array.chunks[0])
        chunk = array.empty() if array.covers(index, inside) else self._unpack(array, index, before, everything)
        chunk[inside] = values
        return array.encode(chunk)

    def put(self, array: ChunkedArray, key: str, data: bytes | None, before: bytes | None = None) -> None:
        """Stages the bytes of a chunk. before: those that the overlay has, where the caller has read them."""
        if data is None and self.overlay.exists_live(key):
            data = array.encode_empty()
        if data is None:
            self.overlay.drop_staged(key)
        elif before is None or self.overlay.is_staged(key):
            self.overlay.put(key, data)
        elif data != before:
            self.overlay.stage(key, data)

    def in_live_grid(self, array: ChunkedArray, index: tuple[int, ...]) -> bool:
        """Whether a chunk is one of the published array."""
        if f"{array.name}/.zarray" not in self._live:
            return False
        return all(k < n for k, n in zip(index, ChunkedArray.stored(array.name, self._live).grid, strict=True))

    def _unpack(self, array: ChunkedArray, index: tuple[int, ...], data: bytes | None, rows: slice) -> NDArray:
        """Rows of a chunk from its bytes, None where there are none: cells without a value. Raises StoreError for
        damage."""
        key = array.key(index)
        if data is None:
            if array.dtype != "float32" and self.in_live_grid(array, index):
                raise StoreError(
                    f"{self.name}: the published chunk {key} is missing; pipeline.read.damage(root) says what else is"
                )
            return array.empty((rows.stop - rows.start, *array.chunks[1:]))
        return self._damage_explained(key, lambda: array.decode_rows(data, rows))

    def _damage_explained(self, key: str, unpack: Callable[[], T]) -> T:
        try:
            return unpack()
        except (ValueError, RuntimeError) as error:
            raise StoreError(
                f"{self.name}: the chunk {key} cannot be unpacked ({error}); pipeline.read.damage(root) "
                "says what else is wrong"
            ) from error
