"""Sources as layers: several vendors' tables as one, with a declared winner for each table.

The first layer has the prices, and so the listings; those after it say more about the same securities. Rows of one
security in one table come from one layer: the first of `fetching.wins[table]` that has any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.landing.requests import PROMOTED
from pipeline.landing.zone import LandingZone
from pipeline.quality.decisions import accepted_sessions
from pipeline.settings import VENDORS, Settings
from pipeline.sources import FilesSource, SimulatedSource, Source, SourceError, SourceTables
from pipeline.sources.specs import TABLES
from pipeline.sources.tables import RawTable, check_tables, made_table
from pipeline.vendors.contract import ALWAYS, NIGHT, Landed, Reject, Vendor, VendorTables
from pipeline.vendors.documents import Documents

DOCUMENTS: dict[tuple[str, str], Documents] = {}
"""Parsed documents by landing zone and vendor, for as long as the process lives."""
MADE: dict[tuple[str, str], tuple[Any, VendorTables]] = {}
"""Of each landing zone and vendor the last tables that were made for the layers above, with what they were made of."""


def open_source(settings: Settings, since: np.datetime64 | None = None) -> Source:
    """The source that is configured. since: day before which a bar is read only where somebody asks for it."""
    if settings.fetched:
        return LandedSource(settings)
    if settings.source == "files":
        assert settings.source_path is not None  # Settings has checked it
        return FilesSource(settings.source_path, machine_place(settings), since)
    return SimulatedSource(settings.simulated)


def open_vendor(name: str) -> Vendor:
    """The vendor of a name in `pipeline.settings.VENDORS`."""
    if name not in VENDORS:
        raise SourceError(f"vendor {name!r} is not known; expected one of {', '.join(VENDORS)}", "settings")
    found: Vendor = import_module(f"pipeline.vendors.{name}").VENDOR
    return found


def machine_place(settings: Settings) -> Path:
    """Where this machine keeps what belongs to a landing zone: in it where it is local, else in the home directory."""
    raw = settings.raw_root
    return Path.home() / ".local/state/erm3" if "://" in raw else Path(raw)


def landed(settings: Settings, name: str, zone: LandingZone, known_as_of: datetime | None = None) -> Landed:
    """One vendor's answers as they had been received at an instant, and what people had accepted by then."""
    key = zone.objects.url, name
    if key not in DOCUMENTS:
        DOCUMENTS[key] = Documents(machine_place(settings), name)
    accepted = accepted_sessions(settings.root, known_as_of)
    return Landed(zone, zone.lines(known_as_of, name), DOCUMENTS[key], accepted, DOCUMENTS[key].made)


def first_tables(settings: Settings, answers: Landed) -> VendorTables:
    """The tables of the layer with the prices; the same answers make them once."""
    name = settings.layers[0]
    key = answers.zone.objects.url, name
    made_of = settings, answers.accepted, [(line.request_key, line.nth, line.received_at) for line in answers.lines]
    if key not in MADE or MADE[key][0] != made_of:
        MADE[key] = made_of, open_vendor(name).tables(answers, settings, None)
        DOCUMENTS[key].keep()
    return MADE[key][1]


