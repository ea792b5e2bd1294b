"""Packed chunks block by block, so that a night pays for the rows that it reads and adds, and not for whole chunks.

A Blosc frame is a header, a table of where its blocks begin, and the blocks. Each holds the same number of bytes (the
last one the rest), packed by itself: the same bytes are always the same block, whatever stands before and after it.
Rows lie one after the other, so a few rows are a few blocks. What is put together here is, byte for byte, what packing
the whole chunk makes; a frame of another build than we write is left to who packs and unpacks it whole.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("<BBBBIII")  # versions of Blosc and the codec, flags, size of an item; see Frame
_COPIED, _ONE_STREAM = 0x2, 0x10


@dataclass(frozen=True)
class Frame:
    """A frame of several blocks. size: bytes, unpacked; block: those of each block; begins: (blocks + 1,) in `data`."""

    data: bytes
    size: int
    block: int
    begins: tuple[int, ...]

    @classmethod
    def of(cls, data: bytes) -> Frame | None:
        """The frame of these bytes; None for one of another build, of one block, or damaged."""
        if len(data) < _HEADER.size:
            return None
        _, _, flags, _, size, block, packed = _HEADER.unpack_from(data)
        blocks = -(-size // block) if block else 0
        if flags & (_COPIED | _ONE_STREAM) != _ONE_STREAM or packed != len(data) or blocks < 2:
            return None
        table = _HEADER.size + 4 * blocks
        if table > len(data):
            return None
        begins = (*struct.unpack_from(f"<{blocks}I", data, _HEADER.size), len(data))
        if begins[0] != table or any(end - at < 4 for at, end in pairwise(begins)):
            return None
        whole = all(int.from_bytes(data[at : at + 4], "little") == end - at - 4 for at, end in pairwise(begins))
        return cls(data, size, block, begins) if whole else None

    def holding(self, first: int, end: int) -> range:
        """The blocks that hold the unpacked bytes [first, end)."""
        return range(first // self.block, -(-end // self.block))

    def unpack(self, blocks: range, codec: Any) -> NDArray[np.uint8]:
        """The bytes of some blocks. Raises RuntimeError for damage."""
        out = np.empty(self._end(blocks) - blocks.start * self.block, np.uint8)
        for k, at in zip(blocks, range(0, len(out), self.block), strict=True):
            size = min(self.block, len(out) - at)
            alone = self.data[self.begins[k] : self.begins[k + 1]]
            table = _HEADER.size + 4
            head = _HEADER.pack(*self.data[:4], size, size, table + len(alone)) + table.to_bytes(4, "little")
            codec.decode(head + alone, out[at : at + size])
        return out

    def replaced(self, blocks: range, values: NDArray, codec: Any) -> bytes | None:
        """The frame with other values in some blocks, as packing all of it makes it; None where that has to be done.

        values: of the stored dtype, of all of these blocks.
        """
        packed = [self.data[at:end] for at, end in pairwise(self.begins)]
        items = self.block // values.itemsize
        for k, at in zip(blocks, range(0, values.size, items), strict=True):
            alone = bytes(codec.encode(values[at : at + items]))
            _, _, flags, _, size, block, _ = _HEADER.unpack_from(alone)
            if alone[:4] != self.data[:4] or flags & _COPIED or size != block:
                return None
            packed[k] = alone[_HEADER.size + 4 :]
        table = np.cumsum([_HEADER.size + 4 * len(packed), *map(len, packed)])
        if table[-1] > self.size:
            return None
        head = _HEADER.pack(*self.data[:4], self.size, self.block, int(table[-1]))
        return b"".join([head, table[:-1].astype("<u4").tobytes(), *packed])

    def unlike(self, other: Frame) -> range | None:
        """The blocks from the first to the last one that are not the same bytes in another frame; None where the two
        are not cut alike."""
        if (self.data[:4], self.size, self.block) != (other.data[:4], other.size, other.block):
            return None
        spans = zip(pairwise(self.begins), pairwise(other.begins), strict=True)
        unlike = [k for k, ((a, b), (c, d)) in enumerate(spans) if self.data[a:b] != other.data[c:d]]
        return range(unlike[0], unlike[-1] + 1) if unlike else range(0)

    def _end(self, blocks: range) -> int:
        return min(blocks.stop * self.block, self.size)
