"""Universes by market capitalisation: the members at a month end, with hysteresis.

A snapshot is taken at the last session M of a month and applies from the first session of the next month. A member
stays while its rank is within the band around the size, so that names at the edge do not come and go.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

MEMBER_TYPES = frozenset({"common", "reit"})
"""Kinds of security that may be members; the pipeline adds what else makes one eligible."""

STOCK_TYPES = ("common", "adr", "reit")
"""Kinds of security that are stocks: shares of one company."""


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


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The outcome of one month end.

    rows: sec_id, rank (1 is the largest; 0 without one), market_cap, status (`in`, `buffer_in`, or `out` for a member
    that leaves), reason; sorted by sec_id. members: their sec_ids, sorted. input_hash: of everything that decided.
    """

    rule: UniverseRule
    rows: pd.DataFrame
    members: NDArray[np.object_]
    input_hash: str


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
    ids = np.asarray(sec_id, dtype=object)
    order = np.argsort(ids.astype(str), kind="stable")
    ids = ids[order]
    if (twice := ids[1:] == ids[:-1]).any():
        raise ValueError(f"select_members: {ids[1:][twice][0]} is given twice")
    cap, price, traded = (np.asarray(values, dtype="<f8")[order] for values in (market_cap, close, traded_share))
    was, may = (np.asarray(values, dtype=bool)[order] for values in (was_member, eligible))
    reason = _reasons(rule, cap, price, traded, was, may)
    candidate = reason == ""
    by_rank = np.flatnonzero(candidate)
    by_rank = by_rank[np.argsort(-cap[by_rank], kind="stable")]
    rank = np.zeros(len(ids), dtype=np.int64)
    rank[by_rank] = np.arange(1, len(by_rank) + 1)

    stays = candidate & was & (rank <= rule.last_rank_of_members)
    stays &= _first(stays, rank, rule.size)
    joins = _first(candidate & ~was, rank, rule.size - int(stays.sum()))
    member = stays | joins
    status = np.where(member, np.where(rank <= rule.size, "in", "buffer_in"), "out")
    reason = np.where(candidate & ~member, "rank", reason)
    kept = member | was
    columns = {"sec_id": ids, "rank": rank, "market_cap": cap, "status": status, "reason": reason}
    rows = pd.DataFrame({name: values[kept] for name, values in columns.items()})
    return Snapshot(rule, rows, ids[member], _hash(rule, ids, cap, price, traded, was, may))


def _reasons(
    rule: UniverseRule,
    cap: NDArray[np.float64],
    price: NDArray[np.float64],
    traded: NDArray[np.float64],
    was: NDArray[np.bool_],
    may: NDArray[np.bool_],
) -> NDArray[np.str_]:
    """Why each security is no candidate, "" for candidates."""
    floor = np.where(was, rule.hold_close, rule.min_close)
    tests = {
        "not_eligible": ~may,
        "no_market_cap": ~(cap > 0),
        "price": ~(price >= floor),
        "not_traded": ~(traded >= rule.min_traded),
    }
    return np.select(list(tests.values()), list(tests), "")


def _first(wanted: NDArray[np.bool_], rank: NDArray[np.int64], places: int) -> NDArray[np.bool_]:
    """The best-ranked `places` of the wanted."""
    at = np.flatnonzero(wanted)
    chosen = np.zeros(len(wanted), dtype=bool)
    chosen[at[np.argsort(rank[at], kind="stable")][: max(places, 0)]] = True
    return chosen


def _hash(rule: UniverseRule, ids: NDArray[np.object_], *values: NDArray[Any]) -> str:
    """Hash of the rule and of every value that decided, bit for bit."""
    digest = hashlib.sha256(repr(rule).encode())
    digest.update("\n".join(ids).encode())
    for column in values:
        digest.update(column.tobytes())
    return digest.hexdigest()[:16]