@dataclass
class LandedSource:
    """The tables of everything that was landed by an instant. Reads the landing zone, and asks nobody.

    provenance: after `load`, by table, how many rows each layer gave; rejects: what became no fact, by layer.
    """

    settings: Settings
    known_as_of: datetime | None = None
    zone: LandingZone | None = None
    provenance: dict[str, Counter[str]] = field(default_factory=dict)
    rejects: dict[str, list[Reject]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "+".join(self.settings.layers)

    def load(self) -> SourceTables:
        """Raises SourceError when nothing was landed, or when the layers' tables are at odds."""
        zone = self.zone or LandingZone(self.settings.raw_root)
        first, *above = self.settings.layers
        made = {first: first_tables(self.settings, landed(self.settings, first, zone, self.known_as_of))}
        if "prices" not in made[first].columns:
            raise SourceError(
                f"no prices of {first} are landed in {zone.objects.url}; fetch a history first "
                f"(`erm3 fetch --start ... --end ...`, docs/vendors.md)",
                first,
            )
        below = frames_of(made[first])
        for name in above:
            answers = landed(self.settings, name, zone, self.known_as_of)
            made[name] = open_vendor(name).tables(answers, self.settings, below)
            DOCUMENTS[zone.objects.url, name].keep()
        self.rejects = {name: tables.rejects for name, tables in made.items()}
        merged, self.provenance = merge(made, self.settings)
        tables = check_tables(_raw(merged), self.name)
        origins = {
            table: replace(origin, file=", ".join(f"{layer} {n:,}" for layer, n in self.provenance[table].items()))
            for table, origin in tables.origins.items()
        }
        return replace(tables, origins=origins)


def frames_of(made: VendorTables) -> dict[str, pd.DataFrame]:
    """The small tables of a layer, for those above it."""
    return {name: pd.DataFrame(columns) for name, columns in made.columns.items() if name != "prices"}


def merge(
    made: Mapping[str, VendorTables], settings: Settings
) -> tuple[dict[str, dict[str, Any]], dict[str, Counter[str]]]:
    """One set of columns by table, and how many rows each layer gave to it."""
    merged: dict[str, dict[str, Any]] = {}
    provenance: dict[str, Counter[str]] = {}
    for table in TABLES:
        order = [name for name in settings.fetching.wins.get(table, ()) if name in made]
        order += [name for name in made if name not in order]
        having = [name for name in order if table in made[name].columns]
        if len(having) == 1:
            merged[table] = made[having[0]].columns[table]
            provenance[table] = Counter({having[0]: len(next(iter(merged[table].values())))})
        elif having:
            merged[table], provenance[table] = _by_security(table, {name: made[name].columns[table] for name in having})
    return merged, provenance


def _by_security(table: str, layers: Mapping[str, dict[str, Any]]) -> tuple[dict[str, Any], Counter[str]]:
    """Rows of each security from the first layer that has any, and what others said before it. layers: best first.

    What was known before the winner's first row stays: a later row changes nothing that an earlier night has seen.
    """
    won: dict[str, pd.Timestamp] = {}
    parts, counts = [], Counter[str]()
    for name, columns in layers.items():
        frame = pd.DataFrame(columns)
        codes = frame["vendor_code"].astype(str)
        known = frame["known_from"].fillna(ALWAYS) if "known_from" in frame else pd.Series(ALWAYS, frame.index)
        limit = pd.to_datetime(codes.map(won))  # not a time for a code that nobody has, and the comparison is false
        own = frame[~(known >= limit).to_numpy()]
        won = {str(code): first for code, first in known.groupby(codes).min().items()} | won
        counts[name] = len(own)
        parts.append(own)
    rows = pd.concat(parts, ignore_index=True)
    spec = TABLES[table]
    columns = {}
    for column in rows:
        kind = "instant" if column == "known_from" else spec[str(column)].kind
        values = rows[column]
        if kind in ("date", "instant", "date_or_instant"):
            columns[str(column)] = values.to_numpy().astype("datetime64[us]" if kind != "date" else "datetime64[s]")
        elif kind == "text":
            columns[str(column)] = values.where(values.notna(), None).to_numpy(object)
        else:
            columns[str(column)] = values.to_numpy(np.float64)
    return columns, counts


def _raw(merged: Mapping[str, dict[str, Any]]) -> Iterator[RawTable]:
    for table, columns in merged.items():
        yield made_table(table, {name: _told(table, name, values) for name, values in columns.items()})


def _told(table: str, column: str, values: Any) -> Any:
    """Texts without pandas' ways to say nothing."""
    if column == "known_from" or TABLES[table][column].kind != "text" or isinstance(values, pd.Categorical):
        return values
    return [value if isinstance(value, str) else None for value in values]


def late_deliveries(
    settings: Settings, days: Iterable[Any], zone: LandingZone | None = None
) -> dict[Any, np.datetime64]:
    """Sessions whose delivery was complete only after their knowledge instant, with the receipt that replaces it.

    From the manifest alone, so that a replay moves the same instants. Empty for sources that are not fetched.
    """
    if not settings.fetched:
        return {}
    zone = zone or LandingZone(settings.raw_root)
    received: dict[str, str] = {}
    for line in zone.lines():
        if line.batch_id.startswith(NIGHT) and line.answer in PROMOTED:
            received[line.batch_id] = max(line.received_at, received.get(line.batch_id, ""))
    calendar = xnys()
    found: dict[Any, np.datetime64] = {}
    for day in days:
        got = received.get(f"{NIGHT}-{str(day)[:10].replace('-', '')}")
        own = calendar.knowledge_instants([calendar.ordinal(day)], settings.rules.vendor_delay_minutes)[0]
        if got is not None and (instant := np.datetime64(got.rstrip("Z"), "us")) > own:
            found[day] = instant
    return found
