"""All stores as published, read as other people's readers do: raw JSON, and xarray in a new process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets import DatasetSpec
from pipeline.engine.products import catalog
from pipeline.store.promote import promote
from pipeline.store.stage import Stage
from tests.store.family import SESSIONS, audit_all, clock, expected, sessions, symbols

ROWS, COLS = 6, 5
DTYPES = {"float32": "<f4", "int16": "<i2", "int64": "<i8", "uint8": "|u1", "bool": "|b1", "str": "|O"}
AXES = {"symbol": symbols(COLS), "link": ["A:X", "A:Y"], "fs_industry_code": np.array([1110, 4110], np.int16)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nine")
    with Stage.begin(root, "run", clock=clock) as stage:
        for spec in catalog().values():
            flags = {"fact": [(1, "SPY"), (2, "XLE")]} if any(v.name == "fact" for v in spec.variables) else {}
            store = stage.create_or_open(spec, {"window": 252, "half_life": 126.0}, flags)
            store.extend(teo=sessions(ROWS), **{a: v for a, v in AXES.items() if a in spec.axes})
            for label in spec.labels:
                store.set_coord(label.name, [f"label {k}" for k in range(store.sizes[label.dims[0]])])
            for var in spec.variables:
                cols = slice(0, store.sizes[var.dims[1]])
                block = expected(var.name, var.dtype, slice(0, ROWS), cols)
                for level in spec.levels if "level" in var.dims else (None,):
                    store.write(var.name, slice(0, ROWS), cols, block, level)
            store.close()
        audit_all(stage)
        assert promote(stage, [spec.name for spec in catalog().values()], SESSIONS) is not None
    return root


@pytest.mark.parametrize("spec", catalog().values(), ids=lambda spec: spec.dataset_id)
def test_a_plain_json_reader_finds_format_2_dtypes_chunks_and_every_object(root: Path, spec: DatasetSpec) -> None:
    store = root / f"{spec.name}.zarr"
    document = json.loads((store / ".zmetadata").read_text())
    assert document["zarr_consolidated_format"] == 1
    metadata = document["metadata"]
    assert metadata[".zgroup"] == {"zarr_format": 2}
    arrays = {key.removesuffix("/.zarray") for key in metadata if key.endswith("/.zarray")}
    assert arrays == {array.name for array in spec.arrays}
    for key, value in metadata.items():
        assert json.loads((store / key).read_text()) == value
    for array in spec.arrays:
        zarray, zattrs = metadata[f"{array.name}/.zarray"], metadata[f"{array.name}/.zattrs"]
        assert zarray["zarr_format"] == 2
        assert zarray["order"] == "C"
        assert zarray["dtype"] == DTYPES[array.dtype]
        assert zarray["filters"] == ([{"id": "vlen-utf8"}] if array.dtype == "str" else None)
        assert zarray["compressor"]["id"] == "blosc"
        assert zattrs["_ARRAY_DIMENSIONS"] == list(array.dims)
        assert (store / array.name / ".".join("0" * len(array.dims))).is_file()
        assert "dimension_separator" not in zarray
    assert metadata["teo/.zattrs"]["units"] == "days since 1970-01-01 00:00:00"
    assert metadata["teo/.zarray"]["shape"] == [ROWS]
    for name in ("title", "dataset_id", "schema_version", "factor_set_id", "market_factor_etf", "universe",
                 "window", "half_life", "created_utc", "updated_utc", "run_id"):  # fmt: skip
        assert name in metadata[".zattrs"]


OPEN = """
import sys, json, numpy as np, xarray as xr
out = {}
for path in sys.argv[1:]:
    for options in ({}, {"consolidated": True, "chunks": None}, {"consolidated": False}):
        ds = xr.open_zarr(path, **options)
        ds.load()
    out[ds.attrs["dataset_id"]] = {
        "dtypes": {name: str(v.dtype) for name, v in ds.data_vars.items()},
        "dims": {name: list(v.dims) for name, v in ds.data_vars.items()},
        "teo": [str(t)[:10] for t in ds.teo.values],
        "symbol": [str(s) for s in ds.symbol.values] if "symbol" in ds else None,
        "flags": {name: v.attrs.get("flag_values") is not None for name, v in ds.data_vars.items()},
        "some": float(np.nansum([v.values.astype(float).sum() for v in ds.data_vars.values() if v.dtype != bool])),
    }
    if "symbol" in ds:
        ds.sel(symbol=ds.symbol.values[0])
        assert ds.ticker.dims == ("symbol",)
print(json.dumps(out))
"""


def test_xarray_opens_every_store_in_a_new_process_with_codes_as_integers(root: Path) -> None:
    paths = [str(root / f"{spec.name}.zarr") for spec in catalog().values()]
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OPEN, *paths], capture_output=True, text=True, check=True
    )
    found = json.loads(said.stdout)
    assert set(found) == set(catalog())
    for key, spec in catalog().items():
        assert found[key]["teo"] == [str(day) for day in sessions(ROWS)]
        assert found[key]["symbol"] == (symbols(COLS) if "symbol" in spec.axes else None)
        for var in spec.variables:
            assert found[key]["dtypes"][var.name] == var.dtype
            assert found[key]["dims"][var.name] == list(var.dims)
            assert found[key]["flags"][var.name] == bool(var.flags)
