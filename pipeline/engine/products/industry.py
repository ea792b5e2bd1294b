"""`ds_erm3_industry`: industry x level aggregates of the raw betas, the prior of the shrinkage."""

from __future__ import annotations

import numpy as np

from pipeline import model
from pipeline.audits import emptiness, estimates
from pipeline.datasets import LEVELS
from pipeline.datasets.shared import LEVEL, TEO
from pipeline.datasets.spec import CoordinateSpec, StoreShape, VariableSpec
from pipeline.engine import model_inputs
from pipeline.engine.figures import Series, count
from pipeline.engine.product import Heat, Picture, Product
from pipeline.engine.run import Run
from pipeline.store.staged_store import StagedStore

INDUSTRIES_SHOWN = 25

_INDUSTRY = CoordinateSpec(
    "fs_industry_code", ("fs_industry_code",), "int16", "industry", comment="grows at the end only", open_flags=True
)


def _variables() -> tuple[VariableSpec, ...]:
    cell = ("teo", "fs_industry_code", "level")
    empty, needs = "NaN where the industry has no estimated member", ("classification",)
    return (
        VariableSpec("beta_mean", cell, "float32", "mean of the raw betas", "1", empty, needs=needs),
        VariableSpec(
            "beta_variance",
            cell,
            "float32",
            "variance of the raw betas within and between facts",
            "1",
            empty,
            needs=needs,
        ),
        VariableSpec(
            "n_companies", cell, "int16", "stocks in the aggregate", "1", "written below min_peers too; 0 where none"
        ),
        VariableSpec(
            "total_log_mcap_weight",
            cell,
            "float32",
            "sum of ln(market_cap + 1) over the stocks",
            "1",
            empty,
            needs=needs,
        ),
        VariableSpec("n_facts", cell, "int16", "different factor ETFs among the stocks", "1", "0 where none"),
    )


SHAPE = StoreShape(
    "ds_erm3_industry",
    "factor set",
    "Industry aggregates of the raw betas",
    "Mean and dispersion of the raw betas per industry and level: the priors of the shrinkage.",
    coordinates=(TEO, _INDUSTRY, LEVEL),
    levels=LEVELS,
    variables=_variables(),
    attributes=(("panel_keying", "level"),),
    lineage=("ds_daily", "ds_masks", "ds_erm3_betas"),
)


def stage(run: Run, name: str) -> None:
    """`ds_erm3_industry_{FS}`: industry x level aggregates of the raw betas, the prior of the shrinkage."""
    raw = run.input_of(name, "ds_erm3_betas")
    taxonomy = run.master.taxonomy()
    codes = taxonomy["fs_industry_code"].to_numpy(np.int16)
    store = run.create(name, {"fs_industry_code": list(zip(codes.tolist(), taxonomy["industry"], strict=True))})
    industries = run.extend(store, np.sort(codes), dim="fs_industry_code")
    ascending = np.sort(industries).astype(np.int16)
    back = np.searchsorted(ascending, industries)
    for first, last in run.blocks(store):
        peers = model_inputs.Peers.read(run, raw, first, last)
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
            store.write(var, rows, everything, model_inputs.time_first(values))
        run.done(store, last)
    store.close()


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    enough = store.read("n_companies", rows) >= run.settings.model.min_peers
    return {f"industries with enough peers at {level}": count(enough[..., k]) for k, level in enumerate(LEVELS)}


def pictures(run: Run, name: str) -> list[Picture]:
    """The industries whose betas differ most at the last session."""
    first, last = run.last_year(name)
    store = run.open(name)
    rows = run.rows(store, first, last)
    spread = np.sqrt(store.read("beta_variance", rows)[..., 2].astype(np.float64))
    spread[store.read("n_companies", rows)[..., 2] < run.settings.model.min_peers] = np.nan
    known = np.isfinite(spread[-1])
    widest = np.flatnonzero(known)[np.argsort(-spread[-1][known], kind="stable")][:INDUSTRIES_SHOWN]
    if not len(widest):
        return []
    industries = run.master.taxonomy().set_index("fs_industry_code")["industry"]
    names = [str(industries[int(code)]) for code in store.axis("fs_industry_code")[widest]]
    title, label = "industries by dispersion at subsector level", "standard deviation of raw betas"
    return [Heat(title, spread[:, widest].T, names, first, label)]


PRODUCT = Product(
    SHAPE,
    stage,
    audits=(
        estimates.peers_are_counted,
        estimates.aggregates_recomputed,
    ),
    figures=figures,
    pictures=pictures,
    may_be_empty=emptiness.without_betas,
)
