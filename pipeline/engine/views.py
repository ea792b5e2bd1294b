"""Stores as the audits read them: staged over live within a run, or as published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audits import Family, Scope
from pipeline.calendar import xnys
from pipeline.datasets import DatasetSpec
from pipeline.datasets.metadata import flags_of
from pipeline.engine.product import Product
from pipeline.engine.run import Run
from pipeline.quality.decisions import read_decisions, withheld_prices
from pipeline.read import PublishedStore, open_family
from pipeline.settings import FactorSet, ModelParameters, Settings
from pipeline.store.staged_store import StagedStore
from pipeline.store.unpacked import ChunkCache
from pipeline.store.windows import History
from security_master import SecurityMaster

if TYPE_CHECKING:
    import xarray as xr

KEPT_BYTES = 96 << 20
"""Unpacked chunks that the audits of a store keep, beside all else that a run has in memory."""


class StagedFamily:
    """The stores of a run as it is about to publish them; `before` is what readers see now."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._stores: dict[str, StagedStore] = {}
        self._histories: dict[str, History] = {}
        self._unpacked = ChunkCache(KEPT_BYTES)  # by their bytes: none is returned that storage does not hold now

    def view(self, name: str) -> StagedStore:
        if name not in self._stores:
            self._stores[name] = self.run.open(name)
            self._stores[name].chunks.unpacked = self._unpacked
        return self._stores[name]

    def before(self, name: str) -> StagedStore | None:
        return self.run.open_live(name)

    def history(self, name: str) -> History:
        if name not in self._histories:
            self._histories[name] = self.run.history(name)
        return self._histories[name]


class PublishedView:
    """A published store: its axes and attributes as xarray has them, its values as they are stored."""

    def __init__(self, dataset: xr.Dataset, store: PublishedStore) -> None:
        self.dataset, self.store = dataset, store
        self.teo = dataset["teo"].values.astype("datetime64[D]")

    @property
    def symbol(self) -> NDArray[np.object_]:
        return self.axis("symbol")

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.dataset.data_vars)

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self.dataset.attrs)

    def axis(self, dim: str) -> NDArray:
        values = self.dataset[dim].values
        return values if values.dtype.kind in "iuf" else values.astype(object)

    def flags(self, var: str) -> dict[int, str]:
        return flags_of(self.dataset[var].attrs)

    def read(self, var: str, rows: slice, cols: slice | None = None) -> NDArray:
        dims = [str(dim) for dim in self.dataset[var].dims[:2]]
        return self.store.region(var, **dict(zip(dims, (rows, cols or slice(None)), strict=True)))


class PublishedFamily:
    """The stores of a root as readers see them, all of one publication."""

    def __init__(self, root: str) -> None:
        self.published = open_family(root)
        self._views: dict[str, PublishedView] = {}

    def view(self, name: str) -> PublishedView:
        if name not in self._views:
            self._views[name] = PublishedView(
                self.published.dataset(name, as_of_manifest=True), self.published.store(name)
            )
        return self._views[name]

    def before(self, name: str) -> None:
        """Nothing: a published state is compared with nothing."""

    def history(self, name: str) -> History:
        return History(self.view(name), None, xnys())


def staged_scope(run: Run, name: str, product: Product) -> Scope:
    """What the audits of a store look at before a run publishes it."""
    settings, sessions = run.settings, (run.first, run.last)
    return looked_at(settings, run.specs[name], StagedFamily(run), run.master, sessions, settings.model, product)


def looked_at(
    settings: Settings,
    spec: DatasetSpec,
    family: Family,
    master: SecurityMaster,
    sessions: tuple[int, int],
    model: ModelParameters,
    product: Product,
) -> Scope:
    """What the audits of a store look at. A store that all factor sets share is held against the first one.

    sessions: ordinals of the first and the last session. model: the parameters that the stores were made with. product:
    whose store it is.
    """
    first, last = sessions
    return Scope(
        family=family,
        calendar=xnys(),
        factor_set=spec.factor_set or FactorSet.parse(settings.factor_sets[0]),
        model=model,
        bounds=settings.audit,
        first=first,
        last=last,
        master=master,
        needs={variable.name: variable.needs for variable in spec.variables},
        may_be_empty=product.may_be_empty,
        withheld=withheld_prices(read_decisions(settings.root, xnys(), settings.rules)),
    )
