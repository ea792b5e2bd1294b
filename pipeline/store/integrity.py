"""Whether what is published is still what was published: nothing lost, nothing replaced, everything readable."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipeline.store.chunks import ChunkedArray
from pipeline.store.layout import METADATA, join, store_key
from pipeline.store.objects import Objects
from pipeline.store.publications import Publications


def damage(publications: Publications) -> list[str]:
    """Reads every object of the live publication. Returns what is wrong, a sentence each; empty when all is well."""
    manifest = publications.manifest()
    if manifest is None:
        return []
    prefix = publications.live_prefix(manifest["publication"])
    found: list[str] = []
    for name, entry in manifest["stores"].items():
        found += [
            f"{name}: {problem}" for problem in _store(publications.objects, join(prefix, store_key(name)), entry)
        ]
    return found


def _store(objects: Objects, prefix: str, entry: dict[str, Any]) -> list[str]:
    document = objects.read(f"{prefix}/{METADATA}")
    if document is None:
        return [f"{METADATA} is missing"]
    if hashlib.sha256(document).hexdigest() != entry["zmetadata_sha256"]:
        return [f"{METADATA} is not the one that was published"]
    metadata = json.loads(document)["metadata"]
    keys = set(objects.keys(prefix))
    found = []
    if len(keys) != entry["objects"]:
        found.append(f"it has {len(keys)} objects, {entry['objects']} were published")
    for key, value in metadata.items():
        if json.loads(objects.read(f"{prefix}/{key}") or b"null") != value:
            found.append(f"{key} is not what {METADATA} says")
    chunks = []
    for name in sorted(key.removesuffix("/.zarray") for key in metadata if key.endswith("/.zarray")):
        array = ChunkedArray.stored(name, metadata)
        for index in array.indices():
            if array.key(index) in keys:
                chunks.append((array, array.key(index)))
            elif array.dtype != "float32":
                found.append(f"{array.key(index)} is missing")

    def unreadable(chunk: tuple[ChunkedArray, str]) -> str | None:
        array, key = chunk
        try:
            array.decode(objects.read(f"{prefix}/{key}") or b"")
        except (ValueError, RuntimeError) as error:
            return f"{key}: {error}"
        return None

    return [*found, *(problem for problem in objects.map(unreadable, chunks) if problem)]
