"""The daily panel: closes, volumes, returns and flags of a roster over a range of sessions.

A return published for `t` is made from the rows with `visible <= t` (first print). The ordinary case is vectorised over
blocks of securities (`pipeline.returns.ordinary`); the few cells near an outlying move, a large event, a late row or a
person's decision are judged one by one on the window of their own session (`pipeline.returns.single_cells`).

**Look-back.** A cell depends on no bar more than `lookback(rules)` sessions before it: the span of a return, the window
of a judgement, and the returns that scale its bounds. So a range can be cut anywhere: one session at a time and all at
once give the same bits. (When a security was first seen and when a delisting was booked are facts about the security,
not bars.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.market_data.point_in_time import Facts
from pipeline.quality.decisions import WHOLE_SESSION
from pipeline.quality.findings import concat_findings
from pipeline.quality.session_rules import panel_findings
from pipeline.quality.texts import among
from pipeline.returns.bars import bar_findings, lay_out, roster_bars
from pipeline.returns.cells import Span, findings_of
from pipeline.returns.delisting_returns import delisting_returns
from pipeline.returns.ordinary import ordinary_returns
from pipeline.returns.roster import Roster
from pipeline.returns.single_cells import NOT_A_BASE, judged_returns, replaced
from pipeline.returns.small_splits import doubted_splits
from pipeline.settings import DataRules

BLOCK = 256
"""Securities at a time, which bounds the memory."""

Each = Callable[[Callable[[int], pd.DataFrame], Sequence[int]], Iterable[pd.DataFrame]]
"""Like `map`: what a function gives for each number, in their order. It may call it from several threads."""


@dataclass(frozen=True, eq=False)
class DailyPanel:
    """Arrays (n, last-first+1): row i is `sec_ids[i]`, column j the session with ordinal `first + j`.

    close:  float64, raw, accepted closes only, else NaN
    volume: float64, shares, NaN where missing or impossible
    ret:    float64, simple gross total return, else NaN
    flag:   int16, a ReturnFlag
    quarantine: findings made in the range (`pipeline.quality.findings`); those made later about a cell of the range
            come with the session in which they are made
    """

    sec_ids: NDArray[np.object_]
    first: int
    last: int
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    ret: NDArray[np.float64]
    flag: NDArray[np.int16]
    quarantine: pd.DataFrame


def lookback(rules: DataRules) -> int:
    """Sessions before a cell whose bars may influence it."""
    scaled = max(rules.outliers.scale_sessions, rules.listed_sessions)
    return rules.outliers.window(rules.max_gap) + scaled + rules.max_gap + 1


def daily_panel(
    facts: Facts,
    sec_ids: Sequence[str] | NDArray[np.object_],
    first: int,
    last: int,
    rules: DataRules,
    decisions: pd.DataFrame | None = None,
    known_from: NDArray[np.integer] | None = None,
    each: Each = map,
) -> DailyPanel:
    """First-print returns of `sec_ids` on the sessions [first, last].

    facts: those that passed the gate of the run (`pipeline.market_data.gate`); nothing here stops it.
    sec_ids: (n,) permanent ids, the rows of the panel; first, last: ordinals; rules: bounds of all rules.
    decisions: what people released or confirmed, each from its `visible` on (columns `sec_id session decision visible`,
    ordinals; `pipeline.quality.decisions` reads them). A session that was confirmed to be wrong has no prices.
    known_from: (n,) first session (ordinal) that knew each security, None for always. Before it cells are empty (NaN,
    flag 0) and nothing is found: a night could not have had the security.
    each: goes through the blocks of securities, which are independent of each other.

    Raises ValueError for a range that is none.
    """
    if not 0 <= first <= last:
        raise ValueError(f"expected 0 <= first <= last, found first={first}, last={last}")
    span = Span(max(0, first - lookback(rules)), first, last)
    roster = Roster.of(facts, np.asarray(sec_ids, dtype=object), decisions, rules)
    n = len(roster.sec_ids)
    bars = roster_bars(facts.prices, roster.sec_ids, span, _withheld_sessions(decisions), rules)
    edges = np.searchsorted(bars["row"].to_numpy(), np.arange(0, n + BLOCK, BLOCK))
    shape = n, last - first + 1
    arrays = {name: np.full(shape, np.nan) for name in ("close", "volume", "ret")}
    arrays["flag"] = np.zeros(shape, np.int16)
    findings = [bar_findings(bars, roster.sec_ids, first)]

    def fill(k: int) -> pd.DataFrame:
        """Fill in the block k; what was found about it."""
        lo, hi = k * BLOCK, min((k + 1) * BLOCK, n)
        mine = bars.iloc[edges[k] : edges[k + 1]]
        block, found = _block(mine.assign(row=mine["row"] - lo), roster.part(lo, hi), span, rules)
        for name, values in block.items():
            arrays[name][lo:hi] = values[:, first - span.start :]
        return found

    findings += each(fill, range(len(edges) - 1))
    begins = np.zeros(n, np.int32) if known_from is None else known_from
    unknown = np.arange(first, last + 1) < begins[:, None]
    for name, values in arrays.items():
        values[unknown] = 0 if name == "flag" else np.nan
    by_kind = _events_by_kind(facts, roster.sec_ids[begins <= last], first, last)
    findings.append(panel_findings(arrays["ret"], by_kind, first, rules.sessions))
    known = facts.findings
    findings.append(known[known["detected_at"].between(first, last) & among(known["sec_id"], roster.sec_ids)])
    rows = concat_findings(findings)
    since = pd.Series(begins, index=roster.sec_ids).reindex(rows["sec_id"]).fillna(0)
    quarantine = rows[rows["detected_at"].to_numpy() >= since.to_numpy()].reset_index(drop=True)
    return DailyPanel(roster.sec_ids, first, last, **arrays, quarantine=quarantine)


def _block(bars: pd.DataFrame, roster: Roster, span: Span, rules: DataRules) -> tuple[dict[str, NDArray], pd.DataFrame]:
    """close, volume, ret and flag (n, T) of some securities from `span.start` on, and what was found about them."""
    grid = lay_out(bars, roster, span, rules)
    ordinary = ordinary_returns(grid, roster, rules)
    single = [*judged_returns(ordinary), *delisting_returns(ordinary)]
    ret, flag = replaced(ordinary, single)
    said = [one for cell in single for one in cell.found]
    found = findings_of([*grid.found, *ordinary.found, *said, *doubted_splits(ordinary)], roster.sec_ids, span)
    accepted = np.where(np.isin(flag, NOT_A_BASE), np.nan, grid.close)
    return {"close": accepted, "volume": grid.volume, "ret": ret, "flag": flag}, found


def _events_by_kind(facts: Facts, roster: NDArray[np.object_], first: int, last: int) -> dict[str, NDArray[np.int64]]:
    """How many securities of the roster have a split, or a dividend, with ex-date on each session, as known then."""
    counts = {}
    for kind, events in (("split", facts.splits), ("dividend", facts.dividends)):
        then = events[events["ex"].between(first, last) & (events["visible"] <= events["ex"])]
        rows = then.loc[among(then["sec_id"], roster), ["sec_id", "ex"]].drop_duplicates()
        counts[kind] = np.bincount(rows["ex"].to_numpy() - first, minlength=last - first + 1)
    return counts


def _withheld_sessions(decisions: pd.DataFrame | None) -> NDArray[np.int64]:
    """Sessions whose delivery a person confirmed to be wrong."""
    if decisions is None:
        return np.empty(0, np.int64)
    whole = (decisions["sec_id"] == WHOLE_SESSION) & (decisions["decision"] == "confirm")
    return decisions.loc[whole, "session"].to_numpy(np.int64)
