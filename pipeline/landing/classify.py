"""Which class an answer belongs to: a pure function of what was asked and what came back (docs/vendors.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.landing.requests import Class, Request

_BY_STATUS = {
    401: Class.AUTH,
    402: Class.QUOTA,
    403: Class.PLAN,
    404: Class.NOT_FOUND,
    410: Class.NOT_FOUND,
    422: Class.BAD_REQUEST,
    400: Class.BAD_REQUEST,
    429: Class.THROTTLED,
}
_BLOCKED = (b"Undeclared Automated Tool", b"Request Rate Threshold Exceeded")
"""The SEC's pages of status 403: no contact in the User-Agent, and too many requests."""


class Answer(NamedTuple):
    """A class, and in a few words why."""

    kind: Class
    why: str = ""


def classify(status: int, headers: Mapping[str, str], body: bytes, request: Request) -> Answer:
    """The class of one answer. headers: names in lower case; body: decoded, whole as far as the transport knows."""
    if status == 403 and _BLOCKED[0] in body:
        return Answer(Class.AUTH, "the User-Agent names nobody")
    if status == 403 and _BLOCKED[1] in body:
        return Answer(Class.THROTTLED, "too many requests")
    if status in _BY_STATUS:
        return Answer(_BY_STATUS[status], _said(body))
    if status >= 500:
        return Answer(Class.UNAVAILABLE, f"status {status}")
    if status != 200:
        return Answer(Class.CORRUPT, f"status {status}, which this vendor does not give")
    if request.form == "json":
        return _of_json(body, request)
    head = body[:200].lstrip().lower()
    if not body.strip():
        return _empty(request)
    if head.startswith((b"<!doctype html", b"<html")) and b"<sec-document>" not in head and "text/html" in headers.get(
        "content-type", ""
    ) and request.path.endswith((".txt", ".idx")):  # fmt: skip
        return Answer(Class.CORRUPT, "a page where a file was expected")
    return Answer(Class.OK)


def _of_json(body: bytes, request: Request) -> Answer:
    try:
        value = json.loads(body)
    except ValueError:
        return Answer(Class.CORRUPT, f"no JSON: {_said(body) or 'nothing'}")
    if isinstance(value, dict) and "error" in value and len(value) <= 3:
        return Answer(Class.ERROR_IN_200, str(value["error"])[:200])
    warned = _warning(value)
    if warned:
        return Answer(Class.PARTIAL, warned[:200])
    if value is None or value in ([], {}):
        return _empty(request)
    return Answer(Class.OK)


def _warning(value: Any) -> str:
    """What a `warning` says, as a last row or as a field of any row."""
    rows = value if isinstance(value, list) else [value]
    return next((str(row["warning"]) for row in rows if isinstance(row, dict) and row.get("warning")), "")


def _empty(request: Request) -> Answer:
    return Answer(Class.EMPTY) if request.may_be_empty else Answer(Class.SUSPECT_EMPTY, "rows were expected")


def _said(body: bytes) -> str:
    """The beginning of a body as one line of text."""
    return " ".join(body[:300].decode("utf-8", "replace").split())[:160]
