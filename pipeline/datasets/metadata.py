"""The Zarr (format 2) metadata of a store, made from its DatasetSpec.

The fill value is `NaN` for float32 and `null` for every other dtype, because xarray reads the fill value of a format 2
array as `_FillValue` and would turn int16 codes into float32. So a float32 chunk of nothing but NaN is not stored, and
every chunk of the other arrays is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.datasets.spec import CoordinateSpec, DatasetSpec, Flags, VariableSpec, flag_word

COMPRESSOR = {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 1, "blocksize": 0}
ZARR_DTYPES = {"float32": "<f4", "int16": "<i2", "int64": "<i8", "uint8": "|u1", "bool": "|b1", "str": "|O"}

Array = CoordinateSpec | VariableSpec


def array_metadata(array: Array, shape: tuple[Any, ...], chunks: tuple[Any, ...] | None = None) -> dict[str, Any]:
    """The `.zarray` of an array. chunks: those that it was created with."""
    return {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunks or array.chunks(shape)),
        "dtype": ZARR_DTYPES[array.dtype],
        "compressor": COMPRESSOR,
        "fill_value": "NaN" if array.dtype == "float32" else None,
        "order": "C",
        "filters": [{"id": "vlen-utf8"}] if array.dtype == "str" else None,
    }


def array_attributes(spec: DatasetSpec, array: Array, flags: Flags = ()) -> dict[str, Any]:
    """The `.zattrs` of an array. `flags`: the codes beyond those that the spec declares."""
    attributes: dict[str, Any] = {"_ARRAY_DIMENSIONS": list(array.dims), "long_name": array.long_name}
    if array.units or isinstance(array, VariableSpec):
        attributes["units"] = array.units or "1"
    if array.name == "teo":
        attributes["calendar"] = "proleptic_gregorian"
    if array.comment:
        attributes["comment"] = array.comment
    if codes := (*array.flags, *flags):
        attributes["flag_values"] = [code for code, _ in codes]
        attributes["flag_meanings"] = " ".join(flag_word(meaning) for _, meaning in codes)
    labels = [label.name for label in spec.labels if set(label.dims) <= set(array.dims)]
    if labels and isinstance(array, VariableSpec):
        attributes["coordinates"] = " ".join(labels)
    return attributes


def flags_of(attributes: Mapping[str, Any]) -> dict[int, str]:
    """Meaning of each code, from the attributes of an array as readers have them: one code may be a bare number.

    >>> flags_of({"flag_values": [0, 2], "flag_meanings": "none SPY"})
    {0: 'none', 2: 'SPY'}
    >>> flags_of({"flag_values": 2, "flag_meanings": "SPY"})
    {2: 'SPY'}
    """
    codes = np.atleast_1d(attributes["flag_values"]).tolist()
    return dict(zip(codes, attributes["flag_meanings"].split(), strict=True))


def render_metadata(
    spec: DatasetSpec,
    sizes: Mapping[str, Any],
    attributes: Mapping[str, Any] | None = None,
    flags: Mapping[str, Flags] | None = None,
    chunks: Mapping[str, tuple[Any, ...]] | None = None,
) -> dict[str, dict[str, Any]]:
    """All metadata documents of a store by their keys (`.zgroup`, `.zattrs`, `return/.zarray`, ...).

    chunks: of the arrays that exist already.
    """
    documents: dict[str, dict[str, Any]] = {
        ".zgroup": {"zarr_format": 2},
        ".zattrs": {**dict(spec.attributes), **(attributes or {})},
    }
    for array in spec.arrays:
        shape = tuple(sizes[dim] for dim in array.dims)
        documents[f"{array.name}/.zarray"] = array_metadata(array, shape, (chunks or {}).get(array.name))
        documents[f"{array.name}/.zattrs"] = array_attributes(spec, array, (flags or {}).get(array.name, ()))
    return documents


def consolidated(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The `.zmetadata` document."""
    return {"metadata": dict(documents), "zarr_consolidated_format": 1}


def plain(value: Any) -> Any:
    """A value as JSON has it: numpy scalars and arrays as Python's, tuples as lists, NaN and infinities as text."""
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def to_json(document: object) -> bytes:
    """Canonical JSON: the same document is always the same bytes. Raises ValueError for NaN, which JSON lacks."""
    return json.dumps(document, indent=4, sort_keys=True, ensure_ascii=True, allow_nan=False).encode() + b"\n"
