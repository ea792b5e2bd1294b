"""Objects in a Google Cloud Storage bucket, through gcsfs."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

from pipeline.store.objects import Change, Objects, StoreError


class CloudObjects(Objects):
    """Objects below `bucket/path`. gcsfs repeats requests that fail for a moment; what still fails is a StoreError."""

    concurrency = 16
    few = 1

    def __init__(self, filesystem: Any, path: str) -> None:
        super().__init__()
        self.filesystem = filesystem
        self.path = path
        self.url = f"gs://{path}"
        self._sha256: dict[str, str] = {}

    def read(self, key: str) -> bytes | None:
        with self._asking("read", key):
            try:
                return bytes(self.filesystem.cat_file(self._at(key)))
            except FileNotFoundError:
                return None

    def write(self, key: str, data: bytes, *, on_disk: bool = False) -> None:  # a bucket keeps what it took
        self.on_change("write", key)
        with self._asking("write", key):
            self._upload(key, data)

    def exists(self, key: str) -> bool:
        return self._describe(key) is not None

    def keys(self, prefix: str) -> list[str]:
        return list(self.fingerprints(prefix))

    def fingerprints(self, prefix: str) -> dict[str, str]:
        top = f"{self._at(prefix)}/"
        with self._asking("list", prefix):
            found = self.filesystem.find(top, detail=True, refresh=True)
        return {name[len(top) :]: _hash(found[name]) for name in sorted(found) if name.startswith(top)}

    def fingerprint(self, key: str) -> str | None:
        found = self._describe(key)
        return None if found is None else _hash(found)

    def digest(self, key: str) -> str | None:
        """The service knows no SHA-256: that of bytes which were written or read here is kept under their MD5."""
        found = self.fingerprint(key)
        if found is None:
            return None
        if found not in self._sha256:
            data = self.read(key)
            return None if data is None else hashlib.sha256(data).hexdigest()
        return self._sha256[found]

    def delete(self, key: str) -> None:
        self.on_change("delete", key)
        with self._asking("delete", key), contextlib.suppress(FileNotFoundError):
            self.filesystem.rm_file(self._at(key))

    def delete_tree(self, prefix: str) -> None:
        self.on_change("delete", prefix)
        paths = [self._at(f"{prefix}/{key}") for key in self.keys(prefix)]
        with self._asking("delete", prefix), contextlib.suppress(FileNotFoundError):
            if paths:
                self.filesystem.rm(paths)

    def children(self, prefix: str) -> list[str]:
        with self._asking("list", prefix):
            try:
                found = self.filesystem.ls(self._at(prefix), detail=False, refresh=True)
            except FileNotFoundError:
                return []
        return sorted({name.rstrip("/").rpartition("/")[2] for name in found})

    def copy(self, source: str, target: str) -> None:
        """Copies inside the bucket, without the data passing through here. Raises FileNotFoundError."""
        self.on_change("copy", target)
        with self._asking("copy", target):
            self.filesystem.cp_file(self._at(source), self._at(target))

    def update(self, key: str, change: Change) -> None:
        while True:
            found = self._describe(key)
            old = None if found is None else self.read(key)
            if found is not None and old is None:
                continue
            new = change(old)
            if new == old or self._replace(key, new, "0" if found is None else found["generation"]):
                return

    def _replace(self, key: str, data: bytes | None, generation: str) -> bool:
        """Replaces one generation of an object; False when another writer was faster."""
        bucket, _, name = self._at(key).partition("/")
        self.on_change("write" if data is not None else "delete", key)
        with self._asking("write", key):
            try:
                if data is None:
                    self.filesystem.call("DELETE", "b/{}/o/{}", bucket, name, ifGenerationMatch=generation)
                else:
                    self._upload(key, data, ifGenerationMatch=generation)
            except (FileExistsError, FileNotFoundError):
                # A repeated request whose first answer was lost looks like another writer's.
                return self.read(key) == data
        return True

    def _upload(self, key: str, data: bytes, **conditions: str) -> None:
        """One request with the bytes as they are, and a look at the checksum that the service made of them."""
        bucket, _, name = self._at(key).partition("/")
        location = self.filesystem.base.replace("/storage/v1/", "/upload/storage/v1/") + f"b/{bucket}/o"
        options = {"uploadType": "media", "name": name, **conditions}
        found = self.filesystem.call("POST", location, data=data, json_out=True, **options)
        self._sha256[_md5(data)] = hashlib.sha256(data).hexdigest()
        if found["md5Hash"] != _md5(data):
            raise StoreError(f"{key} arrived damaged under {self.url}; run again")

    def _describe(self, key: str) -> dict[str, Any] | None:
        bucket, _, name = self._at(key).partition("/")
        with self._asking("look for", key):
            try:
                return dict(self.filesystem.call("GET", "b/{}/o/{}", bucket, name, json_out=True))
            except FileNotFoundError:
                return None

    def _at(self, key: str) -> str:
        return f"{self.path}/{key}".rstrip("/")

    @contextlib.contextmanager
    def _asking(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, StoreError):
            raise
        except Exception as error:
            reason = str(getattr(error, "message", "") or error).strip().splitlines()
            raise StoreError(
                f"cannot {verb} {key} under {self.url}: {type(error).__name__}: {(reason or [''])[0]}. "
                "Check the network, the bucket and its permissions, then run again"
            ) from error


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _hash(found: dict[str, Any]) -> str:
    """MD5 as the service reports it (it computed it itself); composite objects only have a CRC."""
    return str(found.get("md5Hash") or found["crc32c"])
