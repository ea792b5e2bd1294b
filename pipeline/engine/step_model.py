"""The model's steps of a run: link betas, cascade, shrinkage, industry aggregates, hedge and shares, decomposition.

Windows come from the published returns (through the staging overlay), the kernels from `pipeline.model`; the one
transpose between stock-major arrays and time-major stores is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.datasets import LEVELS
from pipeline.engine.run import Run
from pipeline.engine.tiles import map_tiles, reused, tiles
from pipeline.settings import FactorSet
from pipeline.store import StagedStore
from pipeline.store.windows import positions


def stage_link_betas(run: Run, name: str) -> None:
    """`ds_erm3_link_betas_{market}`: sector on market, subsector on market, subsector on cleaned sector."""
    store = run.create(name)
    symbols = run.extend(store, run.open("ds_etf").symbol)
    pair_at = _extend_links(run, store)
    n_links = len(store.axis("link"))
    at = positions(run.etf_ids, symbols)
    sectors, subsectors = (np.isin(at, _used_as(run, legs)) for legs in (run.etfs.sector_of, run.etfs.subsector_of))
    for first, last in run.blocks(store):
        links = _links(run, _etf_window(run, first, last), first)
        on_market = np.where(at[:, None] >= 0, links.on_market[at], np.nan).T
        on_pair = np.full((last - first + 1, n_links), np.nan)
        on_pair[:, pair_at] = links.sub_on_sector.T
        home = run.etfs.home_pairs(run.days(first, last), **run.cut_over)[at]
        on_home = np.where(home >= 0, links.sub_on_sector[home, np.arange(home.shape[1])], np.nan).T
        rows, everything = run.rows(store, first, last), slice(0, len(symbols))
        store.write("L2_link_sec_mkt_BF", rows, everything, np.where(sectors, on_market, np.nan))
        store.write("L3_link_sub_mkt_BF", rows, everything, np.where(subsectors, on_market, np.nan))
        store.write("L3_link_sub_sec_BF", rows, everything, np.where(subsectors, on_home, np.nan))
        store.write("L3_link_sub_sec_pair_BF", rows, slice(0, n_links), on_pair)
        run.done(store, last)
    run.label(store)
    store.close()


def _used_as(run: Run, etf_of: Mapping[int, int]) -> list[int]:
    """Rows of the ETFs that industries have at a level, their stand-ins included."""
    return sorted({row for first in etf_of.values() for row in run.etfs.chain(first)})


def _extend_links(run: Run, store: StagedStore) -> NDArray[np.int64]:
    """Grow the axis of ETF pairs by those it lacks; the position on it of each of the run's pairs."""
    tickers = run.etfs.tickers
    names = [f"{tickers[u]}:{tickers[s]}" for u, s in run.etfs.pairs]
    have = set(store.axis("link").tolist())
    store.extend(link=[link for link in names if link not in have])
    legs = np.array([link.split(":") for link in store.axis("link")], dtype=object).reshape(-1, 2)
    store.set_coord("link_subsector_etf", legs[:, 0])
    store.set_coord("link_sector_etf", legs[:, 1])
    return store.cols_of(names, axis="link")


def stage_betas(run: Run, name: str, factor_set: FactorSet) -> None:
    """`ds_erm3_betas_{FS}`: the cascade of every member of the universe that is valid at the session."""
    masks = run.open("ds_masks")
    store = run.create(name, {"fact": _fact_flags(run)})
    ever, first_seen = _members_ever(run, factor_set, masks)
    symbols = run.extend(store, ever[np.lexsort((ever.astype(str), first_seen))])
    everything = slice(0, len(symbols))
    counts = np.zeros((len(LEVELS), len(model.DegenerateReason)), dtype=np.int64)
    for first, last in run.blocks(store):
        etf, returns = _etf_window(run, first, last), _stock_window(run, symbols, first, last)
        wanted = _wanted(run, masks, factor_set, symbols, first, last)
        sector, subsector = _assignment(run, symbols, first, last)
        start, kernel, market = first - run.kernel.window + 1, run.kernel, run.etfs.market
        done = map_tiles(
            _betas_of_tile,
            [(returns[k], etf, market, sector[k], subsector[k], wanted[k], start, kernel) for k in tiles(len(symbols))],
            run.settings,
        )
        rows = run.rows(store, first, last)
        for k, (stored, _) in zip(tiles(len(symbols)), done, strict=True):
            for var, values in stored.items():
                store.write(var, rows, k, values)
        legs = np.stack([np.full_like(sector, market), sector, subsector])
        fact = np.where(wanted & (legs >= 0), legs + 1, 0).astype(np.int16)
        store.write("fact", rows, everything, _time_first(fact))
        counts += np.sum([counted for _, counted in done], axis=0)
        run.done(store, last)
    unconverged = int(counts[:, model.DegenerateReason.UNCONVERGED].sum())
    run.stage.note(name, {"degenerate_cells": model.reason_counts(counts), "unconverged": unconverged})
    run.label(store)
    store.close()


