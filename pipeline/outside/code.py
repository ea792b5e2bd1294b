"""Names for code: what a cache holds is believed only by the code that made it."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path


def code_digest(*places: Path, libraries: tuple[str, ...] = ("numpy", "pandas")) -> str:
    """16 hex digits of the files at these places (or in these folders: modules and their data) and of the libraries."""
    digest = hashlib.sha256()
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and path.suffix != ".pyc":
                digest.update(path.relative_to(place.parent).as_posix().encode() + path.read_bytes())
    digest.update(f"{sys.version_info[:2]} {' '.join(f'{name} {version(name)}' for name in libraries)}".encode())
    return digest.hexdigest()[:16]
