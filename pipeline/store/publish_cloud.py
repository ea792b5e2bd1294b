"""Publishing in a bucket, which has no rename: copy the staged objects over the live ones, in an order that keeps
every intermediate state readable, after a journal that lets the next run complete an interrupted copy.

Order: data chunks, coordinate chunks, metadata of the arrays, `.zmetadata`, files, publish log, manifest; all stores
of the family pass each stage together. A reader with consolidated metadata sees a store before or after. A restatement
first keeps a copy of the family as it was, and marks the `.zmetadata` of the stores it changes with
`restatement_in_progress` while their chunks are of two minds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pipeline.datasets.metadata import to_json
from pipeline.store.cloud_objects import CloudObjects
from pipeline.store.layout import DIGESTS, MANIFEST, METADATA, PUBLICATIONS, PUBLISH_LOG, RAW, join, store_key
from pipeline.store.objects import StoreError
from pipeline.store.publications import Plan, Publications
from pipeline.store.seal import Damaged, read_manifest

JOURNAL = f"{PUBLICATIONS}/journal.json"
RESTATEMENT_MARK = "restatement_in_progress"
_UNFINISHED = ".unfinished"


class CloudPublications(Publications):
    """Publications under `gs://bucket/path`."""

    objects: CloudObjects

    def current(self) -> str | None:
        data = self.objects.read(MANIFEST)
        if data is None:
            return None
        try:
            return str(read_manifest(data, MANIFEST)["publication"])
        except ValueError as error:
            raise Damaged(self.objects.url, [str(error)]) from error

    def live_prefix(self, publication: str) -> str:
        return ""

    def traces(self) -> list[str]:
        if self.objects.exists(JOURNAL):
            return []  # the first publication, which was not finished
        ours = (DIGESTS, PUBLISH_LOG, PUBLICATIONS)
        return [name for name in self.objects.children("") if name in ours or name.endswith(".zarr")]

    def check_pointer(self) -> None:
        manifest = self.manifest()
        if manifest is not None and (newest := max(self._logged(), default=0)) > manifest["number"]:
            raise Damaged(
                self.objects.url,
                [f"{MANIFEST} is that of {manifest['publication']}, but number {newest} was published"],
            )

    def recover(self) -> list[str]:
        notices = []
        if data := self.objects.read(JOURNAL):
            try:
                journal = json.loads(data)
                publication = journal["publication"]
            except (ValueError, KeyError) as error:
                raise Damaged(self.objects.url, [f"{JOURNAL} cannot be read"]) from error
            self._roll_forward(journal, lambda: None)
            notices.append(f"completed the interrupted publication {publication}")
        self.check_pointer()
        for name in self.objects.children(PUBLICATIONS):
            kept = f"{PUBLICATIONS}/{name}"
            if self.objects.exists(f"{kept}/{_UNFINISHED}"):
                self.objects.delete_tree(kept)
                notices.append(f"removed the unfinished copy of publication {name}")
            elif not self.objects.exists(f"{kept}/{MANIFEST}"):
                notices.append(f"the copy of publication {name} has lost its {MANIFEST}; `erm3 repair` puts it back")
        return notices

    def publish(self, plan: Plan) -> None:
        def check_lease() -> None:
            plan.in_lease(lambda: None)

        check_lease()
        if plan.restates and plan.base is not None:
            self._keep_aside(plan.base)
        pending = f"{plan.workspace}/documents"
        for key, data in plan.documents.items():
            self.objects.write(f"{pending}/{key}", data)
        copies: list[tuple[str, str, str | None]] = [
            (f"{prefix}/{key}", f"{store_key(name)}/{key}", fingerprint)
            for name, prefix in plan.stores.items()
            for key, fingerprint in self.objects.fingerprints(prefix).items()
        ]
        copies += [(source, name, self.objects.fingerprint(source)) for name, source in plan.files.items()]
        copies += [(f"{pending}/{key}", key, self.objects.fingerprint(f"{pending}/{key}")) for key in plan.documents]
        journal = {
            "publication": plan.publication,
            "marks": sorted(plan.stores) if plan.restates and plan.base is not None else [],
            "copies": sorted(copies, key=lambda copy: (_rank(copy[1]), copy[1])),
        }
        check_lease()
        self.objects.write(JOURNAL, to_json(journal))
        self._roll_forward(journal, check_lease)

    def _roll_forward(self, journal: dict[str, Any], check_lease: Callable[[], None]) -> None:
        """Copies everything that the journal lists; doing it again changes nothing."""
        for name in journal["marks"]:
            self._mark(name, journal["publication"])
        for rank in range(_rank(MANIFEST) + 1):
            check_lease()
            stage = [copy for copy in journal["copies"] if _rank(copy[1]) == rank]
            self.objects.map(lambda copy: self._copy(*copy), stage)
        self.objects.delete(JOURNAL)

    def _copy(self, source: str, target: str, fingerprint: str | None) -> None:
        try:
            self.objects.copy(source, target)
        except FileNotFoundError as error:
            if self.objects.fingerprint(target) != fingerprint:
                raise StoreError(
                    f"cannot complete the interrupted publication under {self.objects.url}: {source} is gone. "
                    f"Restore it (soft delete, versioning), or restore the root from a copy and delete {JOURNAL}"
                ) from error

    def _mark(self, name: str, publication: str) -> None:
        """Marks the root attributes, alone and consolidated: readers look at either."""
        attributes, consolidated = (f"{store_key(name)}/{key}" for key in (".zattrs", METADATA))
        if data := self.objects.read(consolidated):
            document = json.loads(data)
            document["metadata"][".zattrs"][RESTATEMENT_MARK] = publication
            self.objects.write(attributes, to_json(document["metadata"][".zattrs"]))
            self.objects.write(consolidated, to_json(document))

    def _keep_aside(self, publication: str) -> None:
        """Copies the live family to `.publications/ID`, the manifest last."""
        target = f"{PUBLICATIONS}/{publication}"
        if self.prefix(publication) == target:
            return
        names = [name for name in self.objects.children("") if not name.startswith(".") and name != RAW]
        keys = [
            key
            for name in names
            for key in ([f"{name}/{inner}" for inner in self.objects.keys(name)] or [name])
            if key != MANIFEST
        ]
        self.objects.write(f"{target}/{_UNFINISHED}", b"being copied")
        self.objects.map(lambda key: self.objects.copy(key, join(target, key)), keys)
        self.objects.copy(MANIFEST, f"{target}/{MANIFEST}")
        self.objects.delete(f"{target}/{_UNFINISHED}")


def _rank(key: str) -> int:
    """Place of a live object in the order of a publication."""
    _, _, inner = key.partition(".zarr/")
    if inner:
        name = inner.rpartition("/")[2]
        if name == METADATA:
            return 3
        if name.startswith(".z"):
            return 2
        return 0 if "." in name else 1
    return {MANIFEST: 6}.get(key, 5 if key.startswith(f"{PUBLISH_LOG}/") else 4)
