"""Which publications a root has, which one is live, and what an interrupted one left behind.

On a local disk every publication is a directory `.publications/ID` with the complete family, and `current` is a
symbolic link to one of them.
"""

from __future__ import annotations

import json
import os
from typing import Any

from pipeline.store.filesystem import LocalObjects, Objects
from pipeline.store.layout import CURRENT, MANIFEST, PUBLICATIONS, PUBLISH_LOG, join


def current_id(objects: Objects) -> str | None:
    """Id of the live publication; None before the first one."""
    assert isinstance(objects, LocalObjects)
    try:
        return os.readlink(objects.path / CURRENT)
    except FileNotFoundError:
        return None


def live_prefix(objects: Objects, publication: str | None) -> str | None:
    """Where the stores of the live publication lie."""
    return None if publication is None else f"{PUBLICATIONS}/{publication}"


def read_manifest(objects: Objects, prefix: str | None) -> dict[str, Any] | None:
    data = None if prefix is None else objects.read(join(prefix, MANIFEST))
    return json.loads(data) if data else None


def records(objects: Objects) -> list[dict[str, Any]]:
    """The publish log, oldest first."""
    prefix = live_prefix(objects, current_id(objects))
    if prefix is None:
        return []
    folder = join(prefix, PUBLISH_LOG)
    return [json.loads(objects.read(f"{folder}/{name}") or b"{}") for name in objects.keys(folder)]


def recover(objects: Objects) -> list[str]:
    """Clears away what an interrupted publication or retirement left, and says what. The caller holds the lease."""
    assert isinstance(objects, LocalObjects)
    known = {record["publication"] for record in records(objects)}
    notices = []
    for name in objects.children(PUBLICATIONS):
        if name == "current" or (name in known and objects.exists(f"{PUBLICATIONS}/{name}/{MANIFEST}")):
            continue
        if (objects.path / PUBLICATIONS / name).is_symlink():
            objects.delete(f"{PUBLICATIONS}/{name}")
        else:
            objects.delete_tree(f"{PUBLICATIONS}/{name}")
            what = "rest of the retired" if name in known else "unfinished"
            notices.append(f"removed the {what} publication {name.removeprefix('.building-')}")
    return notices
