"""`ds_erm3_betas_adjusted`: L2 and L3 betas shrunk towards their industry's peers."""

from __future__ import annotations

import numpy as np

from pipeline import model
from pipeline.audits import emptiness, estimates
from pipeline.datasets import LEVELS
from pipeline.datasets.shared import FACT, LEVEL, OUTSIDE, STOCKS
from pipeline.datasets.spec import StoreShape, VariableSpec
from pipeline.engine import model_inputs
from pipeline.engine.figures import Series, coverage, mean
from pipeline.engine.product import BeforeAfter, Picture, Product
from pipeline.engine.run import Run
from pipeline.store.staged_store import StagedStore


def _variables() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol", "level")
    return (
        VariableSpec("factor_beta", cell, "float32", "beta after shrinkage toward the peers' mean", "1", OUTSIDE),
        VariableSpec(
            "shrinkage_weight",
            cell,
            "float32",
            "weight of the peers' mean",
            "1",
            f"0: the raw beta, 1: the peers' mean; 0 at market and with fewer peers than min_peers; {OUTSIDE}",
        ),
        FACT,
    )


SHAPE = StoreShape(
    "ds_erm3_betas_adjusted",
    "factor set",
    "Factor betas, shrunk",
    "Betas after Vasicek shrinkage toward the peers; the market level is as raw.",
    coordinates=(*STOCKS, LEVEL),
    levels=LEVELS,
    variables=_variables(),
    lineage=("ds_daily", "ds_masks", "ds_erm3_betas"),
)


def stage(run: Run, name: str) -> None:
    """`ds_erm3_betas_adjusted_{FS}`: L2 and L3 shrunk towards their industry's peers."""
    raw = run.input_of(name, "ds_erm3_betas")
    store = run.create(name, {"fact": model_inputs.fact_flags(run)})
    everything = slice(0, len(run.extend(store, raw.symbol)))
    for first, last in run.blocks(store):
        peers = model_inputs.Peers.read(run, raw, first, last)
        adjusted = peers.beta.copy()
        weight = np.where(np.isfinite(peers.beta), 0.0, np.nan)
        for k in range(1, len(LEVELS)):
            adjusted[k], weight[k] = model.shrink(
                peers.beta[k], peers.se[k], peers.fact[k], peers.industry, peers.log_weight,
                np.isfinite(peers.beta[k]), run.settings.model.min_peers,
            )  # fmt: skip
        rows = run.rows(store, first, last)
        store.write("factor_beta", rows, everything, model_inputs.time_first(adjusted))
        store.write("shrinkage_weight", rows, everything, model_inputs.time_first(weight))
        store.write("fact", rows, everything, model_inputs.time_first(peers.fact))
        run.done(store, last)
    run.label(store)
    store.close()


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    weight = store.read("shrinkage_weight", rows)
    found = np.isfinite(store.read("factor_beta", rows)).sum(axis=1).astype(np.float64)
    means = {f"mean shrinkage of {level}": mean(weight[..., k]) for k, level in enumerate(LEVELS) if k}
    return means | coverage(run, store, rows, found)


def pictures(run: Run, name: str) -> list[Picture]:
    raw = run.last_session(run.input_of(name, "ds_erm3_betas").name, "factor_beta")
    adjusted, weight = run.last_session(name, "factor_beta"), run.last_session(name, "shrinkage_weight")
    return [BeforeAfter("shrinkage before and after, at the last session", raw, adjusted, weight)]


PRODUCT = Product(
    SHAPE,
    stage,
    audits=(estimates.shrinkage_recomputed,),
    figures=figures,
    pictures=pictures,
    may_be_empty=emptiness.without_betas,
)
