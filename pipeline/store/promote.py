"""Making a staged run live: after every check, as one publication of the whole family."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.metadata import to_json
from pipeline.store.guards import GuardFailed, check_store
from pipeline.store.layout import MANIFEST
from pipeline.store.manifest import Publication, build_manifest, describe_store
from pipeline.store.objects import StoreError
from pipeline.store.publications import Plan, log_key, publication_id
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
    _check_guards(stage, audits, sessions)
    old = stage.publications.manifest()
    number = 1 + (old or {}).get("number", 0)
    publication = publication_id(number, stage.run_id)
    now = stage.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
    restates = stage.kind == "restatement"
    entries = {
        name: describe_store(stage.overlay(name), audit, publication, stage.run_id) for name, audit in audits.items()
    }
    manifest = build_manifest(old, entries, family, number, publication, restates, now)
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
    stage.publications.publish(
        Plan(
            publication=publication,
            base=stage.base,
            workspace=stage.directory_key,
            stores={name: stage.overlay(name).staged for name in audits},
            files={name: f"{stage.directory_key}/files/{name}" for name in stage.staged_files},
            documents={
                log_key(number): to_json(record.as_json()),
                MANIFEST: to_json(manifest),
            },
            restates=restates,
            keep=keep,
            in_lease=stage.lease.guard,
        )
    )
    try:
        stage.finish()
    except StoreError as error:
        log.warning("publication %s is live, but its staging area could not be removed: %s", publication, error)
    log.info("published %s, complete through %s", publication, record.complete_through)
    return record


def _check_guards(stage: Stage, names: Iterable[str], sessions: NDArray[np.datetime64]) -> None:
    restated = (stage.info["from"], stage.info["to"]) if stage.kind == "restatement" else None
    violations = [
        violation
        for name in names
        for violation in check_store(name, stage.overlay(name), sessions, restated, stage.objects.concurrency)
    ]
    if violations:
        raise GuardFailed(violations, stage.directory)
