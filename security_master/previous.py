"""What a new build takes over from the master before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from security_master import schema
from security_master.derive import FACT_TABLES
from security_master.evidence import row_hashes, stored_rows
from security_master.frames import read_frame
from security_master.master_file import columns_of
from security_master.questions import IdentityDecision
from security_master.registry import Registry, read_registry
from security_master.taxonomy import read_configurations

CARRIED = ("revision", "resolution_log")


@dataclass(frozen=True)
class Previous:
    """A master as the next build sees it. facts: fact_hashes by table; carried: tables taken over as they are."""

    rows: dict[str, pd.DataFrame]
    registry: Registry
    decisions: list[IdentityDecision]
    batches: list[tuple[str, int, int]]
    taxonomy: list[tuple[str, pd.DataFrame, pd.DataFrame]]
    carried: dict[str, pd.DataFrame]
    facts: dict[str, NDArray[np.uint64]]


def read_previous(path: Path | None) -> Previous | None:
    """A master, migrated to the current schema; None without a file."""
    if path is None or not Path(path).exists():
        return None
    connection = schema.open_as_current(Path(path))
    try:
        registry = read_registry(connection)
        columns = "question_id, choice, sec_id, decided_by, reason, known_from, batch_id"
        decisions = [IdentityDecision(*row) for row in connection.execute(f"SELECT {columns} FROM decision")]
        batches = connection.execute("SELECT batch_id, seq, new_rows FROM load_batch ORDER BY seq").fetchall()
        return Previous(
            rows=stored_rows(connection),
            registry=registry,
            decisions=decisions,
            batches=batches,
            taxonomy=read_configurations(connection),
            carried={name: read_frame(connection, name, columns_of(name)) for name in CARRIED},
            facts={name: fact_hashes(read_frame(connection, name), name) for name in FACT_TABLES},
        )
    finally:
        connection.close()


def fact_hashes(frame: pd.DataFrame, name: str) -> NDArray[np.uint64]:
    """A hash of each fact without its end of belief, which a later batch may close, and without its provenance."""
    ignored = ("row_id", "known_to", "known_assumed", "source", "evidence", "batch_id")
    return row_hashes(frame, [c for c in schema.column_types(name) if c not in ignored])
