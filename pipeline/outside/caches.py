"""Files that this machine keeps so as not to make them again, each in a folder called after the code that made it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file in one step: whole under its name, or not at all. Raises OSError where it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            for part in parts:
                file.write(part)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise


def forget_other_code(folder: Path, version: str) -> None:
    """Remove from a folder what other code than this version has made."""
    for other in folder.iterdir() if folder.is_dir() else ():
        if other.name != version:
            shutil.rmtree(other, ignore_errors=True)
