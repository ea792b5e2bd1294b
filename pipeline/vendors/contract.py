"""What a vendor is to the pipeline: it plans requests, says whether a delivery is whole, and makes tables of answers.

All three are pure: they read what was landed (`Landed`) and ask neither the network nor the clock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple, Protocol, TypeVar

import pandas as pd

from pipeline.landing.fetcher import Access, Bundle
from pipeline.landing.requests import PROMOTED, Line, Request
from pipeline.landing.zone import LandingZone
from pipeline.settings import Settings

Parsed = TypeVar("Parsed")
Made = TypeVar("Made")

Below = Mapping[str, pd.DataFrame] | None
"""Tables of the layers before, by name."""

BACKFILL, NIGHT = "backfill", "night"
ALWAYS = pd.Timestamp("1900-01-01")
"""Stands for "known by default" where instants are compared: before everything that was received."""
EVER = pd.Timestamp("1998-01-02")
"""From when on a classification holds whose listing has no first session."""


@dataclass(frozen=True)
class Need:
    """What a fetch is for: the sessions [start, end], for a first history or as the delivery of a night.

    since: stamp of the fetch's beginning: what was asked from then on was asked for it, and is not asked again by it.
    """

    kind: str
    start: dt.date
    end: dt.date
    since: str = "9999"

    @property
    def batch_id(self) -> str:
        """Names the batch. The same need has the same one, so that an interrupted batch goes on."""
        begins = f"{self.start:%Y%m%d}-" if self.kind == BACKFILL else ""
        return f"{self.kind}-{begins}{self.end:%Y%m%d}"


@dataclass(frozen=True)
class Reject:
    """A row, or an answer (row -1), that became no fact or was read otherwise than it stands, and why."""

    request: str
    row: int
    why: str
    batch: str = ""

    @classmethod
    def of(cls, line: Line, row: int, why: str) -> Reject:
        return cls(line.request_key, row, why, line.batch_id)


def reject_lines(rejects: Sequence[Reject], batch: str) -> list[str]:
    """The rejects of a batch as sentences: rows of one answer that share a reason together."""
    rows: dict[tuple[str, str], list[int]] = {}
    for reject in rejects:
        if reject.batch == batch:
            rows.setdefault((reject.request, reject.why), []).append(reject.row)
    found = []
    for (request, why), at in rows.items():
        of = "" if at == [-1] else f" row {at[0]}" if len(at) == 1 else f" rows {at[0]} and {len(at) - 1:,} more"
        found.append(f"{request}{of}: {why}")
    return found


@dataclass
class Landed:
    """The answers of one vendor that had been received at an instant. Parsed documents are kept by content.

    accepted: sessions whose delivery counts although it is not whole, because a person said so. made: what was made of
    single answers by name, with what it was made of; shared by all readings of one process, as documents are.
    """

    zone: LandingZone
    lines: Sequence[Line]
    documents: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    accepted: frozenset[dt.date] = frozenset()
    made: dict[tuple[object, ...], tuple[Any, Any]] = field(default_factory=dict)

    @cached_property
    def facts(self) -> list[Line]:
        """Lines whose answers may become facts, in the order of receipt."""
        return [line for line in self.lines if line.answer in PROMOTED]

    @cached_property
    def first_night(self) -> str | None:
        """When the first delivery of a night was received: what came later is known from its receipt."""
        return next((line.received_at for line in self.lines if line.batch_id.startswith(NIGHT)), None)

    @cached_property
    def _by_endpoint(self) -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = {}
        for line in self.facts:
            found.setdefault(line.endpoint, []).append(line)
        return found

    def of(self, endpoint: str) -> Sequence[Line]:
        """The facts of an endpoint, in the order of receipt."""
        return self._by_endpoint.get(endpoint, ())

    def once(self, name: tuple[object, ...], made_of: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What `make` gives, which is pure of `made_of`; called anew only when that is not what it was the last time.

        So each round of a plan, and the tables after it, work only on what was landed since.
        """
        if name not in self.made or self.made[name][0] != made_of:
            self.made[name] = made_of, make()
        found: Made = self.made[name][1]
        return found

    def parsed(self, line: Line, parse: Callable[[bytes], Parsed]) -> Parsed:
        """The document of a line; one content is parsed once by one parser."""
        key = (parse.__qualname__, line.endpoint, line.sha256)
        if key not in self.documents:
            self.documents[key] = parse(self.zone.body(line))
        found: Parsed = self.documents[key]
        return found

    def read(self, line: Line, parse: Callable[[bytes], Parsed], rejects: list[Reject]) -> Parsed | None:
        """The document of a line; None, and a reject that says why, where the answer cannot be read."""
        try:
            return self.parsed(line, parse)
        except ValueError as error:
            rejects.append(Reject.of(line, -1, str(error)))
            return None

    def known_from(self, line: Line) -> pd.Timestamp:
        """Receipt, or NaT for a first history: then the table's default holds, and is marked as assumed."""
        if self.first_night is None or line.received_at < self.first_night:
            return pd.NaT  # type: ignore[return-value]
        return received(line)


def received(line: Line) -> pd.Timestamp:
    """Naive UTC instant at which an answer came."""
    return _instant(line.received_at)


@cache
def _instant(stamp: str) -> pd.Timestamp:
    return pd.Timestamp(stamp).tz_convert("UTC").tz_localize(None)


def name_of(line: Line) -> tuple[object, ...]:
    """Names one answer among those of its vendor."""
    return line.batch_id, line.request_key, line.nth, line.received_at


class Spent(NamedTuple):
    """Units used on a day (GMT), as the vendor counts, and how many a day has; 0 where it does not say."""

    used: int
    day: str
    limit: int


@dataclass
class VendorTables:
    """Columns by table, as `made_table` takes them, and what became no fact or was read otherwise."""

    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)


def columns_of(frames: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """The columns of the tables that have rows."""
    return {
        name: {str(column): _column(frame[column]) for column in frame} for name, frame in frames.items() if len(frame)
    }


def _column(values: pd.Series) -> Any:
    return values.array if isinstance(values.dtype, pd.CategoricalDtype) else values.to_numpy()


class Vendor(Protocol):
    """A folder of `pipeline/vendors/` has a module-level `VENDOR` of this kind."""

    name: str
    units: int | None
    """Of a day, by default; None where nothing is counted."""

    def access(self, settings: Settings, environment: Mapping[str, str]) -> Access:
        """How it is reached. Raises FetchError, which says what to set, without a key or a contact."""
        ...

    def usage(self) -> tuple[Request, Callable[[bytes], Spent]] | None:
        """The question about what was spent today, and what its answer says; None where there is no quota."""
        ...

    def plan(self, need: Need, landed: Landed, settings: Settings, below: Below) -> list[Bundle]:
        """The next requests, cheapest first; [] when nothing is left to ask. Asked again after each round."""
        ...

    def missing(self, session: dt.date, landed: Landed, settings: Settings) -> list[str]:
        """Why the delivery of a session is not whole, in sentences; [] when it is."""
        ...

    def coverage(self, landed: Landed, settings: Settings) -> dict[dt.date, float]:
        """By session, which share of the names priced the session before its delivery priced; {} where it has none."""
        ...

    def tables(self, landed: Landed, settings: Settings, below: Below) -> VendorTables:
        """The tables of everything landed. below: the tables of the layers before, None for the first."""
        ...
