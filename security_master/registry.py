"""The append-only registry of permanent ids: which evidence means which security.

An id is minted once, from the hash of the first anchor ever seen of a security. After that it is looked up, never
recomputed, so a better identifier that arrives later cannot change it.
"""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

SCHEMES = ("share_class_figi", "composite_figi", "isin", "cusip")
"""Identifiers of one share class, strongest first."""


@dataclass(frozen=True)
class Anchor:
    """A piece of evidence that points to a security: `type` one of SCHEMES, 'cik_type', 'listing' or 'manual'."""

    type: str
    value: str


@dataclass(frozen=True)
class Entry:
    """One row of the registry. `since`: first session of the listing that showed the anchor, "" if not stated."""

    anchor: Anchor
    since: str
    sec_id: str
    rule: str
    known_from: str
    batch_id: str

    @property
    def row(self) -> tuple[str, ...]:
        """The row of `id_registry`."""
        anchor = (self.anchor.type, self.anchor.value, self.since)
        return (*anchor, self.sec_id, self.rule, self.known_from, self.batch_id)


@dataclass(frozen=True)
class Minted:
    """A security, with the anchor that its id was made from."""

    sec_id: str
    anchor: Anchor
    known_from: str
    batch_id: str


def opaque_id(anchor: Anchor, attempt: int = 0) -> str:
    """`S` and 8 base32 characters of a hash of the anchor."""
    text = f"{anchor.type}:{anchor.value}" + (f"#{attempt}" if attempt else "")
    return "S" + base64.b32encode(hashlib.sha256(text.encode()).digest())[:8].decode()


@dataclass
class Registry:
    """Anchors and the ids they stand for, in the order in which they became known."""

    minted: dict[str, Minted] = field(default_factory=dict)
    entries: dict[tuple[str, str, str], Entry] = field(default_factory=dict)
    _by_anchor: dict[Anchor, list[str]] = field(default_factory=dict)
    _by_listing: dict[str, Entry] = field(default_factory=dict)
    _first_anchors: set[Anchor] = field(default_factory=set)

    def mint(self, anchor: Anchor, known_from: str, batch_id: str) -> str:
        """A new id for the security first seen through `anchor`.

        The anchor may have been used before (two securities under one bad identifier); then, and when two anchors hash
        to one id, the next free attempt is taken.
        """
        attempt = 0
        while (sec_id := opaque_id(anchor, attempt)) in self.minted:
            attempt += 1
        if attempt:
            anchor = Anchor(anchor.type, f"{anchor.value}#{attempt}")
        self.minted[sec_id] = Minted(sec_id, anchor, known_from, batch_id)
        return sec_id

    def restore(self, minted: Minted) -> None:
        self.minted[minted.sec_id] = minted

    def record(self, entry: Entry) -> None:
        """Add an anchor of a security; the same anchor again adds nothing."""
        held = self._by_anchor.setdefault(entry.anchor, [])
        if entry.sec_id in held:
            return
        held.append(entry.sec_id)
        key = (entry.anchor.type, entry.anchor.value, entry.since)
        if key in self.entries:
            return
        self.entries[key] = entry
        if entry.anchor.type == "listing":
            self._by_listing[entry.anchor.value] = entry

    def holders(self, anchors: Iterable[Anchor]) -> list[str]:
        """Ids that any of the anchors stands for, each once, in the order recorded."""
        return list(dict.fromkeys(sec_id for anchor in anchors for sec_id in self._by_anchor.get(anchor, ())))

    def in_order(self) -> list[Entry]:
        """All entries by instant, then anchor."""
        return sorted(self.entries.values(), key=lambda e: (e.known_from, e.anchor.type, e.anchor.value, e.since))

    def listing(self, value: str) -> Entry | None:
        """The entry of a listing, `vendor_code|first_session`."""
        return self._by_listing.get(value)


def read_registry(connection: sqlite3.Connection) -> Registry:
    """The registry of an open master."""
    registry = Registry()
    for sec_id, kind, value, known_from, batch in connection.execute(
        "SELECT sec_id, anchor_type, anchor_value, known_from, batch_id FROM security ORDER BY known_from, sec_id"
    ):
        registry.restore(Minted(sec_id, Anchor(kind, value), known_from, batch))
    for kind, value, since, sec_id, rule, known_from, batch in connection.execute(
        "SELECT anchor_type, anchor_value, anchor_from, sec_id, rule, known_from, batch_id FROM id_registry "
        "ORDER BY known_from, anchor_type, anchor_value, anchor_from"
    ):
        registry.record(Entry(Anchor(kind, value), since, sec_id, rule, known_from, batch))
    return registry
