"""Making a staged run live: after every check, as one publication of the whole family."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.metadata import to_json
from pipeline.store.guards import GuardFailed, check_store
from pipeline.store.layout import DIGESTS, MANIFEST, SPARE, store_key
from pipeline.store.manifest import Publication, build_manifest, describe_store
from pipeline.store.objects import StoreError
from pipeline.store.publications import Plan, log_key, publication_id
from pipeline.store.seal import digests_document, manifest_document, sha256
from pipeline.store.stage import Stage

log = logging.getLogger(__name__)

KEEP = 5
KEEP_FOR = timedelta(days=1)
"""How long a publication stays openable after it was replaced, however many follow."""


def promote(
    stage: Stage,
    family: Sequence[str],
    sessions: NDArray[np.datetime64],
    keep: int = KEEP,
    keep_for: timedelta = KEEP_FOR,
) -> Publication | None:
    """Publishes everything that the run staged; None when nothing differs from what is published.

    family:   names of all stores that belong together, staged in this run or not.
    sessions: the exchange's sessions (datetime64[D]), for the guard against skipped ones.
    keep, keep_for: the last `keep` publications stay openable, the new one included, and those that were live less
              than `keep_for` ago. What a restatement replaced always stays.

    Raises NotAudited, GuardFailed, LeaseLost or another StoreError; readers then see what they saw before, and the
    staged data stays where it is.
    """
    audits = stage.check_audits()
    if not audits and not stage.staged_files:
        stage.finish()
        return None
    _check_guards(stage, audits, sessions)
    record, manifest = _describe(stage, audits, family)
    stage.publications.publish(
        Plan(
            publication=record.publication,
            base=stage.base,
            workspace=stage.directory_key,
            stores={name: stage.overlay(name).staged for name in audits},
            files={name: f"{stage.directory_key}/files/{name}" for name in stage.staged_files},
            documents=_documents(stage, audits, record, manifest),
            restates=stage.kind == "restatement",
            keep=keep,
            keep_for=keep_for,
            now=stage.clock(),
            in_lease=stage.lease.guard,
        )
    )
    try:
        stage.finish()
    except StoreError as error:
        log.warning("publication %s is live, but its staging area is still there: %s", record.publication, error)
    log.info("published %s, complete through %s", record.publication, record.complete_through)
    return record


def _describe(
    stage: Stage, audits: Mapping[str, Mapping[str, Any]], family: Sequence[str]
) -> tuple[Publication, dict[str, Any]]:
    """The record and the manifest of the next publication."""
    old = stage.publications.manifest()
    number = 1 + max((old or {}).get("number", 0), stage.publications.highest())
    publication = publication_id(number, stage.run_id)
    now = stage.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
    entries = {
        name: describe_store(stage.overlay(name), audit, publication, stage.run_id) for name, audit in audits.items()
    }
    manifest = build_manifest(old, entries, family, number, publication, stage.kind == "restatement", now)
    before = (old or {}).get("stores", {})
    record = Publication(
        publication=publication,
        number=number,
        generation=manifest["generation"],
        replaces=stage.base,
        kind=stage.kind,
        info=stage.info,
        run_id=stage.run_id,
        published_utc=now,
        complete_through=manifest["complete_through"],
        stores={
            name: {
                "last_before": before.get(name, {}).get("last"),
                "last": entry["last"],
                "objects": len(stage.overlay(name).staged_keys()),
                "checks": len(audits[name]["results"]),
                "notes": stage.notes(name),
            }
            for name, entry in entries.items()
        },
        state={name: {"last": entry["last"], "sizes": entry["sizes"]} for name, entry in manifest["stores"].items()},
        files=stage.staged_files,
    )
    return record, manifest | {"appended": stage.appended()}


def _documents(
    stage: Stage, stores: Iterable[str], record: Publication, manifest: Mapping[str, Any]
) -> dict[str, bytes]:
    """What a publication says of itself, by key, with a second copy of each and of what people append."""
    log_record = to_json(record.as_json())
    digests = digests_document(_digests(stage, stores, {log_key(record.number): sha256(log_record)}))
    documents = {
        log_key(record.number): log_record,
        DIGESTS: digests,
        MANIFEST: manifest_document(manifest, digests),
    }
    spares = {f"{SPARE}/{key.rpartition('/')[2]}": data for key, data in documents.items()}
    return {**spares, **stage.spares(), **documents}


def _digests(stage: Stage, stores: Iterable[str], more: Mapping[str, str]) -> dict[str, str]:
    """Digests of everything that the next publication holds: what stays, what was staged, and `more`."""
    found = dict(stage.seal.digests) if stage.seal else {}
    folders = {store_key(name): stage.overlay(name).staged for name in stores}
    staged = {f"{to}/{key}": f"{at}/{key}" for to, at in folders.items() for key in stage.objects.keys(at)}
    staged |= {name: f"{stage.directory_key}/files/{name}" for name in stage.staged_files}
    digests = stage.objects.map(stage.objects.digest, staged.values())
    return found | {key: str(digest) for key, digest in zip(staged, digests, strict=True)} | dict(more)


def _check_guards(stage: Stage, names: Iterable[str], sessions: NDArray[np.datetime64]) -> None:
    restated = (stage.info["from"], stage.info["to"]) if stage.kind == "restatement" else None
    violations = [
        violation for name in names for violation in check_store(name, stage.overlay(name), sessions, restated)
    ]
    if violations:
        raise GuardFailed(violations, stage.directory)
