"""`manifest.json`, which says through which session the family is complete, and the records of the publish log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.store.chunks import ChunkedArray
from pipeline.store.layout import METADATA
from pipeline.store.overlay import Overlay

MANIFEST_VERSION = 2


@dataclass(frozen=True)
class Publication:
    """One publication, as its record in the publish log has it.

    publication:      id, made of its number and the run; `replaces` is the one before.
    generation:       how many restatements there were: publications of one generation agree where they overlap.
    complete_through: last session for which every store of the family has values; None while one is missing.
    stores:           what it wrote, by store: objects, last session before and after, checks passed, notes of the run.
    state:            last session and sizes of every store after it, by which it can be opened later.
    """

    publication: str
    number: int
    generation: int
    replaces: str | None
    kind: str
    info: dict[str, Any]
    run_id: str
    published_utc: str
    complete_through: str | None
    stores: dict[str, dict[str, Any]]
    state: dict[str, dict[str, Any]]
    files: list[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def describe_store(overlay: Overlay, audit: Mapping[str, Any], publication: str, run_id: str) -> dict[str, Any]:
    """The manifest's entry of a store that is being published. `objects` counts its files."""
    document = overlay.get(METADATA) or b""
    metadata = json.loads(document)["metadata"]
    teo = ChunkedArray.stored("teo", metadata)
    days = teo.empty(teo.shape)
    for index, inside, outside in teo.blocks(teo.whole()):
        days[outside] = teo.decode(overlay.get(teo.key(index)) or b"")[inside]
    dates = days.astype("datetime64[D]")
    return {
        "first": str(dates[0]) if len(dates) else None,
        "last": str(dates[-1]) if len(dates) else None,
        "sizes": {name: size for name, size in _sizes(metadata).items() if name != "level"},
        "objects": len(overlay.keys()),
        "publication": publication,
        "run_id": run_id,
        "inputs": dict(audit["inputs"]),
        "schema_version": metadata[".zattrs"].get("schema_version"),
        "zmetadata_sha256": hashlib.sha256(document).hexdigest(),
    }


def build_manifest(
    old: Mapping[str, Any] | None,
    entries: Mapping[str, dict[str, Any]],
    family: Sequence[str],
    number: int,
    publication: str,
    restates: bool,
    published_utc: str,
) -> dict[str, Any]:
    """The next manifest: entries of untouched stores stay as they were."""
    stores = {**(old or {}).get("stores", {}), **entries}
    lasts: list[str | None] = [stores[name]["last"] if name in stores else None for name in family]
    return {
        "manifest_version": MANIFEST_VERSION,
        "publication": publication,
        "number": number,
        "generation": (old or {}).get("generation", 0) + restates,
        "published_utc": published_utc,
        "complete_through": min((last for last in lasts if last), default=None) if all(lasts) else None,
        "family": list(family),
        "stores": dict(sorted(stores.items())),
    }


def _sizes(metadata: Mapping[str, Any]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for key in metadata:
        if key.endswith("/.zarray"):
            array = ChunkedArray.stored(key.removesuffix("/.zarray"), metadata)
            sizes |= dict(zip(array.dims, array.shape, strict=True))
    return sizes
