"""Returns from closes and events against the vendor's own back-adjusted closes.

Where a source delivers both, each is a check on the other. They are not the same number: a back-adjusted ratio divides
by `close - cash` on ex-dates. `disagreements` lists the name-days that differ by more than that, with what the quality
rules say there and, as far as it can be told, which side is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.market_data.point_in_time import Facts
from pipeline.returns.panel import DailyPanel

FROM_CLOSES = (
    ReturnFlag.ORDINARY,
    ReturnFlag.WITH_EVENTS,
    ReturnFlag.OVER_GAP,
    ReturnFlag.EXTREME_KEPT,
    ReturnFlag.EVENT_MOVED,
    ReturnFlag.RELEASED,
)
COLUMNS = ["sec_id", "session", "ours", "theirs", "rule", "right", "why"]

PAIRED = 0.35
"""Two disagreements of neighbouring sessions are one close when they cancel up to this share."""

PLAINER = 2.0
"""One side is believed when the other's move is more than this many times larger."""


@dataclass(frozen=True)
class Agreement:
    """compared: cells with both returns; within: share of them that differ by at most `tolerance` (simple returns)."""

    compared: int
    within: float
    tolerance: float


def vendor_returns(facts: Facts, panel: DailyPanel) -> NDArray[np.float64]:
    """(n, T) ratios of back-adjusted closes of consecutive sessions, minus one; NaN where one is missing."""
    prices = facts.prices
    row = pd.Index(panel.sec_ids).get_indexer(prices["sec_id"].cat.categories)[prices["sec_id"].cat.codes.to_numpy()]
    session = prices["session"].to_numpy()
    use = (row >= 0) & (session >= panel.first) & (session <= panel.last)
    level = np.full(panel.ret.shape, np.nan)
    level[row[use], session[use] - panel.first] = prices["total_return_close"].to_numpy()[use]
    level[~(level > 0)] = np.nan
    theirs = np.full(panel.ret.shape, np.nan)
    theirs[:, 1:] = level[:, 1:] / level[:, :-1] - 1
    return theirs


def agreement(
    panel: DailyPanel, theirs: NDArray[np.float64], first: int, last: int, tolerance: float = 1e-3
) -> Agreement:
    """How many published returns of one session from closes agree with the vendor's, on the sessions [first, last]."""
    columns = slice(max(first - panel.first, 0), last + 1 - panel.first)
    ours, other = panel.ret[:, columns], theirs[:, columns]
    both = np.isin(panel.flag[:, columns], FROM_CLOSES) & (panel.flag[:, columns] != ReturnFlag.OVER_GAP)
    both &= np.isfinite(ours) & np.isfinite(other)
    within = np.abs(ours[both] - other[both]) <= tolerance
    return Agreement(int(both.sum()), float(within.mean()) if both.any() else float("nan"), tolerance)


def disagreements(facts: Facts, panel: DailyPanel, bound: float = 0.05) -> pd.DataFrame:
    """Name-days on which the two sides differ by more than `bound`, as COLUMNS.

    ours: the return from closes and events, whether published or quarantined; rule: what the quality rules say about
    the cell, "" where the two numbers are what they must be; right: `ours`, `theirs` or `unclear`, with `why`.
    """
    theirs = vendor_returns(facts, panel)
    spoken = panel.quarantine[panel.quarantine["session"].between(panel.first, panel.last)]
    ours = panel.ret.copy()
    position = {sec_id: i for i, sec_id in enumerate(panel.sec_ids)}
    returns = {"vendor_disagrees", "missing_split", "event_not_in_price", "split_ratio_contradicted", "extreme_return"}
    for row in spoken[spoken["rule"].isin(returns)].to_dict("records"):
        i, t = position[row["sec_id"]], row["session"] - panel.first
        if np.isnan(ours[i, t]):
            ours[i, t] = row["observed"]
    from_closes = np.isin(panel.flag, FROM_CLOSES) | (panel.flag >= ReturnFlag.REJECTED_PRICE)
    with np.errstate(invalid="ignore", divide="ignore"):
        far = from_closes & (np.abs(ours - theirs) > bound)
        gap = np.log1p(ours) - np.log1p(theirs)
    rules = spoken.groupby(["sec_id", "session"])["rule"].agg(lambda names: ", ".join(sorted(set(names)))).to_dict()
    found = []
    for i, t in np.argwhere(far).tolist():
        right, why = _which_side(ours[i], theirs[i], gap[i], t)
        sec_id, session = panel.sec_ids[i], t + panel.first
        rule = rules.get((sec_id, session), "")
        if "vendor_disagrees" not in rule:  # the rule knows how the two numbers hang together
            right, why = "ours", "the vendor divides by close - cash"
        found.append((sec_id, session, ours[i, t], theirs[i, t], rule, right, why))
    return pd.DataFrame(found, columns=COLUMNS).sort_values(["session", "sec_id"], ignore_index=True)


def _which_side(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], gap: NDArray[np.float64], t: int
) -> tuple[str, str]:
    """Which of two return series to believe at `t`, from the moves themselves."""
    for other in (t - 1, t + 1):
        if not 0 <= other < len(gap) or not np.isfinite(gap[other]) or not abs(gap[other]) > 0.01:
            continue
        if abs(gap[t] + gap[other]) <= PAIRED * abs(gap[t]):
            moves = {
                name: float(np.abs(np.log1p(series[[t, other]])).sum())
                for name, series in (("ours", ours), ("theirs", theirs))
            }
            earlier = min(t, other)
            for name, series in (("ours", ours), ("theirs", theirs)):
                if series[earlier] == 0:
                    return (
                        "theirs" if name == "ours" else "ours"
                    ), f"{name} repeats a close and catches up the next day"
            return min(moves, key=lambda name: moves[name]), "one close differs; the other side goes there and back"
    if ours[t] == 0 or theirs[t] == 0:
        return ("theirs" if ours[t] == 0 else "ours"), "the other side repeats its close"
    mine, other_move = abs(np.log1p(ours[t])), abs(np.log1p(theirs[t]))
    if max(mine, other_move) > PLAINER * min(mine, other_move):
        return ("ours" if mine < other_move else "theirs"), "an event is missing or wrong on the other side"
    return "unclear", "both moves are large"


def with_names(rows: pd.DataFrame, names: Mapping[str, str], sessions: NDArray[Any]) -> pd.DataFrame:
    """The same rows with tickers and dates in front."""
    named = rows.copy()
    named.insert(0, "ticker", [names.get(sec_id, "") for sec_id in rows["sec_id"]])
    named.insert(1, "date", sessions[rows["session"].to_numpy(int)])
    return named.drop(columns="session")
