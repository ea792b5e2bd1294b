"""How a published store is declared, and the Zarr metadata made from a declaration. Knows no files.

API: `StoreShape`, `DatasetSpec`, `VariableSpec`, `CoordinateSpec`, `LEVELS`, `render_metadata`. The stores themselves
are declared in `pipeline.engine.products`, each with the step that computes it.
"""

from pipeline.datasets.metadata import render_metadata
from pipeline.datasets.spec import LEVELS, CoordinateSpec, DatasetSpec, StoreShape, VariableSpec

__all__ = ["LEVELS", "CoordinateSpec", "DatasetSpec", "StoreShape", "VariableSpec", "render_metadata"]
