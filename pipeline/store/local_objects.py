"""Objects on a local disk."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.store.digests import State, copy_file, file_digest, known_digest, state_of
from pipeline.store.objects import Change, Objects, StoreError

_ABSENT = (FileNotFoundError, NotADirectoryError)

LOCK_PATIENCE = 60.0
"""Seconds to wait for a lock that is held for milliseconds."""


class LocalObjects(Objects):
    """Files under a directory. A write goes to a temporary name and is renamed.

    What many processes change in place (`update`: the lease, what people append) is on the disk before it gets its
    name, so that a power cut leaves the old one or the new one. Staged objects need no such patience: they count only
    once a publication has waited for all of them.
    """

    concurrency = max(2, min(8, os.cpu_count() or 2))
    few = 4

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._fingerprints: dict[str, tuple[State, str]] = {}
        self.url = str(path)

    def read(self, key: str) -> bytes | None:
        with self._asking("read", key):
            try:
                with open(f"{self.path}/{key}", "rb", buffering=0) as file:
                    return file.readall()
            except _ABSENT:
                return None

    def write(self, key: str, data: bytes, *, on_disk: bool = False) -> None:
        with self._written(key) as temporary, open(temporary, "wb") as file:
            file.write(data)
            if on_disk:
                file.flush()
                os.fsync(file.fileno())

    def write_file(self, key: str, path: Path) -> None:
        with self._written(key) as temporary:
            copy_file(path, Path(temporary))

    @contextlib.contextmanager
    def _written(self, key: str) -> Iterator[str]:
        """The temporary name of an object, which gets its own once the block has written it."""
        self.on_change("write", key)
        target = f"{self.path}/{key}"
        folder, _, name = target.rpartition("/")
        temporary = f"{folder}/.{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        with self._asking("write", key):
            try:
                os.makedirs(folder, exist_ok=True)
                yield temporary
                os.replace(temporary, target)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise

    def exists(self, key: str) -> bool:
        with self._asking("look for", key):
            try:
                os.stat(f"{self.path}/{key}")
            except _ABSENT:
                return False
        return True

    def keys(self, prefix: str) -> list[str]:
        top = str(self.path / prefix)
        found = []

        def refuse(error: OSError) -> None:
            if not isinstance(error, _ABSENT):  # what may not be listed is not empty
                raise error

        with self._asking("list", prefix):
            for folder, _, names in os.walk(top, onerror=refuse):
                inner = folder.removeprefix(top).lstrip("/")
                found += [f"{inner}/{name}" if inner else name for name in names if not name.endswith(".tmp")]
        return sorted(found)

    def fingerprints(self, prefix: str) -> dict[str, str]:
        keys = self.keys(prefix)
        return dict(zip(keys, self.map(lambda key: self.fingerprint(f"{prefix}/{key}") or "", keys), strict=True))

    def fingerprint(self, key: str) -> str | None:
        """SHA-256, computed once for each file: a write replaces the file, so it has another number or time."""
        with self._asking("read", key):
            try:
                status = os.stat(f"{self.path}/{key}")
            except _ABSENT:
                return None
        state = state_of(status)
        known = self._fingerprints.get(key)
        if known is None or known[0] != state:
            known = (state, known_digest(state) or hashlib.sha256(self.read(key) or b"").hexdigest())
            self._fingerprints[key] = known
        return known[1]

    def digest(self, key: str) -> str | None:
        return self.fingerprint(key)

    def digest_now(self, key: str) -> str | None:
        with self._asking("read", key):
            try:
                return file_digest(self.path / key, anew=True)
            except _ABSENT:
                return None

    def file(self, key: str) -> Path | None:
        return self.path / key

    def delete(self, key: str) -> None:
        if os.path.lexists(f"{self.path}/{key}"):
            self.on_change("delete", key)
            with self._asking("delete", key):
                os.unlink(self.path / key)

    def delete_tree(self, prefix: str) -> None:
        self.on_change("delete", prefix)
        if (self.path / prefix).exists():
            with self._asking("delete", prefix):
                shutil.rmtree(self.path / prefix)

    def children(self, prefix: str) -> list[str]:
        with self._asking("list", prefix):
            try:
                return sorted(os.listdir(self.path / prefix))
            except _ABSENT:
                return []

    def update(self, key: str, change: Change) -> None:
        with self._locked(key):
            old = self.read(key)
            new = change(old)
            if new is None:
                self.delete(key)
            elif new != old:
                self.write(key, new, on_disk=True)

    def hold(self, key: str) -> Callable[[], None]:
        with self._asking("write", key):
            self.path.mkdir(parents=True, exist_ok=True)
            held = open(self.path / key, "ab")  # noqa: SIM115 (closing it lets go)
            fcntl.flock(held, fcntl.LOCK_SH)
        return held.close

    def alive(self, key: str) -> bool | None:
        try:
            descriptor = os.open(self.path / key, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Holds the advisory lock of a key. The kernel drops it when the process dies."""
        with self._asking("write", f"{key}.lock"):
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / f"{key}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._wait_for(descriptor, key)
            yield
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int, key: str) -> None:
        """Takes a lock that others hold for milliseconds; a stopped process must not stop everybody without a word."""
        until = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise StoreError(
                        f"another process has held {key}.lock under {self.url} for {LOCK_PATIENCE:.0f} s, perhaps a "
                        f"stopped one; `fuser {self.url}/{key}.lock` names it. End it, then run again"
                    ) from None
                time.sleep(0.005)

    @contextlib.contextmanager
    def _asking(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"cannot {verb} {key} under {self.url}: {error.strerror}. "
                "Readers see a complete publication all the time; make room or mend the permissions and run again"
            ) from error
