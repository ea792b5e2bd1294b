"""`ds_erm3_link_betas`: how the factor ETFs depend on each other, sector on market, subsector on both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.audits import emptiness, estimates
from pipeline.datasets.shared import STOCKS
from pipeline.datasets.spec import CoordinateSpec, StoreShape, VariableSpec
from pipeline.engine import model_inputs
from pipeline.engine.figures import Series, count
from pipeline.engine.product import Product
from pipeline.engine.run import Run
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import positions


def _links() -> tuple[CoordinateSpec, ...]:
    return (
        CoordinateSpec(
            "link",
            ("link",),
            "str",
            "pair of a subsector ETF and a sector ETF, SUBSECTOR:SECTOR",
            comment="grows at the end only",
        ),
        CoordinateSpec("link_subsector_etf", ("link",), "str", "subsector ETF of the pair"),
        CoordinateSpec("link_sector_etf", ("link",), "str", "sector ETF of the pair"),
    )


def _variables() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol")
    return (
        VariableSpec(
            "L2_link_sec_mkt_BF", cell, "float32", "beta of a sector ETF on the market ETF", "1",
            "NaN for an ETF that is no sector ETF, and before it has min_obs returns",
        ),
        VariableSpec(
            "L3_link_sub_mkt_BF", cell, "float32", "beta of a subsector ETF on the market ETF", "1",
            "NaN for an ETF that is no subsector ETF, and before it has min_obs returns",
        ),
        VariableSpec(
            "L3_link_sub_sec_BF", cell, "float32", "beta of a subsector ETF on its home sector's cleaned ETF", "1",
            "given the market; NaN as L3_link_sub_mkt_BF; the pair in use for a stock is in L3_link_sub_sec_pair_BF",
        ),
        VariableSpec(
            "L3_link_sub_sec_pair_BF", ("teo", "link"), "float32",
            "beta of a pair's subsector ETF on its cleaned sector ETF", "1",
            "given the market; one subsector ETF can serve stocks of two sectors; NaN before both have min_obs returns",
        ),
    )  # fmt: skip


SHAPE = StoreShape(
    "ds_erm3_link_betas",
    "market",
    "Link betas between the factor ETFs",
    "How the factor ETFs depend on each other; the same for every stock.",
    coordinates=(*STOCKS, *_links()),
    variables=_variables(),
    lineage=("ds_etf",),
)


def stage(run: Run, name: str) -> None:
    """`ds_erm3_link_betas_{market}`: sector on market, subsector on market, subsector on cleaned sector."""
    store = run.create(name)
    symbols = run.extend(store, run.open("ds_etf").symbol)
    pair_at = _extend_links(run, store)
    n_links = len(store.axis("link"))
    at = positions(run.etf_ids, symbols)
    sectors, subsectors = (np.isin(at, _used_as(run, legs)) for legs in (run.etfs.sector_of, run.etfs.subsector_of))
    for first, last in run.blocks(store):
        links = model_inputs.links_in(run, model_inputs.etf_window(run, first, last), first)
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
    """Rows of the ETFs that industries have at a level, their proxies included."""
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


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    return {
        "sector ETFs with a link beta": count(np.isfinite(store.read("L2_link_sec_mkt_BF", rows))),
        "subsector ETFs with a link beta": count(np.isfinite(store.read("L3_link_sub_mkt_BF", rows))),
    }


PRODUCT = Product(
    SHAPE,
    stage,
    audits=(estimates.home_links_are_pairs,),
    figures=figures,
    may_be_empty=emptiness.links_without_history,
)
