"""Tiles and audits on a dask cluster: a task is names, its worker reads the stores of the run and writes chunks there.

What passes through the scheduler is the name of the run, the symbols of a tile, and back the names and fingerprints of
the chunks that were written. A chunk is an object that is there whole or not at all and belongs to one tile, and the
same values are the same bytes: when a worker is lost, its tile is done again by another one, over what is there.
"""

from __future__ import annotations

import tempfile
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audits import Audit, Check, after_axes
from pipeline.engine.run import INPUT_STORES, Run
from pipeline.engine.views import staged_scope
from pipeline.settings import Settings
from pipeline.store.beside import beside, staged_file
from pipeline.store.objects import StoreError
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import warm_up_file
from security_master import MASTER_FILE

Tasks = Callable[..., list[tuple[Any, ...]]]
Compute = Callable[..., tuple[Mapping[str, Any], Any]]
Work = Callable[[Run, StagedStore, int, int, slice], None]


@dataclass(frozen=True)
class Place:
    """Where a worker finds the run that it helps. token: of what it is asked for; with a new one, it opens the stores
    anew, as they are by then. program: what the run computes with, and its workers must."""

    token: str
    program: str
    run_id: str
    settings: Settings = field(compare=False)
    run: Mapping[str, Any] = field(compare=False)

    @classmethod
    def of(cls, run: Run) -> Place:
        about = {key: getattr(run, key) for key in ("first", "last", "published_first", "restated_as_of")}
        return cls(
            uuid.uuid4().hex,
            program(),
            run.stage.run_id,
            run.settings.model_copy(update={"root": run.stage.objects.url}),
            about,
        )


@dataclass(frozen=True)
class Block:
    """The sessions [first, last] of a store, its `rows`. sizes: of its axes, which are extended and not yet closed."""

    store: str
    first: int
    last: int
    rows: slice
    sizes: Mapping[str, int]


def written(
    run: Run, store: StagedStore, tasks: Tasks, compute: Compute, first: int, last: int, cuts: Sequence[slice]
) -> list[Any]:
    """What `pipeline.engine.tiles.written` says, by the workers of the cluster."""
    block = Block(store.name, first, last, run.rows(store, first, last), dict(store.sizes))
    done = _asked(run, _tile, [(block, tasks, compute, k, store.symbol[k].tolist()) for k in cuts])
    believe(store, [chunks for chunks, _ in done])
    return [found for _, found in done]


def by_rows(run: Run, store: StagedStore, work: Work, stretches: Sequence[tuple[int, int]]) -> None:
    """What `pipeline.engine.tiles.by_rows` says, by the workers of the cluster; one task for each of the stretches,
    the ordinals of its first and last session."""
    sizes = dict(store.sizes)
    blocks = [Block(store.name, first, last, run.rows(store, first, last), sizes) for first, last in stretches]
    believe(store, _asked(run, _rows, [(block, work) for block in blocks]))


def audited(run: Run, name: str, audits: Sequence[Audit]) -> list[list[Check]]:
    """What each of the `audits.after_axes` of a staged store finds, by the workers of the cluster."""
    return _asked(run, _audit, [(name, k) for k in range(len(audits))])


def _asked(run: Run, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """`function(place, *args)` for each tuple, in order, by the workers."""
    from distributed import Client  # not before it is needed: a third of a second

    place = Place.of(run)
    with Client(run.settings.dask_address, set_as_default=False) as client:
        return list(client.gather([client.submit(function, place, *args, pure=False) for args in arguments]))


def _tile(
    place: Place, block: Block, tasks: Tasks, compute: Compute, k: slice, symbols: Sequence[str]
) -> tuple[dict[str, str], Any]:
    """On a worker: reads, computes and writes one tile; the fingerprints of its staged chunks, and what was found."""
    run = _helped(place)
    ((*arguments,),) = tasks(run, block.store, np.array(symbols, object), block.first, block.last)
    stored, found = compute(*arguments)
    store = _opened(run, block)
    for var, values in stored.items():
        store.write(var, block.rows, k, values)
    return _staged(store, stored, block.rows, k), found


def _rows(place: Place, block: Block, work: Work) -> dict[str, str]:
    """On a worker: computes and writes the sessions of a block; the fingerprints of its staged chunks."""
    run = _helped(place)
    store = _opened(run, block)
    work(run, store, block.first, block.last, block.rows)
    return _staged(store, store.variables, block.rows, slice(0, block.sizes["symbol"]))


def _opened(run: Run, block: Block) -> StagedStore:
    """The store of a block, whose axes are as long as the run has them."""
    store = run.open(block.store)
    store.sizes = dict(block.sizes)
    return store


def _staged(store: StagedStore, variables: Iterable[str], rows: slice, cols: slice) -> dict[str, str]:
    return {key: digest for var in variables for key, digest in store.staged_chunks(var, rows, cols).items()}


def _audit(place: Place, name: str, k: int) -> list[Check]:
    """On a worker: what one audit finds in a staged store."""
    from pipeline.engine.products import product_of  # knows all products, some of which are made of tiles

    run = _helped(place)
    product = product_of(run.specs[name])
    return after_axes(product.audits)[k](name, staged_scope(run, name, product))


@cache
def program() -> str:
    """The versions of this code and of the packages that bits depend on."""
    from pipeline.engine.execution import code_version  # runs steps, which are made of tiles

    return ", ".join(
        [f"erm3 {code_version()}", *(f"{name} {version(name)}" for name in ("numpy", "numba", "numcodecs"))]
    )


def believe(store: StagedStore, told: Sequence[Mapping[str, str]]) -> None:
    """The run sees what its workers have written. Raises StoreError when it is not what they say that they wrote."""
    chunks = {key: digest for each in told for key, digest in each.items()}
    if len(chunks) < sum(map(len, told)):
        raise StoreError(f"{store.name}: two tiles wrote into one chunk; its chunks must be as wide as a tile")
    there = store.overlay.staged_fingerprints()
    wrong = sorted(key for key, digest in chunks.items() if there.get(key) != digest)
    if wrong:
        raise StoreError(
            f"{store.name}: {len(wrong)} chunks are not there as the workers wrote them, such as {wrong[0]}. All "
            f"workers must see {store.overlay.objects.url} as this machine does; then run again"
        )


class _Helper(threading.local):
    """A thread of a worker, and the last run that it helped: no thread may use the security master of another one."""

    place: Place | None = None
    run: Run | None = None


_helper = _Helper()


def _helped(place: Place) -> Run:
    """The run as this thread of a worker has it."""
    if _helper.run is None or _helper.place != place:
        _helper.run = _joined(place)
        _helper.place = place
    return _helper.run


def _joined(place: Place) -> Run:
    """A run from another process, with a directory of its own for what lies beside the stores."""
    from pipeline.engine.family import specs  # see above

    if place.program != program():
        raise StoreError(f"a worker has {program()}, the run {place.program}: install the same, then run again")
    stage = beside(place.settings.root, place.run_id, place.settings.threads)
    scratch = tempfile.TemporaryDirectory(prefix="erm3-worker-")
    here = Path(scratch.name)
    run = Run(settings=place.settings, specs=specs(place.settings), stage=stage, scratch=here, **place.run)
    for name in (MASTER_FILE, *(map(warm_up_file, INPUT_STORES) if run.needs_warm_up else ())):
        staged_file(stage, name, here / name)
    weakref.finalize(run, scratch.cleanup)
    return run
