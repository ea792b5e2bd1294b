"""Stores as the audits read them: staged over live within a run, or as published."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.engine.family import specs
from pipeline.engine.run import Run
from pipeline.read import open_dataset
from pipeline.store import StagedStore


class View:
    """A store opened for reading."""

    def __init__(self, store: StagedStore) -> None:
        self.store = store

    @property
    def teo(self) -> NDArray[np.datetime64]:
        return self.store.teo

    @property
    def symbol(self) -> NDArray[np.object_]:
        return self.store.symbol

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.store.spec.variables)

    def axis(self, dim: str) -> NDArray:
        return self.store.axis(dim)

    def flags(self, var: str) -> dict[int, str]:
        return self.store.flags(var)

    def read(self, var: str, rows: slice, cols: slice | None = None) -> NDArray:
        return self.store.read(var, rows, cols)


class StagedFamily:
    """The stores of a run as it is about to publish them; `before` is what readers see now."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._views: dict[str, View] = {}

    def view(self, name: str) -> View:
        if name not in self._views:
            self._views[name] = View(self.run.open(name))
        return self._views[name]

    def before(self, name: str) -> View | None:
        if not self.run.stage.exists_live(name):
            return None
        return View(self.run.stage.open_live(specs(self.run.settings)[name]))


class PublishedView:
    """A published store opened with xarray, as any reader does."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self.dataset = dataset
        self.teo = dataset["teo"].values.astype("datetime64[D]")

    @property
    def symbol(self) -> NDArray[np.object_]:
        return self.axis("symbol")

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.dataset.data_vars)

    def axis(self, dim: str) -> NDArray:
        values = self.dataset[dim].values
        return values if values.dtype.kind in "iuf" else values.astype(object)

    def flags(self, var: str) -> dict[int, str]:
        attrs = self.dataset[var].attrs
        codes = (int(code) for code in np.atleast_1d(attrs["flag_values"]))
        return dict(zip(codes, str(attrs["flag_meanings"]).split(), strict=True))

    def read(self, var: str, rows: slice, cols: slice | None = None) -> NDArray:
        array = self.dataset[var]
        where = dict(zip(array.dims[:2], (rows, cols or slice(None)), strict=True))
        return np.asarray(array.isel(where).values)


class PublishedFamily:
    """The stores of a root as readers see them, all of one publication."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._views: dict[str, PublishedView] = {}

    def view(self, name: str) -> PublishedView:
        if name not in self._views:
            self._views[name] = PublishedView(open_dataset(name, self.root, as_of_manifest=True))
        return self._views[name]

    def before(self, name: str) -> None:
        """Nothing: a published state is compared with nothing."""
