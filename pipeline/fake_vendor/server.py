"""The fake vendor over HTTP: standard library only, one server for all vendors, with a log and controls.

GET  /__log      what was asked, what was answered, which fault it had, units used
POST /__clock    {"now": "2026-10-30T22:00:00Z"}
POST /__faults   [{"match": ..., "fault": ..., "times": 1}, ...]
POST /__late     {"AAPL": 2}: days by which the splits of a ticker come late
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pipeline.fake_vendor import edgar, eodhd, nasdaq, tiingo
from pipeline.fake_vendor.faults import FaultPlan, Reply, refusal
from pipeline.fake_vendor.market import FakeMarket

UNITS_A_DAY = 100_000
A_MINUTE = 1200
ARCHIVE = ("/submissions/", "/api/xbrl/", "/xbrl/", "/Archives/", "/files/")


@dataclass
class Asked:
    """One line of the log."""

    path: str
    status: int
    bytes: int
    units: int
    fault: str
    clock: str


@dataclass
class FakeVendor:
    """The state of a server. Times are those of the vendor's clock, which stands until it is set."""

    market: FakeMarket
    now: datetime
    token: str = "practice"
    units_a_day: int = UNITS_A_DAY
    faults: FaultPlan = field(default_factory=FaultPlan)
    late: dict[str, int] = field(default_factory=dict)
    log: list[Asked] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _made: dict[tuple[Any, ...], eodhd.Answer] = field(default_factory=dict)

    def answer(self, target: str, headers: dict[str, str]) -> Reply:
        """The reply to one GET, faults and limits included, and a line in the log."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        token = query.pop("api_token", headers.get("authorization", "").removeprefix("Bearer ").removeprefix("Token "))
        path = unquote(parts.path)
        path = path if path.startswith(ARCHIVE) else path.removeprefix("/api")
        asked = path + ("?" + "&".join(f"{k}={v}" for k, v in sorted(query.items())) if query else "")
        reply, units = self._reply(path, query, token, headers.get("user-agent", ""))
        reply, fault = self.faults.apply(asked, reply)
        with self._lock:
            day = self.now.date().isoformat()
            spent = units if reply.status == 200 or reply.status == 404 else 0
            self.used[day] = self.used.get(day, 0) + spent
            self.log.append(Asked(asked, reply.status, len(reply.body), spent, fault, self.now.isoformat()))
        reply.headers.setdefault("x-ratelimit-limit", str(A_MINUTE))
        return reply

    def _reply(self, path: str, query: dict[str, str], token: str, agent: str) -> tuple[Reply, int]:
        if path.startswith(ARCHIVE):
            if "@" not in agent:
                return refusal("403_agent"), 0
            made = self._cached((self.now, path), lambda: edgar.answer(self.market, self.now, path))
            return Reply(made.status, made.body, {"content-type": made.kind}), 0
        if path.startswith("/dynamic/SymDir/"):
            made = self._cached((self.now, path), lambda: nasdaq.answer(self.market, self.now, path))
            return Reply(made.status, made.body, {"content-type": made.kind}), 0
        if token != self.token:
            return refusal("401"), 0
        if path.startswith(("/tiingo/", "/docs/tiingo/")):
            asked = (self.now, path, tuple(sorted(query.items())))
            made = self._cached(asked, lambda: tiingo.answer(self.market, self.now, path, query))
            return Reply(made.status, made.body, {"content-type": made.kind}), 1
        units = eodhd.cost(path)
        path = self.faults.plain(path)
        day = self.now.date().isoformat()
        if path.startswith("/internal-user"):
            said = {"apiRequests": self.used.get(day, 0), "apiRequestsDate": day, "dailyRateLimit": self.units_a_day}
            return Reply(200, json.dumps(said).encode(), {"content-type": "application/json"}), 1
        if self.used.get(day, 0) + units > self.units_a_day:
            return refusal("402"), 0
        key = (self.now, path, tuple(sorted(query.items())), tuple(sorted(self.late.items())))
        made = self._cached(key, lambda: eodhd.answer(self.market, self.now, path, query, self.late))
        return Reply(made.status, made.body, {"content-type": made.kind}), units

    def _cached(self, key: tuple[Any, ...], make: Callable[[], eodhd.Answer]) -> eodhd.Answer:
        with self._lock:
            made = self._made.get(key)
        if made is None:
            try:
                made = make()
            except Exception as error:  # a real server would say as little
                self.broken.append(f"{key[1]}: {error!r}")
                return eodhd.Answer(500, b"", "text/html")
            with self._lock:
                self._made[key] = made
        return made

    def control(self, path: str, body: bytes) -> Any:
        """What a POST to a control path does."""
        value = json.loads(body or b"null")
        if path == "/__clock":
            self.now = datetime.fromisoformat(value["now"]).astimezone(UTC)
            self._made.clear()
        elif path == "/__faults":
            self.faults.set(value)
        elif path == "/__late":
            self.late = {str(name): int(days) for name, days in value.items()}
        else:
            return None
        return {"ok": True}


def serve(vendor: FakeVendor, port: int = 0) -> ThreadingHTTPServer:
    """A server on the loopback, not yet running; port 0 takes a free one (`server.server_address`)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/__log":
                self._send(Reply(200, json.dumps([vars(line) for line in vendor.log]).encode()))
                return
            self._send(vendor.answer(self.path, {k.lower(): v for k, v in self.headers.items()}))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            try:
                found = vendor.control(self.path, body)
            except (ValueError, KeyError, TypeError) as error:
                self._send(Reply(400, str(error).encode()))
                return
            self._send(Reply(200 if found else 404, json.dumps(found).encode()))

        def _send(self, reply: Reply) -> None:
            if reply.delay:
                time.sleep(reply.delay)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body) if reply.length is None else reply.length))
            self.end_headers()
            self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
            if reply.cut is not None or reply.length is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """The log is at /__log."""

    server = _Server(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    return server


class _Server(ThreadingHTTPServer):
    """A client that is gone is no news."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
