"""Work on tiles of symbols: threads of this process, or a dask cluster when one is configured (`cluster`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar, cast

from pipeline.datasets.spec import tiles
from pipeline.engine import cluster
from pipeline.engine.run import Run
from pipeline.settings import Settings
from pipeline.store.staged_store import StagedStore

T = TypeVar("T")


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
    return map_each(settings, lambda args: function(*args), arguments)


def map_each(settings: Settings, function: Callable[[Any], T], values: Sequence[Any]) -> list[T]:
    """`function(value)` for each value, in order."""
    return list(_workers(settings.threads).map(function, values))


def written(
    run: Run, store: StagedStore, tasks: cluster.Tasks, compute: cluster.Compute, first: int, last: int
) -> list[Any]:
    """Computes the tiles of the sessions [first, last] and writes them; what `compute` found in each beside. Who has
    computed a tile writes it: packing it costs as much, and no tile waits in memory for the others.

    tasks:   `tasks(run, name, symbols, first, last)`: the arguments of `compute` for each tile of these symbols, from
             the stores that are there. This process asks once for all tiles, a worker of a cluster for its own one.
    compute: arguments -> the variables of the tile as they are stored, and what else is to be known. Both are functions
             of a module, so that a worker finds them by their name.
    """
    cuts = tiles(len(store.symbol))
    if run.settings.dask_address is not None:
        return cluster.written(run, store, tasks, compute, first, last, cuts)
    rows = run.rows(store, first, last)

    def one(k: slice, arguments: tuple[Any, ...]) -> Any:
        stored, found = compute(*arguments)
        for var, values in stored.items():
            store.write(var, rows, k, values)
        return found

    given = tasks(run, store.name, store.symbol, first, last)
    return map_tiles(one, list(zip(cuts, given, strict=True)), run.settings)


def by_rows(run: Run, store: StagedStore, work: cluster.Work, first: int, last: int) -> None:
    """`work(run, store, first, last, rows)`, a function of a module that computes and writes whole sessions, the `rows`
    of the store: all of [first, last] here, those of one row of chunks by each worker of a cluster."""
    rows = run.rows(store, first, last)
    if run.settings.dask_address is None:
        work(run, store, first, last, rows)
        return
    begins = first - rows.start
    cuts = store.stretches(store.variables[0], rows)
    cluster.by_rows(run, store, work, [(begins + at.start, begins + at.stop - 1) for at in cuts])
