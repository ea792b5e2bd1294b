"""Tiles on a dask cluster: a task is names, its worker reads the stores of the run and writes chunks into its staging.

What passes through the scheduler is the name of the run, the symbols of a tile, and back the names and fingerprints of
the chunks that were written. A chunk is an object that is there whole or not at all and belongs to one tile, and the
same values are the same bytes: when a worker is lost, its tile is done again by another one, over what is there.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engine.run import INPUT_STORES, Run
from pipeline.settings import Settings
from pipeline.store.beside import beside, staged_file
from pipeline.store.objects import StoreError
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import warm_up_file
from security_master import MASTER_FILE

Tasks = Callable[..., list[tuple[Any, ...]]]
Compute = Callable[..., tuple[Mapping[str, Any], Any]]


@dataclass(frozen=True)
class Place:
    """Where a worker finds the run that it helps, and the block [begins, ends] of the store that it writes to.

    token: of one block; a worker that meets a new one opens the stores anew, as they are by then.
    sizes: of the axes of the store, which the run has extended and not yet closed; rows: those of the block.
    """

    token: str
    run_id: str
    store: str
    begins: int
    ends: int
    rows: tuple[int, int]
    settings: Settings = field(compare=False)
    sizes: Mapping[str, int] = field(compare=False)
    run: Mapping[str, Any] = field(compare=False)

    @classmethod
    def of(cls, run: Run, store: StagedStore, first: int, last: int) -> Place:
        rows = run.rows(store, first, last)
        about = {key: getattr(run, key) for key in ("first", "last", "published_first", "restated_as_of")}
        settings = run.settings.model_copy(update={"root": run.stage.objects.url})
        where = run.stage.run_id, store.name, first, last, (rows.start, rows.stop)
        return cls(uuid.uuid4().hex, *where, settings, dict(store.sizes), about)


def written(
    run: Run, store: StagedStore, tasks: Tasks, compute: Compute, first: int, last: int, cuts: Sequence[slice]
) -> list[Any]:
    """What `pipeline.engine.tiles.written` says, by the workers of the cluster."""
    from distributed import Client  # not before it is needed: a third of a second

    place, symbols = Place.of(run, store, first, last), store.symbol
    with Client(run.settings.dask_address, set_as_default=False) as client:
        asked = [client.submit(_tile, place, tasks, compute, k, symbols[k].tolist(), pure=False) for k in cuts]
        done = client.gather(asked)
    believe(store, [chunks for chunks, _ in done])
    return [found for _, found in done]


def _tile(place: Place, tasks: Tasks, compute: Compute, k: slice, symbols: Sequence[str]) -> tuple[dict[str, str], Any]:
    """On a worker: reads, computes and writes one tile; the fingerprints of its staged chunks, and what was found."""
    run = _helped(place).run
    ((*arguments,),) = tasks(run, place.store, np.array(symbols, object), place.begins, place.ends)
    stored, found = compute(*arguments)
    store = run.open(place.store)
    store.sizes = dict(place.sizes)
    chunks: dict[str, str] = {}
    for var, values in stored.items():
        store.write(var, slice(*place.rows), k, values)
        chunks |= store.staged_chunks(var, slice(*place.rows), k)
    return chunks, found


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


@dataclass(eq=False)
class _Helped:
    """A run as a worker has it, with a directory of its own for what lies beside the stores."""

    run: Run
    scratch: tempfile.TemporaryDirectory[str]


@lru_cache(maxsize=1)
def _helped(place: Place) -> _Helped:
    from pipeline.engine.family import specs  # knows all products, some of which are made of tiles

    stage = beside(place.settings.root, place.run_id, place.settings.threads)
    scratch = tempfile.TemporaryDirectory(prefix="erm3-worker-")
    for name in (MASTER_FILE, *map(warm_up_file, INPUT_STORES)):
        staged_file(stage, name, Path(scratch.name) / name)
    run = Run(
        settings=place.settings, specs=specs(place.settings), stage=stage, scratch=Path(scratch.name), **place.run
    )
    return _Helped(run, scratch)
