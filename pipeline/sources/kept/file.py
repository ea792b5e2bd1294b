"""A file of kept bars. Each of its bytes is under a digest that is looked at before the byte is believed.

    rows     ROW records by quarter, vendor code, date and known_from, in blocks of BLOCK rows
    index    where the rows of each quarter and code are and what they have in common; digests of the blocks
    end      length of the index, and the digest of it and of the key

The last quarters are the end of the rows, and those of one code are in few blocks.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.outside.caches import write_whole
from pipeline.sources.closes import close_digests

VALUES = ("open", "high", "low", "close", "volume", "total_return_close")

ROW = np.dtype(
    [
        ("code", "<i4"),
        ("date", "<i4"),
        *((name, "<f8") for name in VALUES),
        ("known_from", "<i8"),
        ("known_assumed", "?"),
    ]
)
"""One bar. code: place in the codes of the file; date: days, known_from: microseconds since 1970."""

RUN = np.dtype(
    [
        ("quarter", "<i4"),
        ("code", "<i4"),
        ("start", "<i8"),
        ("rows", "<i8"),
        ("first", "<i4"),
        ("last", "<i4"),
        ("known", "<i8"),
        ("delay", "<i8"),
        ("odd", "?"),
        ("closes", "<i8"),
        ("digest", "<u8"),
    ]
)
"""The bars of one code in one quarter. known: the latest known_from; delay: its longest distance to the close of the
session; odd: whether one is of no session, or was known before its close. closes: how many have a close; digest: the
sum of their `close_digests`."""

BLOCK = 512
"""Rows that are read and looked at together."""

Rows = NDArray[np.void]


class Unbelieved(Exception):
    """A kept file that is not there, or not what was written."""


def quarter_of(days: Any) -> NDArray[np.int32]:
    """Quarters since 1970 of datetime64 dates."""
    return (np.asarray(days, "datetime64[M]").astype(np.int64) // 3).astype(np.int32)


@dataclass(frozen=True, eq=False)
class KeptFile:
    """An open file. codes: (n,) vendor codes; runs: RUN records in order; firsts: (n,) first bar of each code.

    has: the columns of VALUES in which any bar has a value; digests: one for each block.
    """

    path: Path
    codes: NDArray[np.str_]
    runs: Rows
    firsts: Rows
    has: NDArray[np.bool_]
    digests: NDArray[np.uint8]

    def read(self, runs: Rows) -> Rows:
        """The bars of some runs. Raises Unbelieved."""
        if not len(runs):
            return np.empty(0, ROW)
        rows = runs["rows"]
        at = np.arange(rows.sum()) + np.repeat(runs["start"] - (np.cumsum(rows) - rows), rows)
        of = at // BLOCK
        blocks, total = np.unique(of), int(self.runs["rows"].sum())
        try:
            with self.path.open("rb", buffering=0) as file:
                data = b"".join(self._block(file.fileno(), block, total) for block in blocks.tolist())
        except OSError as error:
            raise Unbelieved(str(self.path)) from error
        return np.frombuffer(data, ROW)[np.searchsorted(blocks, of) * BLOCK + at % BLOCK]

    def _block(self, file: int, block: int, total: int) -> bytes:
        """One of the blocks of `total` rows. Raises Unbelieved, and OSError."""
        data = os.pread(file, min(total - block * BLOCK, BLOCK) * ROW.itemsize, block * BLOCK * ROW.itemsize)
        if _digest(data) != self.digests[block].tobytes():
            raise Unbelieved(str(self.path))
        return data


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def write(path: Path, key: str, codes: list[str], rows: Rows, delay: NDArray[np.int64], odd: NDArray[np.bool_]) -> None:
    """Keep bars at `path`, in one step. rows: in their order; delay, odd: of each row, see RUN. OSError where it fails.

    key: what the bars are made of; who opens the file must know it.
    """
    quarter = quarter_of(rows["date"].astype("datetime64[D]"))
    begins = np.flatnonzero(np.r_[True, (np.diff(quarter) != 0) | (np.diff(rows["code"]) != 0)])
    runs = np.empty(len(begins), RUN)
    runs["quarter"], runs["code"], runs["start"] = quarter[begins], rows["code"][begins], begins
    runs["rows"] = np.diff(begins, append=len(rows))
    for name, of, values in (
        ("first", np.minimum, rows["date"]),
        ("last", np.maximum, rows["date"]),
        ("known", np.maximum, rows["known_from"]),
        ("delay", np.maximum, delay),
        ("odd", np.logical_or, odd),
        ("closes", np.add, np.isfinite(rows["close"]).astype(np.int64)),
        ("digest", np.add, _close_digests(rows)),
    ):
        runs[name] = of.reduceat(values, begins)
    data = np.ascontiguousarray(rows).view(np.uint8).data
    size = BLOCK * ROW.itemsize
    digests = b"".join(_digest(data[k : k + size]) for k in range(0, len(data), size))
    index = io.BytesIO()
    np.savez(
        index,
        codes=np.array(codes, dtype=np.str_),
        runs=runs,
        firsts=rows[np.unique(rows["code"], return_index=True)[1]],
        has=np.array([bool(np.isfinite(rows[name]).any() or np.isinf(rows[name]).any()) for name in VALUES]),
        digests=np.frombuffer(digests, np.uint8).reshape(-1, 16),
    )
    tail = index.getvalue()
    write_whole(path, data, tail, len(tail).to_bytes(8, "little"), _sealed(key, tail))


def _close_digests(rows: Rows) -> NDArray[np.uint64]:
    close = np.ascontiguousarray(rows["close"])
    digests = close_digests(rows["date"].astype("datetime64[D]"), close)
    return np.where(np.isfinite(close), digests, np.uint64(0))


def _sealed(key: str, index: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\n" + index).digest()


def open_kept(path: Path, key: str) -> KeptFile:
    """The file of this key. Raises Unbelieved where there is none, or its index is not what was written for the key."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 40, 0))
            end = file.read()
            length = int.from_bytes(end[:8], "little")
            if len(end) != 40 or length > size - 40:
                raise Unbelieved(str(path))
            file.seek(size - 40 - length)
            index = file.read(length)
    except OSError as error:
        raise Unbelieved(str(path)) from error
    if _sealed(key, index) != end[8:]:
        raise Unbelieved(str(path))
    with np.load(io.BytesIO(index)) as found:
        return KeptFile(path, **{name: found[name] for name in ("codes", "runs", "firsts", "has", "digests")})
