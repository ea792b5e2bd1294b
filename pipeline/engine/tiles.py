"""Work on tiles of symbols: threads of this process, or a dask cluster when one is configured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar, cast

from pipeline.datasets.spec import COLUMN_CHUNK
from pipeline.settings import Settings

T = TypeVar("T")


def tiles(n: int, size: int = COLUMN_CHUNK) -> list[slice]:
    """Consecutive slices of at most `size` covering range(n)."""
    return [slice(a, min(a + size, n)) for a in range(0, n, size)]


class _Worker(threading.local):
    def __init__(self) -> None:
        self.kept: dict[Callable[..., Any], tuple[tuple[int, ...], Any]] = {}


_worker = _Worker()


def reused(make: Callable[..., T], *shape: int) -> T:
    """What `make(*shape)` made for an earlier tile of this thread: fresh memory costs as much as the arithmetic.

    One result is kept for each `make` and thread, so it is the thread's own until its next call.
    """
    kept = _worker.kept
    if make not in kept or kept[make][0] != shape:
        kept[make] = shape, make(*shape)
    return cast(T, kept[make][1])


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    """The threads of this process. They live on, with what they have `reused`, from one block to the next."""
    return ThreadPoolExecutor(threads, thread_name_prefix="tile")


def map_tiles(function: Callable[..., T], arguments: Sequence[tuple[Any, ...]], settings: Settings) -> list[T]:
    """`function(*args)` for each tuple, in order. The kernels are serial, so the schedule cannot change a bit."""
    if settings.dask_address is None:
        return list(_workers(settings.threads).map(lambda args: function(*args), arguments))
    import dask  # not before it is needed: with `distributed`, a third of a second
    from distributed import Client

    tasks = [dask.delayed(function, pure=False, traverse=False)(*args) for args in arguments]
    with Client(settings.dask_address, set_as_default=False) as client:
        return list(client.gather(client.compute(tasks)))
