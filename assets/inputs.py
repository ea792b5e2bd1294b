"""The first asset of a run: what the source delivered, landed under permanent ids."""

# No `from __future__ import annotations` here: Dagster looks at the annotation of `context` itself.

import dagster as dg

from assets.deployment import Deployment
from assets.metadata import Phases, of_inputs, of_settings
from assets.names import MARKET_DATA, SOURCE_TABLES, delivery_key
from assets.partitions import sessions
from assets.staging import begun, pool_of
from pipeline.engine import execution
from pipeline.settings import Settings
from pipeline.sources import Source


def source_tables_asset(settings: Settings, deployment: Deployment, source: Source | None) -> dg.AssetsDefinition:
    """Begins the staging run, reads the source, builds the security master and lands the facts."""

    @dg.asset(
        key=SOURCE_TABLES,
        deps=[delivery_key(name) for name in settings.layers] if settings.fetched and source is None else [],
        description="The source's tables, typed and checked, under the permanent ids of the security master, which is "
        "built from them. Every step of the run reads what was landed here, so none asks the source again.",
        group_name=MARKET_DATA,
        kinds={"python", "sqlite"},
        owners=list(deployment.owners),
        metadata={"source": settings.source, **of_settings(settings)},
        partitions_def=sessions(),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=pool_of(settings.root),
    )
    def source_tables(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        phases = Phases()
        with begun(context, settings, deployment) as run:
            with phases("read, identify, land"):
                landed = execution.stage_inputs(run, source)
            context.add_asset_metadata(
                of_inputs(run, landed, phases), partition_key=str(run.calendar.sessions[run.last])
            )
        return dg.MaterializeResult()

    return source_tables
