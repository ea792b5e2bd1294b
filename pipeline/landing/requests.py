"""What is asked of a vendor, what came back, and the line of the manifest that remembers both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal
from urllib.parse import quote, urlencode

from security_master.errors import ExplainedError


class Class(StrEnum):
    """What kind of answer came back (docs/vendors.md). `OK` and `EMPTY` may become facts; nothing else may."""

    OK = "OK"
    EMPTY = "EMPTY"
    SUSPECT_EMPTY = "SUSPECT_EMPTY"
    ERROR_IN_200 = "ERROR_IN_200"
    PARTIAL = "PARTIAL"
    CORRUPT = "CORRUPT"
    AUTH = "AUTH"
    QUOTA = "QUOTA"
    PLAN = "PLAN"
    NOT_FOUND = "NOT_FOUND"
    BAD_REQUEST = "BAD_REQUEST"
    THROTTLED = "THROTTLED"
    UNAVAILABLE = "UNAVAILABLE"


PROMOTED = frozenset({Class.OK, Class.EMPTY})
RETRIED = frozenset({Class.CORRUPT, Class.THROTTLED, Class.UNAVAILABLE})
SETTLED = PROMOTED | {Class.NOT_FOUND, Class.PLAN, Class.PARTIAL}
"""Asking again for the same history would give the same."""
SETTLED_TONIGHT = PROMOTED | {Class.PLAN}
"""A night asks again while its delivery is not whole: what was not there, or only in part, may be by then."""

Form = Literal["json", "text", "zip"]


class FetchError(ExplainedError, RuntimeError):
    """A vendor cannot be asked, or has answered what nobody can go on with. The message says what to do."""


class NotLanded(FetchError):
    """Offline, and the answer was never landed."""


@dataclass(frozen=True)
class Request:
    """One question to a vendor. The secret that it is asked with is no part of it.

    path, query: of the URL, below the vendor's base. cost: units of the vendor's quota. may_be_empty: an answer
    without rows is nothing strange. form: what the body must be. nth: which time in its batch it is asked.
    """

    source: str
    endpoint: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    cost: int = 1
    may_be_empty: bool = False
    form: Form = "json"
    nth: int = 1

    @cached_property
    def key(self) -> str:
        """Names the question in the manifest: source, path and parameters in order."""
        asked = urlencode(sorted(self.query), quote_via=quote, safe=",")
        return f"{self.source}{self.path}" + (f"?{asked}" if asked else "")


@dataclass(frozen=True)
class Line:
    """A line of the manifest: one attempt at a request.

    requested_at, received_at: stamps. bytes, sha256: of the decoded body, 0 and "" without one. object: key of the
    body. shape: digest of its key paths and types, "" where it is not JSON. headers: the few that matter.
    """

    source: str
    endpoint: str
    request_key: str
    requested_at: str
    received_at: str
    status: int
    bytes: int
    sha256: str
    answer: Class
    attempt: int
    batch_id: str
    shape: str
    object: str
    nth: int = 1
    note: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        fields = asdict(self)
        fields["class"] = fields.pop("answer").value
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Line:
        fields = json.loads(text)
        return cls(answer=Class(fields.pop("class")), **fields)
