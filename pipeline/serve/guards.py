"""What stands before every request: a size, a key, a rate, and its id. Plain ASGI: what is refused is not read."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 1_000_000
A_MINUTE = 600
OPEN = ("/api/health", "/health")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Guards:
    """key: None where none is asked for. rate: requests a minute of one key (or one address); 0 for no limit."""

    def __init__(self, app: App, key: str | None, rate: int = A_MINUTE) -> None:
        self.app, self.rate = app, rate
        self._key = None if key is None else _digest(key)
        self._times: dict[bytes, deque[float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        refused = self._refused(scope, headers)
        if refused is not None:
            await _answer(told, *refused)
            return
        body = await _body(receive)
        if body is None:
            await _answer(told, 413, "too_large", f"a request has at most {MOST_BYTES:,} bytes")
            return
        await self.app(scope, _again(body, receive), told)

    def _refused(
        self, scope: Scope, headers: dict[str, str]
    ) -> tuple[int, str, str] | tuple[int, str, str, int] | None:
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BYTES:
            return 413, "too_large", f"a request has at most {MOST_BYTES:,} bytes"
        if not scope["path"].startswith("/api/") or scope["path"] in OPEN:
            return None
        kind, _, text = headers.get("authorization", "").partition(" ")
        given = text.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        if self._key is not None and not hmac.compare_digest(self._key, _digest(given)):
            return 401, "unauthorized", "send the key of this server as `Authorization: Bearer KEY`"
        wait = self._wait(_digest(given) if self._key else str(scope.get("client", ("",))[0]).encode())
        if wait:
            return 429, "rate_limited", f"at most {self.rate} requests a minute; try again in {wait} s", wait
        return None

    def _wait(self, who: bytes) -> int:
        """Seconds until another request of the same key is taken; 0 for now."""
        if not self.rate:
            return 0
        now, times = time.monotonic(), self._times.setdefault(who, deque())
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) >= self.rate:
            return max(1, int(times[0] + 60 - now) + 1)
        times.append(now)
        if len(self._times) > 10_000:  # addresses that do not come again
            self._times = {key: kept for key, kept in self._times.items() if kept and kept[-1] > now - 60}
        return 0


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, to be read once more."""
    left = [body]

    async def read() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return read


async def _answer(send: Send, status: int, error: str, message: str, wait: int | None = None) -> None:
    body = json.dumps({"error": error, "message": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"cache-control", b"no-store")]
    if status == 401:
        headers += [(b"www-authenticate", b"Bearer")]
    if wait is not None:
        headers += [(b"retry-after", str(wait).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
