"""The daily panel: closes, volumes, returns and flags of a roster over a range of sessions.

A return published for `t` is made from the rows with `visible <= t` (first print). The ordinary case is vectorised
over blocks of securities; the few cells near an outlying move, a large event, a late row or a person's decision are
judged one by one on the window of their own session (`pipeline.returns.panel_block`, `pipeline.returns.outliers`).

**Look-back.** A cell depends on no bar more than `lookback(rules)` sessions before it: the span of a return, the window
of a judgement, and the returns that scale its bounds. So a range can be cut anywhere: one session at a time and all at
once give the same bits. (When a security was first seen and when a delisting was booked are facts about the security,
not bars.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import NO_SESSION
from pipeline.datasets.return_flags import ReturnFlag
from pipeline.market_data.gate import refuse_batch_faults
from pipeline.market_data.point_in_time import Facts
from pipeline.quality.bar_rules import closes_outside_range, impossible_volumes, inconsistent_bars, rejected_closes
from pipeline.quality.decisions import WHOLE_SESSION
from pipeline.quality.findings import concat_findings, findings_frame, no_findings
from pipeline.quality.session_rules import panel_findings
from pipeline.returns.delistings import booked_delistings
from pipeline.returns.panel_block import Block, CellDecision, Roster
from pipeline.returns.total_return import event_table
from pipeline.settings import DataRules

BLOCK = 256


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
) -> DailyPanel:
    """First-print returns of `sec_ids` on the sessions [first, last].

    `decisions` (columns `sec_id session decision visible`, ordinals; `pipeline.quality.decisions` reads them): what
    people released or confirmed, each from its `visible` on. Raises BatchFault when a delivery in the range is wrong
    as a whole and nobody released it.
    """
    roster = np.asarray(sec_ids, dtype=object)
    if not 0 <= first <= last:
        raise ValueError(f"expected 0 <= first <= last, found first={first}, last={last}")
    decided = refuse_batch_faults(facts, first, last, rules.sessions, decisions)
    shape = len(roster), last - first + 1
    arrays = {name: np.full(shape, np.nan) for name in ("close", "volume", "ret")}
    flags = np.zeros(shape, np.int16)
    start = max(0, first - lookback(rules))
    bars = _bars_of(facts, roster, start, last, _withheld_sessions(decisions), rules)
    events = event_table(facts, roster, rules.events.fx_max_age)
    delistings = booked_delistings(facts.delistings, facts.prices, roster, rules.delistings)
    verdicts = _decisions_by_row(decisions, roster)
    first_price, listed_from = _first_prices(facts.prices, roster), _listed_from(facts.securities, roster)
    edges = np.searchsorted(bars["row"].to_numpy(), np.arange(0, len(roster) + BLOCK, BLOCK))
    findings = [_bar_findings(bars, roster, first)]
    for k, lo in enumerate(range(0, len(roster), BLOCK)):
        rows = slice(lo, min(lo + BLOCK, len(roster)))
        members = range(rows.start, rows.stop)
        block = Block(
            _renumbered(bars.iloc[edges[k] : edges[k + 1]], lo),
            Roster(
                sec_ids=roster[rows],
                first_price=first_price[rows],
                listed_from=listed_from[rows],
                events=events.rows_of(rows.start, rows.stop),
                delistings={i - lo: delistings[i] for i in members if i in delistings},
                decisions={i - lo: verdicts[i] for i in members if i in verdicts},
            ),
            start,
            first,
            last,
            rules,
        )
        block.ordinary()
        block.judge_cells()
        block.doubt_small_splits()
        block.delist()
        for name, values in (("close", block.accepted()), ("volume", block.volume), ("ret", block.ret)):
            arrays[name][rows] = values[:, first - start :]
        flags[rows] = block.flag[:, first - start :]
        findings.append(block.findings())
    findings.append(panel_findings(arrays["ret"], _events_by_kind(facts, roster, first, last), first, rules.sessions))
    known = facts.findings
    findings += [known[known["detected_at"].between(first, last) & known["sec_id"].isin(roster)], decided]
    return DailyPanel(
        roster, first, last, arrays["close"], arrays["volume"], arrays["ret"], flags, concat_findings(findings)
    )


def _bars_of(
    facts: Facts, roster: NDArray[np.object_], start: int, last: int, withheld: NDArray[np.int64], rules: DataRules
) -> pd.DataFrame:
    """Bars of the roster in [start, last] by `row` (position in the roster) and `column`, with the bar rules applied.

    why: ReturnFlag of a bar whose close is no price, and then both closes are blank; delivered: the close as it came;
    doubtful: it lies far outside the bar's own range; spread: log of high over low. Within a row the order is that of
    `facts.prices`: by session, then `visible`.
    """
    prices = facts.prices
    session = prices["session"].to_numpy()
    categories = prices["sec_id"].cat.categories
    row_of_category = np.full(len(categories), -1, np.int64)
    category = categories.get_indexer(pd.Index(roster))
    row_of_category[category[category >= 0]] = np.flatnonzero(category >= 0)
    at = np.flatnonzero((session >= start) & (session <= last))
    row = row_of_category[prices["sec_id"].cat.codes.to_numpy()[at]]
    at, row = at[row >= 0], row[row >= 0]
    order = np.argsort(row, kind="stable")
    bars = prices.iloc[at[order]].reset_index(drop=True)
    bars["row"] = row[order]
    bars["column"] = bars["session"].to_numpy() - start
    bars["delivered"] = bars["close"].to_numpy()
    bars["why"] = np.where(rejected_closes(bars, rules.bars), ReturnFlag.REJECTED_PRICE, 0).astype(np.int16)
    bars.loc[np.isin(bars["session"].to_numpy(), withheld), "why"] = int(ReturnFlag.BATCH_FAULT)
    bars["doubtful"] = closes_outside_range(bars, rules.outliers.outside_range)
    bars["inconsistent"] = inconsistent_bars(bars, rules.bars)
    bars["impossible"] = bars["why"] == ReturnFlag.REJECTED_PRICE
    bars["impossible_volume"] = impossible_volumes(bars)
    vendor = bars["total_return_close"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        bars["spread"] = np.log(bars["high"].to_numpy() / bars["low"].to_numpy())
        usable = (vendor > 0) & np.isfinite(vendor)
    rejected = bars["why"].to_numpy() != 0
    bars["close"] = np.where(rejected, np.nan, bars["close"].to_numpy())
    bars["total_return_close"] = np.where(usable & ~rejected, vendor, np.nan)
    bars["volume"] = bars["volume"].mask(bars["impossible_volume"])
    return bars


def _renumbered(bars: pd.DataFrame, first_row: int) -> pd.DataFrame:
    return bars.assign(row=bars["row"] - first_row)


def _bar_findings(bars: pd.DataFrame, roster: NDArray[np.object_], first: int) -> pd.DataFrame:
    """What the bar rules say, each at the session that can see the bar."""
    seen = np.maximum(bars["session"].to_numpy(), bars["visible"].to_numpy())
    fresh = seen >= first
    tables = []
    for rule, column, field, says in (
        ("impossible_price", "impossible", "delivered", "close {:g} is not accepted as a price"),
        ("ohlc_inconsistent", "inconsistent", "delivered", "close {:g}, outside of or at odds with open, high and low"),
        ("impossible_volume", "impossible_volume", "volume", "a volume that cannot be"),
    ):
        hit = np.flatnonzero(bars[column].to_numpy() & fresh)
        rows = bars.iloc[hit]
        tables.append(
            findings_frame(
                sec_id=roster[rows["row"].to_numpy()],
                session=rows["session"].to_numpy(),
                rule=rule,
                observed=rows[field].to_numpy(),
                expected=np.nan,
                evidence=[says.format(value) for value in rows[field]],
                detected_at=seen[hit],
                index=range(len(hit)),
            )
            if len(hit)
            else no_findings()
        )
    return concat_findings(tables)


def _first_prices(prices: pd.DataFrame, roster: NDArray[np.object_]) -> NDArray[np.int32]:
    """Session of the first usable bar of each security that came with its session; a large number for none."""
    usable = ((prices["close"] > 0) | (prices["total_return_close"] > 0)) & (prices["visible"] <= prices["session"])
    at = np.flatnonzero(usable.to_numpy())
    owners = prices["sec_id"].cat.codes.to_numpy()[at]  # ascending
    where = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]][: len(owners)])
    first = np.full(len(prices["sec_id"].cat.categories) + 1, np.iinfo(np.int32).max, np.int32)
    first[owners[where]] = prices["session"].to_numpy()[at[where]]
    return first[prices["sec_id"].cat.categories.get_indexer(pd.Index(roster))]


def _listed_from(securities: pd.DataFrame, roster: NDArray[np.object_]) -> NDArray[np.int32]:
    known = securities.set_index("sec_id")["first"].reindex(pd.Index(roster))
    return known.fillna(NO_SESSION).to_numpy(np.int32)


def _events_by_kind(facts: Facts, roster: NDArray[np.object_], first: int, last: int) -> dict[str, NDArray[np.int64]]:
    """How many securities of the roster have a split, or a dividend, with ex-date on each session, as known then."""
    counts = {}
    for kind, events in (("split", facts.splits), ("dividend", facts.dividends)):
        mine = events["ex"].between(first, last) & (events["visible"] <= events["ex"]) & events["sec_id"].isin(roster)
        rows = events.loc[mine, ["sec_id", "ex"]].drop_duplicates()
        counts[kind] = np.bincount(rows["ex"].to_numpy() - first, minlength=last - first + 1)
    return counts


def _withheld_sessions(decisions: pd.DataFrame | None) -> NDArray[np.int64]:
    """Sessions whose delivery a person confirmed to be wrong."""
    if decisions is None:
        return np.empty(0, np.int64)
    whole = (decisions["sec_id"] == WHOLE_SESSION) & (decisions["decision"] == "confirm")
    return decisions.loc[whole, "session"].to_numpy(np.int64)


def _decisions_by_row(decisions: pd.DataFrame | None, roster: NDArray[np.object_]) -> dict[int, list[CellDecision]]:
    """Decisions about single cells by row, in the order in which they became known: the last one holds."""
    by_row: dict[int, list[CellDecision]] = {}
    if decisions is None:
        return by_row
    position = {sec_id: i for i, sec_id in enumerate(roster)}
    for one in decisions.sort_values(["visible", "session"], kind="stable").to_dict("records"):
        if one["sec_id"] in position:
            decision = CellDecision(int(one["session"]), int(one["visible"]), one["decision"])
            by_row.setdefault(position[one["sec_id"]], []).append(decision)
    return by_row
