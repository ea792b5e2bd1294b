"""What stays of a store's published structure when a run builds on it: arrays, open codes, lasting attributes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.datasets import DatasetSpec, VariableSpec
from pipeline.datasets.spec import Flags, flag_word
from pipeline.store.checked import WrongShape
from pipeline.store.chunks import ChunkedArray

VOLATILE_ATTRIBUTES = frozenset(
    {"created_utc", "updated_utc", "run_id", "code_version", "security_master_build", "not_delivered"}
)
"""Root attributes that say who wrote last, and from what. The others say what numbers mean and stay as published."""

_NEW_SCHEMA = "A published structure is not changed in place: publish the new one under another root"


def check_structure(spec: DatasetSpec, known: Mapping[str, Any]) -> None:
    """Raises WrongShape where the stored metadata documents `known` (none for a new store) are not those of `spec`."""
    for array in spec.arrays:
        zarray = known.get(f"{array.name}/.zarray")
        if zarray is None:
            if known:
                raise WrongShape(f"{spec.name}: the stored one lacks {array.name}. {_NEW_SCHEMA}")
            continue
        found = ChunkedArray.stored(array.name, known)
        by_session = isinstance(array, VariableSpec) and array.by_session  # as wide as the axis was at the beginning
        chunks = found.chunks if by_session else array.chunks(found.shape)
        if (found.dims, found.dtype, found.chunks) != (array.dims, array.dtype, chunks):
            raise WrongShape(
                f"{spec.name}/{array.name}: declared {array.dtype} {array.dims} in chunks {chunks}, "
                f"stored {found.dtype} {found.dims} in chunks {found.chunks}. {_NEW_SCHEMA}"
            )


def render_flags(flags: Iterable[tuple[int, str]]) -> Flags:
    """Codes with one-word meanings, as they stand in the attributes."""
    return tuple((int(code), flag_word(meaning)) for code, meaning in flags)


def merged_flags(spec: DatasetSpec, known: Mapping[str, Any], name: str, given: Flags) -> Flags:
    """The open flags of the array `name` in `known` with the new ones at the end.

    Raises WrongShape when a code changes its meaning.
    """
    declared = {code for code, _ in spec.array(name).flags}
    zattrs = known.get(f"{name}/.zattrs", {})
    stored = dict(zip(zattrs.get("flag_values", ()), zattrs.get("flag_meanings", "").split(), strict=True))
    merged = {code: meaning for code, meaning in stored.items() if code not in declared}
    for code, meaning in render_flags(given):
        if merged.setdefault(int(code), meaning) != meaning or int(code) in declared:
            old = stored.get(code, merged.get(code))
            raise WrongShape(
                f"{spec.name}/{name}: code {code} means {old!r} and cannot become {meaning!r}: codes are only added. "
                "Deliver the table that names them (taxonomy, factor_etfs, classification) as it was, or publish "
                "into a new root"
            )
    return tuple(merged.items())


def lasting(documents: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata without the attributes that say who wrote last, as plain JSON values."""
    plain = json.loads(json.dumps(dict(documents)))
    root = {key: value for key, value in plain.get(".zattrs", {}).items() if key not in VOLATILE_ATTRIBUTES}
    return {**plain, ".zattrs": root}
