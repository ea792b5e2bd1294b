from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from security_master import SecurityMaster, build_master
from tests.security_master.tables import world_tables


@pytest.fixture(scope="session")
def world() -> Any:
    """Tables of the world."""
    return world_tables()


@pytest.fixture(scope="session")
def world_path(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A master of the world. Tests must not write to it."""
    path = tmp_path_factory.mktemp("world") / "master.sqlite"
    build_master(path, world.frames, batch_id="world")
    return path


@pytest.fixture(scope="session")
def world_master(world_path: Path) -> Iterator[SecurityMaster]:
    with SecurityMaster.open(world_path) as master:
        yield master
