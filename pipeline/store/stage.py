"""A run's staging area: everything that it is about to publish, beside what readers see.

stage = Stage.begin(root, run_id)                  # takes the lease
store = stage.create_or_open(spec, attributes)     # copy-on-write over the published store
store.extend(teo=..., symbol=...); store.write(...); store.close()
stage.record_audit(store.name, passed=True, input_hashes={...}, results=[...])
promote(stage, family=[...], sessions=...)         # pipeline.store.promote
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pipeline.datasets import DatasetSpec
from pipeline.datasets.metadata import plain, to_json
from pipeline.datasets.spec import Flags
from pipeline.store.digests import copy_file, file_digest
from pipeline.store.filesystem import open_publications
from pipeline.store.integrity import changed_below
from pipeline.store.layout import METADATA, SPARE, STAGING, join, staging_key, store_key
from pipeline.store.lease import TTL_SECONDS, Lease
from pipeline.store.objects import Objects, StoreError, document
from pipeline.store.overlay import Overlay
from pipeline.store.publications import Publications
from pipeline.store.seal import Damaged, Seal, sha256
from pipeline.store.staged_store import StagedStore
from security_master.errors import at_file

log = logging.getLogger(__name__)

Kind = Literal["append", "restatement"]
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


APPENDED = ".jsonl"
"""Ending of files in the root that people append to, such as decisions."""


class NotAudited(StoreError):
    """A staged store has no passed audit for the bytes that are staged now."""


class Stage:
    """One run's view of a root. Use it in a `with` block, or end it with `detach`, `abandon` or a promotion.

    kind, info: "append" adds rows; "restatement" may change the published sessions in [info["from"], info["to"]]
                and needs info["reason"].
    base:       id of the publication that the run builds on, None before the first one; `seal` is its seal.
    notices:    what was found left behind by earlier runs, and what was done about it.
    """

    def __init__(
        self, publications: Publications, lease: Lease, document: Mapping[str, Any], clock: Clock, threads: int | None
    ) -> None:
        self.publications = publications
        self.objects = publications.objects
        self.lease = lease
        self.clock = clock
        self.run_id: str = document["run_id"]
        self.kind: Kind = document["kind"]
        self.info: dict[str, Any] = document["info"]
        self.base: str | None = document["base"]
        self.seal: Seal | None = publications.seal()
        self.notices: list[str] = []
        self.finished = False
        self._overlays: dict[str, Overlay] = {}
        self._executor = ThreadPoolExecutor(threads or self.objects.concurrency, thread_name_prefix="store")

    @classmethod
    def begin(
        cls,
        root: str | Path | Objects,
        run_id: str,
        kind: Kind = "append",
        info: Mapping[str, Any] | None = None,
        *,
        clock: Clock = utc_now,
        lease_ttl: float = TTL_SECONDS,
        threads: int | None = None,
    ) -> Stage:
        """Starts a run: takes the lease on the root, looks whether what is published is all there, and clears away
        what dead runs left.

        Raises LeaseHeld when another run is writing, Damaged when something that was published is lost or another,
        ValueError for a run_id that is no name or a restatement without its range and reason.
        """
        _check_run(run_id, kind, info or {})
        publications = open_publications(root)
        objects = publications.objects
        lease = Lease(objects, run_id, clock, lease_ttl)
        lease.acquire()
        try:
            notices = [f"took over the expired lease of {lease.taken_from}"] if lease.taken_from else []
            notices += publications.recover()
            if problems := changed_below(publications):
                raise Damaged(objects.url, problems)
            notices += _clear_staging(objects, run_id)
            about = {
                "run_id": run_id,
                "kind": kind,
                "info": plain(info or {}),
                "base": publications.current(),
                "begun_utc": clock().isoformat(),
            }
            objects.write(f"{staging_key(run_id)}/stage.json", to_json(about), on_disk=True)
        except BaseException:
            with contextlib.suppress(StoreError):
                lease.release()
            raise
        stage = cls(publications, lease, about, clock, threads)
        stage.notices = notices
        for notice in notices:
            log.warning("%s: %s", objects.url, notice)
        return stage

    @classmethod
    def attach(
        cls,
        root: str | Path | Objects,
        run_id: str,
        *,
        clock: Clock = utc_now,
        lease_ttl: float = TTL_SECONDS,
        threads: int | None = None,
    ) -> Stage:
        """Joins a run from another process. Raises StoreError when it has not begun, has ended or was overtaken."""
        publications = open_publications(root)
        objects = publications.objects
        data = objects.read(f"{staging_key(run_id)}/stage.json")
        if data is None:
            raise StoreError(f"{objects.url} has no staged run {run_id!r}: it was not begun, or it has ended")
        about = document(data, f"{objects.url}/{staging_key(run_id)}/stage.json")
        if "abandoned" in about:
            raise StoreError(f"run {run_id} was given up: {about['abandoned']}. Start a new one")
        lease = Lease(objects, run_id, clock, lease_ttl)
        lease.acquire(join=True)
        stage = cls(publications, lease, about, clock, threads)
        if (now := publications.current()) != stage.base:
            stage.abandon(f"publication {now} was made since it began")
            raise StoreError(f"run {run_id} builds on {stage.base}, but {now} is published. Start a new run")
        return stage

    # stores

    def create_or_open(
        self,
        spec: DatasetSpec,
        attributes: Mapping[str, Any] | None = None,
        flags: Mapping[str, Iterable[tuple[int, str]]] | None = None,
    ) -> StagedStore:
        """The store of a spec in this run's overlay, new or as published.

        attributes: root attributes beyond the spec's own, such as model parameters.
        flags:      (code, meaning) pairs of the arrays with open flags; codes already published keep their meaning.
        """
        open_flags: dict[str, Flags] = {name: tuple(pairs) for name, pairs in (flags or {}).items()}
        overlay = self.overlay(spec.name)
        return StagedStore(spec, overlay, self._executor, self.run_id, self.clock, attributes, open_flags)

    def open_live(self, spec: DatasetSpec) -> StagedStore:
        """The store as readers see it now, without what this run staged. For reading only."""
        overlay = Overlay(
            self.objects,
            f"{self.directory_key}/nothing/{store_key(spec.name)}",
            self._live_key(store_key(spec.name)),
            self._digests_of(store_key(spec.name)),
        )
        return StagedStore(spec, overlay, self._executor, self.run_id, self.clock)

    def overlay(self, name: str) -> Overlay:
        """The objects of a store, as this run sees them."""
        if name not in self._overlays:
            store = store_key(name)
            staged = f"{self.directory_key}/stores/{store}"
            self._overlays[name] = Overlay(self.objects, staged, self._live_key(store), self._digests_of(store))
        return self._overlays[name]

    def exists_live(self, name: str) -> bool:
        return self.overlay(name).exists_live(METADATA)

    def _live_key(self, key: str) -> str | None:
        return None if self.base is None else join(self.publications.live_prefix(self.base), key)

    def _digests_of(self, folder: str) -> dict[str, str]:
        return self.seal.below(folder) if self.seal else {}

    @property
    def directory_key(self) -> str:
        return staging_key(self.run_id)

    @property
    def directory(self) -> str:
        """Where the staged objects are, for a person who wants to look."""
        return f"{self.objects.url}/{self.directory_key}"

    @property
    def staged_stores(self) -> list[str]:
        return [name.removesuffix(".zarr") for name in self.objects.children(f"{self.directory_key}/stores")]

    def add_file(self, name: str, path: str | Path) -> None:
        """Stages a file that is published beside the stores. One that is published with these bytes is left alone."""
        key = f"{self.directory_key}/files/{name}"
        with at_file(path):
            digest = file_digest(Path(path))
        if self.seal is not None and self.seal.digests.get(name) == digest:
            self.objects.delete(key)
        else:
            self.objects.write_file(key, Path(path))

    def published_file(self, name: str, to: Path) -> Path | None:
        """Copies a file published beside the stores to `to`; None when none was published. Raises Damaged."""
        found = self.published_path(name, to)
        if found is not None and found != to:
            with at_file(to):
                copy_file(found, to)
        return found and to

    def published_path(self, name: str, to: Path) -> Path | None:
        """As `published_file`, but on a disk it is the published file itself: only to be read."""
        digest = self.seal.digests.get(name) if self.seal else None
        if digest is None:
            return None
        key = str(self._live_key(name))
        path = self.objects.file(key)
        data = self.objects.read(key) if path is None else None
        found = self.objects.digest(key) if data is None else sha256(data)
        if found != digest:
            raise Damaged(self.objects.url, [f"{name} is {'missing' if found is None else 'not what was published'}"])
        if data is not None:
            with at_file(to):
                to.write_bytes(data)
        return path or to

    @property
    def staged_files(self) -> list[str]:
        return self.objects.keys(f"{self.directory_key}/files")

    def note(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keeps facts about a store (counts, seconds) for the record of the publication."""
        self.objects.write(f"{self.directory_key}/notes/{name}.json", to_json(plain(facts)))

    def notes(self, name: str) -> dict[str, Any]:
        key = f"{self.directory_key}/notes/{name}.json"
        return document(self.objects.read(key) or b"{}", f"{self.objects.url}/{key}")

    def appended(self) -> dict[str, dict[str, Any]]:
        """Size and digest of what people append beside the stores: it may grow, and never lose a byte."""
        return {name: {"size": len(data), "sha256": sha256(data)} for name, data in self._appended().items()}

    def spares(self) -> dict[str, bytes]:
        """Second copies of what people append, which nothing could make again."""
        return {f"{SPARE}/{name}": data for name, data in self._appended().items()}

    def _appended(self) -> dict[str, bytes]:
        names = [name for name in self.objects.children("") if name.endswith(APPENDED)]
        found = {name: self.objects.read(name) for name in names}
        return {name: data for name, data in found.items() if data}

    # audits

    def digest(self, name: str) -> str:
        """Hash over the staged objects of a store as they are now; of one without any, over the live metadata."""
        overlay = self.overlay(name)
        content = self.objects.fingerprints(overlay.staged)
        if not content:
            content = {METADATA: sha256(overlay.get_live(METADATA) or b"")}
        return sha256(json.dumps(content, sort_keys=True).encode())

    def record_audit(
        self, name: str, passed: bool, input_hashes: Mapping[str, str], results: Sequence[Mapping[str, Any]]
    ) -> None:
        """Keeps an audit of a closed store beside its staged objects. Only what it saw may be published.

        input_hashes: what the store was made from; those that name a store of this run must still have that digest
                      when the run is promoted (see `digest`).
        results:      plain dictionaries, one for each check.
        """
        verdict = {
            "store": name,
            "passed": bool(passed),
            "digest": self.digest(name),
            "inputs": dict(input_hashes),
            "results": plain(results),
        }
        self.objects.write(f"{self.directory_key}/audits/{name}.json", to_json(verdict))

    def audit(self, name: str) -> dict[str, Any] | None:
        key = f"{self.directory_key}/audits/{name}.json"
        data = self.objects.read(key)
        return None if data is None else document(data, f"{self.objects.url}/{key}")

    def check_audits(self) -> dict[str, dict[str, Any]]:
        """The audits of all staged stores. Raises NotAudited unless each passed for the bytes and inputs of now."""
        digests = {name: self.digest(name) for name in self.staged_stores}
        audits, problems = {}, []
        for name, digest in digests.items():
            audit = self.audit(name)
            if audit is None:
                problems.append(f"{name} was not audited")
                continue
            if not audit["passed"]:
                failed = [str(r.get("check", "?")) for r in audit["results"] if not r.get("passed", True)]
                problems.append(f"{name} failed its audit ({', '.join(failed) or 'no check named'})")
            elif audit["digest"] != digest:
                problems.append(f"{name} was changed after its audit")
            problems += [
                f"{name} was made from another {other} than the one staged"
                for other, seen in audit["inputs"].items()
                if other in digests and digests[other] != seen
            ]
            audits[name] = audit
        if problems:
            raise NotAudited(f"nothing was published: {'; '.join(problems)}. The staged data is in {self.directory}")
        return audits

    # endings

    def detach(self) -> None:
        """This process is done, the run goes on in another one."""
        if not self.finished:
            self._end()
            self.lease.leave()

    def abandon(self, reason: str) -> None:
        """The run is given up. What it staged is kept for a look until the next publication."""
        if self.finished:
            return
        self._end()
        # The reason of giving up is the error to hear of; the next run clears up after this one.
        try:
            key = f"{self.directory_key}/stage.json"
            begun = document(self.objects.read(key) or b"{}", f"{self.objects.url}/{key}")
            self.objects.write(key, to_json({**begun, "abandoned": reason}), on_disk=True)
        except (StoreError, OSError) as error:
            log.warning("could not note in %s why the run was given up: %s", self.directory, error)
        finally:
            try:
                self.lease.release()
            except (StoreError, OSError) as error:
                log.warning("could not give the lease on %s back: %s", self.objects.url, error)

    def finish(self) -> None:
        """The run is published (or there was nothing to publish): removes staging areas and gives the lease back."""
        self.objects.delete_tree(STAGING)
        self._end()
        self.lease.release()

    def _end(self) -> None:
        self.finished = True
        self._executor.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.detach()
            return
        self.abandon(f"{type(error).__name__}: {error}")
        error.add_note(f"the lease was given back, and what was staged is kept for a look in {self.directory}")


