"""Answers as bytes: JSON, CSV, Parquet; their headers, and when the one that a reader has is still right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from pipeline.query import QueryFamily
from pipeline.query.errors import BadQuestion
from pipeline.query.table import FORMATS
from pipeline.serve.answers import Answer

TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
CACHING = "private, no-cache"


def answer(request: Request, family: QueryFamily, make: Callable[[], Answer], form: str = "json") -> Response:
    """What `make` answers, in a form; 304 where a reader has it already."""
    if form not in FORMATS:
        raise BadQuestion(f"format is one of {', '.join(FORMATS)}", code="invalid_format")
    headers = lineage(family)
    if request.method in ("GET", "HEAD"):
        headers["ETag"] = etag(request, family)
        if _has(request.headers.get("if-none-match", ""), headers["ETag"]):
            return Response(status_code=304, headers=headers)
    document, table = make()
    if form == "json":
        document["_metadata"] = family.metadata | document.get("_metadata", {})
        return Response(dumps(document), media_type=TYPES[form], headers=headers)
    if table is None:
        raise BadQuestion("this answer is no table; ask for format=json", code="invalid_format")
    return Response(table.encoded(form), media_type=TYPES[form], headers=headers)


def lineage(family: QueryFamily) -> dict[str, str]:
    """Headers that say what the numbers are from."""
    said = family.metadata
    return {
        "X-Risk-Model-Version": said["model_version"],
        "X-Data-As-Of": said["data_as_of"],
        "X-Factor-Set-Id": said["factor_set_id"],
        "X-Universe-Size": str(said["universe_size"]),
        "X-Publication": family.publication,
        "Cache-Control": CACHING,
    }


def etag(request: Request, family: QueryFamily) -> str:
    """Of the publication, the path and the sorted query: the same question to the same data has the same answer."""
    asked = [
        family.publication,
        family.factor_set_id,
        request.url.path,
        *map(repr, sorted(request.query_params.multi_items())),
    ]
    return f'W/"{hashlib.sha256(chr(0).join(asked).encode()).hexdigest()[:32]}"'


def _has(known: str, tag: str) -> bool:
    wanted = tag.removeprefix("W/")
    return any(part.strip().removeprefix("W/") in (wanted, "*") for part in known.split(","))


def dumps(document: Any) -> bytes:
    """JSON: a float32 as its shortest decimal, NaN as null."""
    return orjson.dumps(document, default=_other, option=orjson.OPT_SERIALIZE_NUMPY)


def _other(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.kind in "OU" else np.ascontiguousarray(value)
    raise TypeError(f"{type(value).__name__} is no part of an answer")
