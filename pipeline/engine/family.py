"""The family of stores: their names, their order, and which of them a store needs."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.datasets import DatasetSpec
from pipeline.engine.products import catalog
from pipeline.engine.run import RangeError
from pipeline.settings import FactorSet, Settings


def specs(settings: Settings) -> dict[str, DatasetSpec]:
    """Declared shapes of all stores of the family by name, each after those that it reads."""
    found: dict[str, DatasetSpec] = {}
    for name in settings.factor_sets:
        factor_set = FactorSet.parse(name)
        found |= {spec.name: spec for spec in catalog(factor_set.market, factor_set.universe).values()}
    return found


def stores(settings: Settings) -> tuple[str, ...]:
    """Names of all stores of the family, each after those that it reads."""
    return tuple(specs(settings))


def stores_until(settings: Settings, until: str | None) -> tuple[str, ...]:
    """The store `until` and what it needs, in order; all for None. Raises RangeError when there is no such store."""
    shapes = specs(settings)
    if until is None:
        return tuple(shapes)
    name = next((name for name in shapes if name == until or name.startswith(f"{until}_{settings.market}")), None)
    if name is None:
        raise RangeError(f"there is no store {until!r}; there are {', '.join(shapes)}")
    wanted = {name}
    for other in reversed(shapes):
        if other in wanted:
            wanted |= set(made_from(shapes, other))
    return tuple(name for name in shapes if name in wanted)


def made_from(shapes: Mapping[str, DatasetSpec], name: str) -> list[str]:
    """The stores that a store reads: of its factor set, or those that all share."""
    own = {None, shapes[name].factor_set}
    return [s for s, spec in shapes.items() if spec.dataset_id in shapes[name].lineage and spec.factor_set in own]
