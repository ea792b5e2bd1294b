"""Dagster runs on the small published market of the engine's tests, on an instance in memory."""

from __future__ import annotations

import base64
import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from matplotlib.image import imread

from assets import metadata
from assets.definitions import build_definitions
from assets.deployment import Deployment
from assets.names import key_of
from assets.partitions import range_tags
from pipeline.engine.family import specs
from pipeline.settings import Settings
from pipeline.sources import Source, SourceTables
from security_master.store import Store
from tests.assets.browser import Browser, browser
from tests.assets.deliveries_of_a_night import with_a_map
from tests.assets.served import Server, served
from tests.engine.conftest import EVE, NIGHT, eve, published_eve, tables  # noqa: F401 (fixtures)
from tests.engine.published_market import known_at, settings_for

NEXT_NIGHT = "2019-01-15"
IMPATIENT = Deployment(retry_seconds=0.0)


BOTH_SETS = ("SPY_uni_mc_3000", "SPY_uni_mc_1000")
ASSET_OF = {name: key_of(spec) for name, spec in specs(settings_for("unused", factor_sets=BOTH_SETS)).items()}
STORE_OF = {key.to_python_identifier(): name for name, key in ASSET_OF.items()}


def asset_of(name: str) -> dg.AssetKey:
    """The asset of a store, or the one of that name."""
    return ASSET_OF.get(name, dg.AssetKey(name))


def name_of(key: dg.AssetKey) -> str:
    """The store of an asset, or the asset's name."""
    return STORE_OF.get(key.to_python_identifier(), key.to_user_string())


def decoded(plot: dg.MarkdownMetadataValue) -> np.ndarray:
    """The picture of a plot: (height, width, 4), from 0 to 1."""
    start = "data:image/png;base64,"
    return imread(io.BytesIO(base64.b64decode(plot.value.partition(start)[2].removesuffix(")"))), "png")


@dataclass(frozen=True)
class Done:
    """A Dagster run that has ended, and the instance that recorded it. Assets and steps are named by their stores."""

    result: dg.ExecuteInProcessResult
    instance: dg.DagsterInstance

    @property
    def success(self) -> bool:
        return self.result.success

    def materialized(self, name: str) -> dict[str, dg.AssetMaterialization]:
        """Materialisations of an asset by partition."""
        found = [e for e in self.result.get_asset_materialization_events() if e.asset_key == asset_of(name)]
        return {str(e.partition): e.step_materialization_data.materialization for e in found}

    def checks(self) -> dict[tuple[str, str], Any]:
        """Recorded check evaluations by asset and name."""
        return {(name_of(c.asset_key), c.check_name): c for c in self.result.get_asset_check_evaluations()}

    def steps(self, kind: str) -> list[str]:
        """Names of the steps with an event of a kind."""
        found = [str(e.step_key) for e in self.result.all_events if e.event_type_value == kind]
        return [STORE_OF.get(step, step) for step in found]

    def failure(self, step: str) -> dg.Failure:
        """What a step failed with."""
        data = self.result.failure_data_for_node(asset_of(step).to_python_identifier())
        assert data is not None, f"{step} did not fail"
        assert data.user_failure_data is not None, str(data.error)
        return dg.Failure(data.user_failure_data.description, metadata=dict(data.user_failure_data.metadata))


Launch = Callable[..., Done]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@contextmanager
def launching(instance: dg.DagsterInstance) -> Iterator[Launch]:
    """`launch(settings, source, first, last)`: the nightly job over a range, as a backfill from the page does it.

    Without the pictures of the stores, which are a quarter of a run; those of `nights` are looked at.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(metadata, "plots", lambda run, name: {})

        def launch(
            settings: Settings,
            source: Source,
            first: str,
            last: str | None = None,
            deployment: Deployment = IMPATIENT,
            job: str = "nightly",
            selection: list[str] | None = None,
        ) -> Done:
            definitions = build_definitions(settings, deployment, source)
            result = definitions.resolve_job_def(job).execute_in_process(
                instance=instance,
                tags=range_tags(first, last or first),
                asset_selection=selection and [asset_of(name) for name in selection],
                raise_on_error=False,
            )
            return Done(result, instance)

        yield launch


@pytest.fixture
def launch(instance: dg.DagsterInstance) -> Iterator[Launch]:
    with launching(instance) as launch:
        yield launch


@dataclass(frozen=True)
class Nights:
    """A root on which one Dagster run has published two sessions after EVE.

    read: of each table of the security master, how often its rows were read.
    """

    root: Path
    done: Done
    settings: Settings
    read: Counter[str]


@pytest.fixture(scope="session")
def nights(published_eve: Path, tables: SourceTables, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:  # noqa: F811
    """Two sessions published by one run. Only look at it."""
    root = Path(shutil.copytree(published_eve, tmp_path_factory.mktemp("nights") / "root", symlinks=True))
    settings, read = settings_for(root), Counter[str]()
    inner = Store._frame

    def counted(store: Store, name: str, *given: Any, **named: Any) -> Any:
        read[name] += 1
        return inner(store, name, *given, **named)

    with dg.DagsterInstance.ephemeral() as instance:
        definitions = build_definitions(settings, IMPATIENT, known_at(tables, NEXT_NIGHT))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Store, "_frame", counted)
            result = definitions.resolve_job_def("nightly").execute_in_process(
                instance=instance, tags=range_tags(NIGHT, NEXT_NIGHT)
            )
        yield Nights(root, Done(result, instance), settings, read)


@pytest.fixture(scope="session")
def market(tables: SourceTables) -> SourceTables:  # noqa: F811
    """What the vendor of the page's tests delivers: the whole market, with a map of industries to ETFs."""
    return with_a_map(tables)


@pytest.fixture(scope="session")
def server(market: SourceTables, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One `dagster dev` for all walks through the page."""
    with served(tmp_path_factory.mktemp("dagster"), market) as server:
        yield server


@pytest.fixture(scope="session")
def page(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
        print(f"screenshots: {opened.pictures}")
