"""Asset keys: the store's name, but for a factor set's stores `FACTOR_SET/DATASET`, which the lineage page can show."""

from __future__ import annotations

import dagster as dg

from pipeline.datasets import DatasetSpec
from pipeline.engine import family
from pipeline.engine.family import specs
from pipeline.settings import Settings

SOURCE_TABLES = dg.AssetKey("source_tables")
PUBLICATION = dg.AssetKey("publication")
SECURITY_COVERAGE = dg.AssetKey("security_coverage")
QUALITY = dg.AssetKey("quality")
EFFECTIVENESS = dg.AssetKey("hedge_effectiveness")
DECIDE, RECORD = "decide", "record_decision"
RESTATE, RESTATE_SESSIONS = "restate", "restate_sessions"
"""The jobs with a form, and the op of each."""
MARKET_DATA = "market_data"
REPORTS = "reports"


def delivery_key(vendor: str) -> dg.AssetKey:
    """The asset of a vendor's deliveries."""
    return dg.AssetKey(["raw", vendor])


def factor_set_of(spec: DatasetSpec) -> str:
    """Factor set of a store, "" for one that all factor sets share."""
    return spec.factor_set.id if spec.factor_set else ""


def key_of(spec: DatasetSpec) -> dg.AssetKey:
    """The asset of a store: its name, with the factor set in front as the group.

    The lineage shows at most 18 characters of a node, and of `ds_erm3_betas_SPY_uni_mc_3000` what all stores of the
    set have in common. The store's own name is the first word of the asset's description, and its tag `store`.
    """
    factor_set = factor_set_of(spec)
    return dg.AssetKey([factor_set, spec.dataset_id] if factor_set else [spec.name])


def inputs_of(settings: Settings, spec: DatasetSpec) -> list[dg.AssetKey]:
    """The assets that a store is computed from; shared stores are computed from the source's tables too."""
    own = {factor_set_of(spec), ""}
    stores = [
        key_of(other)
        for other in specs(settings).values()
        if other.dataset_id in spec.lineage and factor_set_of(other) in own
    ]
    return stores if factor_set_of(spec) else [SOURCE_TABLES, *stores]


def last_stores(settings: Settings) -> list[dg.AssetKey]:
    """The stores that no other one is computed from: when they are staged, all are."""
    everything = specs(settings)
    read = {key for spec in everything.values() for key in inputs_of(settings, spec)}
    return [key_of(everything[name]) for name in family.stores(settings) if key_of(everything[name]) not in read]
