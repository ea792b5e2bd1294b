"""What was published from another face than Dagster's (the command line, cron, a notebook), shown here as it was, once.

A sensor looks at the publish log. For each publication that no run of this instance made it asks for a run of the job
`show_publication`, which records the sessions of every store of it as materialised. Nothing is computed or written.
"""

# No `from __future__ import annotations` here: Dagster looks at the annotations of `context` and of the config itself.

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.names import PUBLICATION, SOURCE_TABLES, key_of
from assets.staging import dagster_run_of
from pipeline.calendar import xnys
from pipeline.engine.family import specs
from pipeline.settings import Settings
from pipeline.store.filesystem import open_publications

SHOW, RECORD = "show_publication", "record_publication"


class Shown(dg.Config):
    """Which publication is shown."""

    publication: str


def show_publication_job(settings: Settings) -> dg.JobDefinition:
    """The job that records one publication of another face."""

    @dg.op(name=RECORD, description="Records the sessions of every store of a publication as materialised.")
    def show(context: dg.OpExecutionContext, config: Shown) -> None:
        records = {record["publication"]: record for record in open_publications(settings.root).records()}
        if config.publication not in records:
            raise dg.Failure(f"{settings.root} has no publication {config.publication}", allow_retries=False)
        for event in materialised(settings, records[config.publication]):
            context.log_event(event)

    @dg.job(name=SHOW, description="Shows a publication that was made outside of Dagster; the sensor asks for it.")
    def show_publication() -> None:
        show()

    return show_publication


def materialised(settings: Settings, record: dict[str, Any]) -> Iterator[dg.AssetMaterialization]:
    """The materialisations of a publication: every session of its run, of the inputs, each store, then of itself."""
    days = [str(day) for day in xnys().sessions[record["info"]["first"] : record["info"]["last"] + 1]]
    stores = {name: spec for name, spec in specs(settings).items() if name in record["stores"]}
    of_all = {
        "publication": record["publication"],
        "published at": record["published_utc"],
        "made by": f"run {record['run_id']}, outside of this Dagster",
        "kind": record["kind"],
    }
    for key, about in (
        (SOURCE_TABLES, {}),
        *((key_of(spec), _of_store(record["stores"][name])) for name, spec in stores.items()),
        (PUBLICATION, {"complete through": record["complete_through"] or "not complete"}),
    ):
        for day in days:
            yield dg.AssetMaterialization(key, partition=day, metadata=of_all | about)


def _of_store(entry: dict[str, Any]) -> dict[str, Any]:
    return {"checks passed": entry["checks"], "objects": entry["objects"], "last session": entry["last"]}


def publications_sensor(settings: Settings, job: dg.JobDefinition) -> dg.SensorDefinition:
    """On by default: it only shows what is published."""

    @dg.sensor(
        name="publications",
        job=job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Shows publications that were made outside of Dagster (erm3 run, backfill, nightly, restate): "
        "their sessions count as materialised here, once.",
    )
    def publications(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        seen = int(context.cursor or 0)
        found = open_publications(settings.root)
        manifest = found.manifest()
        if manifest is None or manifest["number"] <= seen:
            return dg.SkipReason(f"Nothing was published in {settings.root} since number {seen}.")
        fresh = [record for record in found.records() if record["number"] > seen]
        asked = [
            dg.RunRequest(run_key=record["publication"], run_config=_config(record["publication"]))
            for record in fresh
            if not _made_here(context.instance, record["run_id"])
        ]
        return dg.SensorResult(run_requests=asked, cursor=str(manifest["number"]))

    return publications


def _config(publication: str) -> dict[str, Any]:
    return {"ops": {RECORD: {"config": {"publication": publication}}}}


def _made_here(instance: dg.DagsterInstance, staging_run: str) -> bool:
    """Whether a run of this instance published it, and so showed it itself."""
    run_id = dagster_run_of(staging_run)
    return run_id is not None and instance.get_run_by_id(run_id) is not None
