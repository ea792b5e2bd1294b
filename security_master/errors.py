"""The one base of errors that tell a person what to do.

It stands here because everything may import the security master, and the security master imports nothing of ours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ExplainedError(Exception):
    """What was expected, what was found, where, and what to do next: the message is all that a person needs.

    The command line and Dagster show the message alone. Every other error is a fault of the program, and keeps its
    traceback. A subclass keeps a built-in base as well (`ValueError`, `LookupError`) where callers catch that.
    """


class FileRefused(ExplainedError, RuntimeError):
    """The machine does not let a file be read or written: no room, no permission, a limit, a directory in its place."""


@contextmanager
def at_file(path: Path | str) -> Iterator[None]:
    """What the machine refuses about a file becomes FileRefused, which names the file and a way out."""
    try:
        yield
    except (ExplainedError, ConnectionError, TimeoutError):  # a network that fails is no file
        raise
    except (OSError, sqlite3.OperationalError) as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:  # our SQL is wrong
            raise
        raise FileRefused(refusal(error, path)) from error


def refusal(error: Exception, path: Path | str = "") -> str:
    """What the machine refused, about which file, and what a person can do."""
    where = str(getattr(error, "filename", None) or path)
    why = getattr(error, "strerror", None) or str(error)
    return f"{where}: {why}. Make room, mend the permissions or the limit, or name another place; then run it again"
