"""One asset for each published store, made from its DatasetSpec."""

# No `from __future__ import annotations` here: Dagster looks at the annotation of `context` itself.

from collections.abc import Iterator

import dagster as dg

from assets.checks import check_specs, results, stop_on_failure
from assets.deployment import Deployment
from assets.metadata import Phases, describe, description, of_asset
from assets.names import MARKET_DATA, factor_set_of, inputs_of, key_of
from assets.partitions import sessions
from assets.staging import joined, pool_of
from pipeline.engine import execution
from pipeline.engine.family import specs
from pipeline.settings import Settings


def store_asset(settings: Settings, deployment: Deployment, name: str) -> dg.AssetsDefinition:
    """Computes a store into the overlay of the run and audits it there; a failed check ends the run."""
    spec = specs(settings)[name]

    @dg.asset(
        key=key_of(spec),
        description=description(spec, settings.root),
        deps=inputs_of(settings, spec),
        group_name=factor_set_of(spec) or MARKET_DATA,
        kinds={"zarr", "numpy"},
        owners=list(deployment.owners),
        metadata=of_asset(spec, settings.root),
        tags={"store": spec.name},
        partitions_def=sessions(),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=pool_of(settings.root),
        check_specs=check_specs(spec),
    )
    def store(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        phases = Phases()
        with joined(context, settings, deployment) as run:
            with phases("compute and write"):
                execution.step(run, name)
            with phases("audit"):
                checks = execution.audit_store(run, name)
            yield from results(spec, checks)
            stop_on_failure(checks, run.stage.directory)
            describe(context, run, name, checks, phases)
        yield dg.MaterializeResult()

    return store