def _betas_of_tile(
    r: NDArray,
    etf: NDArray,
    market: int,
    sector: NDArray,
    subsector: NDArray,
    wanted: NDArray,
    first: int,
    kernel: model.KernelParams,
) -> tuple[dict[str, NDArray], NDArray]:
    """The cascade of a tile: its variables as they are stored, and the cells by reason."""
    out = reused(model.Cascade.empty, *wanted.shape)
    done = model.cascade(r, etf, market, sector, subsector, wanted, first, kernel, out)
    stored = {
        "factor_beta": _as_stored(done.beta, np.float32),
        "beta_se": _as_stored(done.se, np.float32),
        "n_obs": _as_stored(done.n_obs, np.int16),
    }
    return stored, done.counts.copy()


def stage_adjusted(run: Run, name: str, factor_set: FactorSet) -> None:
    """`ds_erm3_betas_adjusted_{FS}`: L2 and L3 shrunk towards their industry's peers."""
    raw = run.open(f"ds_erm3_betas_{factor_set.id}")
    store = run.create(name, {"fact": _fact_flags(run)})
    everything = slice(0, len(run.extend(store, raw.symbol)))
    for first, last in run.blocks(store):
        peers = _Peers.read(run, raw, first, last)
        adjusted = peers.beta.copy()
        weight = np.where(np.isfinite(peers.beta), 0.0, np.nan)
        for k in range(1, len(LEVELS)):
            adjusted[k], weight[k] = model.shrink(
                peers.beta[k], peers.se[k], peers.fact[k], peers.industry, peers.log_weight,
                np.isfinite(peers.beta[k]), run.settings.model.min_peers,
            )  # fmt: skip
        rows = run.rows(store, first, last)
        store.write("factor_beta", rows, everything, _time_first(adjusted))
        store.write("shrinkage_weight", rows, everything, _time_first(weight))
        store.write("fact", rows, everything, _time_first(peers.fact))
        run.done(store, last)
    run.label(store)
    store.close()


def stage_industry(run: Run, name: str, factor_set: FactorSet) -> None:
    """`ds_erm3_industry_{FS}`: industry x level aggregates of the raw betas, the prior of the shrinkage."""
    raw = run.open(f"ds_erm3_betas_{factor_set.id}")
    taxonomy = run.master.taxonomy()
    codes = taxonomy["fs_industry_code"].to_numpy(np.int16)
    store = run.create(name, {"fs_industry_code": list(zip(codes.tolist(), taxonomy["industry"], strict=True))})
    industries = run.extend(store, np.sort(codes), dim="fs_industry_code")
    ascending = np.sort(industries).astype(np.int16)
    back = np.searchsorted(ascending, industries)
    for first, last in run.blocks(store):
        peers = _Peers.read(run, raw, first, last)
        found = [
            model.industry_aggregates(
                peers.beta[k], peers.fact[k], peers.industry, peers.log_weight, np.isfinite(peers.beta[k]), ascending
            )
            for k in range(len(LEVELS))
        ]
        rows, everything = run.rows(store, first, last), slice(0, len(industries))
        for var in ("beta_mean", "beta_variance", "n_companies", "total_log_mcap_weight", "n_facts"):
            values = np.stack([getattr(level, var)[back] for level in found])
            if var.startswith("n_"):
                values = values.astype(np.int16)
            elif var == "total_log_mcap_weight":
                values = np.where(np.stack([level.n_companies[back] for level in found]) > 0, values, np.nan)
            store.write(var, rows, everything, _time_first(values))
        run.done(store, last)
    store.close()


