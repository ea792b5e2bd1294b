"""What is published: the declared shape of each store, and the Zarr metadata made from it. Knows no files.

API: `catalog(market, universe)`, `DatasetSpec`, `VariableSpec`, `CoordinateSpec`, `LEVELS`, `render_metadata`.
"""

from pipeline.datasets.catalog import catalog
from pipeline.datasets.metadata import render_metadata
from pipeline.datasets.spec import LEVELS, CoordinateSpec, DatasetSpec, VariableSpec

__all__ = ["LEVELS", "CoordinateSpec", "DatasetSpec", "VariableSpec", "catalog", "render_metadata"]
