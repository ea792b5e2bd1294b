"""What a person follows from session to session: one number for each session of the run and each figure.

Read from the staged store, in blocks of its chunks, so memory does not grow with the range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import LEVELS
from pipeline.engine.family import specs
from pipeline.engine.run import Run
from pipeline.settings import UNIVERSES
from pipeline.store import StagedStore

Series = dict[str, NDArray[np.float64]]


def by_session(run: Run, name: str, first: int | None = None, last: int | None = None) -> Series:
    """Figures of a store for the sessions with ordinals [first, last], the run's by default: (sessions,) each."""
    spec, store = specs(run.settings)[name], run.open(name)
    figures = _FIGURES[spec.dataset_id]
    first, last = run.first if first is None else first, run.last if last is None else last
    parts = [figures(run, store, run.rows(store, a, b)) for a, b in run.blocks(store, first, last)]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _daily(run: Run, store: StagedStore, rows: slice) -> Series:
    return {
        "stocks with a price": _count(np.isfinite(store.read("close", rows))),
        "stocks with a return": _count(np.isfinite(store.read("return", rows))),
    }


def _etf(run: Run, store: StagedStore, rows: slice) -> Series:
    return {"ETFs with a return": _count(np.isfinite(store.read("return", rows)))}


def _masks(run: Run, store: StagedStore, rows: slice) -> Series:
    valid = store.read("validity", rows)
    members = {f"valid members of {u}": _count(store.read(u, rows) & valid) for u in UNIVERSES}
    return {"valid stocks": _count(valid), **members}


def _links(run: Run, store: StagedStore, rows: slice) -> Series:
    return {
        "sector ETFs with a link beta": _count(np.isfinite(store.read("L2_link_sec_mkt_BF", rows))),
        "subsector ETFs with a link beta": _count(np.isfinite(store.read("L3_link_sub_mkt_BF", rows))),
    }


def _betas(run: Run, store: StagedStore, rows: slice) -> Series:
    found = np.isfinite(store.read("factor_beta", rows)).sum(axis=1).astype(np.float64)
    counts = {f"stocks with a {level} beta": found[:, k] for k, level in enumerate(LEVELS)}
    return counts | _coverage(run, store, rows, found)


def _adjusted(run: Run, store: StagedStore, rows: slice) -> Series:
    weight = store.read("shrinkage_weight", rows)
    found = np.isfinite(store.read("factor_beta", rows)).sum(axis=1).astype(np.float64)
    means = {f"mean shrinkage of {level}": _mean(weight[..., k]) for k, level in enumerate(LEVELS) if k}
    return means | _coverage(run, store, rows, found)


def _industry(run: Run, store: StagedStore, rows: slice) -> Series:
    enough = store.read("n_companies", rows) >= run.settings.model.min_peers
    return {f"industries with enough peers at {level}": _count(enough[..., k]) for k, level in enumerate(LEVELS)}


def _hedge(run: Run, store: StagedStore, rows: slice) -> Series:
    found = np.stack([_count(np.isfinite(store.read(f"L{k}_market_HR", rows))) for k in (1, 2, 3)], axis=1)
    shares = {
        f"mean {level} share of variance": _mean(store.read(f"L3_{level}_ER", rows)) for level in (*LEVELS, "residual")
    }
    return {"stocks with an L3 hedge": found[:, 2], **shares, **_coverage(run, store, rows, found)}


def _returns(run: Run, store: StagedStore, rows: slice) -> Series:
    residual = store.read("residual_return", rows)[..., :3]
    found = np.isfinite(residual).sum(axis=1).astype(np.float64)
    return {
        "stocks with an L3 residual": found[:, 2],
        "mean absolute L3 residual return": _mean(np.abs(residual[..., 2])),
        **_coverage(run, store, rows, found),
    }


_FIGURES: Mapping[str, Callable[[Run, StagedStore, slice], Series]] = {
    "ds_daily": _daily,
    "ds_etf": _etf,
    "ds_masks": _masks,
    "ds_erm3_link_betas": _links,
    "ds_erm3_betas": _betas,
    "ds_erm3_betas_adjusted": _adjusted,
    "ds_erm3_industry": _industry,
    "ds_erm3_hedge_weights": _hedge,
    "ds_erm3_returns": _returns,
}


def _coverage(run: Run, store: StagedStore, rows: slice, found: NDArray[np.float64]) -> Series:
    """Size of the universe, and which share of it has values. found: stocks with values, (sessions, levels)."""
    assert store.spec.factor_set is not None
    betas = run.open(f"ds_erm3_betas_{store.spec.factor_set.id}")
    first, last = (run.calendar.ordinal(day) for day in store.teo[rows][[0, -1]])
    members = _count(betas.read("fact", run.rows(betas, first, last))[..., 0] != 0)
    shares = {f"coverage of {level}": _share(found[:, k], members) for k, level in enumerate(LEVELS)}
    return {"valid members": members, **shares}


def _count(cells: NDArray[np.bool_]) -> NDArray[np.float64]:
    return cells.sum(axis=1).astype(np.float64)


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where the whole is zero."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _mean(cells: NDArray) -> NDArray[np.float64]:
    """Mean over the finite cells of each row, NaN for a row without any."""
    finite = np.isfinite(cells)
    return _share(np.where(finite, cells, 0.0).sum(axis=1, dtype=np.float64), finite.sum(axis=1).astype(np.float64))
