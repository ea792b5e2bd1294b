"""Universes by market capitalisation: month-end snapshots with hysteresis, immutable once recorded.

A snapshot is taken at the last session M of a month and applies from the first session of the next month. A member
stays while its rank is within the band around the size, so that names at the edge do not come and go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from security_master import schema
from security_master.dates import date_text, instant_text
from security_master.master_file import columns_of, read_contents, write_master

MEMBER_TYPES = frozenset({"common", "reit"})
"""Kinds of security that may be members; the pipeline adds what else makes one eligible."""


@dataclass(frozen=True)
class UniverseRule:
    """How members are chosen. Another rule is another `version`; snapshots of the old one stay.

    size:       number of members
    band:       a member stays while its rank is at most size * (1 + band)
    min_close:  lowest close in USD of a newcomer; hold_close: of a member
    min_traded: smallest share of the last 60 sessions with a trade
    """

    universe: str
    size: int
    version: str = "1"
    band: float = 0.10
    min_close: float = 1.0
    hold_close: float = 0.8
    min_traded: float = 0.6

    @property
    def last_rank_of_members(self) -> int:
        return round(self.size * (1 + self.band))


RULES = {f"uni_mc_{size}": UniverseRule(f"uni_mc_{size}", size) for size in (50, 500, 1000, 3000)}


Key = tuple[str, str, str]
"""Universe, mask_as_of and rule version of a snapshot."""

KEY_COLUMNS = ["universe", "mask_as_of", "rule_version"]


class SnapshotConflict(RuntimeError):
    """A snapshot that differs from the one already recorded under its universe, date and rule version."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The outcome of one month end.

    rows: sec_id, rank (1 is the largest; 0 without one), market_cap, status (`in`, `buffer_in`, or `out` for a member
    that leaves), reason; sorted by sec_id. input_hash: of everything that decided.
    """

    rule: UniverseRule
    rows: pd.DataFrame
    input_hash: str

    @property
    def members(self) -> NDArray[np.object_]:
        """sec_ids of the members, sorted."""
        return self.rows.loc[self.rows["status"] != "out", "sec_id"].to_numpy(dtype=object)


def select_members(
    rule: UniverseRule,
    sec_id: ArrayLike,
    market_cap: ArrayLike,
    close: ArrayLike,
    traded_share: ArrayLike,
    was_member: ArrayLike,
    eligible: ArrayLike,
) -> Snapshot:
    """Members at a month end from arrays (n,), one element for each security, in any order.

    market_cap: USD, NaN unknown (a share count that is too old counts as unknown). close: last close in USD.
    traded_share: share of the last 60 sessions with a trade. was_member: in the previous snapshot. eligible: of a kind
    and listing that may be a member at all.

    Candidates are ranked by market cap, ties by sec_id. (1) Members whose rank is within the band stay; (2) if they are
    more than `size`, the lowest-ranked go; (3) the places left are filled by rank.
    """
    frame = pd.DataFrame(
        {
            "sec_id": np.asarray(sec_id, dtype=object),
            "market_cap": np.asarray(market_cap, dtype=float),
            "close": np.asarray(close, dtype=float),
            "traded_share": np.asarray(traded_share, dtype=float),
            "was_member": np.asarray(was_member, dtype=bool),
            "eligible": np.asarray(eligible, dtype=bool),
        }
    ).sort_values("sec_id", ignore_index=True)
    if frame["sec_id"].duplicated().any():
        twice = frame.loc[frame["sec_id"].duplicated(), "sec_id"].iloc[0]
        raise ValueError(f"select_members: {twice} is given twice")
    reason = _reasons(frame, rule)
    candidate = reason == ""
    order = np.lexsort((frame["sec_id"].to_numpy("U9"), -frame["market_cap"].to_numpy()))
    order = order[candidate[order]]
    rank = np.zeros(len(frame), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)

    was = frame["was_member"].to_numpy()
    stays = candidate & was & (rank <= rule.last_rank_of_members)
    stays &= _first(stays, rank, rule.size)
    joins = _first(candidate & ~was, rank, rule.size - int(stays.sum()))
    member = stays | joins
    status = np.where(member, np.where(rank <= rule.size, "in", "buffer_in"), "out")
    reason = np.where(candidate & ~member, "rank", reason)
    kept = member | was
    rows = pd.DataFrame(
        {
            "sec_id": frame["sec_id"],
            "rank": rank,
            "market_cap": frame["market_cap"],
            "status": status,
            "reason": reason,
        }
    )[kept].reset_index(drop=True)
    return Snapshot(rule, rows, _hash(frame, rule))


def _reasons(frame: pd.DataFrame, rule: UniverseRule) -> NDArray[np.object_]:
    """Why each security is no candidate, "" for candidates."""
    floor = np.where(frame["was_member"], rule.hold_close, rule.min_close)
    tests = [
        (~frame["eligible"].to_numpy(), "not_eligible"),
        (~(frame["market_cap"].to_numpy() > 0), "no_market_cap"),
        (~(frame["close"].to_numpy() >= floor), "price"),
        (~(frame["traded_share"].to_numpy() >= rule.min_traded), "not_traded"),
    ]
    return np.select([test for test, _ in tests], [np.array(name, object) for _, name in tests], "").astype(object)


def _first(wanted: NDArray[np.bool_], rank: NDArray[np.int64], places: int) -> NDArray[np.bool_]:
    """The best-ranked `places` of the wanted."""
    at = np.flatnonzero(wanted)
    chosen = np.zeros(len(wanted), dtype=bool)
    chosen[at[np.argsort(rank[at], kind="stable")][: max(places, 0)]] = True
    return chosen


def _hash(frame: pd.DataFrame, rule: UniverseRule) -> str:
    """Hash of the rule and of every value that decided, bit for bit."""
    digest = hashlib.sha256(repr(rule).encode())
    digest.update("\n".join(frame["sec_id"]).encode())
    for column in ("market_cap", "close", "traded_share"):
        digest.update(frame[column].to_numpy("<f8").tobytes())
    for column in ("was_member", "eligible"):
        digest.update(frame[column].to_numpy(bool).tobytes())
    return digest.hexdigest()[:16]


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
        contents = read_contents(connection)
    finally:
        connection.close()
    rows = contents["universe_snapshot"]
    recorded = set(zip(rows["universe"], rows["mask_as_of"], rows["rule_version"], strict=True))
    fresh: dict[Key, Snapshot] = {}
    known_from: list[str] = []
    for snapshot, day, known in snapshots:
        key = (snapshot.rule.universe, date_text(day), snapshot.rule.version)
        if key in fresh:
            _refuse_other_members(fresh[key].members.tolist(), snapshot, key)
        elif key in recorded:
            members = contents["universe_membership"]
            members = members[_rows_of(members, dict(zip(KEY_COLUMNS, key, strict=True)))]
            _refuse_other_members(sorted(members.loc[members["status"] != "out", "sec_id"]), snapshot, key)
        else:
            fresh[key] = snapshot
            known_from.append(instant_text(known))
    if fresh:
        added = {
            "universe_membership": [_under(key, snapshot.rows) for key, snapshot in fresh.items()],
            "universe_snapshot": [
                _under(
                    key, pd.DataFrame({"input_hash": [s.input_hash], "members": len(s.members), "known_from": known})
                )
                for (key, s), known in zip(fresh.items(), known_from, strict=True)
            ],
        }
        for table, frames in added.items():
            frame = pd.concat(frames, ignore_index=True)
            typed = schema.typed_frame({name: frame[name].tolist() for name in columns_of(table)}, table)
            order = [*KEY_COLUMNS, "sec_id"] if table == "universe_membership" else KEY_COLUMNS
            contents[table] = pd.concat([contents[table], typed]).sort_values(order, ignore_index=True)
        write_master(path, contents)
    return len(fresh)


def _refuse_other_members(before: list[str], snapshot: Snapshot, key: Key) -> None:
    """Raises SnapshotConflict unless the snapshot has the members that are recorded under its key."""
    now = snapshot.members.tolist()
    if before != now:
        differing = sorted(set(before) ^ set(now))
        raise SnapshotConflict(
            f"{key[0]} of {key[1]} (rule {key[2]}) is recorded with {len(before)} members and cannot "
            f"change; {len(differing)} differ: {', '.join(differing[:5])}. A changed rule needs a new version"
        )


def _under(key: Key, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a snapshot with its key."""
    return rows.assign(universe=key[0], mask_as_of=key[1], rule_version=key[2])


def _rows_of(frame: pd.DataFrame, key: dict[str, str]) -> NDArray[np.bool_]:
    """Which rows belong to one snapshot."""
    return np.logical_and.reduce([(frame[name] == value).to_numpy(bool) for name, value in key.items()])
