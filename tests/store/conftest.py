"""Google Cloud Storage for the tests: an emulator in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.store.lease import Lease
from tests.store.emulator import BUCKET

# gcsfs reads these when it is imported: without them it asks an emulator for a minute what kind of bucket it has.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
os.environ["NO_GCE_CHECK"] = "true"


@pytest.fixture
def no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """For runs that stop as if their process were dead: their threads live on and must not touch the lease."""
    monkeypatch.setattr(Lease, "_beat", lambda lease: None)


class Emulator:
    """A running emulator. `ask("/fail?count=3&status=503")` makes the next three requests fail."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str) -> str:
        request = urllib.request.Request(self.url + path, method="POST")
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read().decode()

    @property
    def requests(self) -> int:
        return int(self.ask("/requests"))


@pytest.fixture(scope="session")
def started_emulator() -> Iterator[Emulator]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.emulator", str(port)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    emulator = Emulator(port)
    for _ in range(2400):  # two minutes; idle machines need a second
        try:
            emulator.ask("/requests")
            break
        except OSError:
            time.sleep(0.05)
    else:
        pytest.fail("the emulator did not start")
    yield emulator
    process.kill()  # there is nothing to save, and a process may be started with SIGTERM ignored
    process.wait()


@pytest.fixture
def emulator(started_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", started_emulator.url)
    yield started_emulator
    started_emulator.ask("/fail?count=0&status=500")
    urllib.request.urlopen(started_emulator.url + "/wipe?keep-buckets=true", timeout=120).close()


@pytest.fixture
def new_root(emulator: Emulator) -> Callable[[], str]:
    """Makes names of empty roots in the bucket."""
    return lambda: f"gs://{BUCKET}/{uuid.uuid4().hex[:12]}"
