"""Publishing on a local disk: build the complete next family beside the live one, then switch with one rename.

The next publication is a directory of hard links to the files that stay and to the staged ones. `.publications/current`
is a symbolic link to the live one, and `ROOT/ds_daily.zarr` leads through it, so one rename of `current` replaces all
stores, the manifest and the publish log at the same instant. A reader that resolved `current` once keeps reading the
same publication.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.store import publications
from pipeline.store.filesystem import LocalObjects, StoreError
from pipeline.store.layout import CURRENT, MANIFEST, PUBLICATIONS

if TYPE_CHECKING:
    from pipeline.store.stage import Stage

_CANNOT_LINK = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def publish_local(stage: Stage, publication: str, documents: Mapping[str, bytes], keep: int) -> None:
    """Makes the staged objects and `documents` the live publication. Readers see all of it or nothing."""
    objects = stage.objects
    assert isinstance(objects, LocalObjects)
    root = objects.path
    building = root / PUBLICATIONS / f".building-{publication}"
    check_links(root, [*(f"{name}.zarr" for name in stage.staged_stores), *stage.staged_files, *documents])
    try:
        new = _build(stage, objects, building, documents)
        with ThreadPoolExecutor(objects.concurrency) as pool:
            list(pool.map(_sync, new))
        objects.on_change("rename", f"{PUBLICATIONS}/{publication}")
        os.rename(building, root / PUBLICATIONS / publication)
        _sync(root / PUBLICATIONS)
        for name in sorted(os.listdir(root / PUBLICATIONS / publication)):
            _link_root(objects, name)
        _sync(root)
    except OSError as error:
        raise StoreError(
            f"cannot build publication {publication} under {root}: {error.strerror} ({error.filename}). Readers see "
            f"what they saw before; the staged data is in {stage.directory}. Make room or mend the permissions and run "
            "again"
        ) from error
    stage.lease.guard(lambda: _switch(objects, publication))
    _sync(root / PUBLICATIONS)
    retire(objects, keep)


def check_links(root: Path, names: list[str]) -> None:
    """Raises StoreError when something that is not ours stands where a link into the publications belongs."""
    for name in {name.split("/", 1)[0] for name in names}:
        place = root / name
        if place.is_symlink() and os.readlink(place) == f"{CURRENT}/{name}":
            continue
        if place.is_symlink() or place.exists():
            raise StoreError(
                f"{place} was not made by this pipeline, which needs the name. Move it away or choose another root"
            )


def retire(objects: LocalObjects, keep: int) -> None:
    """Removes publications that are neither among the last `keep` nor replaced by a restatement."""
    records = publications.records(objects)
    kept = {record["publication"] for record in records[-keep:]}
    kept |= {record["replaces"] for record in records if record["kind"] == "restatement"}
    for name in objects.children(PUBLICATIONS):
        if name != "current" and name not in kept:
            # The manifest goes first: without it a reader knows that missing chunks are not missing values.
            objects.delete(f"{PUBLICATIONS}/{name}/{MANIFEST}")
            objects.delete_tree(f"{PUBLICATIONS}/{name}")


def _build(stage: Stage, objects: LocalObjects, building: Path, documents: Mapping[str, bytes]) -> list[Path]:
    """Fills the directory of the next publication. Returns the new files and all directories that got one."""
    staged = objects.path / stage.directory_key
    sources = [(staged / "stores", True), (staged / "files", True)]
    if stage.base is not None:
        sources.append((objects.path / PUBLICATIONS / stage.base, False))
    new: list[Path] = []
    seen: set[str] = set(documents)
    touched: set[Path] = set()
    for source, is_new in sources:
        for folder, _, names in os.walk(source):
            inner = os.path.relpath(folder, source)
            target = building / inner
            target.mkdir(parents=True, exist_ok=True)
            touched.add(target)
            for name in names:
                key = name if inner == "." else f"{inner}/{name}"
                if key in seen or name.endswith(".tmp"):
                    continue
                seen.add(key)
                objects.on_change("link", f"{PUBLICATIONS}/{building.name}/{key}")
                _link(os.path.join(folder, name), str(target / name))
                if is_new:
                    new.append(target / name)
    for key, data in documents.items():
        objects.write(f"{PUBLICATIONS}/{building.name}/{key}", data)
        new.append(building / key)
        touched.add((building / key).parent)
    return [*new, *sorted(touched)]


def _link(source: str, target: str) -> None:
    """A hard link, or a copy on a file system that has none."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copyfile(source, target)


def _link_root(objects: LocalObjects, name: str) -> None:
    """`ROOT/name` leads to the live publication. Before the first switch it leads nowhere: the store does not exist."""
    place = objects.path / name
    if not place.is_symlink():
        objects.on_change("symlink", name)
        os.symlink(f"{CURRENT}/{name}", place)


def _switch(objects: LocalObjects, publication: str) -> None:
    """The one rename by which readers see the new publication."""
    fresh = objects.path / PUBLICATIONS / ".current.new"
    objects.on_change("switch", CURRENT)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    os.symlink(publication, fresh)
    os.replace(fresh, objects.path / CURRENT)


def _sync(path: Path) -> None:
    """Waits until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
