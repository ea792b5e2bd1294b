"""`ds_erm3_effectiveness`: what the hedges of the session before left of today, and what they leave over windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.audits import effectiveness as checks
from pipeline.audits.scope import RATIOS
from pipeline.datasets import LEVELS
from pipeline.datasets.shared import LEVEL, STOCKS
from pipeline.datasets.spec import StoreShape, VariableSpec, tiles
from pipeline.engine.figures import Series, mean
from pipeline.engine.model_inputs import at_positions, at_sessions
from pipeline.engine.product import Lines, Picture, Product
from pipeline.engine.run import Run
from pipeline.engine.tiles import written
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import positions

WINDOWS = checks.WINDOWS
LONGEST = max(WINDOWS)
LEFT = {level: f"mean share of variance left by {level}" for level in LEVELS}
ABOVE = {level: f"mean share above the promise at {level}" for level in LEVELS}
"""Figures by level."""


def _variables() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol", "level")
    without = "NaN where the session before published no hedge ratio, or the stock has no return"
    realised = VariableSpec(
        "hedged_return",
        cell,
        "float32",
        "return of a dollar long, hedged with the ratios published the session before",
        "1",
        f"return + sum of hedge ratio x raw ETF return; a last return counts too; {without}",
    )
    thin = "NaN where fewer than half of the sessions have a hedged return"
    return (
        realised,
        *(
            variable
            for w in WINDOWS
            for variable in (
                VariableSpec(
                    f"variance_share_{w}",
                    cell,
                    "float32",
                    f"variance of hedged_return over that of the return, last {w} sessions",
                    "1",
                    f"equal weights, means removed; {thin}",
                ),
                VariableSpec(
                    f"promised_share_{w}",
                    cell,
                    "float32",
                    f"residual share of explained risk that was published {w} sessions earlier",
                    "1",
                    f"to be held against variance_share_{w}; NaN where none was published, or today has no "
                    "hedged_return",
                ),
                VariableSpec(
                    f"market_beta_left_{w}",
                    cell,
                    "float32",
                    f"beta of hedged_return on the market ETF, last {w} sessions",
                    "1",
                    f"equal weights, no intercept; {thin}",
                ),
            )
        ),
    )


SHAPE = StoreShape(
    "ds_erm3_effectiveness",
    "factor set",
    "Effectiveness of the hedges",
    "What hedges left of the next session's return, and of its variance and market beta over windows.",
    coordinates=(*STOCKS, LEVEL),
    levels=LEVELS,
    variables=_variables(),
    lineage=("ds_daily", "ds_etf", "ds_erm3_betas_adjusted", "ds_erm3_hedge_weights"),
)


@dataclass(frozen=True)
class Source:
    """A store that the step reads, and where it has the symbols of the store that is written, -1 for none."""

    store: StagedStore
    cols: NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """What the tiles of the sessions [first, last] share.

    made_from: by kind of store, this one too. r, etf: returns from the oldest session of the longest window on, of the
    stocks (rows, n) and of the factor ETFs (rows, ETFs).
    """

    run: Run
    made_from: dict[str, Source]
    first: int
    last: int
    r: NDArray[np.float64]
    etf: NDArray[np.float64]

    def read(
        self, kind: str, var: str, k: slice, back: int, through: int | None = None, level: str | None = None
    ) -> NDArray:
        """(T, columns) as stored of the columns k, from the session `first` - back to the session `last` - through, by
        default as many before `last`."""
        source, last = self.made_from[kind], self.last - (back if through is None else through)
        dtype = np.dtype(source.store.spec.array(var).dtype).type
        return at_positions(self.run, source.store, var, self.first - back, last, source.cols[k], level, dtype)


def stage(run: Run, name: str) -> None:
    """`ds_erm3_effectiveness_{FS}`: a function of what was published through the session before, and of today's
    returns. Windows are those of this store in stored precision, as readers see them."""
    store = run.create(name)
    run.extend(store, run.input_of(name, "ds_erm3_betas_adjusted").symbol)
    run.label(store)
    store.close()  # each tile opens it, to read the sessions before its own
    for first, last in run.blocks(store):
        written(run, store, _tasks, _tile, first, last)
        run.done(store, last)
    store.close()


def _tasks(run: Run, name: str, symbols: NDArray, first: int, last: int) -> list[tuple[Any, ...]]:
    """Arguments of `_tile` for each tile of these symbols."""
    stocks = {kind: run.input_of(name, kind) for kind in SHAPE.lineage if kind != "ds_etf"}
    stocks[SHAPE.dataset_id] = run.open(name)
    made_from = {kind: Source(one, positions(one.symbol, symbols)) for kind, one in stocks.items()}
    back, daily = first - LONGEST + 1, made_from["ds_daily"]
    r = at_positions(run, daily.store, "return", back, last, daily.cols)
    etf = at_sessions(run, run.input_of(name, "ds_etf"), "return", back, last, run.etf_ids)
    block = Block(run, made_from, first, last, r, etf)
    return [(block, k) for k in tiles(len(symbols))]


def _tile(block: Block, k: slice) -> tuple[dict[str, NDArray], None]:
    """All variables of the columns k: what was realised, what that is over windows, and what had been promised.

    One level lies after the other in memory, as in the chunks that are written.
    """
    r = np.ascontiguousarray(block.r[:, k])
    left = np.empty((len(LEVELS), *r.shape), np.float32)
    for before, level in zip(left, LEVELS, strict=True):
        through = block.last - block.first + 1
        before[: LONGEST - 1] = block.read(SHAPE.dataset_id, "hedged_return", k, LONGEST - 1, through, level)
    hedged = left[:, LONGEST - 1 :]
    _hedge(block, k, r[LONGEST - 1 :], hedged)
    values = {"hedged_return": hedged, **_over_windows(r, left, block.etf[:, block.run.etfs.market], block.first)}
    for w in WINDOWS:
        promised = np.full_like(hedged, np.nan)
        for d, share in zip(RATIOS, promised, strict=True):
            then = block.read("ds_erm3_hedge_weights", f"L{d}_residual_ER", k, w)
            np.copyto(share, then, where=np.isfinite(hedged[d - 1]))
        values[f"promised_share_{w}"] = promised
    return {var: by_level.transpose(1, 2, 0) for var, by_level in values.items()}, None


def _hedge(block: Block, k: slice, r: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Hedged returns of the columns k, whose returns are r (T, columns): (level, T, columns), in stored precision."""
    etf = block.etf[LONGEST - 1 :]
    by_fact = np.concatenate([np.full((len(etf), 1), np.nan), etf], axis=1)  # 0 is no ETF
    legs: list[NDArray[np.float64]] = []
    for (_, names), level, hedged in zip(RATIOS.items(), LEVELS, out, strict=True):
        fact = block.read("ds_erm3_betas_adjusted", "fact", k, 1, level=level)
        legs.append(np.take_along_axis(by_fact, np.maximum(fact, 0).astype(np.intp), axis=1))
        ratios = tuple(block.read("ds_erm3_hedge_weights", var, k, 1) for var in names)
        with np.errstate(over="ignore"):
            hedged[...] = model.hedged_return(r, tuple(legs), ratios)


