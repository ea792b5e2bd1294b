"""The shape of a JSON answer: its key paths and the types below them. A new one is news, since vendors change them."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

ROWS = 400
"""Rows of a list that are looked at."""
_COUNTED = re.compile(r"\d+|\d{4}-\d{2}-\d{2}")


def shape_of(value: Any) -> list[str]:
    """Sorted `path:type` of everything that is said. null says nothing; keys that are numbers or dates count as one."""
    found: set[str] = set()
    _walk(value, "", found)
    return sorted(found)


def shape_of_body(body: bytes) -> list[str]:
    """The shape of a JSON body; [] for other bytes, and for one that says nothing."""
    try:
        return shape_of(json.loads(body))
    except ValueError:
        return []


def shape_digest(shape: list[str]) -> str:
    """Twelve hex digits for a shape; "" for none."""
    return hashlib.sha256("\n".join(shape).encode()).hexdigest()[:12] if shape else ""


def _walk(value: Any, path: str, found: set[str]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _walk(inner, f"{path}/{'*' if _COUNTED.fullmatch(key) else key}", found)
    elif isinstance(value, list):
        for inner in value[:ROWS]:
            _walk(inner, f"{path}[]", found)
    elif value is not None:
        kind = "text" if isinstance(value, str) else "truth" if isinstance(value, bool) else "number"
        found.add(f"{path}:{kind}")
