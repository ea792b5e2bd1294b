"""The whole world, published once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.time_safety.world import END, Publication, pipeline, read, world


@pytest.fixture(scope="session")
def full(once: Callable) -> Publication:
    """Published from START to END, from all that is known after END."""

    def make(place: Path) -> None:
        pipeline(world(), END, place / "root")

    return read(once("time-safety-full", make) / "root")
