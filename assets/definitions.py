"""Everything that Dagster loads: `dagster dev` finds `defs` through pyproject.toml."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import dagster as dg

from assets.alerts import alert_sensor
from assets.automation import FRESHNESS, NIGHTLY
from assets.deliveries import delivery_asset, running
from assets.deployment import Deployment, read_deployment
from assets.freshness import freshness_check, freshness_schedule
from assets.inputs import source_tables_asset
from assets.outside import publications_sensor, show_publication_job
from assets.people import decide_job, restate_job
from assets.publication import publication_asset
from assets.reports import report_assets
from assets.schedules import nightly_schedule
from assets.stores import store_asset
from pipeline.engine import family
from pipeline.landing.clock import Clock
from pipeline.settings import Settings, names
from pipeline.sources import Source


def build_definitions(
    settings: Settings | None = None,
    deployment: Deployment | None = None,
    source: Source | None = None,
    clock: Callable[[], Clock] = running,
) -> dg.Definitions:
    """Fresh definitions: the inputs, one asset for each store of every configured factor set, publication, reports.

    Of vendors that are fetched, one asset for each layer comes before the inputs. settings, deployment: from the
    environment by default. source, clock: replace the configured source and the machine's clock (tests).

    The steps of a run share one process: they are in line behind each other, and what they hand on lies in a scratch
    directory of the machine that began the run.
    """
    settings, deployment = settings or names.read(Settings), deployment or read_deployment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # backfill policies; the minor version of Dagster is pinned
        deliveries = settings.layers if settings.fetched and source is None else ()
        assets = [
            *(delivery_asset(settings, deployment, name, clock) for name in deliveries),
            source_tables_asset(settings, deployment, source),
            *(store_asset(settings, deployment, name) for name in family.stores(settings)),
            publication_asset(settings, deployment),
            *report_assets(settings, deployment),
        ]
    is_fresh = freshness_check(settings, deployment)
    nightly = dg.define_asset_job(
        NIGHTLY,
        selection=dg.AssetSelection.assets(*assets),
        description="Every store of the family over the sessions asked for, published together or not at all; then the "
        "reports.",
    )
    show = show_publication_job(settings)
    fresh = dg.define_asset_job(
        FRESHNESS,
        selection=dg.AssetSelection.checks(*is_fresh.check_keys),
        description="Is the session before published? Fails, and so alerts, when it is not.",
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=[is_fresh],
        jobs=[nightly, fresh, decide_job(settings, deployment), restate_job(settings, deployment, source), show],
        schedules=[nightly_schedule(settings, deployment), freshness_schedule(deployment)],
        sensors=[alert_sensor(deployment), publications_sensor(settings, show)],
        executor=dg.in_process_executor,
    )


defs = build_definitions()
