"""`ds_rankings`: where each stock stands among the universe, its sector and its subsector, by session."""

from __future__ import annotations

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
from pipeline.engine.tiles import map_tiles
from pipeline.store.staged_store import StagedStore

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
    made_from = {kind: run.input_of(name, kind) for kind in SHAPE.lineage}
    adjusted, store = made_from["ds_erm3_betas_adjusted"], run.create(name)
    symbols = run.extend(store, adjusted.symbol)
    for first, last in run.blocks(store):
        rows = run.rows(store, first, last)
        member = model_inputs.wanted_cells(
            run, made_from["ds_masks"], run.factor_set(name), symbols, first, last
        ).T  # (T, n)
        fact = adjusted.read("fact", run.rows(adjusted, first, last))
        cohorts = np.stack([member.astype(np.int16), fact[..., 1], fact[..., 2]])
        for metric in WHAT:
            windows = windows_of(metric)
            found = _values(run, made_from, metric, symbols, first, last)
            tasks = [(found[-(last - first + WINDOWS[w]) :], w, first, member, cohorts) for w in windows]
            for window, ranked in zip(windows, map_tiles(_ranked, tasks, run.settings), strict=True):
                for cohort, rank, size in zip(COHORTS, *ranked, strict=True):
                    one = Ranking(window, cohort, metric)
                    store.write(one.rank, rows, slice(0, len(symbols)), rank)
                    store.write(one.size, rows, slice(0, len(symbols)), size)
        run.done(store, last)
    run.label(store)
    store.close()


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


def _ranked(
    values: NDArray[np.float64], window: str, first: int, member: NDArray[np.bool_], cohorts: NDArray[np.int16]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ranks and sizes, (cohorts, T, n), of values that are compounded where the window has several sessions."""
    if WINDOWS[window] > 1:
        values = model.compounded(values, WINDOWS[window], least(window), first)
    return model.ranks(np.where(member, values, np.nan), cohorts)


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
