"""One small market, published in one run, for all tests of the engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import engine
from pipeline.sources import SourceTables
from tests.engine.market import FIRST, LAST, Delivered, known_at, settings_for, tables_of

EVE = "2019-01-11"
"""Last session of the root on which tests add single sessions; two companies list on the second one after it."""


@pytest.fixture(scope="session")
def tables() -> SourceTables:
    return tables_of()


@pytest.fixture(scope="session")
def whole(once: Callable, tables: SourceTables) -> Path:
    """Root with FIRST to LAST, published in one run. Only read it."""

    def make(place: Path) -> None:
        engine.execute(settings_for(place / "root"), FIRST, LAST, source=Delivered(tables))

    return once("engine-whole", make) / "root"


@pytest.fixture(scope="session")
def published_eve(once: Callable, tables: SourceTables) -> Path:
    """Root with FIRST to EVE, made with what was known on EVE. Only read it; `eve` is a copy to work on."""

    def make(place: Path) -> None:
        engine.execute(settings_for(place / "root"), FIRST, EVE, source=known_at(tables, EVE))

    return once("engine-eve", make) / "root"


@pytest.fixture
def eve(published_eve: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published_eve, tmp_path / "root", symlinks=True))