def stage_hedge(run: Run, name: str, factor_set: FactorSet) -> None:
    """`ds_erm3_hedge_weights_{FS}`: hedge ratios on raw ETFs, explained-risk shares, total variance."""
    adjusted = run.open(f"ds_erm3_betas_adjusted_{factor_set.id}")
    store = run.create(name)
    symbols = run.extend(store, adjusted.symbol)
    everything = slice(0, len(symbols))
    for first, last in run.blocks(store):
        etf, returns = _etf_window(run, first, last), _stock_window(run, symbols, first, last)
        sector, subsector = _assignment(run, symbols, first, last)
        beta = _level_first(adjusted.read("factor_beta", run.rows(adjusted, first, last), everything))
        wanted = np.isfinite(beta[0])
        links, pairs = _links(run, etf, first), run.etfs.pairs
        start, kernel, market = first - run.kernel.window + 1, run.kernel, run.etfs.market
        done = map_tiles(
            _hedge_of_tile,
            [
                (returns[k], etf, market, sector[k], subsector[k], beta[:, k], wanted[k], start, kernel, links, pairs)
                for k in tiles(len(symbols))
            ],
            run.settings,
        )
        rows = run.rows(store, first, last)
        for k, stored in zip(tiles(len(symbols)), done, strict=True):
            for var, values in stored.items():
                store.write(var, rows, k, values)
        run.done(store, last)
    run.label(store)
    store.close()


def _hedge_of_tile(
    r: NDArray,
    etf: NDArray,
    market: int,
    sector: NDArray,
    subsector: NDArray,
    beta: NDArray,
    wanted: NDArray,
    first: int,
    kernel: model.KernelParams,
    links: model.LinkBetas,
    pairs: NDArray,
) -> dict[str, NDArray]:
    """Hedge ratios, shares and variance of a tile, as they are stored."""
    ratios, shares, variance = reused(_hedge_arrays, *wanted.shape)
    model.hedge_ratios_of_stocks(beta, links, pairs, sector, subsector, ratios)
    model.explained_risk(r, etf, market, sector, subsector, beta, wanted, first, kernel, (shares, variance))
    named = zip((*model.HEDGE_RATIOS, *model.SHARES, "_stock_var"), (*ratios, *shares, variance), strict=True)
    return {var: _as_stored(values, np.float32) for var, values in named}


def _hedge_arrays(stocks: int, sessions: int) -> tuple[NDArray, NDArray, NDArray]:
    cells = (stocks, sessions)
    return np.empty((len(model.HEDGE_RATIOS), *cells)), np.empty((len(model.SHARES), *cells)), np.empty(cells)


def stage_returns(run: Run, name: str, factor_set: FactorSet) -> None:
    """`ds_erm3_returns_{FS}`: the day's decomposition with the betas of the day, and the hedge depth L*."""
    adjusted = run.open(f"ds_erm3_betas_adjusted_{factor_set.id}")
    hedge = run.open(f"ds_erm3_hedge_weights_{factor_set.id}")
    store = run.create(name, Lstar_threshold=run.settings.model.lstar_threshold)
    symbols = run.extend(store, adjusted.symbol)
    everything = slice(0, len(symbols))
    for first, last in run.blocks(store):
        etf = _etf_window(run, first, last)
        today = etf[:, run.kernel.window - 1 :]
        r = run.history("ds_daily").window("return", symbols, first, last)
        sector, subsector = _assignment(run, symbols, first, last)
        at = np.arange(r.shape[1])
        s, u = (np.where(leg >= 0, today[leg, at], np.nan) for leg in (sector, subsector))
        m = np.broadcast_to(today[run.etfs.market], r.shape)
        beta = _level_first(adjusted.read("factor_beta", run.rows(adjusted, first, last), everything))
        links = model.links_of_stocks(_links(run, etf, first), run.etfs.pairs, sector, subsector)
        parts = model.decompose(r, m, s, u, beta, links)
        hedge_rows = run.rows(hedge, first, last)
        sector_share, subsector_share = (
            hedge.read(var, hedge_rows, everything).T.astype(np.float64) for var in ("L2_sector_ER", "L3_subsector_ER")
        )
        depth = model.lstar_level(sector_share, subsector_share, run.settings.model.lstar_threshold)
        deepest = np.maximum(depth, 1).astype(np.int64)[None] - 1
        rows = run.rows(store, first, last)
        for var, values in zip(("factor_return", "combined_factor_return", "residual_return"), parts, strict=True):
            at_depth = np.where(depth == 0, np.nan, np.take_along_axis(values, deepest, axis=0)[0])
            store.write(var, rows, everything, _time_first(np.stack([*values, at_depth])))
        store.write("lstar_level", rows, everything, depth.T)
        run.done(store, last)
    run.label(store)
    store.close()


