"""The seal of a publication: what its objects are, so that loss, exchange and damage are told from "never written".

    manifest.json   carries the SHA-256 of its own content and of digests.json
    digests.json    the SHA-256 of every other object by key: chunks, axes, metadata, files, publish log
    .spare/         a second copy of both, of the record and of what people append beside the stores

An object that the seal does not name was not published and is never read; one that it names and that is not there, or
is another, is damage: reading it stops with its name and the way out, and never gives missing values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.datasets.metadata import to_json
from pipeline.store.layout import DIGESTS, MANIFEST, SPARE, join
from pipeline.store.objects import Objects, StoreError

OF_ITSELF = "sha256"


class Damaged(StoreError):
    """What is published was lost, exchanged or damaged. Nothing is built on it, and nothing of it is deleted."""

    def __init__(self, url: str, problems: list[str]) -> None:
        self.problems = problems
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        super().__init__(
            f"what is published under {url} is damaged: {shown}. Nothing was changed. "
            f"`erm3 repair --root {url}` says what can be put back, and does it with --apply"
        )


@dataclass(frozen=True)
class Seal:
    """A publication and the digests of its objects.

    prefix:  where it lies. digests: SHA-256 (hex) by key below the prefix, `ds_daily.zarr/return/0.0` for example.
    """

    publication: str
    prefix: str
    manifest: Mapping[str, Any]
    digests: Mapping[str, str]

    def below(self, folder: str) -> dict[str, str]:
        """Digests of what lies in a folder of the root (no path of several), by key relative to it."""
        return dict(self._by_folder.get(folder, {}))

    @cached_property
    def _by_folder(self) -> dict[str, dict[str, str]]:
        """Digests by folder of the root and by key in it: every store of a run is looked up, several times."""
        found: dict[str, dict[str, str]] = {}
        for key, digest in self.digests.items():
            folder, inside, rest = key.partition("/")
            if inside:
                found.setdefault(folder, {})[rest] = digest
        return found


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digests_document(digests: Mapping[str, str]) -> bytes:
    """`digests.json`: tens of thousands of lines, so written in one."""
    return json.dumps({"objects": digests}, sort_keys=True).encode() + b"\n"


def manifest_document(manifest: Mapping[str, Any], digests: bytes) -> bytes:
    """`manifest.json`, sealed."""
    content = {**manifest, "digests_sha256": sha256(digests)}
    return to_json({**content, OF_ITSELF: sha256(to_json(content))})


def read_manifest(data: bytes | None, where: str) -> dict[str, Any]:
    """A manifest from its bytes. Raises ValueError, a sentence that begins with `where`, when it is not whole.

    One without a seal is of the first version, and is taken as it is.
    """
    if not data:
        raise ValueError(f"{where} is {'empty' if data == b'' else 'missing'}")
    try:
        manifest = json.loads(data)
        content = {key: value for key, value in manifest.items() if key != OF_ITSELF}
        known = {"publication", "number", "stores", "complete_through"} <= content.keys()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{where} cannot be read") from error
    sealed = "digests_sha256" in content
    if not known or (sealed and manifest.get(OF_ITSELF) != sha256(to_json(content))):
        raise ValueError(f"{where} is not the one that was published")
    return dict(manifest)


def whole_or_spare(objects: Objects, prefix: str) -> bool:
    """Whether a publication's manifest and digests are whole, or can be put back from its spares."""
    publication = prefix.rpartition("/")[2]
    for manifest_at in (join(prefix, MANIFEST), join(prefix, SPARE, MANIFEST)):
        try:
            manifest = read_manifest(objects.read(manifest_at), manifest_at)
        except ValueError:
            continue
        if manifest["publication"] != publication:
            continue
        digests = [objects.read(join(prefix, DIGESTS)), objects.read(join(prefix, SPARE, DIGESTS))]
        wanted = manifest.get("digests_sha256")
        return wanted is None or any(data is not None and sha256(data) == wanted for data in digests)
    return False


def read_seal(objects: Objects, prefix: str, publication: str) -> Seal:
    """The seal of a publication that lies at `prefix`. Raises ValueError, a sentence, when it is not whole."""
    manifest, digests = stated(objects, prefix, publication)
    return Seal(publication, prefix, manifest, _as_it_lies(objects, prefix, manifest) if digests is None else digests)


def stated(objects: Objects, prefix: str, publication: str) -> tuple[dict[str, Any], dict[str, str] | None]:
    """A publication's manifest and the digests that it states, None for an older version's. Raises as `read_seal`."""
    where = join(prefix, MANIFEST)
    manifest = read_manifest(objects.read(where), where)
    if manifest["publication"] != publication:
        raise ValueError(f"{where} is that of publication {manifest['publication']}, and not of {publication}")
    if "digests_sha256" not in manifest:
        return manifest, None
    where = join(prefix, DIGESTS)
    data = objects.read(where)
    if data is None or sha256(data) != manifest["digests_sha256"]:
        raise ValueError(f"{where} is {'missing' if data is None else 'not the one that was published'}")
    return manifest, json.loads(data)["objects"]


def _as_it_lies(objects: Objects, prefix: str, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Digests of an older version's publication, which has none: of what lies there now."""
    folders = [f"{name}.zarr" for name in manifest["stores"]] + ["publish_log"]
    keys = [f"{folder}/{key}" for folder in folders for key in objects.keys(join(prefix, folder))]
    keys += [name for name in objects.children(prefix) if name.endswith((".sqlite", ".parquet"))]
    digests = objects.map(lambda key: objects.digest(join(prefix, key)), keys)
    return {key: digest for key, digest in zip(keys, digests, strict=True) if digest is not None}
