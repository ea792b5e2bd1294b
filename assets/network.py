"""Which failures are the network's: the only ones that are worth a second try."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import aiohttp
import requests

NETWORK = (
    ConnectionError,
    TimeoutError,
    asyncio.TimeoutError,
    socket.gaierror,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    requests.ConnectionError,
    requests.Timeout,
)
TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


def is_network_failure(error: BaseException) -> bool:
    """Whether an error, or one that led to it, is a broken connection, a timeout or a server that asks for patience."""
    return any(isinstance(e, NETWORK) or _status(e) in TRY_AGAIN for e in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)


def _status(error: BaseException) -> int | None:
    """The HTTP status of an error of gcsfs, aiohttp or requests."""
    status = getattr(error, "code", None) or getattr(error, "status", None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
