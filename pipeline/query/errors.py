"""What an answer can be refused for. `status` and `code` are what the HTTP face says; the message is for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from security_master.errors import ExplainedError


class QueryError(ExplainedError):
    """A question that has no answer. `details` is data for programs: candidates, for example."""

    status = 400
    code = "bad_request"

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.details: Mapping[str, Any] = details


class BadQuestion(QueryError, ValueError):
    """A question that cannot be understood: a date that is none, a level that does not exist."""


class NothingThere(QueryError, LookupError):
    """Nothing at or before the date asked for, or nobody of that name on it (`candidates`)."""

    status = 404
    code = "not_found"


class SeveralAnswers(QueryError, LookupError):
    """Several securities answer to the name on that date (`candidates`), or an axis that this data does not have."""

    status = 409
    code = "ambiguous"


class NotComputable(QueryError, ValueError):
    """Understood, and the data is there, but not enough of it."""

    status = 422
    code = "not_computable"


def one_of(name: str, value: object, known: Sequence[str]) -> str:
    """The value, when it is one of those known. Raises BadQuestion."""
    if value not in known:
        raise BadQuestion(f"{name} is one of {', '.join(known)}, not {str(value)[:40]!r}")
    return str(value)


def within(name: str, value: float, least: float, most: float) -> None:
    """Raises BadQuestion for a number outside its range, or none at all."""
    if not least <= value <= most:
        raise BadQuestion(f"{name} is from {least:g} to {most:g}, not {value:g}")