def _as_stored(block: NDArray, dtype: type[np.generic]) -> NDArray:
    """([level,] n, T) of the model -> (T, n[, level]) of a store, in its precision: one copy, and the worker makes it.

    What is too large for float32 becomes infinite, which the store refuses.
    """
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(block.T, dtype=dtype)


def _time_first(block: NDArray) -> NDArray:
    """(level, n, T) of the model -> (T, n, level) of a store."""
    return block.transpose(2, 1, 0)


def _level_first(block: NDArray) -> NDArray[np.float64]:
    """(T, n, level) of a store -> (level, n, T) float64, C-contiguous."""
    return np.ascontiguousarray(block.transpose(2, 1, 0), dtype=np.float64)


def _etf_window(run: Run, first: int, last: int) -> NDArray[np.float64]:
    """(E, window - 1 + sessions) returns of the factor ETFs, all NaN for one that the source does not have."""
    return run.history("ds_etf").window("return", run.etf_ids, first - run.kernel.window + 1, last)


def _stock_window(run: Run, symbols: NDArray, first: int, last: int) -> NDArray[np.float64]:
    return run.history("ds_daily").window("return", symbols, first - run.kernel.window + 1, last)


def _links(run: Run, etf: NDArray[np.float64], first: int) -> model.LinkBetas:
    """Link betas in float64 of the sessions from `first` on, from the windows that end on them."""
    return model.link_betas(etf, run.etfs.market, run.etfs.pairs, first - run.kernel.window + 1, run.kernel)


def _fact_flags(run: Run) -> list[tuple[int, str]]:
    """Codes of `fact`: the row of the ETF in the registry, plus one."""
    return [(k + 1, ticker) for k, ticker in enumerate(run.etfs.tickers)]


def _wanted(
    run: Run, masks: StagedStore, factor_set: FactorSet, symbols: NDArray, first: int, last: int
) -> NDArray[np.bool_]:
    """(n, T): member of the universe and valid at that session."""
    rows = run.rows(masks, first, last)
    both = masks.read(factor_set.universe, rows) & masks.read("validity", rows)
    return np.ascontiguousarray(both[:, masks.cols_of(symbols)].T)


def _members_ever(run: Run, factor_set: FactorSet, masks: StagedStore) -> tuple[NDArray, NDArray]:
    """Symbols with a session as valid member in the run, and the ordinal of the first such session."""
    first_seen = np.full(len(masks.symbol), -1)
    for first, last in run.blocks(masks):
        both = _wanted(run, masks, factor_set, masks.symbol, first, last)
        hit = both.any(axis=1) & (first_seen < 0)
        first_seen[hit] = first + both[hit].argmax(axis=1)
    return masks.symbol[first_seen >= 0], first_seen[first_seen >= 0]


def _assignment(run: Run, symbols: NDArray, first: int, last: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Rows of the ETF array in force for each stock and session, (n, T), -1 for none: sector, subsector."""
    daily = run.open("ds_daily")
    industry = daily.read("fs_industry_code", run.rows(daily, first, last))[:, daily.cols_of(symbols)].T
    return run.assignment(industry, first, last)


@dataclass(frozen=True)
class _Peers:
    """What shrinkage and aggregates need of a block: (level, n, T) and (n, T) arrays, C-contiguous."""

    beta: NDArray[np.float64]
    se: NDArray[np.float64]
    fact: NDArray[np.int16]
    industry: NDArray[np.int16]
    log_weight: NDArray[np.float64]

    @classmethod
    def read(cls, run: Run, raw: StagedStore, first: int, last: int) -> _Peers:
        rows, daily = run.rows(raw, first, last), run.open("ds_daily")
        daily_rows, cols = run.rows(daily, first, last), daily.cols_of(raw.symbol)
        cap = daily.read("market_cap", daily_rows)[:, cols].T.astype(np.float64)
        return cls(
            _level_first(raw.read("factor_beta", rows)),
            _level_first(raw.read("beta_se", rows)),
            np.ascontiguousarray(raw.read("fact", rows).transpose(2, 1, 0)),
            np.ascontiguousarray(daily.read("fs_industry_code", daily_rows)[:, cols].T),
            np.ascontiguousarray(np.log1p(cap)),
        )
