"""`ds_erm3_effectiveness`: what the hedges of the session before left of today, and what they leave over windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.audits import effectiveness as checks
from pipeline.audits.scope import RATIOS
from pipeline.datasets import LEVELS
from pipeline.datasets.shared import LEVEL, STOCKS
from pipeline.datasets.spec import StoreShape, VariableSpec
from pipeline.engine.figures import Series, mean
from pipeline.engine.model_inputs import at_sessions
from pipeline.engine.product import Lines, Picture, Product
from pipeline.engine.run import Run
from pipeline.engine.tiles import map_tiles, tiles
from pipeline.store.staged_store import StagedStore

WINDOWS = checks.WINDOWS
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


def stage(run: Run, name: str) -> None:
    """`ds_erm3_effectiveness_{FS}`: a function of what was published through the session before, and of today's
    returns. Windows are those of this store in stored precision, as readers see them."""
    adjusted, hedge = (run.input_of(name, made) for made in ("ds_erm3_betas_adjusted", "ds_erm3_hedge_weights"))
    store = run.create(name)
    symbols = run.extend(store, adjusted.symbol)
    everything, longest = slice(0, len(symbols)), max(WINDOWS)
    for first, last in run.blocks(store):
        hedged = _hedged(run, adjusted, hedge, symbols, first, last)
        rows = run.rows(store, first, last)
        store.write("hedged_return", rows, everything, hedged)
        back = first - longest + 1
        r = at_sessions(run, run.open("ds_daily"), "return", back, last, symbols)
        etf = run.open("ds_etf")
        market = at_sessions(run, etf, "return", back, last, run.etf_ids[[run.etfs.market]])[:, 0]
        left = np.concatenate([at_sessions(run, store, "hedged_return", back, first - 1, symbols), hedged])
        done = map_tiles(
            _windows_of_tile, [(r[:, k], left[:, k], market, first) for k in tiles(len(symbols))], run.settings
        )
        for k, found in zip(tiles(len(symbols)), done, strict=True):
            for var, values in found.items():
                store.write(var, rows, k, values)
        for w in WINDOWS:
            promised = np.stack(
                [at_sessions(run, hedge, f"L{k}_residual_ER", first - w, last - w, symbols) for k in RATIOS], axis=2
            )
            store.write(f"promised_share_{w}", rows, everything, np.where(np.isfinite(hedged), promised, np.nan))
        run.done(store, last)
    run.label(store)
    store.close()


def _hedged(
    run: Run, adjusted: StagedStore, hedge: StagedStore, symbols: NDArray, first: int, last: int
) -> NDArray[np.float32]:
    """(T, n, level) hedged returns of the sessions [first, last], in stored precision."""
    etf = run.open("ds_etf")
    today = np.full((last - first + 1, len(run.etf_ids) + 1), np.nan)  # the last column is no ETF
    today[:, :-1] = at_sessions(run, etf, "return", first, last, run.etf_ids)
    fact = np.nan_to_num(at_sessions(run, adjusted, "fact", first - 1, last - 1, symbols)).astype(np.int64)
    legs = tuple(np.take_along_axis(today, fact[..., k] - 1, axis=1) for k in range(len(LEVELS)))
    r = at_sessions(run, run.open("ds_daily"), "return", first, last, symbols)
    found = []
    for depth, names in RATIOS.items():
        ratios = tuple(at_sessions(run, hedge, var, first - 1, last - 1, symbols) for var in names)
        found.append(model.hedged_return(r, legs[:depth], ratios))
    with np.errstate(over="ignore"):
        return np.stack(found, axis=2).astype(np.float32)


def _windows_of_tile(
    r: NDArray[np.float64], hedged: NDArray[np.float64], market: NDArray[np.float64], first: int
) -> dict[str, NDArray[np.float32]]:
    """Shares of variance and market betas of a tile, (T, n, level), as they are stored."""
    out: dict[str, NDArray[np.float32]] = {}
    longest = max(WINDOWS)
    absent = ~np.isfinite(hedged[longest - 1 :])
    for w in WINDOWS:
        skip = longest - w
        found = model.effectiveness(r[skip:], hedged[skip:], market[skip:], w, first)
        for var, values in zip((f"variance_share_{w}", f"market_beta_left_{w}"), found, strict=True):
            values[absent] = np.nan
            out[var] = values.astype(np.float32)
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
    reaches=max(WINDOWS),
    may_be_empty=checks.empty_so_far,
)
