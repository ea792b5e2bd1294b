"""Objects under a root, on a local disk or in a bucket: the only module that knows which of the two it is.

An object is there whole or not at all: a local write goes to a temporary name and is renamed.
`on_change` is called before each change with a verb and a key; tests stop a run there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

Change = Callable[[bytes | None], bytes | None]


class StoreError(RuntimeError):
    """Something that staging or publishing refuses or cannot do. The message says what to do next."""


class Objects(ABC):
    """Objects by key (`ds_daily.zarr/return/0.0`) under one root.

    url:         the root as a person would write it.
    concurrency: how many requests at a time serve this storage well.
    """

    url: str
    concurrency: int
    on_change: Callable[[str, str], None]

    def __init__(self) -> None:
        self.on_change = lambda verb, key: None

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """The object's bytes; None when there is none."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None: ...

    @abstractmethod
    def exists(self, key: str) -> bool: ...

    @abstractmethod
    def holds(self, key: str, data: bytes) -> bool:
        """Whether the object exists with exactly these bytes."""

    @abstractmethod
    def keys(self, prefix: str) -> list[str]:
        """Sorted keys below a prefix (a directory), relative to it."""

    @abstractmethod
    def fingerprints(self, prefix: str) -> dict[str, str]:
        """A content hash of every object below a prefix, by relative key, sorted."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Deletes an object; nothing happens when there is none."""

    @abstractmethod
    def delete_tree(self, prefix: str) -> None: ...

    @abstractmethod
    def children(self, prefix: str) -> list[str]:
        """Sorted names directly below a prefix; empty when there is none."""

    @abstractmethod
    def update(self, key: str, change: Change) -> None:
        """Replaces an object by `change(its bytes or None)`, atomically against every other `update` of the key.

        `change` returns the new bytes or None for "delete"; when it raises, nothing is changed.
        """


class LocalObjects(Objects):
    concurrency = max(2, min(8, os.cpu_count() or 2))

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.url = str(path)

    def read(self, key: str) -> bytes | None:
        try:
            return (self.path / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, key: str, data: bytes) -> None:
        self.on_change("write", key)
        target = f"{self.path}/{key}"
        folder, _, name = target.rpartition("/")
        temporary = f"{folder}/.{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        try:
            os.makedirs(folder, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(data)
            os.replace(temporary, target)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise StoreError(
                f"cannot write {key} under {self.url}: {error.strerror}. Nothing published was changed; "
                "make room or mend the permissions and run again"
            ) from error

    def exists(self, key: str) -> bool:
        return (self.path / key).exists()

    def holds(self, key: str, data: bytes) -> bool:
        try:
            if os.stat(f"{self.path}/{key}").st_size != len(data):
                return False
        except OSError:
            return False
        return self.read(key) == data

    def keys(self, prefix: str) -> list[str]:
        top = str(self.path / prefix)
        found = []
        for folder, _, names in os.walk(top):
            inner = os.path.relpath(folder, top)
            found += [name if inner == "." else f"{inner}/{name}" for name in names if not name.endswith(".tmp")]
        return sorted(found)

    def fingerprints(self, prefix: str) -> dict[str, str]:
        return {key: hashlib.sha256(self.read(f"{prefix}/{key}") or b"").hexdigest() for key in self.keys(prefix)}

    def delete(self, key: str) -> None:
        self.on_change("delete", key)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path / key)

    def delete_tree(self, prefix: str) -> None:
        self.on_change("delete", prefix)
        if (self.path / prefix).exists():
            shutil.rmtree(self.path / prefix)

    def children(self, prefix: str) -> list[str]:
        try:
            return sorted(os.listdir(self.path / prefix))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def update(self, key: str, change: Change) -> None:
        with self._locked(key):
            old = self.read(key)
            new = change(old)
            if new is None:
                self.delete(key)
            elif new != old:
                self.write(key, new)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Holds the advisory lock of a key. The kernel drops it when the process dies."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / f"{key}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreError(
                f"cannot write under {self.url}: {error.strerror}. Mend the permissions or choose another root"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def open_objects(root: str | Path) -> Objects:
    """The objects under a root: a local directory or `gs://bucket/path`."""
    if "://" in str(root):
        raise StoreError(f"{root}: only a local directory is supported")
    return LocalObjects(Path(root).absolute())
