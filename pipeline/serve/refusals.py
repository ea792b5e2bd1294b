"""Everything that is refused has one form: `{error, message}` and a status; never a path, never a trace."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipeline.outside.visible import visible
from pipeline.query import QueryError
from pipeline.serve.encoding import dumps
from security_master.errors import ExplainedError

log = logging.getLogger(__name__)
RETRY = {"Retry-After": "5"}
_CODES = {404: "not_found", 405: "method_not_allowed"}


def explain(app: FastAPI) -> None:
    """Adds the handlers of an application."""

    @app.exception_handler(QueryError)
    def refused(_: Request, error: QueryError) -> Response:
        return told(error.status, error.code, str(error), **error.details)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> Response:
        return told(400, "invalid_request", "; ".join(_said(problem) for problem in error.errors()[:3]))

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> Response:
        return told(error.status_code, _CODES.get(error.status_code, "bad_request"), str(error.detail), error.headers)

    @app.exception_handler(ExplainedError)
    def unreadable(_: Request, error: ExplainedError) -> Response:
        log.warning("cannot read: %s", error)  # for who runs the server: it names files
        return told(503, "unavailable", "the published data cannot be read at the moment; try again", RETRY)

    @app.exception_handler(Exception)
    def fault(_: Request, error: Exception) -> Response:
        log.error("a fault of the program", exc_info=error)
        return told(500, "internal", "a fault of the server, which its log tells about")


def _said(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"][1:] if not isinstance(part, str) or len(part) < 40)
    return visible(f"{where or 'request'}: {problem['msg']}")[:300]


def told(status: int, error: str, message: str, headers: Any = None, **details: Any) -> Response:
    body = dumps({"error": error, "message": visible(message), **details})
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")
