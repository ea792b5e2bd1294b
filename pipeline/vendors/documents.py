"""Parsed documents, kept by content: contents never change, so each is parsed once by each version of the parsers.

    parsed/CODE/VENDOR/DIGEST.pack      documents that one process parsed; DIGEST is the SHA-256 of the file's bytes

It is a cache of this machine and holds nothing that the landed bodies do not: a pack that is lost, damaged or of other
code is not believed, and what it held is parsed again.
"""

from __future__ import annotations

import hashlib
import pickle
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.outside.caches import forget_other_code, write_whole
from pipeline.outside.code import code_digest

Key = tuple[str, str, str]
"""Parser, endpoint, SHA-256 of the body."""
FEW = 64
"""So few new documents are not worth a file: the next process parses them again."""


@cache
def code_version() -> str:
    """Names the parsers: their sources, and the libraries that their documents are made of."""
    return code_digest(Path(__file__).parent)


class Documents(dict[Key, Any]):
    """Documents of one vendor by key. place: the directory of this machine that `parsed` is in."""

    def __init__(self, place: Path, vendor: str) -> None:
        super().__init__()
        self._parsed = place / "parsed"
        self._folder = self._parsed / code_version() / vendor
        for path in sorted(self._folder.glob("*.pack")):
            self.update(_believed(path))
        self._kept = set(self)
        self.made: dict[tuple[object, ...], tuple[Any, Any]] = {}
        """What was made of single answers (`Landed.once`), for as long as the process lives."""

    def keep(self) -> None:
        """Write what was parsed since, when it is worth it. That it cannot be written harms nobody."""
        new = {key: document for key, document in self.items() if key not in self._kept}
        if len(new) < FEW:
            return
        data = pickle.dumps(new, protocol=5)
        try:
            write_whole(self._folder / f"{hashlib.sha256(data).hexdigest()}.pack", data)
            forget_other_code(self._parsed, self._folder.parent.name)
        except OSError:
            return
        self._kept |= set(new)


def _believed(path: Path) -> dict[Key, Any]:
    """The documents of a pack whose bytes are those that its name says; none otherwise."""
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    if hashlib.sha256(data).hexdigest() != path.stem:
        path.unlink(missing_ok=True)
        return {}
    found: dict[Key, Any] = pickle.loads(data)  # our own bytes: the digest has just said so
    return found
