"""Values in their stored dtype, without loss: what does not fit is refused, with where and why."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.store.objects import StoreError


class WrongShape(StoreError):
    """Values, axes or codes that do not fit the store."""


def floats(values: ArrayLike, where: str) -> NDArray[np.float32]:
    """Real numbers as float32. Raises WrongShape for other kinds and for infinities, float32's own included."""
    block = np.asarray(values)
    if block.dtype.kind not in "fiu":
        raise WrongShape(f"{where}: expected numbers, found {block.dtype}")
    with np.errstate(over="ignore"):
        block = block.astype(np.float32, copy=False)
    infinite = np.isinf(block)
    if infinite.any():
        at = tuple(int(k) for k in np.argwhere(infinite)[0])
        raise WrongShape(f"{where}: infinite value at {at} of the block; write NaN for no value")
    return block


def exactly(values: ArrayLike, dtype: str, where: str) -> NDArray:
    """Integers or bools in a narrower dtype. Raises WrongShape when one would change."""
    block = np.asarray(values)
    if block.dtype.kind not in ("b" if dtype == "bool" else "iu"):
        raise WrongShape(f"{where}: expected {dtype}, found {block.dtype}")
    narrow = block.astype(dtype, copy=False)
    if narrow is not block and not np.array_equal(narrow, block):
        raise WrongShape(f"{where}: values from {block.min()} to {block.max()} do not fit {dtype}")
    return narrow


def texts(values: ArrayLike, where: str) -> NDArray[np.object_]:
    """Texts as an object array. Raises WrongShape for None, NaN and numbers."""
    found = np.asarray(values, object).ravel()
    for k, value in enumerate(found):
        if not isinstance(value, str):
            raise WrongShape(f"{where}: expected a text at position {k}, found {value!r}")
    return np.array([str(value) for value in found] or [], object)


def repeated(values: Iterable[object]) -> list[object]:
    """The values that stand more than once, each time after the first."""
    seen: set[object] = set()
    found = []
    for value in values:
        if value in seen:
            found.append(value)
        seen.add(value)
    return found


def some(values: Iterable[object], limit: int = 5) -> str:
    """The first few of many values, for a message."""
    found = [str(value) for value in values]
    return ", ".join(found[:limit]) + (f" and {len(found) - limit} more" if len(found) > limit else "")


def span(days: NDArray) -> str:
    """First and last day, for a message."""
    return f"{days[0]} to {days[-1]}" if len(days) else "none"
