"""Values of a store by direct reads of its chunks. What was unpacked last is kept, within a bound, for all threads."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.metadata import flags_of
from pipeline.read import PublishedStore
from pipeline.store.chunks import ChunkedArray
from pipeline.store.unpacked import ChunkCache


class Cells:
    """One store of a publication, by session and by position along its second axis.

    A session is a position in `sessions`, the sessions of the whole family (datetime64[D]); before the first and after
    the last one of this store there is no value.
    """

    def __init__(self, store: PublishedStore, sessions: NDArray, cache: ChunkCache, publication: str = "") -> None:
        self.store, self.sessions, self._cache, self._publication = store, sessions, cache, publication
        self._pinned: dict[tuple[str, str], NDArray] = {}

    @cached_property
    def _own(self) -> NDArray:
        return self.store.values("teo").astype("datetime64[D]")

    @cached_property
    def _shift(self) -> int:
        """Row of this store = session - shift."""
        if self._own[0] >= self.sessions[0]:
            return int(np.searchsorted(self.sessions, self._own[0]))
        return -int(np.searchsorted(self._own, self.sessions[0]))

    @cached_property
    def symbols(self) -> list[str]:
        return [str(s) for s in self.store.values("symbol")]

    @cached_property
    def position(self) -> dict[str, int]:
        """Of a permanent id on this store's axis."""
        return {symbol: k for k, symbol in enumerate(self.symbols)}

    @cached_property
    def _levels(self) -> list[str]:
        return [str(level) for level in self.store.values("level")]

    def flags(self, name: str) -> dict[int, str]:
        """Meanings of a variable's codes."""
        return flags_of(self.store.metadata[f"{name}/.zattrs"])

    def block(self, name: str, first: int, last: int, start: int, stop: int, level: str = "") -> NDArray:
        """(sessions first <= k < last, positions start <= k < stop) of a variable, as it is stored."""
        array = self._array(name)
        out = array.empty((last - first, stop - start))
        lo, hi = max(first - self._shift, 0), min(last - self._shift, len(self._own))
        if lo >= hi:
            return out
        region: tuple[slice, ...] = (slice(lo, hi), slice(start, stop))
        if level:
            k = self._levels.index(level)
            region = (*region, slice(k, k + 1))
        ahead = lo + self._shift - first
        for index, inside, outside in array.blocks(region):
            if (chunk := self._chunk(array, index)) is not None:
                rows = slice(outside[0].start + ahead, outside[0].stop + ahead)
                cells = chunk[inside]
                out[rows, outside[1]] = cells[..., 0] if level else cells
        return out

    def column(self, name: str, position: int, first: int, last: int, level: str = "") -> NDArray:
        """(sessions,) of one stock."""
        return self.block(name, first, last, position, position + 1, level)[:, 0]

    def day(self, name: str, session: int, level: str = "") -> NDArray:
        """(positions,) of one session, in the order of this store's own axis."""
        if session == len(self.sessions) - 1 and (name, level) in self._pinned:
            return self._pinned[name, level]
        return self.block(name, session, session + 1, 0, self._width, level)[0]

    def cell(self, name: str, position: int, session: int, level: str = "") -> NDArray:
        """One value, as a scalar of the stored dtype."""
        if session == len(self.sessions) - 1 and (name, level) in self._pinned:
            return self._pinned[name, level][position]
        return self.block(name, session, session + 1, position, position + 1, level)[0, 0]

    def keep_last(self, name: str, level: str = "") -> None:
        """Keeps the last session of a variable in memory."""
        self._pinned[name, level] = self.day(name, len(self.sessions) - 1, level).copy()

    @cached_property
    def _width(self) -> int:
        return next(size for dim, size in self.store.sizes.items() if dim not in ("teo", "level", "link"))

    def _array(self, name: str) -> ChunkedArray:
        if name not in self._arrays:
            self._arrays[name] = ChunkedArray.stored(name, self.store.metadata)
        return self._arrays[name]

    @cached_property
    def _arrays(self) -> dict[str, ChunkedArray]:
        return {}

    def _chunk(self, array: ChunkedArray, index: tuple[int, ...]) -> NDArray | None:
        def read() -> NDArray | None:
            data = self.store.read(array.key(index))
            return None if data is None else array.decode(data)

        # In a bucket the next publication lies where this one did, and a restatement overwrites what lies
        # there: neither the name of an object nor the publication says alone what was read.
        where = (self.store.objects.url, self.store.prefix, self._publication, self.store.name, array.name, index)
        return self._cache.get(where, read)
