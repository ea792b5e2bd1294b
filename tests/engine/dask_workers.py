"""Two worker processes of a dask cluster, and a wire to its scheduler that counts what passes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from distributed import LocalCluster

REPOSITORY = Path(__file__).parents[2]


class Wire:
    """Forwards to the scheduler whatever workers and the run send to `address`, and back. bytes: in both directions."""

    def __init__(self, scheduler: str) -> None:
        host, _, port = scheduler.removeprefix("tcp://").rpartition(":")
        self.bytes = 0
        self._to = host, int(port)
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._to)
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(a, b), daemon=True).start()

    def _forward(self, a: socket.socket, b: socket.socket) -> None:
        with suppress(OSError):
            while data := a.recv(1 << 16):
                b.sendall(data)
                with self._lock:
                    self.bytes += len(data)
        with suppress(OSError):
            b.shutdown(socket.SHUT_WR)


@dataclass(frozen=True)
class Workers:
    """address: what runs are given as `dask_address`."""

    wire: Wire
    processes: list[subprocess.Popen[bytes]]

    @property
    def address(self) -> str:
        return self.wire.address

    @property
    def alive(self) -> int:
        return sum(process.poll() is None for process in self.processes)


@contextmanager
def two_workers(place: Path, environment: Mapping[str, str] | None = None) -> Iterator[Workers]:
    """A scheduler, and two workers of one thread in processes of their own, with `place` as their directory."""
    place.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})}
    with LocalCluster(n_workers=0, processes=True, dashboard_address=":0") as cluster:
        wire = Wire(cluster.scheduler_address)
        command = [sys.executable, "-m", "distributed.cli.dask_worker", wire.address, "--nthreads", "1", "--no-nanny"]
        command += ["--no-dashboard", "--preload", str(Path(__file__).with_name("lost_worker.py"))]
        processes = [
            subprocess.Popen(command, cwd=place, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(2)
        ]
        try:
            until = time.monotonic() + 120
            while len(cluster.scheduler.workers) < 2:
                assert time.monotonic() < until, "the workers did not come"
                time.sleep(0.05)
            yield Workers(wire, processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
            wire.close()
