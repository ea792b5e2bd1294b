"""What a source delivered: read and cleaned once, made into a security master and facts, and kept for all steps.

The runs of a backfill in one process read the same tables. What they make of them depends on the tables and on the
security master that they were identified with, so it is made once for each; a run that starts alone makes the same.
The facts lie as Parquet in the run's scratch directory, where each step finds them, in whatever process it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import Calendar
from pipeline.market_data import heard
from pipeline.market_data.cleaning import CleanTables, clean_events, only_splits
from pipeline.market_data.point_in_time import Facts, build_facts
from pipeline.outside.machine import give_memory_back
from pipeline.quality.older_closes import year_digests
from pipeline.settings import DataRules, Settings
from pipeline.sources import Source, SourceTables
from pipeline.store.digests import copy_file, file_digest
from pipeline.vendors.layers import machine_place, open_source
from security_master import (
    BuildReport,
    SecurityMaster,
    build_master,
)
from security_master.dates import instant_texts
from security_master.errors import at_file

MASTER_TABLES = (
    "securities",
    "ticker_changes",
    "classification",
    "shares",
    "splits",
    "spin_offs",
    "delistings",
    "taxonomy",
    "factor_etfs",
)
"""The tables of a delivery that a security master is made of."""


def master_tables(tables: CleanTables) -> dict[str, pd.DataFrame]:
    """What a security master is made of, by `erm3 run`, `erm3 security build` and the dry runs alike.

    A spin-off that was delivered as a split is left out of `splits`: it never changes a share count.
    """
    frames = {name: getattr(tables, name) for name in MASTER_TABLES}
    return frames | {"splits": only_splits(tables.splits)}


def first_bars(tables: SourceTables) -> pd.Series:
    """By vendor code the date of the first bar, which begins a listing that has no date of its own."""
    return tables.first_dates()


def master_of(
    path: Path, tables: CleanTables, batch_id: str, bars: Mapping[str, Any] | None = None, **options: Any
) -> BuildReport:
    """A master at `path` that holds a delivery. bars: what `from_bars` says of it; options: `previous` and the others
    of `build_master`."""
    return build_master(path, master_tables(tables), batch_id=batch_id, **(bars or from_bars(tables)), **options)


def from_bars(tables: SourceTables) -> dict[str, Any]:
    """What a master learns of the bars: `first_bars` and `copies`, arguments of `build_master`."""
    return {"first_bars": first_bars(tables), "copies": copies(tables)}


COMMON_CLOSES = 5
"""Sessions with equal closes that make two codes with one FIGI the same security."""


def copies(tables: SourceTables) -> dict[frozenset[str], str]:
    """Pairs of vendor codes with one FIGI and the same closes, and the instant (text) since when that is known.

    The first COMMON_CLOSES sessions that both are known to have decide, so that nothing later does.
    """
    pairs: set[tuple[str, str]] = set()
    for scheme in ("share_class_figi", "composite_figi"):
        marked = tables.securities.loc[tables.securities[scheme] != "", ["vendor_code", scheme]].drop_duplicates()
        for _, group in marked[marked.duplicated(scheme, keep=False)].groupby(scheme):
            pairs.update(combinations(sorted(group["vendor_code"].astype(str)), 2))
    prices = tables.bars_of({code for pair in pairs for code in pair}) if pairs else tables.prices.iloc[:0]
    found = {frozenset(pair): _same_closes_since(prices, *pair) for pair in sorted(pairs)}
    return {pair: since for pair, since in found.items() if since is not None}


def _same_closes_since(prices: pd.DataFrame, one: str, other: str) -> str | None:
    a, b = (
        prices.loc[prices["vendor_code"] == code, ["date", "close", "known_from"]]
        .dropna(subset="close")
        .sort_values(["date", "known_from"])
        .drop_duplicates("date")
        for code in (one, other)
    )
    both = a.merge(b, on="date")
    both["known"] = both[["known_from_x", "known_from_y"]].max(axis=1)
    both = both.sort_values(["known", "date"]).head(COMMON_CLOSES)
    if len(both) < COMMON_CLOSES or (both["close_x"] != both["close_y"]).any():
        return None
    return instant_texts(both["known"].to_numpy()[-1:])[0]


@dataclass
class Delivery:
    """Cleaned tables, and what was last made of them. place: where this machine keeps what it need not make again;
    master: the open one of the last run over them."""

    name: str
    tables: CleanTables
    place: Path | None = None
    master: SecurityMaster | None = field(default=None, repr=False)
    _facts: tuple[Any, Facts] | None = field(default=None, repr=False)
    _years: tuple[Any, pd.DataFrame] | None = field(default=None, repr=False)
    _report: BuildReport | None = field(default=None, repr=False)
    _holds: str = field(default="", repr=False)

    @classmethod
    def of(cls, settings: Settings, source: Source | None = None, since: np.datetime64 | None = None) -> Delivery:
        """The configured source, or the one given; one that is loaded already is left as it is.

        since: day before which only those bars are needed that somebody asks for.
        """
        source = source or open_source(settings, since)
        if isinstance(source, cls):
            return source
        tables = clean_events(source.load(), settings.rules.cleaning)
        give_memory_back()  # the cells as they were delivered
        return cls(source.name, tables, _place(settings))

    def load(self) -> CleanTables:
        return self.tables

    def build_master(self, path: Path, batch_id: str, previous: Path | None) -> BuildReport:
        """A master at `path` that holds the delivery, on top of the previous one.

        Delivering the same rows again changes nothing, so a master that `remember` was told of is copied. What the
        delivery lost or contradicts is in the report and changes no id: the gate of the run judges it.
        """
        if previous is not None and (report := self._heard_by(file_digest(previous))):
            copy_file(previous, path)
            self._report = report
            return replace(report, minted=(), moved=(), revisions=(), restated=0, new_rows={})
        self._report = master_of(
            path, self.tables, batch_id, self._from_bars, previous=previous, max_lost_share=1.0, keep_ids=True
        )
        return self._report

    def _heard_by(self, master: str) -> BuildReport | None:
        """What the build of a master (by its digest) reported, when it has heard this delivery."""
        if self._report is not None:
            return self._report if master == self._holds else None
        return None if self.place is None else heard.recall(self.place, master, self._said)

    def remember(self, path: Path) -> None:
        """`path` is the master of a run over this delivery, as the run leaves it."""
        self._holds = file_digest(path)

    def leave_word(self, scratch: Path) -> None:
        """Leave word in the directory of a run that its master has heard the delivery, for `keep_word`."""
        if self.place is not None and self._report is not None:
            heard.leave(scratch, self._said, self._report)

    @cached_property
    def _said(self) -> str:
        """Digest of what a master learns of the delivery."""
        undated = set(self.tables.securities.loc[self.tables.securities["first_session"].isna(), "vendor_code"])
        bars = {str(code): str(day) for code, day in self._from_bars["first_bars"].items() if code in undated}
        return heard.digest_of(master_tables(self.tables), bars, self._from_bars["copies"])

    @cached_property
    def _from_bars(self) -> dict[str, Any]:
        return from_bars(self.tables)

    def facts(
        self,
        build_id: str,
        master: SecurityMaster,
        calendar: Calendar,
        rules: DataRules,
        restated: np.datetime64 | None,
        sessions: tuple[int, int] | None = None,
    ) -> Facts:
        """The tables under the permanent ids of the master with this build id. sessions: see `build_facts`."""
        key = (build_id, rules, restated, sessions if self.tables.earlier is not None else None)
        if self._facts is None or self._facts[0] != key:
            self._facts = key, build_facts(self.tables, master, calendar, rules, restated, sessions)
        return self._facts[1]

    def year_digests(self, until: np.datetime64, instant: np.datetime64) -> pd.DataFrame:
        """`pipeline.quality.older_closes.year_digests` of the tables. The last ones are kept: a run begins with those
        that the run before it ended with."""
        if self._years is None or self._years[0] != (until, instant):
            self._years = (until, instant), year_digests(self.tables.prices, until, instant, self.tables.earlier)
        return self._years[1]


def keep_word(settings: Settings, scratch: Path, master: Path) -> None:
    """Let other processes know what the master of a run has heard, as the run leaves it."""
    if (place := _place(settings)) is not None:
        heard.keep(place, scratch, master)


def _place(settings: Settings) -> Path | None:
    """Where this machine keeps what need not be made again."""
    return machine_place(settings) if settings.source == "files" else None


def save_facts(facts: Facts, directory: Path) -> None:
    """One Parquet file for each frame of `facts`."""
    with at_file(directory):
        directory.mkdir(parents=True, exist_ok=True)
    for entry in fields(facts):
        value = getattr(facts, entry.name)
        if isinstance(value, pd.DataFrame):
            path = directory / f"{entry.name}.parquet"
            with at_file(path):
                value.to_parquet(path, index=False, compression="zstd")


def load_facts(directory: Path, restated_as_of: np.datetime64 | None = None) -> Facts:
    """The facts as `save_facts` left them."""
    frames = {
        entry.name: pd.read_parquet(directory / f"{entry.name}.parquet")
        for entry in fields(Facts)
        if entry.name != "restated_as_of"
    }
    return Facts(**frames, restated_as_of=restated_as_of)


def cut(facts: Facts, first: int, last: int) -> Facts:
    """Facts that sessions up to `last` may use, without the bars and events before `first`.

    The first bar of each security stays, because it dates the listing.
    """
    frames: dict[str, Any] = {}
    for entry in fields(facts):
        frame = getattr(facts, entry.name)
        if isinstance(frame, pd.DataFrame) and "visible" in frame.columns:
            keep = (frame["visible"] <= last).to_numpy(copy=True)
            if entry.name == "prices":
                session = frame["session"].to_numpy()
                recent = session >= first
                recent[frame[frame["visible"] <= session].drop_duplicates("sec_id").index] = True
                keep &= recent
            if "ex" in frame.columns:
                keep &= frame["ex"].to_numpy() >= first
            frames[entry.name] = frame[keep].reset_index(drop=True)
    return replace(facts, **frames)
