"""A server on the small published market, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from pipeline.serve.app import make_app
from tests.gates import PATIENCE
from tests.query.conftest import family, published_eve, stocks, tables, whole  # noqa: F401 (fixtures)

KEY = "a key of the tests"


@dataclass(frozen=True)
class Server:
    address: str
    session: requests.Session

    def get(self, path: str, **asked: Any) -> requests.Response:
        return self.session.get(f"{self.address}/api{path}", timeout=PATIENCE, **asked)

    def post(self, path: str, body: Any = None, **asked: Any) -> requests.Response:
        return self.session.post(f"{self.address}/api{path}", json=body, timeout=PATIENCE, **asked)

    def ok(self, path: str, **params: Any) -> Any:
        found = self.get(path, params=params)
        assert found.status_code == 200, found.text
        return found.json()


@contextmanager
def serving(root: Path, key: str | None = None, rate: int = 0) -> Iterator[Server]:
    config = uvicorn.Config(make_app(str(root), key=key, rate=rate), host="127.0.0.1", port=0, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + PATIENCE
    while not server.started:
        assert thread.is_alive(), "the server ended"
        assert time.monotonic() < until, "the server does not answer"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with requests.Session() as session:
        if key is not None:
            session.headers["Authorization"] = f"Bearer {key}"
        yield Server(f"http://127.0.0.1:{port}", session)
    server.should_exit = True
    thread.join(PATIENCE)


@pytest.fixture(scope="session")
def server(whole: Path) -> Iterator[Server]:  # noqa: F811
    with serving(whole) as running:
        yield running
