"""Publishing on a local disk: build the complete next family beside the live one, then switch with one rename.

The next publication is a directory of hard links to the files that stay and to the staged ones. `.publications/current`
is a symbolic link to the live one, and `ROOT/ds_daily.zarr` leads through it, so one rename of `current` replaces all
stores, the manifest and the publish log at the same instant. A reader that resolved `current` once keeps reading the
same publication.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.store.layout import BUILDING, CURRENT, MANIFEST, PUBLICATIONS, PUBLISHED, SPARE, store_key
from pipeline.store.local_objects import LocalObjects
from pipeline.store.objects import StoreError
from pipeline.store.publications import NUMBER_DIGITS, Plan, Publications, number_of
from pipeline.store.seal import Damaged, whole_or_spare

log = logging.getLogger(__name__)

_CANNOT_LINK = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_UNFINISHED, _RETIRED = ".building-", ".retired-"


class LocalPublications(Publications):
    """Publications under a local directory."""

    objects: LocalObjects

    def current(self) -> str | None:
        try:
            name = os.readlink(self.objects.path / CURRENT)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Damaged(self.objects.url, [f"{CURRENT} is not the link that it should be"]) from error
        if not name[:NUMBER_DIGITS].isdigit() or "/" in name:
            raise Damaged(self.objects.url, [f"{CURRENT} names {name!r}, which is no publication"])
        return name

    def _current(self) -> str | None:
        current = super()._current()
        if current is not None and not self.objects.exists(self.live_prefix(current)):
            raise Damaged(self.objects.url, [f"{CURRENT} names {current}, which is not there"])
        return current

    def live_prefix(self, publication: str) -> str:
        return f"{PUBLICATIONS}/{publication}"

    def traces(self) -> list[str]:
        building, last = self._marked(BUILDING), self._marked(PUBLISHED)
        if building is not None and last is None:
            return []  # the first publication, which was not finished
        there = [f"{PUBLICATIONS}/{name}" for name in self.objects.children(PUBLICATIONS) if _is_id(name)]
        links = [name for name in self.objects.children("") if self._leads_to_current(name)]
        return [*there, *links]

    def check_pointer(self) -> None:
        """As `Publications.check_pointer`: the mark says which one was the last, and so does a whole one after it."""
        there = [name for name in self.objects.children(PUBLICATIONS) if _is_id(name)]
        building, last = self._marked(BUILDING), self._marked(PUBLISHED)
        current = self.current()  # read last: a publication that is finished meanwhile is no later one
        if current is None:
            return
        later = [name for name in there if number_of(name) > number_of(current) and name != building]
        later = [name for name in later if whole_or_spare(self.objects, f"{PUBLICATIONS}/{name}")]
        if last is not None and number_of(last) > number_of(current):
            later.append(last)
        if later:
            raise Damaged(self.objects.url, [f"{CURRENT} names {current}, but {max(later)} was published after it"])

    def recover(self) -> list[str]:
        self.check_pointer()
        current, building, last = self.current(), self._marked(BUILDING), self._marked(PUBLISHED)
        notices = []
        for name in self.objects.children(PUBLICATIONS):
            if name.startswith((_UNFINISHED, _RETIRED)) or (name == building and name != current):
                self.objects.delete_tree(f"{PUBLICATIONS}/{name}")
                what = "rest of the retired" if name.startswith(_RETIRED) else "unfinished"
                name = name.removeprefix(_UNFINISHED).removeprefix(_RETIRED)
                notices.append(f"removed the {what} publication {name}")
            elif f"{PUBLICATIONS}/{name}" == f"{CURRENT}.new":
                self.objects.delete(f"{PUBLICATIONS}/{name}")
            elif _is_id(name) and not self.objects.exists(f"{PUBLICATIONS}/{name}/{MANIFEST}"):
                notices.append(
                    f"publication {name} has lost its {MANIFEST} and cannot be opened; `erm3 repair` puts it back"
                )
        if current is None and building is not None:
            for name in filter(self._leads_to_current, self.objects.children("")):
                self.objects.delete(name)  # of the first publication, which was not finished
        if current is not None and last != current:
            self.objects.write(PUBLISHED, current.encode())
        self.objects.delete(BUILDING)
        return notices

    def _marked(self, key: str) -> str | None:
        """The publication that a mark names; None without it, or for one that cannot be read."""
        name = (self.objects.read(key) or b"").decode(errors="replace")
        return name if _is_id(name) else None

    def _leads_to_current(self, name: str) -> bool:
        place = self.objects.path / name
        return place.is_symlink() and os.readlink(place) == f"{CURRENT}/{name}"

    def publish(self, plan: Plan) -> None:
        root = self.objects.path
        self._check_names([*map(store_key, plan.stores), *plan.files, *plan.documents])
        try:
            self.objects.write(BUILDING, plan.publication.encode())
            new = self._build(plan)
            self.objects.map(_sync, new)
            key = f"{PUBLICATIONS}/{plan.publication}"
            self.objects.on_change("rename", key)
            os.rename(root / PUBLICATIONS / f"{_UNFINISHED}{plan.publication}", root / key)
            _sync(root / PUBLICATIONS)
            for name in sorted(os.listdir(root / key)):
                if name != SPARE:
                    self._link_root(name)
            _sync(root)
            plan.in_lease(lambda: self._switch(plan.publication))
            _sync(root / PUBLICATIONS)
        except OSError as error:
            raise StoreError(
                f"cannot build publication {plan.publication} under {root}: {error.strerror} ({error.filename}). "
                "Readers see a complete publication all the time; make room or mend the permissions and run again"
            ) from error
        try:
            self.objects.write(PUBLISHED, plan.publication.encode())
            self.objects.delete(BUILDING)
            self._retire(plan)
        except (OSError, StoreError) as error:
            log.warning("publication %s is live, but older ones could not be removed: %s", plan.publication, error)

    def _check_names(self, keys: list[str]) -> None:
        """Raises StoreError when something that is not ours stands where a link into the publications belongs."""
        for name in {key.split("/", 1)[0] for key in keys} - {SPARE}:
            place = self.objects.path / name
            if not self._leads_to_current(name) and (place.is_symlink() or place.exists()):
                raise StoreError(
                    f"{place} was not made by this pipeline, which needs the name. Move it away or choose another root"
                )

    def _build(self, plan: Plan) -> list[Path]:
        """Fills the directory of the next publication. Returns its new files, and all of its directories after them."""
        building = self.objects.path / PUBLICATIONS / f"{_UNFINISHED}{plan.publication}"
        building.mkdir(parents=True, exist_ok=True)
        new: list[Path] = []
        folders: dict[Path, None] = {building: None}
        made = {""}
        seen = set(plan.documents)
        for key, source, is_new in self._parts(plan):
            if key in seen:
                continue
            seen.add(key)
            inner = key.rpartition("/")[0]
            if inner not in made:
                made.add(inner)
                folders[building / inner] = None
                (building / inner).mkdir(parents=True, exist_ok=True)
            self.objects.on_change("link", f"{PUBLICATIONS}/{building.name}/{key}")
            _link(source, f"{building}/{key}")  # there are tens of thousands, too many for paths
            if is_new:
                new.append(building / key)
        for key, data in plan.documents.items():
            self.objects.write(f"{PUBLICATIONS}/{building.name}/{key}", data)
            new.append(building / key)
            folders[(building / key).parent] = None
        above = {parent for folder in folders for parent in folder.parents if building in parent.parents}
        return [*new, *sorted({*folders, *above})]

    def _parts(self, plan: Plan) -> Iterator[tuple[str, str, bool]]:
        """Files of the next publication: (key, where it is now, whether it is new). Staged ones come first."""
        root = self.objects.path
        for name, prefix in plan.stores.items():
            yield from (
                (f"{store_key(name)}/{key}", f"{root}/{prefix}/{key}", True) for key in self.objects.keys(prefix)
            )
        for name, key in plan.files.items():
            yield name, f"{root}/{key}", True
        if plan.base is not None:
            base = self.live_prefix(plan.base)
            keys = (key for key in self.objects.keys(base) if not key.startswith(f"{SPARE}/"))
            yield from ((key, f"{root}/{base}/{key}", False) for key in keys)

    def _link_root(self, name: str) -> None:
        """`ROOT/name` leads to the live publication. Before the switch that brings it, it leads nowhere."""
        place = self.objects.path / name
        if not place.is_symlink():
            self.objects.on_change("symlink", name)
            os.symlink(f"{CURRENT}/{name}", place)

    def _switch(self, publication: str) -> None:
        """The one rename by which readers see the new publication."""
        fresh = self.objects.path / PUBLICATIONS / ".current.new"
        self.objects.on_change("switch", CURRENT)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        os.symlink(publication, fresh)
        os.replace(fresh, self.objects.path / CURRENT)

    def _retire(self, plan: Plan) -> None:
        """Removes publications that nobody may count on any more (`Plan.keep`)."""
        newest, since = number_of(plan.publication), f"{plan.now - plan.keep_for:%Y-%m-%dT%H:%M:%SZ}"
        for name in self.kept():
            follower = self.record(number_of(name) + 1)
            if number_of(name) > newest - plan.keep or follower is None or follower["kind"] == "restatement":
                continue
            if follower["published_utc"] > since:
                continue
            # Away in one step: without its manifest a reader knows that an absent chunk is not NaN but gone.
            place, retired = (self.objects.path / PUBLICATIONS / n for n in (name, f"{_RETIRED}{name}"))
            self.objects.on_change("rename", f"{PUBLICATIONS}/{name}")
            os.rename(place, retired)
            self.objects.delete_tree(f"{PUBLICATIONS}/{retired.name}")


def _is_id(name: str) -> bool:
    return name[:NUMBER_DIGITS].isdigit() and name[NUMBER_DIGITS : NUMBER_DIGITS + 1] == "-"


def _link(source: str, target: str) -> None:
    """A hard link, or a copy on a file system that has none."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copyfile(source, target)


def _sync(path: Path) -> None:
    """Waits until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
