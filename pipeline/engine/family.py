"""The family of stores: their names, their order, and which of them a store needs."""

from __future__ import annotations

from pipeline.datasets import DatasetSpec, catalog
from pipeline.settings import FactorSet, Settings
from security_master.errors import ExplainedError


def specs(settings: Settings) -> dict[str, DatasetSpec]:
    """Declared shapes of all stores of the family, by name."""
    found: dict[str, DatasetSpec] = {}
    for name in settings.factor_sets:
        factor_set = FactorSet.parse(name)
        found |= {spec.name: spec for spec in catalog(factor_set.market, factor_set.universe).values()}
    return found


class RangeError(ExplainedError, ValueError):
    """The asked sessions do not fit what is published, or what the source has."""


def stores(settings: Settings) -> tuple[str, ...]:
    """Names of all stores of the family, each after those that it reads."""
    names = ["ds_daily", "ds_etf", "ds_masks", f"ds_erm3_link_betas_{settings.market}"]
    for factor_set in settings.factor_sets:
        kinds = ("betas", "betas_adjusted", "industry", "hedge_weights", "returns")
        names += [f"ds_erm3_{kind}_{factor_set}" for kind in kinds]
    return tuple(names)


def stores_until(settings: Settings, until: str | None) -> tuple[str, ...]:
    """The store `until` and what it needs, in order; all for None. Raises RangeError when there is no such store."""
    everything = stores(settings)
    if until is None:
        return everything
    name = next((name for name in everything if name == until or name.startswith(f"{until}_{settings.market}")), None)
    if name is None:
        raise RangeError(f"there is no store {until!r}; there are {', '.join(everything)}")
    shape = specs(settings)
    wanted = {name}
    for other in reversed(everything):
        if other in wanted:
            kinds = shape[other].lineage
            own = {None, shape[other].factor_set}
            wanted |= {s for s in everything if shape[s].dataset_id in kinds and shape[s].factor_set in own}
    return tuple(name for name in everything if name in wanted)
