"""The last asset of a run: all of its staged stores become what readers see, together."""

# No `from __future__ import annotations` here: Dagster looks at the annotation of `context` itself.

from typing import Any

import dagster as dg

from assets.deployment import Deployment
from assets.forms import form
from assets.metadata import Phases, location, of_sessions, stored_bytes
from assets.names import PUBLICATION, RESTATE, RESTATE_SESSIONS, last_stores
from assets.partitions import sessions
from assets.staging import joined, pool_of
from assets.tables import table
from pipeline.engine import execution
from pipeline.engine.run import Run
from pipeline.engine.step_findings import Told, told
from pipeline.settings import Settings
from pipeline.store.manifest import Publication


def publication_asset(settings: Settings, deployment: Deployment) -> dg.AssetsDefinition:
    """Promotes every staged store of the run, after seeing in the staging area that each one passed its audit."""

    @dg.asset(
        key=PUBLICATION,
        description="What readers see. All stores of the run and the manifest are switched at once, after the guards "
        "(structure, retraction, unchanged history) and after reading in the staging area itself that every store "
        "passed its audit with these inputs. A session is published when it is materialised here.",
        deps=last_stores(settings),
        group_name=PUBLICATION.to_user_string(),
        kinds={"zarr"},
        owners=list(deployment.owners),
        metadata={"manifest": location(settings.root, "manifest.json")},
        partitions_def=sessions(),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=pool_of(settings.root),
    )
    def publication(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        phases = Phases()
        with joined(context, settings, deployment) as run:
            found, of_run = told(run), of_sessions(run) | {"bytes staged": _bytes(run)}
            shown = findings_shown(found) | _mending(context.run, found, str(of_run["first session"])) | of_run
            with phases("guards and switch"):
                published = execution.publish(run)
        shown |= _metadata(settings, published) | phases.metadata
        context.add_asset_metadata(shown, partition_key=shown["last session"])
        return dg.MaterializeResult()

    return publication


def findings_shown(found: Told) -> dict[str, Any]:
    """What the rules of a run found, as metadata."""
    counts = ", ".join(f"{rule} {n:,}" for rule, n in found.counts.items())
    loud = {"look at this": table([{"what": sentence} for sentence in found.loud])} if found.loud else {}
    return {"findings": counts or "none"} | loud


def _mending(run: dg.DagsterRun, found: Told, first: str) -> dict[str, Any]:
    """The form of the restatement, where an ETF was missing that may still be delivered."""
    if "missing_etf" not in found.counts:
        return {}
    filled = {"first_session": first, "known_as_of": "", "reason": ""}
    return {"restate it once it is delivered": form(run, RESTATE, RESTATE_SESSIONS, filled)}


def _bytes(run: Run) -> int:
    return sum(stored_bytes(run.stage.objects, run.stage.overlay(name).staged) for name in run.stage.staged_stores)


def _metadata(settings: Settings, published: Publication | None) -> dict[str, Any]:
    if published is None:
        return {"changed": "no store: everything came out as it is published"}
    rows = [
        {
            "store": name,
            "through, before": entry["last_before"] or "not published",
            "through, now": entry["last"],
            "objects": entry["objects"],
            "checks": entry["checks"],
        }
        for name, entry in published.stores.items()
    ]
    return {
        "changed": ", ".join([f"{len(rows)} stores" if rows else "no store", *published.files]),
        "publication": published.publication,
        "number": published.number,
        "replaces": published.replaces or "nothing: it is the first",
        "complete through": published.complete_through or "not complete",
        "published at": published.published_utc,
        "manifest": location(settings.root, "manifest.json"),
        "stores": table(rows, ("store", "through, before", "through, now", "objects", "checks")),
    }
