"""The last asset of a run: all of its staged stores become what readers see, together."""

# No `from __future__ import annotations` here: Dagster looks at the annotation of `context` itself.

from typing import Any

import dagster as dg

from assets.deployment import Deployment
from assets.metadata import Phases, location
from assets.names import PUBLICATION, last_stores
from assets.partitions import sessions
from assets.staging import joined, pool_of
from pipeline import engine
from pipeline.settings import Settings
from pipeline.store import Publication


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
            last = str(run.calendar.sessions[run.last])
            with phases("guards and switch"):
                published = engine.publish(run)
        context.add_asset_metadata(_metadata(settings, published, phases), partition_key=last)
        return dg.MaterializeResult()

    return publication


def _metadata(settings: Settings, published: Publication | None, phases: Phases) -> dict[str, Any]:
    seconds = {f"seconds: {phase}": round(value, 3) for phase, value in phases.seconds.items()}
    if published is None:
        return {"changed": "no store: everything came out as it is published", **seconds}
    columns = ("store", "through, before", "through, now", "objects", "checks")
    rows = [
        (name, entry["last_before"] or "not published", entry["last"], entry["objects"], entry["checks"])
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
        "stores": dg.MetadataValue.table(
            records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
            schema=dg.TableSchema(
                [dg.TableColumn(name, "int" if name in columns[3:] else "string") for name in columns]
            ),
        ),
        **seconds,
    }
