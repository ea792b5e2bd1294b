"""`nasdaqlisted.txt` and `otherlisted.txt`: columns between bars, a footer with the time of the file. Pure, offline."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.vendors.values import Unreadable

FOOTER = "File Creation Time"
_SYMBOLS = ("Symbol", "ACT Symbol", "CQS Symbol", "NASDAQ Symbol")
_TYPES = (
    ("warrant", re.compile(r"\bwarrants?\b", re.I)),
    ("unit", re.compile(r"\bunits?\b(?!.*\b(?:limited partner|common units?)\b)", re.I)),
    ("preferred", re.compile(r"\bpreferred\b|\bpreference\b", re.I)),
    ("other", re.compile(r"\bnotes? due\b|\bdebentures?\b|\brights?\b|% (?:senior|subordinated)", re.I)),
    ("adr", re.compile(r"american depositary", re.I)),
)
_PREFERRED = re.compile(r"^([A-Z]+)(?:\$|p)([A-Z]?)$")
_CLASS = re.compile(r"^([A-Z]+)[./]([A-Z])$")


class Listing(NamedTuple):
    """symbols: as the file spells it, each column; etf: None where it does not say; test: no security at all."""

    symbols: tuple[str, ...]
    name: str
    etf: bool | None
    test: bool

    @property
    def type(self) -> str:
        """What the directory says that it is; "" for what may be common stock."""
        if self.test:
            return "other"
        if self.etf:
            return "etf"
        return next((kind for kind, called in _TYPES if called.search(self.name)), "")


def parse_directory(body: bytes) -> tuple[Listing, ...]:
    """Either file. The ticker `NA` is one. Raises Unreadable for a body without the head or the footer: it was cut."""
    lines = body.decode("utf-8-sig", "replace").splitlines()
    head = lines[0].split("|") if lines else []
    if "Security Name" not in head or "ETF" not in head:
        raise Unreadable("no symbol directory: its head is missing")
    if not any(line.startswith(FOOTER) for line in lines[-2:]):
        raise Unreadable("a symbol directory without its last line")
    found = []
    for line in lines[1:]:
        cells = line.split("|")
        if line.startswith(FOOTER) or len(cells) != len(head):
            continue
        row = dict(zip(head, (cell.strip() for cell in cells), strict=True))
        symbols = tuple(dict.fromkeys(row[name] for name in _SYMBOLS if row.get(name)))
        etf = {"Y": True, "N": False}.get(row["ETF"])
        found.append(Listing(symbols, row["Security Name"], etf, row.get("Test Issue") == "Y"))
    return tuple(found)


def spellings(symbol: str) -> Iterator[str]:
    """How a symbol may be written as a vendor code: `BRK.B` is BRK-B, `ABR$D` and `ABRpD` are ABR-P-D."""
    if preferred := _PREFERRED.match(symbol):
        root, series = preferred.groups()
        yield from (f"{root}-P{series}", f"{root}-P-{series}") if series else (f"{root}-P",)
    elif share_class := _CLASS.match(symbol):
        yield "-".join(share_class.groups())
    elif symbol.isalpha() and symbol.isupper():
        yield symbol


def by_code(listings: Iterable[Listing]) -> dict[str, Listing]:
    """Listings by the vendor codes that they may have; a code of two listings is nobody's."""
    found: dict[str, Listing] = {}
    twice: set[str] = set()
    for listing in listings:
        for code in {code for symbol in listing.symbols for code in spellings(symbol)}:
            if found.setdefault(code, listing) != listing:
                twice.add(code)
    return {code: listing for code, listing in found.items() if code not in twice}
