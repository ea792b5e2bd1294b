"""Making a staged run live: after every check, as one publication of the whole family."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.metadata import to_json
from pipeline.store import publications
from pipeline.store.filesystem import LocalObjects
from pipeline.store.guards import GuardFailed, check_store
from pipeline.store.layout import MANIFEST, PUBLISH_LOG
from pipeline.store.manifest import Publication, build_manifest, describe_store
from pipeline.store.publish_local import publish_local
from pipeline.store.stage import Stage

log = logging.getLogger(__name__)

KEEP = 5


def promote(
    stage: Stage, family: Sequence[str], sessions: NDArray[np.datetime64], keep: int = KEEP
) -> Publication | None:
    """Publishes everything that the run staged; None when nothing differs from what is published.

    family:   names of all stores that belong together, staged in this run or not.
    sessions: the exchange's sessions (datetime64[D]), for the guard against skipped ones.
    keep:     how many publications stay openable, the new one included. What a restatement replaced always stays.

    Raises NotAudited, GuardFailed, LeaseLost or another StoreError; readers then see what they saw before, and the
    staged data stays where it is.
    """
    audits = stage.check_audits()
    if not audits and not stage.staged_files:
        stage.finish()
        return None
    restated = (stage.info["from"], stage.info["to"]) if stage.kind == "restatement" else None
    violations = [
        violation
        for name in audits
        for violation in check_store(name, stage.overlay(name), sessions, restated, stage.objects.concurrency)
    ]
    if violations:
        raise GuardFailed(violations, stage.directory)
    old = publications.read_manifest(stage.objects, publications.live_prefix(stage.objects, stage.base))
    number = 1 + max((record["number"] for record in publications.records(stage.objects)), default=0)
    publication_id = f"{number:06d}-{stage.run_id}"
    now = stage.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
    entries = {
        name: describe_store(stage.overlay(name), audit, publication_id, stage.run_id) for name, audit in audits.items()
    }
    manifest = build_manifest(old, entries, family, publication_id, now)
    before = (old or {}).get("stores", {})
    record = Publication(
        publication=publication_id,
        number=number,
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
            }
            for name, entry in entries.items()
        },
        files=stage.staged_files,
    )
    documents = {
        f"{PUBLISH_LOG}/{number:06d}.json": to_json(record.as_json()),
        MANIFEST: to_json(manifest),
    }
    assert isinstance(stage.objects, LocalObjects)
    publish_local(stage, publication_id, documents, keep)
    stage.finish()
    log.info("published %s, complete through %s", publication_id, record.complete_through)
    return record
