"""Which failures are the network's: the only ones that are worth a second try."""

from __future__ import annotations

import socket
from collections.abc import Iterator

NETWORK = (ConnectionError, TimeoutError, socket.gaierror)
"""What sockets raise, whoever uses them; what the client of the bucket makes of it is its own `is_retriable`."""


def is_network_failure(error: BaseException) -> bool:
    """Whether an error, or one that led to it, is a broken connection, a timeout or a server that asks for patience."""
    from gcsfs.retry import is_retriable  # a heavy import, and most runs have no failure

    return any(isinstance(each, NETWORK) or is_retriable(each) for each in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)
