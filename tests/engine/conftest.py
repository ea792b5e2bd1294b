"""One small market, published in one run, for all tests of the engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.engine import execution, family
from pipeline.sources import SourceTables
from tests.engine.published_market import FIRST, LAST, Delivered, known_at, settings_for, tables_of

EVE = "2019-01-11"
"""Last session of the root on which tests add single sessions; two companies list on the second one after it."""


NIGHT = "2019-01-14"
"""The session after EVE."""
STAGED_TO, STAGED_RUN = "2019-02-01", "staged"
"""Last session and name of a run that has staged 14 sessions from NIGHT on: audits that sample 12 miss two."""


@pytest.fixture(scope="session")
def tables() -> SourceTables:
    return tables_of()


@pytest.fixture(scope="session")
def whole(once: Callable, tables: SourceTables) -> Path:
    """Root with FIRST to LAST, published in one run. Only read it."""

    def make(place: Path) -> None:
        execution.execute(settings_for(place / "root"), FIRST, LAST, source=Delivered(tables))

    return once("engine-whole", make) / "root"


@pytest.fixture(scope="session")
def published_eve(once: Callable, tables: SourceTables) -> Path:
    """Root with FIRST to EVE, made with what was known on EVE. Only read it; `eve` is a copy to work on."""

    def make(place: Path) -> None:
        execution.execute(settings_for(place / "root"), FIRST, EVE, source=known_at(tables, EVE))

    return once("engine-eve", make) / "root"


@pytest.fixture(scope="session")
def staged_run(once: Callable, published_eve: Path, tables: SourceTables) -> Path:
    """Root on which STAGED_RUN has staged and audited all stores and not yet published them. Only copy it."""

    def make(place: Path) -> None:
        root = shutil.copytree(published_eve, place / "root", symlinks=True)
        settings = settings_for(root)
        with execution.begin(settings, NIGHT, STAGED_TO, run_id=STAGED_RUN) as run:
            execution.stage_inputs(run, known_at(tables, STAGED_TO))
            for name in family.stores(settings):
                execution.stage_store(run, name)

    return once("engine-staged", make) / "root"


@pytest.fixture
def staged(staged_run: Path, tmp_path: Path) -> Path:
    """A copy of the root with a staged run. `execution.attach(settings, STAGED_RUN)` joins the run."""
    return Path(shutil.copytree(staged_run, tmp_path / "staged", symlinks=True))


@pytest.fixture
def eve(published_eve: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published_eve, tmp_path / "root", symlinks=True))
