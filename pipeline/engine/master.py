"""The security master outside of a run: built alone, or published with a decision."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.calendar import xnys
from pipeline.sources import SourceTables
from pipeline.store.filesystem import open_publications
from pipeline.store.objects import StoreError
from pipeline.store.promote import promote
from pipeline.store.stage import Stage
from security_master import (
    MASTER_FILE,
    BuildReport,
    IdentityDecision,
)
from security_master import decide as decide_in


def master_alone(root: str) -> Path:
    """Where a master built alone lies. Raises StoreError where runs publish stores, which keep their own."""
    if "://" in root:
        raise StoreError(f"{root} is no directory; a master alone is built on this machine")
    if open_publications(root).manifest() is not None:
        raise StoreError(
            f"{root} holds published stores with their own master, which `erm3 run` keeps; use another root"
        )
    return Path(root) / MASTER_FILE


def batch_of(source: str, tables: SourceTables) -> str:
    """A name for a delivery, from its content."""
    content = json.dumps({name: origin.sha256 for name, origin in sorted(tables.origins.items())})
    return f"{source}-{sha256(content.encode()).hexdigest()[:12]}"


def publish_decision(root: str, answer: IdentityDecision, batch_id: str) -> BuildReport:
    """Publish the master with a decision; the stores stay as they are until the next run reads it."""
    with Stage.begin(root, batch_id, info={"reason": f"decision about {answer.question_id}"}) as stage:
        with TemporaryDirectory() as directory:
            path = stage.published_file(MASTER_FILE, Path(directory) / MASTER_FILE)
            if path is None:
                raise StoreError(f"{root} has no {MASTER_FILE}")
            report = decide_in(path, answer, batch_id=batch_id)
            stage.add_file(MASTER_FILE, path)
        manifest = stage.publications.manifest() or {"stores": {}}
        promote(stage, sorted(manifest["stores"]), xnys().sessions)
    return report
