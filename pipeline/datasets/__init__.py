"""What is published: the declared shape of each store, and the Zarr metadata made from it. Knows no files.

API: `catalog(market, universe)`, `DatasetSpec`, `VariableSpec`, `CoordinateSpec`, `render_metadata`.
"""

from pipeline.datasets.catalog import catalog
from pipeline.datasets.metadata import render_metadata
from pipeline.datasets.spec import CoordinateSpec, DatasetSpec, VariableSpec

__all__ = ["CoordinateSpec", "DatasetSpec", "VariableSpec", "catalog", "render_metadata"]
