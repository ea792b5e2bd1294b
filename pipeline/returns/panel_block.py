"""A block of securities over a range of sessions: the arithmetic behind `pipeline.returns.panel`.

Columns count from `start`, which lies a look-back before `first`; results are right from `first` on. Three passes:
`ordinary` makes every cell as if nothing were late and nothing outlying, `judge_cells` revisits the few cells near an
outlying move, a large event, a late row or a decision, and `delist` books delisting returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import exp, isfinite, log1p
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.quality.bar_rules import stale_closes
from pipeline.quality.findings import findings_frame, no_findings
from pipeline.returns.delistings import Delisting
from pipeline.returns.outliers import Judgement, Walked, Window, judge
from pipeline.returns.total_return import Accrued, EventTable, growth
from pipeline.settings import DataRules

NOT_A_BASE = (ReturnFlag.BAD_PRINT, ReturnFlag.LEVEL_BREAK, ReturnFlag.WITHHELD)

Cell = tuple[int, int]


@dataclass(frozen=True)
class CellDecision:
    """What a person decided about a cell: `release` or `confirm`, in force from `visible` on (ordinals)."""

    session: int
    visible: int
    verdict: str


@dataclass(frozen=True, eq=False)
class Roster:
    """What is known about the securities of a block apart from their bars. All by row.

    first_price: session of the first usable bar; listed_from: first session of the listing
    """

    sec_ids: NDArray[np.object_]
    first_price: NDArray[np.int32]
    listed_from: NDArray[np.int32]
    events: EventTable
    delistings: dict[int, list[Delisting]]
    decisions: dict[int, list[CellDecision]]


class Block:
    """`bars`: rows of the block's bars with `row`, `column` and what the bar rules say (`pipeline.returns.panel`)."""

    def __init__(self, bars: pd.DataFrame, roster: Roster, start: int, first: int, last: int, rules: DataRules) -> None:
        self.roster, self.rules, self.max_gap = roster, rules.outliers, rules.max_gap
        self.delisting_rules, self.listed_sessions = rules.delistings, rules.listed_sessions
        self.start, self.first, self.last = start, first, last
        self.reach = self.rules.window(self.max_gap)
        self.notes: list[dict[str, Any]] = []
        shape = len(roster.sec_ids), last - start + 1
        self.close, self.vendor, self.volume, self.spread = (np.full(shape, np.nan) for _ in range(4))
        self.why = np.zeros(shape, np.int16)  # ReturnFlag of a bar that is no price
        self.doubtful = np.zeros(shape, bool)
        self.out = np.zeros(shape, bool)  # after a delisting
        self._fill(bars)
        self._leave_out_delisted()
        stale = stale_closes(self.close, self.volume, rules.bars)
        self.why[stale] = ReturnFlag.STALE_PRICE
        for i, t in np.argwhere(stale).tolist():
            sessions = rules.bars.stale_sessions
            self.note(i, t, "stale_price", self.close[i, t], np.nan, f"{sessions} sessions or more without volume")
        self.close[stale] = self.vendor[stale] = np.nan
        self.ret = np.full(shape, np.nan)
        self.flag = np.zeros(shape, np.int16)

    def _fill(self, bars: pd.DataFrame) -> None:
        """First prints into the arrays; rows that became visible after their session are kept apart."""
        row, column = bars["row"].to_numpy(), bars["column"].to_numpy()
        on_time = (bars["visible"] <= bars["session"]).to_numpy()
        replaced = np.zeros(len(bars), bool)
        replaced[:-1] = (row[1:] == row[:-1]) & (column[1:] == column[:-1]) & on_time[1:]
        use = on_time & ~replaced
        at = row[use], column[use]
        for name, array in self._fields():
            array[at] = bars[name].to_numpy()[use]
        self.why[at] = bars["why"].to_numpy()[use]
        self.doubtful[at] = bars["doubtful"].to_numpy()[use]
        self.late = bars[~on_time & (bars["visible"] <= self.last).to_numpy()]

    def _fields(self) -> list[tuple[str, NDArray[np.float64]]]:
        """Columns of `bars` and the arrays that hold them."""
        return [
            ("close", self.close),
            ("total_return_close", self.vendor),
            ("volume", self.volume),
            ("spread", self.spread),
        ]

    def _leave_out_delisted(self) -> None:
        """Bars after a delisting return are no prices; the first one may be what a removed stock was worth."""
        self.after_removal: dict[Cell, float] = {}
        for i, delistings in self.roster.delistings.items():
            for one in delistings:
                lo, hi = max(one.booking - self.start, 0), min(one.resumes - self.start, self.close.shape[1])
                if lo >= hi:
                    continue
                if one.booking == one.last + 1 and one.booking >= self.start and self.volume[i, lo] > 0:
                    self.after_removal[i, lo] = float(self.close[i, lo])
                for t in (np.flatnonzero(np.isfinite(self.close[i, lo:hi])) + lo).tolist():
                    self.note(i, t, "bar_after_delisting", self.close[i, t], np.nan, f"last session was {one.last}")
                self.out[i, lo:hi] = True
                self.close[i, lo:hi] = self.vendor[i, lo:hi] = self.volume[i, lo:hi] = np.nan
                self.why[i, lo:hi] = 0

    # ------------------------------------------------------------------------------------------------ ordinary cells

    def ordinary(self) -> None:
        n, width = self.close.shape
        has_close, has_vendor = np.isfinite(self.close), np.isfinite(self.vendor)
        priced = has_close | has_vendor
        self.priced = priced
        columns = np.arange(width, dtype=np.int32)
        seen = np.maximum.accumulate(np.where(priced, columns, np.int32(-1)), axis=1)
        base = np.full((n, width), np.int32(-1))
        base[:, 1:] = seen[:, :-1]
        self._flag_missing(priced, seen)

        comparable = priced & (base >= 0) & (columns - base <= self.max_gap)
        self.flag[priced & ~comparable] = ReturnFlag.GAP_TOO_LONG
        opening = priced & (columns + self.start == self.roster.first_price[:, None])
        self.flag[opening] = ReturnFlag.FIRST_SESSION
        anchor = np.maximum(base, 0)
        from_close = comparable & has_close & np.take_along_axis(has_close, anchor, axis=1)
        from_vendor = comparable & ~from_close & has_vendor & np.take_along_axis(has_vendor, anchor, axis=1)
        self.flag[comparable & ~from_close & ~from_vendor] = ReturnFlag.NOT_COMPARABLE

        i, t = np.nonzero(from_vendor)
        b = base[i, t]
        self.ret[i, t] = self.vendor[i, t] / self.vendor[i, b] - 1.0
        self.flag[i, t] = np.where(t - b == 1, ReturnFlag.VENDOR_RATIO, ReturnFlag.VENDOR_RATIO_OVER_GAP)

        i, t = np.nonzero(from_close)
        b = base[i, t]
        self.events_until = self.roster.events.running_count(n, self.start, self.last)
        eventful = self.events_until[i, t] != self.events_until[i, b]
        some = self.roster.events.accrue(i[eventful], b[eventful] + self.start, t[eventful] + self.start)
        accrued = some.spread(eventful)
        self.ret[i, t] = growth(self.close[i, b], self.close[i, t], accrued)
        flag = np.where(accrued.events > 0, ReturnFlag.WITH_EVENTS, ReturnFlag.ORDINARY)
        flag = np.where(t - b > 1, ReturnFlag.OVER_GAP, flag)
        self.flag[i, t] = np.where(accrued.problem != 0, accrued.problem, flag)
        for k in np.flatnonzero(accrued.problem).tolist():
            rule = ReturnFlag(int(accrued.problem[k])).name.lower()
            self.note(int(i[k]), int(t[k]), rule, np.nan, np.nan, "an event of this return cannot be valued")
        self.plain = self.ret.copy()
        self._compare_with_vendor(i, t, b, accrued)

    def _compare_with_vendor(
        self, i: NDArray[np.intp], t: NDArray[np.intp], b: NDArray[np.int32], accrued: Accrued
    ) -> None:
        """Flag returns from closes that the back-adjusted closes contradict, where there are both.

        A back-adjusted ratio is not the total return: it divides by `close - cash` (returns by either count as equal).
        """
        both = np.isfinite(self.vendor[i, t]) & np.isfinite(self.vendor[i, b]) & (t + self.start >= self.first)
        i, t, b = i[both], t[both], b[both]
        num, den, cash = accrued.num[both], accrued.den[both], accrued.cash[both]
        theirs, ours = self.vendor[i, t] / self.vendor[i, b], 1.0 + self.ret[i, t]
        with np.errstate(invalid="ignore", divide="ignore"):
            divided = self.close[i, t] * num / den / (self.close[i, b] - cash)
            bad = (np.abs(theirs - ours) > self.rules.disagreement) & (
                np.abs(theirs - divided) > self.rules.disagreement
            )
        for k in np.flatnonzero(bad).tolist():
            evidence = f"{ours[k] - 1:+.2%} from closes and events, {theirs[k] - 1:+.2%} from back-adjusted closes"
            self.note(int(i[k]), int(t[k]), "vendor_disagrees", ours[k] - 1, theirs[k] - 1, evidence)

    def _flag_missing(self, priced: NDArray[np.bool_], seen: NDArray[np.int32]) -> None:
        columns = np.arange(priced.shape[1], dtype=np.int32)
        listed = (seen >= 0) & (columns - seen <= self.listed_sessions)
        since = columns + self.start - self.roster.listed_from[:, None]
        listed |= (self.roster.listed_from[:, None] >= 0) & (since >= 0) & (since <= self.listed_sessions)
        self.flag[:] = np.where(listed, ReturnFlag.NO_PRICE, ReturnFlag.NOT_LISTED)
        faulty = self.why != 0
        self.flag[faulty] = self.why[faulty]
        self.flag[self.out] = ReturnFlag.NOT_LISTED

    # --------------------------------------------------------------------------------------------------- judged cells

    def judge_cells(self) -> None:
        """Revisit cells near an outlying move, a large event, a late row or a decision."""
        self.late_of: dict[int, pd.DataFrame] = {}
        if len(self.late):
            owner = self.late["row"].to_numpy()
            self.late_of = {int(row): self.late[owner == row] for row in np.unique(owner)}
        cells = self._near_outlying() | self._near_large_events() | self._near_late_rows() | self._near_decisions()
        judged: list[tuple[Cell, Judgement]] = []
        for i, t in sorted(cells):
            if t + self.start >= self.first and not self.out[i, t]:
                judgement = self.judgement(i, t)
                if judgement is not None:
                    judged.append(((i, t), judgement))
        for (i, t), judgement in judged:
            flag = judgement.flag
            if flag == ReturnFlag.GAP_TOO_LONG and self.roster.first_price[i] >= t + self.start:
                flag = ReturnFlag.FIRST_SESSION
            self.ret[i, t], self.flag[i, t] = judgement.ret, flag
            lo = max(0, t - self.reach)
            for found in judgement.notes:
                self.note(i, lo + found.at, found.rule, found.observed, found.expected, found.evidence, t)

    def _following(self, i: int, t: int) -> set[Cell]:
        """The cell and the next priced ones whose judgement may still be open after it."""
        open_for = max(self.rules.level_sessions, self.rules.misdated) + 1
        end = min(t + self.reach, self.close.shape[1] - 1)
        return {(i, u) for u in [t, *(np.flatnonzero(self.priced[i, t + 1 : end + 1]) + t + 1)[:open_for].tolist()]}

    def _near_outlying(self) -> set[Cell]:
        with np.errstate(invalid="ignore", divide="ignore"):
            move = np.log1p(self.plain)
            outlying = (np.abs(move) > self.rules.event_jump) | (move < -self.rules.split_jump)
        cells: set[Cell] = set()
        for i, t in np.argwhere(outlying | self.doubtful).tolist():
            cells |= self._following(i, t)
        return cells

    def _near_large_events(self) -> set[Cell]:
        """Cells from `misdated` sessions before a large event to those that follow it."""
        width = self.close.shape[1]
        i, ex, factor, cash = self.roster.events.sizes()
        cells: set[Cell] = set()
        priced_until = np.cumsum(self.priced, axis=1, dtype=np.int32)
        for ahead in range(-self.rules.misdated, self.reach + 1):
            t = ex - self.start + ahead
            inside = np.flatnonzero((t - max(ahead, 0) >= 0) & (t < width))
            at_i, at_t = i[inside], t[inside]
            before = np.maximum(at_t - max(ahead, 0), 0)
            seen = self.priced[at_i, at_t]
            if ahead > 0:  # only the cells that see the event first, and those right after it
                earlier = priced_until[at_i, at_t - 1] - np.where(before > 0, priced_until[at_i, before - 1], 0)
                seen &= earlier <= self.rules.misdated
            inside, at_i, at_t, before = inside[seen], at_i[seen], at_t[seen], before[seen]
            large = factor[inside] >= self.rules.material
            large |= cash[inside] >= 0.8 * self.rules.material * self._last_close(at_i, before)
            cells.update(zip(at_i[large].tolist(), at_t[large].tolist(), strict=True))
        return cells

    def _last_close(self, i: NDArray[np.integer], t: NDArray[np.integer]) -> NDArray[np.float64]:
        """Last close up to each cell within the reach; NaN for none. (m,)"""
        close = np.full(len(i), np.nan)
        for back in range(self.max_gap + 1):
            here = np.isnan(close) & (t - back >= 0)
            close[here] = self.close[i[here], t[here] - back]
        return close

    def _near_late_rows(self) -> set[Cell]:
        end = self.close.shape[1] - 1
        cells: set[Cell] = set()
        for row, column, visible in self.late[["row", "column", "visible"]].to_numpy(np.int64).tolist():
            cells.update((row, t) for t in range(max(visible - self.start, 0), min(column + self.reach, end) + 1))
        return cells

    def _near_decisions(self) -> set[Cell]:
        end = self.close.shape[1] - 1
        cells: set[Cell] = set()
        for i, decisions in self.roster.decisions.items():
            for one in decisions:
                begin = max(one.session, one.visible, self.start) - self.start
                cells.update((i, t) for t in range(begin, min(one.session - self.start + self.reach, end) + 1))
        return cells

    def judgement(self, i: int, t: int) -> Judgement | None:
        """The cell judged on its window as known at its session; None where there is no price."""
        session, lo = t + self.start, max(0, t - self.reach)
        fields = {name: array[i, lo : t + 1] for name, array in self._fields()}
        if i in self.late_of:
            late = self.late_of[i]
            known = late[(late["visible"] <= session) & late["column"].between(lo, t)]
            at = known["column"].to_numpy() - lo  # in the order of `visible`: the last one known stays
            for name, values in fields.items():
                fields[name] = values.copy()
                fields[name][at] = known[name].to_numpy()
        if not (isfinite(fields["close"][-1]) or isfinite(fields["total_return_close"][-1])):
            return None
        decisions = self.roster.decisions.get(i, [])
        counts = self.events_until[i, lo : t + 1].tolist()

        def walk(after: int, upto: int) -> Walked:
            if upto < len(counts) and counts[after] == counts[upto]:
                return Walked()
            one = self.roster.events.accrue(
                np.array([i]),
                np.array([lo + after + self.start]),
                np.array([lo + upto + self.start]),
                np.array([session]),
            )
            return Walked(*(value[0].item() for value in one))

        @cache
        def scale(at: int) -> float:
            return self._scale(i, lo + at)

        window = Window(
            close=fields["close"].tolist(),
            vendor_close=fields["total_return_close"].tolist(),
            volume=fields["volume"].tolist(),
            spread=fields["spread"].tolist(),
            doubtful=self.doubtful[i, lo : t + 1].tolist(),
            scale=scale,
            verdict={
                one.session - self.start - lo: one.verdict
                for one in decisions
                if one.visible <= session and lo <= one.session - self.start <= t
            },
            walk=walk,
        )
        return judge(window, self.rules, self.max_gap)

    def doubt_small_splits(self) -> None:
        """Flag splits too small to be judged (stock dividends) that fit the moves better on a neighbouring session.

        The first session that can tell reports. Nothing is moved: a pair of moves is evidence, not proof.
        """
        i, ex, effects, visible = self.roster.events.splits()
        near = (ex >= self.first - self.rules.misdated) & (ex <= self.last) & (visible <= ex)
        near &= np.abs(effects) > self.rules.small
        columns = (ex[near] - self.start).tolist()
        for row, t, effect in zip(i[near].tolist(), columns, effects[near].tolist(), strict=True):
            for by in (-1, -2, 1, 2):
                if abs(by) <= self.rules.misdated and self._fits_better(row, t, t + by, effect):
                    move = float(self.plain[row, t])
                    evidence = (
                        f"a split (factor {exp(effect):g}) fits both moves better {by:+d} sessions from its ex-date"
                    )
                    expected = exp(log1p(move) - effect) - 1
                    self.note(row, t + by, "misdated_event", move, expected, evidence, max(t, t + by))
                    break

    def _fits_better(self, i: int, t: int, other: int, effect: float) -> bool:
        """Whether two moves are smaller with the split of `t` at the session `other`, by more than noise."""
        if min(t, other) < 1 or max(t, other) >= self.close.shape[1]:
            return False
        if not self.priced[i, [t - 1, t, other - 1, other]].all():
            return False
        scale = self._scale(i, min(t, other))
        if scale == 0 or abs(effect) >= max(self.rules.material, self.rules.material_sigmas * scale):
            return False  # `judge` looks at it
        here, there = np.log1p(self.plain[i, [t, other]]).tolist()
        if abs(here - effect) >= abs(here) or abs(there + effect) >= abs(there):
            return False
        gain = here**2 + there**2 - (here - effect) ** 2 - (there + effect) ** 2
        return bool(gain > self.rules.gain * scale**2)

    def _scale(self, i: int, column: int) -> float:
        """Robust daily scale before a column: 1.4826 times the median size of the returns of the last
        `scale_sessions`, or of the last `calm_sessions` if that is larger (a crisis has its own scale); 0 where too
        few are known."""
        before = self.plain[i, max(0, column - self.rules.scale_sessions) : column]
        sizes = np.abs(before[np.isfinite(before)])
        if len(sizes) < self.rules.scale_minimum:
            return 0.0
        return 1.4826 * max(_middle(sizes), _middle(sizes[-self.rules.calm_sessions :]))

    # ---------------------------------------------------------------------------------------------------- delistings

    def delist(self) -> None:
        """Delisting returns, each on its own session."""
        for i, delistings in self.roster.delistings.items():
            for one in delistings:
                t = one.booking - self.start
                if not (self.first <= one.booking <= self.last):
                    continue
                self.ret[i, t], self.flag[i, t] = self._delisting_return(i, t, one)
                if self.flag[i, t] == ReturnFlag.DELISTING_IMPUTED:
                    evidence = f"{one.reason} on {one.exchange or 'an unknown exchange'}, no value known"
                    self.note(i, t, "delisting_imputed", self.ret[i, t], np.nan, evidence)
                if one.booking > one.last + 1:
                    evidence = f"last session {one.last} became known at {one.booking}"
                    self.note(i, t, "late_delisting", one.booking - one.last, 1.0, evidence)

    def _delisting_return(self, i: int, t: int, one: Delisting) -> tuple[float, ReturnFlag]:
        value = one.value
        if np.isnan(value) and one.performance:
            value = self.after_removal.get((i, t), np.nan)
        if np.isnan(value):
            return one.imputed(self.delisting_rules), ReturnFlag.DELISTING_IMPUTED
        end = one.last - self.start
        for base in range(end, max(end - self.listed_sessions, -1), -1):
            if not isfinite(self.close[i, base]):
                continue
            judged = self.judgement(i, base)
            if judged is not None and judged.flag in NOT_A_BASE:
                continue
            accrued = self.roster.events.accrue(
                np.array([i]), np.array([base + self.start]), np.array([one.booking]), np.array([one.booking])
            )
            if accrued.problem[0]:
                return np.nan, ReturnFlag(int(accrued.problem[0]))
            ret = growth(self.close[i, base : base + 1], np.array([value]), accrued)
            return float(ret[0]), ReturnFlag.DELISTING
        return np.nan, ReturnFlag.GAP_TOO_LONG

    # ------------------------------------------------------------------------------------------------------- results

    def accepted(self) -> NDArray[np.float64]:
        """Closes, without those that were judged to be no prices."""
        return np.where(np.isin(self.flag, NOT_A_BASE), np.nan, self.close)

    def note(
        self,
        i: int,
        column: int,
        rule: str,
        observed: float,
        expected: float,
        evidence: str,
        detected: int | None = None,
    ) -> None:
        """Record a finding about a cell, unless it was made before `first`."""
        detected = column if detected is None else detected
        if detected + self.start < self.first:
            return
        self.notes.append(
            {
                "sec_id": self.roster.sec_ids[i],
                "session": int(column) + self.start,
                "rule": rule,
                "observed": observed,
                "expected": expected,
                "evidence": evidence,
                "detected_at": int(detected) + self.start,
            }
        )

    def findings(self) -> pd.DataFrame:
        if not self.notes:
            return no_findings()
        rows = pd.DataFrame(self.notes)
        return findings_frame(**{str(name): rows[name] for name in rows.columns})


def _middle(sizes: NDArray[np.float64]) -> float:
    """The upper median: always one of the values, so that no rounding enters."""
    middle = len(sizes) // 2
    return float(np.partition(sizes, middle)[middle])
