"""The one base of errors that tell a person what to do.

It stands here because everything may import the security master, and the security master imports nothing of ours.
"""

from __future__ import annotations


class ExplainedError(Exception):
    """What was expected, what was found, where, and what to do next: the message is all that a person needs.

    The command line and Dagster show the message alone. Every other error is a fault of the program, and keeps its
    traceback. A subclass keeps a built-in base as well (`ValueError`, `LookupError`) where callers catch that.
    """
