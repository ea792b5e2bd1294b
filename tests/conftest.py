"""Shared by all tests: no settings from outside, one computation for all workers, real data or a clear reason."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.outside.machine import tune_libraries

REAL_DATA = Path(__file__).parents[2] / "shared" / "data" / "us_equities"
MEMORY, ROOM = Path("/dev/shm"), 4 << 30
"""A file system in memory that Linux has, and the bytes that must be free for the tests to lie there."""


def pytest_configure() -> None:
    """Tests state their settings; those of the person who runs them have no say. Nothing is garbage before they run.

    A store is hundreds of small files, which cost several times less where they never wait for a disk: files of tests
    lie in memory where there is room, unless TMPDIR or --basetemp say otherwise.
    """
    gc.disable()
    tune_libraries()
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
    for name in [name for name in os.environ if name.startswith("ERM3_")]:
        del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not REAL_DATA.is_dir():
        absent = pytest.mark.skip(reason=f"needs the real prices in {REAL_DATA}, which are not part of the project")
        for item in items:
            if item.get_closest_marker("real_data"):
                item.add_marker(absent)


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector need not look at it again in each test."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """Only a power cut could tell a test that data was not yet on the disk, and waiting for it is a tenth of the
    suite: `os.fsync` looks at its descriptor and returns. What must be synced before what is asked by recording
    the calls (`tests/store/test_crashes.py`, `test_lease.py`). Programs that tests start wait as ever."""
    real = os.fsync
    os.fsync = lambda descriptor: (os.fstat(descriptor), None)[1]
    yield
    os.fsync = real


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory of real daily prices in the layout of the `files` source."""
    return REAL_DATA


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """`once(name, make)`: a directory that `make` has filled, once for all workers of this test run. Only read it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], None]) -> Path:
        place = shared / f"once-{name}"
        with open(shared / f"once-{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (place / "made").exists():
                place.mkdir(exist_ok=True)
                make(place)
                (place / "made").touch()
        return place

    return made
