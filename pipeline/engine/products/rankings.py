"""`ds_rankings`: where each stock stands among the universe, its sector and its subsector, by session."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.audits import rankings as checks
from pipeline.datasets.rankings import AT_SESSION, COHORTS, COMPOUNDED, WINDOWS, Ranking, least, rankings, windows_of
from pipeline.datasets.shared import STOCKS
from pipeline.datasets.spec import StoreShape, VariableSpec
from pipeline.engine import model_inputs
from pipeline.engine.figures import Series, count
from pipeline.engine.model_inputs import at_sessions
from pipeline.engine.product import Lines, Picture, Product
from pipeline.engine.run import Run
from pipeline.engine.tiles import by_rows, map_tiles, reused
from pipeline.store.chunks import same
from pipeline.store.staged_store import StagedStore

Values = dict[tuple[str, str], NDArray[np.float64]]
"""By metric and window."""

WHAT = {
    "mkt_cap": "market cap",
    "gross_return": "return",
    "sector_residual": "residual return at L2",
    "subsector_residual": "residual return at L3",
    "er_l1": "share of variance explained at L1",
    "er_l2": "share of variance explained at L2",
    "er_l3": "share of variance explained at L3",
}
AMONG = {
    "universe": "the valid members of the universe",
    "sector": "those with the same sector ETF",
    "subsector": "those with the same subsector ETF",
}


def _variables() -> tuple[VariableSpec, ...]:
    def pair(ranking: Ranking) -> tuple[VariableSpec, VariableSpec]:
        window, metric = WINDOWS[ranking.window], ranking.metric
        what = f"{WHAT[metric]}, compounded over {window} sessions" if window > 1 else f"{WHAT[metric]} of the session"
        present = f", at least {least(ranking.window)} of the {window} returns" if window > 1 else ""
        without = f"NaN for who is no valid member of the universe, has no value{present}, or no such cohort"
        needs = ("shares",) if metric == "mkt_cap" else ()
        cell = "teo", "symbol"
        return (
            VariableSpec(
                ranking.rank,
                cell,
                "float32",
                f"rank by {what}, among {AMONG[ranking.cohort]}",
                "1",
                f"1 is the largest, equal ones share the smallest; percentile = (1 - (rank - 1) / size) 100; {without}",
                needs=needs,
                by_session=True,
            ),
            VariableSpec(
                ranking.size,
                cell,
                "float32",
                f"stocks that {ranking.rank} ranks",
                "stocks",
                without,
                needs=needs,
                by_session=True,
            ),
        )

    return tuple(variable for ranking in rankings() for variable in pair(ranking))


SHAPE = StoreShape(
    "ds_rankings",
    "factor set",
    "Rankings",
    "Ranks of the members by size, returns, residuals and explained risk, within universe, sector and subsector.",
    coordinates=STOCKS,
    variables=_variables(),
    lineage=("ds_daily", "ds_masks", "ds_erm3_betas_adjusted", "ds_erm3_hedge_weights", "ds_erm3_returns"),
)


def stage(run: Run, name: str) -> None:
    """`ds_rankings_{FS}`: from what is published of the metrics up to each session, and from nothing before that."""
    store = run.create(name)
    run.extend(store, run.input_of(name, "ds_erm3_betas_adjusted").symbol)
    for first, last in run.blocks(store):
        by_rows(run, store, _sessions, first, last)
        run.done(store, last)
    run.label(store)
    store.close()


def _sessions(run: Run, store: StagedStore, first: int, last: int, rows: slice) -> None:
    """Ranks the sessions [first, last], the `rows` of the store, and writes them."""
    made_from = {kind: run.input_of(store.name, kind) for kind in SHAPE.lineage}
    adjusted = made_from["ds_erm3_betas_adjusted"]
    symbols, universe = adjusted.symbol, run.factor_set(store.name)
    member = model_inputs.wanted_cells(run, made_from["ds_masks"], universe, symbols, first, last)
    listed = np.flatnonzero(member.any(axis=1))
    fact = adjusted.read("fact", run.rows(adjusted, first, last))[:, listed]
    cohorts = np.stack([np.ones_like(fact[..., 0]), fact[..., 1], fact[..., 2]])
    cohorts[:, ~member[listed].T] = 0
    values = _by_window(run, made_from, symbols[listed], first, last)
    _write(run, store, rows, listed, values, cohorts)


def _by_window(run: Run, made_from: dict[str, StagedStore], symbols: NDArray, first: int, last: int) -> Values:
    """What is ranked, by metric and window: (T, n) of the sessions [first, last]."""
    tasks = []
    for metric in WHAT:
        found = _values(run, made_from, metric, symbols, first, last)
        tasks += [(metric, w, found[-(last - first + WINDOWS[w]) :], first) for w in windows_of(metric)]
    return dict(map_tiles(_compounded, tasks, run.settings))


def _values(
    run: Run, made_from: dict[str, StagedStore], metric: str, symbols: NDArray, first: int, last: int
) -> NDArray[np.float64]:
    """(sessions, n) of a metric up to the session `last`, those before `first` that its windows need included."""
    if metric in COMPOUNDED:
        kind, var, level = COMPOUNDED[metric]
        return at_sessions(run, made_from[kind], var, first - max(WINDOWS.values()) + 1, last, symbols, level)
    kind, var = AT_SESSION[metric]
    values = at_sessions(run, made_from[kind], var, first, last, symbols)
    return values if metric == "mkt_cap" else 1.0 - values


def _compounded(
    metric: str, window: str, values: NDArray[np.float64], first: int
) -> tuple[tuple[str, str], NDArray[np.float64]]:
    """A metric, compounded where the window has several sessions, with its place in `Values`."""
    if WINDOWS[window] > 1:
        values = model.compounded(values, WINDOWS[window], least(window), first)
    return (metric, window), values


def _write(
    run: Run, store: StagedStore, rows: slice, listed: NDArray[np.intp], values: Values, cohorts: NDArray[np.int16]
) -> None:
    """Ranks and sizes of these rows, as many sessions at a time as a chunk has. What is not `listed` has none.

    Metrics that the same stocks have make the same sizes, which are compressed once for all of them.
    """
    everything = slice(0, store.sizes["symbol"])

    def spread(found: NDArray[np.float32]) -> NDArray[np.float32]:
        return model.spread(found, listed, reused(_rows, len(found), everything.stop))

    def write_ranks(metric: str, window: str, here: slice, at: slice) -> list[tuple[str, NDArray[np.float32]]]:
        ranks, sizes = model.ranks(values[metric, window][here], cohorts[:, here])
        each = [Ranking(window, cohort, metric) for cohort in COHORTS]
        for one, rank in zip(each, ranks, strict=True):
            store.write(one.rank, at, everything, spread(rank))
        return [(one.size, size) for one, size in zip(each, sizes, strict=True)]

    def write_sizes(names: list[str], sizes: NDArray[np.float32], at: slice) -> None:
        store.write_alike(names, at, everything, spread(sizes))

    for at in store.stretches(store.variables[0], rows):
        here = slice(at.start - rows.start, at.stop - rows.start)
        done = map_tiles(write_ranks, [(*key, here, at) for key in values], run.settings)
        alike = [(names, sizes, at) for names, sizes in _alike([pair for pairs in done for pair in pairs])]
        map_tiles(write_sizes, alike, run.settings)


def _rows(sessions: int, columns: int) -> NDArray[np.float32]:
    return np.empty((sessions, columns), np.float32)


def _alike(
    found: Sequence[tuple[str, NDArray[np.float32]]],
) -> list[tuple[list[str], NDArray[np.float32]]]:
    """Arrays that are the same, once each, with all their names."""
    groups: list[tuple[list[str], NDArray[np.float32]]] = []
    for name, values in found:
        for names, known in groups:
            if same(known[0], values[0]).all() and same(known, values).all():
                names.append(name)
                break
        else:
            groups.append(([name], values))
    return groups


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    sizes = {cohort: store.read(f"rank_ord_1d_{cohort}_gross_return", rows) for cohort in COHORTS}
    return {f"stocks ranked in their {cohort}": count(np.isfinite(ranks)) for cohort, ranks in sizes.items()}


def pictures(run: Run, name: str) -> list[Picture]:
    keys = {f"stocks ranked in their {cohort}": cohort for cohort in COHORTS}
    return [Lines("stocks with a rank by return, over the last year", keys, "stocks")]


PRODUCT = Product(
    SHAPE,
    stage,
    audits=(checks.ranks_recounted,),
    figures=figures,
    pictures=pictures,
    reaches=max(WINDOWS.values()),
    may_be_empty=checks.empty_so_far,
)
