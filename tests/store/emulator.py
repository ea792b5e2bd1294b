"""A stand-in for Google Cloud Storage in a process of its own: `python -m tests.store.emulator PORT`.

The emulator of the package ignores preconditions, on which the lease depends, so they are added here. It can be told to
fail: `POST /fail?count=N&status=503` lets the next N requests fail.
"""

from __future__ import annotations

import sys
import threading
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from gcp_storage_emulator import server, storage
from gcp_storage_emulator.exceptions import NotFound

BUCKET = "market"


class Router(server.Router):
    """The emulator's router, with `ifGenerationMatch` and planned failures."""

    failures: list[int] = []  # noqa: RUF012
    requests = 0
    one_at_a_time = threading.Lock()

    def handle(self, method: str) -> None:
        with Router.one_at_a_time:
            self.answer_one(method)

    def answer_one(self, method: str) -> None:
        handler = self._request_handler
        url = urlparse(handler.path)
        query = parse_qs(url.query)
        if url.path == "/fail":
            Router.failures[:] = [int(query["status"][0])] * int(query["count"][0])
            self.answer(HTTPStatus.OK)
            return
        if url.path == "/requests":
            self.answer(HTTPStatus.OK, str(Router.requests))
            return
        Router.requests += 1
        if Router.failures:
            self.answer(Router.failures.pop())
            return
        if "ifGenerationMatch" in query and query["ifGenerationMatch"][0] != self.generation(url.path, query):
            self.answer(HTTPStatus.PRECONDITION_FAILED)
            return
        super().handle(method)

    def generation(self, path: str, query: dict[str, list[str]]) -> str:
        name = query["name"][0] if "name" in query else server.unquote(path.rpartition("/o/")[2])
        try:
            return str(self._request_handler.storage.get_file_obj(BUCKET, name)["generation"])
        except NotFound:
            return "0"

    def answer(self, status: int, text: str = "") -> None:
        length = int(self._request_handler.headers.get("Content-Length") or 0)
        self._request_handler.rfile.read(length)
        self._request_handler.send_response(status)
        self._request_handler.send_header("Content-Length", str(len(text)))
        self._request_handler.end_headers()
        self._request_handler.wfile.write(text.encode())


def main(port: int) -> None:
    # It writes all metadata, of deleted objects too, after each request: the more there was, the slower it gets.
    storage.Storage._write_config_to_file = lambda self: None
    storage.Storage._bucket_soft_delete_retention_seconds = lambda self, bucket: 0
    server.Router = Router
    server.server.HTTPServer = ThreadingHTTPServer
    server.RequestHandler.protocol_version = "HTTP/1.1"
    started: Any = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    started.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
