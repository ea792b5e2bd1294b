"""Putting back what was lost of a root, from whole copies: the spares, other publications, or another root.

`examine` says what is wrong and where a whole copy is; `repair` carries it out. Nothing is deleted: what stands in the
way, or was never published, is set aside in `.set-aside/`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from pipeline.store.integrity import damage
from pipeline.store.layout import (
    CURRENT,
    DIGESTS,
    LEASE,
    MANIFEST,
    PUBLICATIONS,
    PUBLISHED,
    SPARE,
    join,
)
from pipeline.store.lease import TTL_SECONDS, Lease
from pipeline.store.local_objects import LocalObjects
from pipeline.store.objects import Objects, StoreError
from pipeline.store.publications import NUMBER_DIGITS, Publications, number_of
from pipeline.store.publish_local import LocalPublications
from pipeline.store.seal import Damaged, Seal, read_manifest, read_seal, sha256, whole_or_spare
from pipeline.store.stage import Clock, utc_now

SET_ASIDE = ".set-aside"


@dataclass(frozen=True)
class Step:
    """One thing that is wrong. how: what puts it right; empty when nothing here can."""

    what: str
    how: str
    act: Callable[[], None] | None = None


def examine(publications: Publications, other: Publications | None = None) -> list[Step]:
    """What is wrong with a root, in the order in which it must be mended. other: a root to take whole objects from."""
    objects = publications.objects
    lease = list(_lease(objects))
    live, pointer = _live(publications)
    if live is None:
        return [*lease, *pointer]
    documents = list(_documents(objects, live))
    if documents:  # the rest can be seen when they are back
        return [*lease, *pointer, *documents]
    try:
        seal = read_seal(objects, live, _publication(publications, live))
    except ValueError as error:
        return [*lease, *pointer, Step(str(error), "")]
    return [*lease, *pointer, *_objects(publications, seal, other), *_appended(objects, seal)]


def repair(
    publications: Publications, other: Publications | None = None, clock: Clock = utc_now
) -> tuple[list[Step], list[str]]:
    """Carries out what `examine` finds, until nothing more can be done: what was done, and what is still wrong.

    Raises LeaseHeld while a run is writing.
    """
    done = [step for step in _lease(publications.objects) if step.act is not None]
    _carry_out(done)
    lease = Lease(publications.objects, "repair", clock, TTL_SECONDS)
    lease.acquire()
    try:
        for _ in range(4):
            steps = [step for step in examine(publications, other) if step.act is not None]
            if not steps:
                break
            _carry_out(steps)
            done += steps
        left = [step.what for step in examine(publications, other)]
        return done, left or damage(publications)
    finally:
        lease.release()


def _carry_out(steps: list[Step]) -> None:
    for step in steps:
        assert step.act is not None
        step.act()


def _lease(objects: Objects) -> Iterator[Step]:
    data = objects.read(LEASE)
    if data is None:
        return
    try:
        json.loads(data)["run_id"]
    except (ValueError, KeyError, TypeError):
        yield Step(f"{LEASE} cannot be read", f"set it aside, as {SET_ASIDE}/{LEASE}", lambda: _aside(objects, LEASE))


def _publication(publications: Publications, prefix: str) -> str:
    if prefix:
        return prefix.rpartition("/")[2]
    manifest = read_manifest(publications.objects.read(MANIFEST), MANIFEST)
    return str(manifest["publication"])


def _live(publications: Publications) -> tuple[str | None, list[Step]]:
    """Where the publication lies that is live, or should be, and the step that makes it so."""
    if not isinstance(publications, LocalPublications):
        empty = not publications.objects.exists(MANIFEST) and not publications.traces()
        return (None if empty else ""), []
    objects = publications.objects
    try:
        current = publications.current()
        publications.check_pointer()
        if current is not None and whole_or_spare(objects, f"{PUBLICATIONS}/{current}"):
            return f"{PUBLICATIONS}/{current}", []
        if current is None and not publications.traces():
            return None, []
        what = f"{CURRENT} is missing" if current is None else f"publication {current} is not whole"
    except Damaged as error:
        what = error.problems[0]
    names = sorted((n for n in objects.children(PUBLICATIONS) if n[:NUMBER_DIGITS].isdigit()), reverse=True)
    for name in names:
        if whole_or_spare(objects, f"{PUBLICATIONS}/{name}"):
            point = Step(what, f"point {CURRENT} to {name}", partial(_point, objects, name))
            return f"{PUBLICATIONS}/{name}", [point]
    return None, [Step(what, "")]


def _documents(objects: Objects, prefix: str) -> Iterator[Step]:
    """Manifest and digests of the live publication."""
    at, spare = join(prefix, MANIFEST), join(prefix, SPARE, MANIFEST)
    try:
        manifest = read_manifest(objects.read(at), at)
        if prefix and manifest["publication"] != prefix.rpartition("/")[2]:
            raise ValueError(f"{at} is that of publication {manifest['publication']}")
        if not prefix:
            _newest_of_bucket(objects, manifest["number"])
    except ValueError as error:
        try:
            read_manifest(objects.read(spare), spare)
        except ValueError:
            yield Step(str(error), "")
        else:
            yield Step(str(error), f"put {spare} in its place", lambda: _copy(objects, spare, at))
        return
    if "digests_sha256" not in manifest:
        return
    at, spare = join(prefix, DIGESTS), join(prefix, SPARE, DIGESTS)
    data = objects.read(at)
    if data is not None and sha256(data) == manifest["digests_sha256"]:
        return
    what = f"{at} is {'missing' if data is None else 'not the one that was published'}"
    whole = objects.read(spare)
    if whole is not None and sha256(whole) == manifest["digests_sha256"]:
        yield Step(what, f"put {spare} in its place", lambda: _copy(objects, spare, at))
    else:
        yield Step(what, "")


def _newest_of_bucket(objects: Objects, number: int) -> None:
    """Raises ValueError when the publish log of a bucket goes on after its manifest."""
    names = [name for name in objects.keys("publish_log") if name[:NUMBER_DIGITS].isdigit()]
    newest = max((number_of(name) for name in names), default=0)
    if newest > number:
        raise ValueError(f"{MANIFEST} is that of number {number}, but number {newest} was published")


def _objects(publications: Publications, seal: Seal, other: Publications | None) -> Iterator[Step]:
    """Objects that are lost, exchanged or damaged, with a whole copy of each where there is one."""
    objects = publications.objects
    found = damage(publications)
    wrong = [problem for problem in found if problem.partition(" is ")[0] in seal.digests]
    extra = [problem for problem in found if problem.endswith(" was never published")]
    for problem in wrong:
        key = problem.partition(" is ")[0]
        source = _whole_copy(publications, seal, key, other)
        if source is None:
            yield Step(problem, "")
            continue
        data, where = source
        yield Step(problem, f"take the copy in {where}", partial(objects.write, join(seal.prefix, key), data))
    for problem in extra:
        key = join(seal.prefix, problem.removesuffix(" was never published"))
        yield Step(problem, f"set it aside, as {SET_ASIDE}/{key}", partial(_aside, objects, key))


def _whole_copy(
    publications: Publications, seal: Seal, key: str, other: Publications | None
) -> tuple[bytes, str] | None:
    """An object with the digest that was published: from the spares, another publication, or another root."""
    places = [(publications.objects, join(seal.prefix, SPARE, key.rpartition("/")[2]))]
    kept = [name for name in publications.objects.children(PUBLICATIONS) if name[:NUMBER_DIGITS].isdigit()]
    places += [(publications.objects, f"{PUBLICATIONS}/{name}/{key}") for name in reversed(kept)]
    if other is not None and (current := other.current()) is not None:
        places.append((other.objects, join(other.live_prefix(current), key)))
    for objects, at in places:
        data = objects.read(at)
        if data is not None and sha256(data) == seal.digests[key]:
            return data, f"{objects.url}/{at}"
    return None


def _appended(objects: Objects, seal: Seal) -> Iterator[Step]:
    for name, known in seal.manifest.get("appended", {}).items():
        data = objects.read(name)
        if data is not None and sha256(data[: known["size"]]) == known["sha256"]:
            continue
        what = f"{name} is {'missing' if data is None else 'not what was there'}"
        spare = objects.read(join(seal.prefix, SPARE, name))
        if spare is None or sha256(spare) != known["sha256"]:
            yield Step(what, "")
            continue

        def put_back(name: str = name, spare: bytes = spare, there: bool = data is not None) -> None:
            if there:
                _aside(objects, name)
            objects.write(name, spare)

        yield Step(what, f"put back {known['size']:,} bytes from {join(seal.prefix, SPARE, name)}", put_back)


def _copy(objects: Objects, source: str, target: str) -> None:
    data = objects.read(source)
    if data is None:
        raise StoreError(f"{source} is gone from {objects.url}; run the repair again")
    objects.write(target, data)


def _aside(objects: Objects, key: str) -> None:
    _copy(objects, key, f"{SET_ASIDE}/{key}")
    objects.delete(key)


def _point(objects: LocalObjects, publication: str) -> None:
    """Makes a publication the live one, and notes that it is."""
    link, fresh = objects.path / CURRENT, objects.path / f"{CURRENT}.new"
    if link.exists() and not link.is_symlink():
        os.rename(link, objects.path / f"{PUBLICATIONS}/.set-aside-current")
    fresh.unlink(missing_ok=True)
    os.symlink(publication, fresh)
    os.replace(fresh, link)
    objects.write(PUBLISHED, publication.encode())
    for name in sorted(os.listdir(objects.path / PUBLICATIONS / publication)):
        if name != SPARE and not (objects.path / name).is_symlink():
            os.symlink(f"{CURRENT}/{name}", objects.path / name)
