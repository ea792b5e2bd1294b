"""A directory of the `files` source looked at as a whole: every table, and all faults at once. Nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pipeline.sources import checks
from pipeline.sources.cells import SourceError
from pipeline.sources.files import FilesSource, declared_columns, table_of
from pipeline.sources.specs import TABLES
from pipeline.sources.typed import RawTable, TypedTable, all_faults, type_table

NEEDED_FOR = {
    "splits": "returns over splits: without it a split is a jump, withheld as an outlier",
    "dividends": "total returns: without it they are price returns",
    "delistings": "what a delisting was worth: without it a standard return is imputed",
    "shares": "market caps, universes, peers: without it nobody is in a universe, and nothing is modelled",
    "classification": "sector and subsector betas, peers: without it nobody has an L2 or L3",
}
"""What a table that is not there is missed for; the others add what few securities need."""

DATED_BY = {"prices": "date", "securities": "first_session", "shares": "period_end", "fx_rates": "date"}


@dataclass(frozen=True)
class Looked:
    """One delivered table. first, last: of its dates, "" without; securities: distinct vendor codes, 0 without."""

    table: str
    file: str
    rows: int
    first: str
    last: str
    securities: int


@dataclass(frozen=True)
class Checked:
    """What a directory holds. faults: what stops a run; hints: what is not read, or missed, and why that matters."""

    tables: list[Looked]
    faults: list[SourceError]
    hints: list[str]


def check_directory(path: str | Path) -> Checked:
    """All faults of a directory, at most one for each column, each key and each reference.

    Raises SourceError where the directory itself cannot be read.
    """
    source = FilesSource(path)
    found, others = source.found(), source.others()
    faults: list[SourceError] = []
    hints = [_about_file(name, set(found)) for name in others]
    typed: dict[str, TypedTable] = {}
    for name in found:
        try:
            raw = source.read(name, found)
        except SourceError as fault:
            faults.append(fault)
            continue
        hints += _about_columns(raw)
        wrong = all_faults(raw)
        faults += wrong
        if not wrong:
            typed[name] = type_table(raw)
    for name, spec in TABLES.items():
        if spec.required and name not in found:
            faults.append(checks.missing_table(name, str(path)))
        if name in NEEDED_FOR and name not in found:
            hints.append(f"no {name}: {NEEDED_FOR[name]}")
    faults += _faults_between(typed, rates_known="fx_rates" in typed or "fx_rates" not in found)
    return Checked([_looked(name, table) for name, table in typed.items()], faults, hints)


def _about_file(name: str, found: set[str]) -> str:
    near = [table for table in get_close_matches(table_of(name) or "", TABLES, n=1) if table not in found]
    return f"{name} is no table of docs/sources.md and is not read" + (f"; is {near[0]} meant?" if near else "")


def _about_columns(raw: RawTable) -> Iterator[str]:
    absent = [name for name in declared_columns(raw.name) if name not in raw.cells.column_names]
    for column in raw.others:
        near = get_close_matches(column.strip().lower(), absent, n=1)
        yield f"{raw.place.file}: column {column!r} is not read" + (f"; is {near[0]!r} meant?" if near else "")


def _faults_between(typed: dict[str, TypedTable], rates_known: bool) -> Iterator[SourceError]:
    """Keys told twice, and what the tables that can be read say of each other."""
    tries: list[Callable[[], object]] = []
    for table in typed.values():
        tries.append(lambda table=table: checks.versions(table))  # type: ignore[misc]
    if securities := typed.get("securities"):
        for name, table in typed.items():
            pair = {"securities": securities, name: table}
            tries.append(lambda pair=pair: checks.check_references(pair))  # type: ignore[misc]
        if rates_known:
            tries.append(lambda: checks.check_currencies(typed))
        tries.append(lambda: checks.check_listings(securities))
        if delistings := typed.get("delistings"):
            tries.append(lambda: checks.check_delistings(delistings, securities.frame))
    for attempt in tries:
        try:
            attempt()
        except SourceError as fault:
            yield fault


def _looked(name: str, table: TypedTable) -> Looked:
    frame = table.frame
    column = DATED_BY.get(name) or next((c.name for c in table.spec.columns if c.kind == "date"), None)
    dates = frame[column].dropna() if column else frame.iloc[:0, 0]
    first, last = (str(dates.min())[:10], str(dates.max())[:10]) if len(dates) else ("", "")
    codes = len({*table.codes["vendor_code"].values} - {""}) if "vendor_code" in table.codes else 0
    return Looked(name, table.place.file, len(frame), first, last, codes)
