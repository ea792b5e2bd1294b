"""The landing zone: immutable answers by content, and a manifest of what was asked when.

    raw/SOURCE/ENDPOINT/YYYY/MM/DD/ab/abcd....gz     a body; its name is the SHA-256 of the decoded bytes
    raw/manifest/YYYY-MM-DD/STAMP-BATCH-N.jsonl      lines, one per attempt
    raw/shapes/SOURCE/ENDPOINT/DIGEST.json           key paths and types of the answers, by the digest in the lines

An object is there whole or not at all. The same content again is one more line that names the object of the first.
A body is written before the line that names it, so that a crash leaves at most a body that nobody names.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pipeline.landing.clock import stamp
from pipeline.landing.requests import FetchError, Line
from pipeline.store.filesystem import open_objects
from pipeline.store.objects import Objects

MANIFEST, SHAPES = "manifest", "shapes"
BESIDE = frozenset({MANIFEST, SHAPES, "nights", "parsed", "ledger.sqlite", "night.lock"})
"""What else lies in a landing zone than answers."""
SEGMENT_LINES = 64
SEGMENT_SECONDS = 2.0


class RawDamaged(FetchError):
    """A landed body is lost or is not what its name says."""


class LandingZone:
    """The answers under one root, local or gs://. Many threads may land; each process writes segments of its own."""

    def __init__(self, root: str | Path | Objects) -> None:
        self.objects = root if isinstance(root, Objects) else open_objects(root)
        self._lock = threading.Lock()
        self._landed: dict[tuple[str, str, str], str] | None = None
        self._segments: dict[str, list[Line]] = {}
        self._in_order: tuple[list[str], dict[str | None, list[Line]]] = [], {}
        self._open: list[Line] = []
        self._written = 0

    def land(self, line: Line, body: bytes | None) -> Line:
        """Keep a body and its line. Returns the line with size, digest and object filled in."""
        if body is not None:
            digest = hashlib.sha256(body).hexdigest()
            known = (line.source, line.endpoint, digest)
            with self._lock:
                key = self._index().get(known)
            if key is None:
                day = line.received_at[:10].replace("-", "/")
                key = f"{line.source}/{line.endpoint}/{day}/{digest[:2]}/{digest}.gz"
                self.objects.write(key, gzip.compress(body, compresslevel=6, mtime=0), on_disk=True)
            line = replace(line, bytes=len(body), sha256=digest, object=key)
        with self._lock:
            if body is not None:
                self._index()[known] = line.object
            self._open.append(line)
            first = datetime.fromisoformat(self._open[0].received_at)
            age = (datetime.fromisoformat(line.received_at) - first).total_seconds()
            if len(self._open) >= SEGMENT_LINES or age >= SEGMENT_SECONDS:
                self._flush()
        return line

    def shapes(self, source: str) -> dict[str, dict[str, list[str]]]:
        """By endpoint and digest, the shapes that were seen."""
        found: dict[str, dict[str, list[str]]] = {}
        for key in self.objects.keys(f"{SHAPES}/{source}"):
            endpoint, _, name = key.rpartition("/")
            data = self.objects.read(f"{SHAPES}/{source}/{key}") or b"[]"
            found.setdefault(endpoint, {})[name.removesuffix(".json")] = json.loads(data)
        return found

    def keep_shape(self, source: str, endpoint: str, digest: str, shape: list[str]) -> None:
        data = json.dumps(shape, indent=0).encode()
        self.objects.write(f"{SHAPES}/{source}/{endpoint}/{digest}.json", data, on_disk=True)

    def flush(self) -> None:
        """Write the lines that are held back. Call it at the end, and before anybody else reads."""
        with self._lock:
            self._flush()

    def lines(self, known_as_of: datetime | None = None, source: str | None = None) -> list[Line]:
        """All lines that had been received at an instant, in the order of receipt. Put in order once by segments."""
        with self._lock:
            self._flush()
            keys = [key for key, _ in self._read_segments()]
            if self._in_order[0] != keys:
                self._in_order = keys, {}
            if source not in self._in_order[1]:
                read = (line for key in keys for line in self._segments[key] if source in (None, line.source))
                self._in_order[1][source] = sorted(read, key=_receipt)
            found = self._in_order[1][source]
        if known_as_of is None:
            return list(found)
        return found[: bisect_right(found, stamp(known_as_of), key=lambda line: line.received_at)]

    def body(self, line: Line) -> bytes:
        """The decoded body of a line. Raises RawDamaged when it is lost or changed."""
        data = self.objects.read(line.object)
        if data is None:
            raise RawDamaged(f"{self.objects.url}/{line.object} is lost; restore it from a backup, or fetch it again")
        try:
            body = gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise RawDamaged(
                f"{self.objects.url}/{line.object} is no whole gzip file ({error}); restore it from a backup"
            ) from error
        if hashlib.sha256(body).hexdigest() != line.sha256:
            raise RawDamaged(f"{self.objects.url}/{line.object} is not what its name says; restore it from a backup")
        return body

    def verify(self) -> tuple[list[str], list[str]]:
        """(problems, bodies that no line names: what a crash between body and line leaves, which harms nobody)."""
        lines = self.lines()
        problems = [problem for problem in self.objects.map(self._problem, _by_object(lines)) if problem]
        named = {line.object for line in lines}
        sources = [name for name in self.objects.children("") if name not in BESIDE and not name.startswith(".")]
        orphans = [f"{s}/{key}" for s in sorted(sources) for key in self.objects.keys(s) if f"{s}/{key}" not in named]
        return problems, orphans

    def _problem(self, line: Line) -> str:
        try:
            self.body(line)
        except RawDamaged as damaged:
            return str(damaged)
        return ""

    def _index(self) -> dict[tuple[str, str, str], str]:
        if self._landed is None:
            lines = [line for _, lines in self._read_segments() for line in lines]
            self._landed = {(line.source, line.endpoint, line.sha256): line.object for line in lines if line.object}
        return self._landed

    def _read_segments(self) -> Iterator[tuple[str, list[Line]]]:
        """Segments are never changed, so that each is read once."""
        for key in self.objects.keys(MANIFEST):
            if key not in self._segments:
                data = self.objects.read(f"{MANIFEST}/{key}") or b""
                self._segments[key] = [Line.from_json(text) for text in data.decode().splitlines()]
            yield key, self._segments[key]

    def _flush(self) -> None:
        if not self._open:
            return
        first, self._written = self._open[0], self._written + 1
        data = "".join(line.to_json() + "\n" for line in self._open).encode()
        name = hashlib.sha256(data).hexdigest()[:8]
        moment = first.received_at.replace(":", "").replace("-", "")
        key = f"{MANIFEST}/{first.received_at[:10]}/{moment}-{first.batch_id}-{self._written}-{name}.jsonl"
        self.objects.write(key, data, on_disk=True)
        self._open = []


def _receipt(line: Line) -> tuple[str, str, str, int]:
    return line.received_at, line.requested_at, line.request_key, line.nth


def _by_object(lines: list[Line]) -> list[Line]:
    return list({line.object: line for line in lines if line.object}.values())
