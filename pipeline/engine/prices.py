"""What the steps of the stocks and of the factor ETFs have in common: who is listed, and how a panel is written.

A step knows only the run, the landed facts, the staged master and the stores before it, never the arrays of an earlier
step, so the command line (one process) and Dagster (one process for each step) do the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.calendar import FOR_EVER
from pipeline.engine.run import Run
from pipeline.market_data.point_in_time import first_listed
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import WarmUp, warm_up_file

Block = Mapping[str, NDArray]
"""Variable -> (n, T) values of a time block."""


def listed(run: Run, types: Sequence[str]) -> NDArray[np.object_]:
    """Securities that some session up to the run's last one knew as listed with one of `types`, as they came."""
    first = first_listed(run.master.listings(), run.calendar, run.settings.rules.vendor_delay_minutes, types)
    return first.index[first <= run.last].to_numpy(object)


def known_from(run: Run, symbols: NDArray, types: Sequence[str]) -> NDArray[np.int32]:
    """(n,) ordinal of the first session that knew each symbol as listed with one of `types`: a column begins there.

    In a declared restatement, what was known by its instant is known from the start.
    """
    delay = run.settings.rules.vendor_delay_minutes
    first = first_listed(run.master.listings(), run.calendar, delay, types, run.restated_as_of)
    return first.reindex(symbols).fillna(FOR_EVER).to_numpy(np.int32)


def with_sessions_before(
    run: Run, store: StagedStore, block: Block, var: str, begins: int, first: int
) -> NDArray[np.float64]:
    """(n, T) of a block from the session `first` on, behind what is staged or published from `begins` on.

    In stored precision, so that a night sees what a backfill does; NaN before all that the run reads.
    """
    before = sessions_before(run, store, var, begins, first)
    return np.concatenate([before, block[var].astype(np.float32)], axis=1).astype(np.float64)


def sessions_before(run: Run, store: StagedStore, var: str, begins: int, first: int) -> NDArray[np.float64]:
    """(n, first - begins) of what is staged or published from `begins` on; NaN before all that the run reads."""
    known_from = max(begins, run.warm_up_first)
    nothing = np.full((len(store.symbol), min(known_from, first) - begins), np.nan)
    if known_from >= first:
        return nothing
    return np.concatenate(
        [nothing, run.history(store.name, store).window(var, store.symbol, known_from, first - 1)], axis=1
    )


def write_blocks(run: Run, store: StagedStore, values: Callable[[int, int], Block], kept: tuple[str, ...]) -> None:
    """Write `values` (variable -> (n, T)) block by block, and before that keep the variables that windows need of the
    warm-up: `run.history` has both, for a block that looks at the sessions before it."""
    everything = slice(0, len(store.symbol))
    if run.needs_warm_up:
        _warm_up(run, store, values, kept)
    for first, last in run.blocks(store):
        for var, block in values(first, last).items():
            store.write(var, run.rows(store, first, last), everything, block.T)
        run.done(store, last)
    run.label(store)
    store.close()


def _warm_up(run: Run, store: StagedStore, values: Callable[[int, int], Block], kept: tuple[str, ...]) -> None:
    """Put the warm-up where `run.history` finds it: the published one, or one read from the source, to be published.

    A security that became known later has no cells in it, so that each night reads what a backfill reads.
    """
    file = warm_up_file(store.name)
    if run.keeps_warm_up(store.name):
        run.stage.published_file(file, run.scratch / file)
        return
    warm = values(run.warm_up_first, run.published_first - 1)
    saved = WarmUp(run.warm_up_first, store.symbol, {var: warm[var].T.astype(np.float32) for var in kept})
    saved.save(run.scratch / file)
    run.stage.add_file(file, run.scratch / file)
