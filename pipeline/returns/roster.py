"""What is known about the securities of a panel apart from their bars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import NO_SESSION
from pipeline.market_data.point_in_time import Facts
from pipeline.returns.delistings import Delisting, booked_delistings
from pipeline.returns.events import EventTable, event_table
from pipeline.settings import DataRules


@dataclass(frozen=True)
class CellDecision:
    """What a person decided about a cell: `release` or `confirm`, in force from `visible` on (ordinals)."""

    session: int
    visible: int
    verdict: str


@dataclass(frozen=True, eq=False)
class Roster:
    """Securities in their order; everything else by their position.

    first_price: (n,) session of the first usable bar, a large number for none
    listed_from: (n,) first session of the listing, NO_SESSION where unknown
    events, delistings, decisions: what happened to them, and what people decided, in order
    """

    sec_ids: NDArray[np.object_]
    first_price: NDArray[np.int32]
    listed_from: NDArray[np.int32]
    events: EventTable
    delistings: dict[int, list[Delisting]]
    decisions: dict[int, list[CellDecision]]

    @classmethod
    def of(cls, facts: Facts, sec_ids: NDArray[np.object_], decisions: pd.DataFrame | None, rules: DataRules) -> Roster:
        """The roster of these securities. `decisions` as in `pipeline.returns.panel.daily_panel`."""
        return cls(
            sec_ids=sec_ids,
            first_price=_first_prices(facts.prices, sec_ids),
            listed_from=_listed_from(facts.securities, sec_ids),
            events=event_table(facts, sec_ids, rules.events.fx_max_age),
            delistings=booked_delistings(facts.delistings, facts.prices, sec_ids, rules.delistings),
            decisions=_cell_decisions(decisions, sec_ids),
        )

    def part(self, begin: int, end: int) -> Roster:
        """The securities [begin, end), renumbered from 0."""
        members = range(begin, end)
        return Roster(
            sec_ids=self.sec_ids[begin:end],
            first_price=self.first_price[begin:end],
            listed_from=self.listed_from[begin:end],
            events=self.events.rows_of(begin, end),
            delistings={i - begin: self.delistings[i] for i in members if i in self.delistings},
            decisions={i - begin: self.decisions[i] for i in members if i in self.decisions},
        )


def _first_prices(prices: pd.DataFrame, sec_ids: NDArray[np.object_]) -> NDArray[np.int32]:
    """Session of the first usable bar of each security that came with its session; a large number for none."""
    usable = ((prices["close"] > 0) | (prices["total_return_close"] > 0)) & (prices["visible"] <= prices["session"])
    at = np.flatnonzero(usable.to_numpy())
    owners = prices["sec_id"].cat.codes.to_numpy()[at]  # ascending
    where = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]][: len(owners)])
    first = np.full(len(prices["sec_id"].cat.categories) + 1, np.iinfo(np.int32).max, np.int32)
    first[owners[where]] = prices["session"].to_numpy()[at[where]]
    return first[prices["sec_id"].cat.categories.get_indexer(pd.Index(sec_ids))]


def _listed_from(securities: pd.DataFrame, sec_ids: NDArray[np.object_]) -> NDArray[np.int32]:
    known = securities.set_index("sec_id")["first"].reindex(pd.Index(sec_ids))
    return known.fillna(NO_SESSION).to_numpy(np.int32)


def _cell_decisions(decisions: pd.DataFrame | None, sec_ids: NDArray[np.object_]) -> dict[int, list[CellDecision]]:
    """Decisions about single cells, in the order in which they became known: the last one holds."""
    by_row: dict[int, list[CellDecision]] = {}
    if decisions is None:
        return by_row
    position = {sec_id: i for i, sec_id in enumerate(sec_ids)}
    for one in decisions.sort_values(["visible", "session"], kind="stable").to_dict("records"):
        if one["sec_id"] in position:
            decision = CellDecision(int(one["session"]), int(one["visible"]), one["decision"])
            by_row.setdefault(position[one["sec_id"]], []).append(decision)
    return by_row
