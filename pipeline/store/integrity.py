"""Whether what is published is still what was published: nothing lost, nothing exchanged, nothing damaged."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.store.layout import PUBLISH_LOG, join, store_key
from pipeline.store.publications import Publications, log_key
from pipeline.store.seal import Damaged, Seal, sha256


def changed_below(publications: Publications) -> list[str]:
    """What a run looks at before it builds on the live publication: that every object is there, and that metadata, the
    files beside the stores, the newest record and what people append are whole. Chunks are compared when they are read.

    Returns what is wrong, a sentence each. Raises Damaged when the seal itself is not whole.
    """
    seal = publications.seal()
    if seal is None:
        return []
    newest = log_key(seal.manifest["number"])
    small = [key for key in seal.digests if key == newest or _is_small(key)]
    return [*_absent(publications, seal), *_others(publications, seal, small), *_cut(publications, seal)]


def _is_small(key: str) -> bool:
    """Metadata of a store, or a file beside the stores."""
    return key.rpartition("/")[2].startswith(".z") or not (".zarr/" in key or key.startswith(f"{PUBLISH_LOG}/"))


def damage(publications: Publications) -> list[str]:
    """Reads every object of the live publication. What is wrong with it, a sentence each; empty when all is well."""
    try:
        seal = publications.seal()
        if seal is None:
            return []
        publications.check_pointer()
    except Damaged as error:
        return error.problems
    found = _absent(publications, seal)
    missing = {problem.removesuffix(" is missing") for problem in found}
    there = [key for key in seal.digests if key not in missing]
    return [*found, *_others(publications, seal, there), *_cut(publications, seal)]


def _absent(publications: Publications, seal: Seal) -> list[str]:
    """Objects that were published and are not there, and objects of the stores that nobody published."""
    objects, found = publications.objects, []
    folders = [*map(store_key, seal.manifest["stores"]), PUBLISH_LOG]
    for folder in folders:
        there, sealed = set(objects.keys(join(seal.prefix, folder))), seal.below(folder)
        found += [f"{folder}/{key} is missing" for key in sorted(sealed.keys() - there)]
        found += [f"{folder}/{key} was never published" for key in sorted(there - sealed.keys())]
    return found


def _others(publications: Publications, seal: Seal, keys: Iterable[str]) -> list[str]:
    """Objects whose bytes are not those that were published."""
    objects = publications.objects

    def problem(key: str) -> str | None:
        if key not in seal.digests:
            return None
        digest = objects.digest_now(join(seal.prefix, key))
        if digest is None:
            return f"{key} is missing"
        return None if digest == seal.digests[key] else f"{key} is not what was published"

    return [each for each in objects.map(problem, dict.fromkeys(keys)) if each]


def _cut(publications: Publications, seal: Seal) -> list[str]:
    """What people append, where it no longer begins with what was there at the publication."""
    found = []
    for name, known in seal.manifest.get("appended", {}).items():
        data = publications.objects.read(name)
        if data is None:
            found.append(f"{name} is missing")
        elif sha256(data[: known["size"]]) != known["sha256"]:
            found.append(f"{name} does not begin with what was there when {seal.publication} was published")
    return found
