"""Vendor errors planted into clean tables, with a ledger of what was done, so that the quality layer can be scored.

    tables, ledger = plant_faults(source.load(), seed=1, counts={"price_x100": 40, "missing_split": 25})

The kinds are those of `FAULTS`. A fault keeps away from others on the same code, so that each can be told apart; where
there are fewer places than asked for, every place is used and the ledger is shorter. For tests and demonstrations only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pipeline.sources.planted_faults.kinds import FAULTS
from pipeline.sources.planted_faults.spoiled import Spoiled
from pipeline.sources.specs import TABLES
from pipeline.sources.streams import stream
from pipeline.sources.tables import RawTable, SourceTables, check_tables, made_table

FULL_COUNTS = {kind: fault.full_count for kind, fault in FAULTS.items()}
"""Counts for a market of 3,000 stocks over 20 years."""


def scaled_counts(scale: float) -> dict[str, int]:
    """FULL_COUNTS for a market of another size, at least one of each kind."""
    return {kind: max(1, round(scale * count)) for kind, count in FULL_COUNTS.items()}


def plant_faults(
    tables: SourceTables, *, seed: int, counts: Mapping[str, int] | None = None
) -> tuple[SourceTables, pd.DataFrame]:
    """(tables with vendor errors, ledger). Stocks only, except for faults of a whole day.

    counts: faults by kind, FULL_COUNTS by default; kinds that are not named are not planted.

    The ledger has one row per fault: id, kind, vendor_code ("" for a whole day), first_session and last_session of the
    wrong rows (dates), true_value and wrong_value (text), expected_handling (reject, quarantine, accept-and-flag), and
    detectable_from_single_source: whether its kind is, and this one leaves a trace (a stock dividend that is missing
    moves the price no further than an ordinary day, and says nothing). Raises ValueError for an unknown kind.
    """
    wanted = dict(FULL_COUNTS if counts is None else counts)
    unknown = wanted.keys() - FAULTS.keys()
    if unknown:
        raise ValueError(f"unknown kinds of faults {sorted(unknown)}; known are {', '.join(FAULTS)}")
    spoiled = Spoiled(tables)
    for kind, fault in FAULTS.items():  # the order of FAULTS, whatever that of counts
        if wanted.get(kind, 0) > 0:
            spoiled.kind = kind
            fault.plant(spoiled, stream(seed, "fault", kind), wanted[kind])
    columns = ["kind", "vendor_code", "first_session", "last_session", "true_value", "wrong_value", "leaves_a_trace"]
    ledger = pd.DataFrame(spoiled.entries, columns=columns)
    trace = ledger.pop("leaves_a_trace").to_numpy(bool)
    ledger.insert(0, "id", [f"F{k:05d}" for k in range(len(ledger))])
    ledger["expected_handling"] = [FAULTS[kind].handling for kind in ledger["kind"]]
    ledger["detectable_from_single_source"] = trace & [FAULTS[kind].detectable for kind in ledger["kind"]]
    return check_tables(_raw_tables(spoiled.frames()), "tables with planted faults"), ledger


def _raw_tables(frames: Mapping[str, pd.DataFrame]) -> Iterator[RawTable]:
    for name, frame in frames.items():
        if len(frame) or TABLES[name].required:
            yield made_table(name, _columns(frame))


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    columns: dict[str, Any] = {
        str(name): column.array if column.dtype == "category" else column.to_numpy() for name, column in frame.items()
    }
    if "known_from" in columns:
        assumed = columns.pop("known_assumed")
        columns["known_from"] = np.where(assumed, np.datetime64("NaT", "us"), columns["known_from"])
    return columns
