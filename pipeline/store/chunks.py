"""One array in Zarr format 2: its chunk grid, and chunks to bytes and back.

The same values are always the same bytes. Two things take care of that: Blosc runs single-threaded inside each call
(its threads put compressed blocks into the buffer in the order in which they finish), and every NaN is written as the
same NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from math import prod
from typing import Any

import numcodecs
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from pipeline.datasets.metadata import COMPRESSOR, ZARR_DTYPES
from pipeline.datasets.spec import CoordinateSpec, VariableSpec
from pipeline.store.frames import Frame

blosc.use_threads = False
_BLOSC = numcodecs.get_codec(COMPRESSOR)
_NAN = np.float32(np.nan).view(np.uint32)
_TEXT = numcodecs.VLenUTF8()
_NAMES = {code: name for name, code in ZARR_DTYPES.items()}

Region = tuple[slice, ...]


@dataclass(frozen=True)
class ChunkedArray:
    """Shape and chunks of one array in a store; `dtype` is one of `pipeline.datasets.spec.DType`."""

    name: str
    dims: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]

    @classmethod
    def declared(cls, array: CoordinateSpec | VariableSpec, shape: tuple[int, ...]) -> ChunkedArray:
        return cls(array.name, array.dims, array.dtype, shape, array.chunks(shape))

    @classmethod
    def stored(cls, name: str, metadata: Mapping[str, Any]) -> ChunkedArray:
        """From the `metadata` of a `.zmetadata` document."""
        zarray, zattrs = metadata[f"{name}/.zarray"], metadata[f"{name}/.zattrs"]
        return cls(
            name,
            tuple(zattrs["_ARRAY_DIMENSIONS"]),
            _NAMES[zarray["dtype"]],
            tuple(zarray["shape"]),
            tuple(zarray["chunks"]),
        )

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each dimension."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))

    def whole(self) -> Region:
        return tuple(slice(0, size) for size in self.shape)

    def key(self, index: tuple[int, ...]) -> str:
        return f"{self.name}/{'.'.join(map(str, index))}"

    def indices(self) -> Iterator[tuple[int, ...]]:
        return product(*map(range, self.grid))

    def blocks(self, region: Region) -> Iterator[tuple[tuple[int, ...], Region, Region]]:
        """The chunks that a region touches: (index of the chunk, region inside the chunk, region inside the region)."""
        along: list[list[tuple[int, slice, slice]]] = []
        for part, chunk in zip(region, self.chunks, strict=True):
            pieces = []
            for k in range(part.start // chunk, -(-part.stop // chunk) if part.stop > part.start else 0):
                lo, hi = max(part.start, k * chunk), min(part.stop, (k + 1) * chunk)
                pieces.append((k, slice(lo - k * chunk, hi - k * chunk), slice(lo - part.start, hi - part.start)))
            along.append(pieces)
        for combination in product(*along):
            index, inside, outside = zip(*combination, strict=True)
            yield index, inside, outside

    def stretches(self, rows: slice) -> list[slice]:
        """Rows cut where chunks begin."""
        size = self.chunks[0]
        cuts = [rows.start, *range((rows.start // size + 1) * size, rows.stop, size), rows.stop]
        return [slice(a, b) for a, b in pairwise(cuts) if a < b]

    def covers(self, index: tuple[int, ...], inside: Region) -> bool:
        """Whether a region inside a chunk covers all of its cells that belong to the array."""
        return all(
            part.start == 0 and part.stop == min(chunk, size - k * chunk)
            for k, part, chunk, size in zip(index, inside, self.chunks, self.shape, strict=True)
        )

    def empty(self, shape: tuple[int, ...] | None = None) -> NDArray:
        """Cells that nobody wrote (of a whole chunk by default): NaN, 0, False or the empty string."""
        fill: Any = {"float32": np.nan, "bool": False, "str": ""}.get(self.dtype, 0)
        dtype = np.dtype(object) if self.dtype == "str" else np.dtype(self.dtype)
        return np.full(self.chunks if shape is None else shape, fill, dtype)

    def encode(self, chunk: NDArray) -> bytes | None:
        """The bytes of a whole chunk; None for one that is not stored, which is a float32 chunk of nothing but NaN."""
        if self.dtype == "float32":
            missing = np.isnan(chunk)
            if missing.all():
                return None
            chunk = _with_one_nan(chunk, missing)
        elif self.dtype == "str":
            return bytes(_BLOSC.encode(_TEXT.encode(chunk)))
        return bytes(_BLOSC.encode(np.ascontiguousarray(chunk)))

    def encode_empty(self) -> bytes:
        """The bytes of a chunk of fill values; for float32 only in place of one that was stored."""
        if self.dtype == "str":
            return bytes(_BLOSC.encode(_TEXT.encode(self.empty())))
        return bytes(_BLOSC.encode(self.empty()))

    def decode_rows(self, data: bytes, rows: slice) -> NDArray:
        """Some rows of a chunk, as `decode` gives them: no more of it is unpacked than has to be."""
        found = self._blocks(data, rows)
        if found is None:
            return self.decode(data)[rows]
        return self._rows(found[0].unpack(found[1], _BLOSC), found, rows)

    def replace_rows(self, data: bytes, inside: Region, values: NDArray) -> bytes | None:
        """The bytes of a stored chunk with other values in a region; None where it has to be packed as a whole."""
        rows = inside[0]
        found = self._blocks(data, rows)
        if found is None:
            return None
        frame, blocks = found
        unpacked = frame.unpack(blocks, _BLOSC)
        self._rows(unpacked, found, rows)[(slice(None), *inside[1:])] = (
            _with_one_nan(values, np.isnan(values)) if self.dtype == "float32" else values
        )
        return frame.replaced(blocks, unpacked.view(self.dtype), _BLOSC)

    def unlike_rows(self, one: bytes, other: bytes) -> slice:
        """Rows outside of which two stored chunks hold the same bits: what is packed alike is not unpacked for that."""
        a, b = (Frame.of(data) if self.dtype != "str" else None for data in (one, other))
        blocks = None if a is None or b is None else a.unlike(b)
        if a is None or blocks is None or a.size != self._row_bytes * self.chunks[0]:
            return slice(0, self.chunks[0])
        if not blocks:
            return slice(0, 0)
        return slice(
            blocks.start * a.block // self._row_bytes,
            min(-(-blocks.stop * a.block // self._row_bytes), self.chunks[0]),
        )

    @property
    def _row_bytes(self) -> int:
        return prod(self.chunks[1:]) * np.dtype(self.dtype).itemsize

    def _blocks(self, data: bytes, rows: slice) -> tuple[Frame, range] | None:
        """The frame of a chunk and the blocks of these rows; None where all of it would be unpacked anyway."""
        frame = Frame.of(data) if self.dtype != "str" else None
        if frame is None or frame.size != self._row_bytes * self.chunks[0]:
            return None
        blocks = frame.holding(rows.start * self._row_bytes, rows.stop * self._row_bytes)
        return (frame, blocks) if 0 < len(blocks) < len(frame.begins) - 1 else None

    def _rows(self, unpacked: NDArray[np.uint8], found: tuple[Frame, range], rows: slice) -> NDArray:
        """The rows in the bytes of their blocks, not copied."""
        frame, blocks = found
        at = rows.start * self._row_bytes - blocks.start * frame.block
        own = unpacked[at : at + (rows.stop - rows.start) * self._row_bytes]
        return own.view(self.dtype).reshape(rows.stop - rows.start, *self.chunks[1:])

    def decode(self, data: bytes) -> NDArray:
        """A whole chunk. The result may be written to. Raises ValueError or RuntimeError for damaged bytes."""
        # The header of a Blosc frame says how long it is packed (bytes 12 to 15) and unpacked (4 to 7).
        unpacked, packed = int.from_bytes(data[4:8], "little"), int.from_bytes(data[12:16], "little")
        out = None if self.dtype == "str" else np.empty(self.chunks, self.dtype)
        if packed != len(data) or (out is not None and unpacked != out.nbytes) or not data:
            raise ValueError(
                f"a chunk of {self.name} is damaged: it has {len(data)} bytes, its header says {packed}, "
                f"unpacked {unpacked}"
            )
        if out is None:
            return _text(data).reshape(self.chunks).copy()
        _BLOSC.decode(data, out)
        return out


def _with_one_nan(values: NDArray, missing: NDArray[np.bool_]) -> NDArray:
    """float32 values with every NaN the same one; copied only where it is not."""
    absent = np.count_nonzero(missing)
    if absent and np.count_nonzero(np.ascontiguousarray(values).view(np.uint32) == _NAN) != absent:
        return np.where(missing, np.float32(np.nan), values)
    return values


@lru_cache(maxsize=64)
def _text(data: bytes) -> NDArray:
    """Texts of a chunk. The few chunks of a family's axes are asked for by every step, and take milliseconds each."""
    return np.asarray(_TEXT.decode(_BLOSC.decode(data)), object)


def same(a: NDArray, b: NDArray) -> NDArray[np.bool_]:
    """Cell by cell, bit for bit, any NaN equal to any other."""
    if a.dtype.kind != "f":
        return np.asarray(a == b)
    bits = np.dtype(f"u{a.dtype.itemsize}")
    alike = np.asarray(a.view(bits) == b.view(bits))
    return alike if alike.all() else alike | (np.isnan(a) & np.isnan(b))
