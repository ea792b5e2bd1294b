"""A source read and cleaned once, for all runs of one process over the same delivery.

The runs of a backfill read the same tables. What they make of them depends on the tables and on the security master
that they were identified with, so it is made once for each; a run that starts alone makes the same.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import Calendar
from pipeline.market_data.cleaning import clean_events
from pipeline.market_data.point_in_time import Facts, build_facts
from pipeline.settings import DataRules, Settings
from pipeline.sources import Source, SourceTables, open_source
from security_master import (
    BuildReport,
    SecurityMaster,
    build_master,
)

Instant = np.datetime64

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


@dataclass
class LoadedSource:
    """Cleaned tables, and what was last made of them."""

    name: str
    tables: SourceTables
    _facts: tuple[Any, Facts] | None = field(default=None, repr=False)
    _report: BuildReport | None = field(default=None, repr=False)
    _holds: str = field(default="", repr=False)

    @classmethod
    def of(cls, settings: Settings, source: Source | None = None) -> LoadedSource:
        """The configured source, or the one given; one that is loaded already is left as it is."""
        source = source or open_source(settings)
        if isinstance(source, cls):
            return source
        return cls(source.name, clean_events(source.load(), settings.rules.cleaning).tables)

    def load(self) -> SourceTables:
        return self.tables

    @cached_property
    def first_bars(self) -> pd.Series:
        return self.tables.prices.groupby("vendor_code", observed=True)["date"].min()

    def build_master(self, path: Path, batch_id: str, previous: Path | None) -> BuildReport:
        """A master at `path` that holds the delivery, on top of the previous one.

        Delivering the same rows again changes nothing, so a master that `remember` was told of is copied.
        """
        if previous is not None and self._report is not None and _digest(previous) == self._holds:
            shutil.copyfile(previous, path)
            return replace(self._report, minted=(), moved=(), revisions=(), restated=0, new_rows={})
        frames = {name: getattr(self.tables, name) for name in MASTER_TABLES}
        splits = self.tables.splits
        frames["splits"] = splits[splits["kind"] == "split"]  # the rest never changes a share count
        self._report = build_master(path, frames, batch_id=batch_id, previous=previous, first_bars=self.first_bars)
        return self._report

    def remember(self, path: Path) -> None:
        """`path` is the master of a run over this delivery, as the run leaves it."""
        self._holds = _digest(path)

    def facts(
        self,
        build_id: str,
        master: SecurityMaster,
        calendar: Calendar,
        rules: DataRules,
        restated: np.datetime64 | None,
    ) -> Facts:
        """The tables under the permanent ids of the master with this build id."""
        key = (build_id, rules, restated)
        if self._facts is None or self._facts[0] != key:
            self._facts = key, build_facts(self.tables, master, calendar, rules, restated)
        return self._facts[1]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def master_tables(tables: SourceTables) -> dict[str, pd.DataFrame]:
    """The tables that a master is made of."""
    names = ("securities", "ticker_changes", "classification", "shares", "splits", "spin_offs", "delistings")
    configuration = ("taxonomy", "factor_etfs")
    return {name: tables.frames[name] for name in (*names, *configuration)}
