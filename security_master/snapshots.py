"""Recorded snapshots of universes: immutable, month by month, each known from an instant on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from security_master import schema
from security_master.dates import date_text, instant_text
from security_master.errors import ExplainedError
from security_master.frames import read_frame, typed_frame
from security_master.master_file import columns_of, write_master
from security_master.store import Store, instant_or_newest
from security_master.universe import RULES, Snapshot

Key = tuple[str, str, str]
"""Universe, mask_as_of and rule version of a snapshot."""

KEY_COLUMNS = ["universe", "mask_as_of", "rule_version"]


class SnapshotConflict(ExplainedError, RuntimeError):
    """A snapshot that differs from the one already recorded under its universe, date and rule version."""


class Universe(NamedTuple):
    """The members in force and the month end at which they were chosen."""

    mask_as_of: np.datetime64
    members: NDArray[np.object_]


def recorded(store: Store, name: str, known_as_of: Any, rule_version: str | None, since: Any) -> list[Universe]:
    """See SecurityMaster.snapshots."""
    known = "universe = :name AND rule_version = :version AND known_from <= :known"
    rows = store.rows(
        "SELECT s.mask_as_of, m.sec_id FROM "
        f"(SELECT * FROM universe_snapshot WHERE {known} AND mask_as_of >= coalesce("
        f"(SELECT max(mask_as_of) FROM universe_snapshot WHERE {known} AND mask_as_of < :month), '')) s "
        "LEFT JOIN universe_membership m ON m.universe = s.universe AND m.mask_as_of = s.mask_as_of "
        "AND m.rule_version = s.rule_version AND m.status <> 'out' ORDER BY s.mask_as_of, m.sec_id",
        name=name,
        version=rule_version if rule_version is not None else RULES[name].version,
        known=instant_or_newest(known_as_of),
        month="" if since is None else f"{date_text(since)[:7]}-01",
    )
    members: dict[str, list[str]] = {}
    for day, sec_id in rows:
        members.setdefault(day, []).extend([sec_id] if sec_id else [])
    return [Universe(np.datetime64(day, "D"), np.array(ids, dtype=object)) for day, ids in members.items()]


def recorded_days(store: Store, name: str) -> list[np.datetime64]:
    """See SecurityMaster.snapshot_days."""
    query = "SELECT mask_as_of FROM universe_snapshot WHERE universe = :name AND rule_version = :version ORDER BY 1"
    return [np.datetime64(day, "D") for (day,) in store.rows(query, name=name, version=RULES[name].version)]


def record_snapshot(path: Path, snapshot: Snapshot, mask_as_of: Any, known_from: Any) -> bool:
    """Record a snapshot in a master; see record_snapshots. True when it is new."""
    return record_snapshots(path, [(snapshot, mask_as_of, known_from)]) == 1


def record_snapshots(path: Path, snapshots: Iterable[tuple[Snapshot, Any, Any]]) -> int:
    """Record (snapshot, mask_as_of, known_from instant) in a master, all or none; returns how many were new.

    A snapshot that is recorded already and has the same members is left alone. Raises SnapshotConflict for one with
    other members: what was published stays, and a changed rule needs a new version.
    """
    path = Path(path)
    connection = schema.open_existing(path)
    try:
        facts = read_frame(connection, "universe_snapshot")
        recorded = set(facts[KEY_COLUMNS].itertuples(index=False, name=None))
        fresh: dict[Key, Snapshot] = {}
        known_from: list[str] = []
        for snapshot, day, known in snapshots:
            key = (snapshot.rule.universe, date_text(day), snapshot.rule.version)
            if key in fresh:
                _refuse_other_members(fresh[key].members.tolist(), snapshot, key)
            elif key in recorded:
                _refuse_other_members(_recorded_members(connection, key), snapshot, key)
            else:
                fresh[key] = snapshot
                known_from.append(instant_text(known))
    finally:
        connection.close()
    if fresh:
        new = typed_frame(_facts_of(fresh) | {"known_from": known_from}, "universe_snapshot")
        facts = pd.concat([facts, new]).sort_values(KEY_COLUMNS, ignore_index=True)
        members = typed_frame(_members_of(fresh), "universe_membership")
        write_master(path, {"universe_snapshot": facts}, before=path, members=members)
    return len(fresh)


def _recorded_members(connection: sqlite3.Connection, key: Key) -> list[str]:
    where = " AND ".join(f"{name} = ?" for name in KEY_COLUMNS)
    query = f"SELECT sec_id FROM universe_membership WHERE {where} AND status != 'out' ORDER BY sec_id"
    return [sec_id for (sec_id,) in connection.execute(query, key)]


def _members_of(snapshots: Mapping[Key, Snapshot]) -> dict[str, list[Any]]:
    """Columns of `universe_membership`."""
    lengths = [len(snapshot.rows) for snapshot in snapshots.values()]
    columns: dict[str, list[Any]] = {
        name: [part for key, n in zip(snapshots, lengths, strict=True) for part in repeat(key[at], n)]
        for at, name in enumerate(KEY_COLUMNS)
    }
    for name in columns_of("universe_membership")[len(KEY_COLUMNS) :]:
        columns[name] = [value for snapshot in snapshots.values() for value in snapshot.rows[name].tolist()]
    return columns


def _facts_of(snapshots: Mapping[Key, Snapshot]) -> dict[str, list[Any]]:
    """Columns of `universe_snapshot`, but for the instants."""
    columns: dict[str, list[Any]] = {name: [key[at] for key in snapshots] for at, name in enumerate(KEY_COLUMNS)}
    columns["input_hash"] = [snapshot.input_hash for snapshot in snapshots.values()]
    columns["members"] = [len(snapshot.members) for snapshot in snapshots.values()]
    return columns


def _refuse_other_members(before: list[str], snapshot: Snapshot, key: Key) -> None:
    """Raises SnapshotConflict unless the snapshot has the members that are recorded under its key."""
    now = snapshot.members.tolist()
    if before != now:
        differing = sorted(set(before) ^ set(now))
        raise SnapshotConflict(
            f"{key[0]} of {key[1]} (rule {key[2]}) is recorded with {len(before)} members and cannot "
            f"change; {len(differing)} differ: {', '.join(differing[:5])}. A changed rule needs a new version"
        )