def _over_windows(
    r: NDArray[np.float64], hedged: NDArray[np.float32], market: NDArray[np.float64], first: int
) -> dict[str, NDArray[np.float32]]:
    """Shares of variance and market betas of a tile, (level, T, columns), as they are stored."""
    out: dict[str, NDArray[np.float32]] = {}
    left = hedged.astype(np.float64)
    for w in WINDOWS:
        skip = LONGEST - w
        found = model.effectiveness(r[skip:], left[:, skip:], market[skip:], w, first)
        out |= {var: values.astype(np.float32) for var, values in zip(checks.windowed(w), found, strict=True)}
    return out


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    share, promised = store.read("variance_share_63", rows), store.read("promised_share_63", rows)
    left = store.read("market_beta_left_63", rows)
    found = {LEFT[level]: mean(share[..., k]) for k, level in enumerate(LEVELS)}
    gap = {ABOVE[level]: mean((share - promised)[..., k]) for k, level in enumerate(LEVELS)}
    return {**found, **gap, "mean market beta left at L3": mean(left[..., 2])}


def pictures(run: Run, name: str) -> list[Picture]:
    left, gap = ({figures[level]: f"through {level}" for level in LEVELS} for figures in (LEFT, ABOVE))
    return [
        Lines("variance left by the hedges, over the 63 sessions before", left, "% of the stock's own", percent=True),
        Lines("variance left above what was promised", gap, "% of the stock's own", percent=True),
    ]


PRODUCT = Product(
    SHAPE,
    stage,
    audits=(
        checks.realised_from_published_ratios,
        checks.effectiveness_recomputed,
        checks.promises_are_as_published,
    ),
    figures=figures,
    pictures=pictures,
    reaches=LONGEST,
    may_be_empty=checks.empty_so_far,
)