def _check_run(run_id: str, kind: str, info: Mapping[str, Any]) -> None:
    if not run_id or not all(c.isalnum() or c in "-_." for c in run_id) or run_id.startswith("."):
        raise ValueError(f"run_id {run_id!r} must be letters, digits, '-', '_' and '.', to name a directory")
    if kind not in ("append", "restatement"):
        raise ValueError(f"kind {kind!r} must be 'append' or 'restatement'")
    if kind == "restatement" and (missing := {"from", "to", "reason"} - set(info)):
        raise ValueError(f"a restatement needs info with {', '.join(sorted(missing))}")


def _clear_staging(objects: Objects, run_id: str) -> list[str]:
    """Removes what dead runs staged. Of the runs that were given up, the last one is kept for a look."""
    begun: dict[str, str] = {}
    for old in objects.children(STAGING):
        with contextlib.suppress(StoreError):
            about = document(objects.read(f"{STAGING}/{old}/stage.json") or b"{}", old)
            if "abandoned" in about and old != run_id:
                begun[old] = str(about.get("begun_utc", ""))
    kept = max(begun, key=lambda old: (begun[old], old), default=None)
    notices = []
    for old in objects.children(STAGING):
        if old != kept:
            objects.delete_tree(f"{STAGING}/{old}")
            notices.append(f"removed what run {old} had staged and not published")
    return notices
