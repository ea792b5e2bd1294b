"""The daily panel: closes, volumes, returns and flags of a roster over a range of sessions.

A return published for `t` is made from the rows with `visible <= t` (first print). The ordinary case is vectorised
over blocks of securities; the few cells near an outlying move, a late row or a person's decision are judged one by one
(`pipeline.outliers`) on the window of their own session.

**Look-back.** A cell depends on no session more than `lookback(rules)` before it: the span of a return (`max_gap`), the
window of a judgement, and the 60 returns that scale its bounds. So a range can be cut anywhere: one session at a time
and all at once give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.facts import NO_SESSION, Facts, concat_findings, findings_frame, no_findings
from pipeline.outliers import Judgement, OutlierRules, Walked, Window, judge
from pipeline.return_flags import ReturnFlag
from pipeline.returns import Accrued, EventTable, close_of, event_table, growth
from pipeline.settings import DataRules

SCALE_SESSIONS = 60
"""Returns whose median size scales the outlier bounds; also how long a security without prices counts as listed."""

BLOCK = 256

OUTLIERS = OutlierRules()


@dataclass(frozen=True, eq=False)
class DailyPanel:
    """Arrays (n, last-first+1), row i is `sec_ids[i]`, column j the session with ordinal `first + j`.

    close:  float64, raw, accepted closes only, else NaN
    volume: float64, shares, NaN where missing or impossible
    ret:    float64, simple gross total return, else NaN
    flag:   int16 ReturnFlag
    quarantine: findings detected in the range, columns of `pipeline.facts.FINDING_COLUMNS`
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
    """Sessions before a cell that may influence it."""
    return OUTLIERS.window(rules.max_gap) + SCALE_SESSIONS + rules.max_gap + 1


def daily_panel(
    facts: Facts,
    sec_ids: Sequence[str] | NDArray[np.object_],
    first: int,
    last: int,
    rules: DataRules,
    decisions: pd.DataFrame | None = None,
) -> DailyPanel:
    """First-print returns of `sec_ids` on the sessions [first, last].

    `decisions`: what people released or confirmed, columns `sec_id session decision visible` (`session` and `visible`
    ordinals); each holds from its `visible` on.
    """
    roster = np.asarray(sec_ids, dtype=object)
    if not 0 <= first <= last:
        raise ValueError(f"expected 0 <= first <= last, found first={first}, last={last}")
    n, width = len(roster), last - first + 1
    panel = DailyPanel(
        sec_ids=roster,
        first=first,
        last=last,
        close=np.full((n, width), np.nan),
        volume=np.full((n, width), np.nan),
        ret=np.full((n, width), np.nan),
        flag=np.zeros((n, width), np.int16),
        quarantine=no_findings(),
    )
    start = max(0, first - lookback(rules))
    bars = _bars_of(facts, roster, start, last)
    first_price = _first_prices(facts.prices, roster)
    events = event_table(facts, roster)
    delistings = _delistings_of(facts, roster)
    verdicts = _decisions_of(decisions, roster)
    listed_from = _listed_from(facts.securities, roster)
    findings = []
    for lo in range(0, n, BLOCK):
        members = np.arange(lo, min(lo + BLOCK, n))
        block = _Block(
            facts=facts,
            sec_ids=roster[members],
            start=start,
            first=first,
            last=last,
            max_gap=rules.max_gap,
            bars=bars[(bars["security"] >= lo) & (bars["security"] <= members[-1])],
            offset=lo,
            events=events.rows_of(members),
            first_price=first_price[members],
            listed_from=listed_from[members],
        )
        block.ordinary()
        block.judged({i - lo: verdicts[i] for i in members if i in verdicts})
        for i in members:
            for row in delistings.get(i, ()):
                block.delist(i - lo, row)
        keep = slice(first - start, None)
        for name in ("close", "volume", "ret", "flag"):
            getattr(panel, name)[members] = getattr(block, name)[:, keep]
        findings.append(block.findings())
    known = facts.findings[facts.findings["detected_at"].between(first, last) & facts.findings["sec_id"].isin(roster)]
    return DailyPanel(**(vars(panel) | {"quarantine": concat_findings([known, *findings])}))


def _first_prices(prices: pd.DataFrame, roster: NDArray[np.object_]) -> NDArray[np.int32]:
    """Session of the first bar of each security that was there on its own session; a large number for none."""
    codes = prices["sec_id"].cat.codes.to_numpy()
    usable = ((prices["close"] > 0) | (prices["total_return_close"] > 0)).to_numpy()
    usable = usable & (prices["visible"].to_numpy() <= prices["session"].to_numpy())
    at = np.flatnonzero(usable)
    owners, where = np.unique(codes[at], return_index=True)
    first = np.full(len(prices["sec_id"].cat.categories) + 1, np.iinfo(np.int32).max, np.int32)
    first[owners] = prices["session"].to_numpy()[at[where]]
    return first[prices["sec_id"].cat.categories.get_indexer(pd.Index(roster))]


def _listed_from(securities: pd.DataFrame, roster: NDArray[np.object_]) -> NDArray[np.int32]:
    known = securities.set_index("sec_id")["first"].reindex(pd.Index(roster))
    return known.fillna(NO_SESSION).to_numpy(np.int32)


def _bars_of(facts: Facts, roster: NDArray[np.object_], start: int, last: int) -> pd.DataFrame:
    """Bars of the roster in [start, last] with `security` (row), `rejected` and closes that can be prices.

    Each security's rows stay together, in the order of `facts.prices`: by session, then `visible`.
    """
    prices = facts.prices
    session = prices["session"].to_numpy()
    at = np.flatnonzero((session >= start) & (session <= last))
    row_of_category = np.full(len(prices["sec_id"].cat.categories), -1, np.int64)
    category = prices["sec_id"].cat.categories.get_indexer(pd.Index(roster))
    row_of_category[category[category >= 0]] = np.flatnonzero(category >= 0)
    security = row_of_category[prices["sec_id"].cat.codes.to_numpy()[at]]
    at, security = at[security >= 0], security[security >= 0]
    bars = prices.iloc[at][["session", "close", "total_return_close", "volume", "visible"]].reset_index(drop=True)
    bars["security"] = security
    delivered = bars["close"].to_numpy()
    with np.errstate(invalid="ignore"):
        rejected = ~np.isnan(delivered) & ~((delivered > 0) & (delivered < SENTINEL))
        vendor = bars["total_return_close"].to_numpy()
        bad_vendor = ~((vendor > 0) & np.isfinite(vendor))
    bars["delivered"] = delivered
    bars["rejected"] = rejected
    bars["close"] = np.where(rejected, np.nan, delivered)
    bars["total_return_close"] = np.where(bad_vendor | rejected, np.nan, vendor)
    bars["volume"] = bars["volume"].where(bars["volume"] >= 0)
    return bars


SENTINEL = 1e6
"""Closes from here on are no prices (vendors write 1e6 and more for "none")."""


def _delistings_of(facts: Facts, roster: NDArray[np.object_]) -> dict[int, list[pd.Series]]:
    """Per security the delisting rows that are booked: one for each `last`, in the version known when it is booked."""
    position = {sec_id: i for i, sec_id in enumerate(roster)}
    rows = facts.delistings[facts.delistings["sec_id"].isin(position)]
    exchange = facts.securities.set_index("sec_id")["exchange"]
    booked: dict[int, list[pd.Series]] = {}
    for (sec_id, last), versions in rows.groupby(["sec_id", "last"], sort=True):
        versions = versions.sort_values("visible")
        booking = max(int(last) + 1, int(versions["visible"].iloc[0]))
        row = versions[versions["visible"] <= booking].iloc[-1].copy()
        row["booking"], row["exchange"] = booking, str(exchange.get(sec_id, ""))
        booked.setdefault(position[sec_id], []).append(row)
    return booked


def _decisions_of(decisions: pd.DataFrame | None, roster: NDArray[np.object_]) -> dict[int, list[tuple[int, int, str]]]:
    """Per security (session, visible, decision), in the order in which they became known."""
    if decisions is None or decisions.empty:
        return {}
    position = {sec_id: i for i, sec_id in enumerate(roster)}
    found: dict[int, list[tuple[int, int, str]]] = {}
    for row in decisions.sort_values(["visible", "session"], kind="stable").itertuples():
        if row.sec_id in position:
            found.setdefault(position[row.sec_id], []).append((int(row.session), int(row.visible), row.decision))
    return found


class _Block:
    """A block of securities over [start, last]; columns count from `start`, results before `first` are scaffolding."""

    def __init__(
        self,
        facts: Facts,
        sec_ids: NDArray[np.object_],
        start: int,
        first: int,
        last: int,
        max_gap: int,
        bars: pd.DataFrame,
        offset: int,
        events: EventTable,
        first_price: NDArray[np.int32],
        listed_from: NDArray[np.int32],
    ) -> None:
        self.facts, self.sec_ids, self.max_gap = facts, sec_ids, max_gap
        self.start, self.first, self.last = start, first, last
        self.events, self.first_price, self.listed_from = events, first_price, listed_from
        self.rows: list[dict[str, object]] = []
        shape = len(sec_ids), last - start + 1
        security = bars["security"].to_numpy() - offset
        column = bars["session"].to_numpy() - start
        on_time = bars["visible"].to_numpy() <= bars["session"].to_numpy()
        superseded = np.zeros(len(bars), bool)
        same = (security[1:] == security[:-1]) & (column[1:] == column[:-1])
        superseded[:-1] = same & on_time[1:]
        use = on_time & ~superseded
        self.close = np.full(shape, np.nan)
        self.vendor = np.full(shape, np.nan)
        self.volume = np.full(shape, np.nan)
        self.rejected = np.zeros(shape, bool)
        for name, array in (
            ("close", self.close),
            ("total_return_close", self.vendor),
            ("volume", self.volume),
            ("rejected", self.rejected),
        ):
            array[security[use], column[use]] = bars[name].to_numpy()[use]
        for k in np.flatnonzero(use & bars["rejected"].to_numpy()):
            if column[k] + start >= first:
                delivered = float(bars["delivered"].iloc[k])
                evidence = f"close {delivered:g} is not a price between 0 and {SENTINEL:g}"
                self._note(
                    security[k], column[k], column[k], "impossible_price", "quarantine", delivered, np.nan, evidence
                )
        late = ~on_time & (bars["visible"].to_numpy() <= last)
        self.late = bars[late].assign(security=security[late], column=column[late])
        self.ret = np.full(shape, np.nan)
        self.flag = np.zeros(shape, np.int16)

    def ordinary(self) -> None:
        """Every cell as if nothing were late and nothing outlying."""
        n, width = self.close.shape
        has_close, has_vendor = np.isfinite(self.close), np.isfinite(self.vendor)
        priced = has_close | has_vendor
        columns = np.arange(width, dtype=np.int32)
        seen = np.maximum.accumulate(np.where(priced, columns, -1), axis=1)
        base = np.full((n, width), -1, np.int32)
        base[:, 1:] = seen[:, :-1]
        gap = columns - base
        self.base = np.where(base >= 0, base, -1)

        session = columns + self.start
        quiet = (seen < 0) | (columns - seen > SCALE_SESSIONS)
        newly_listed = (session >= self.listed_from[:, None]) & (session - self.listed_from[:, None] <= SCALE_SESSIONS)
        newly_listed &= self.listed_from[:, None] >= 0
        self.flag[:] = np.where(quiet & ~newly_listed, ReturnFlag.NOT_LISTED, ReturnFlag.NO_PRICE)
        self.flag[self.rejected] = ReturnFlag.REJECTED_PRICE
        too_long = priced & ((base < 0) | (gap > self.max_gap))
        self.flag[too_long] = ReturnFlag.GAP_TOO_LONG
        self.flag[priced & (session == self.first_price[:, None])] = ReturnFlag.FIRST_SESSION
        comparable = priced & ~too_long
        from_close = comparable & has_close & np.take_along_axis(has_close, np.maximum(base, 0), axis=1)
        from_vendor = comparable & ~from_close & has_vendor
        from_vendor &= np.take_along_axis(has_vendor, np.maximum(base, 0), axis=1)
        self.flag[comparable & ~from_close & ~from_vendor] = ReturnFlag.NOT_COMPARABLE

        i, t = np.nonzero(from_vendor)
        b = base[i, t]
        self.ret[i, t] = self.vendor[i, t] / self.vendor[i, b] - 1.0
        self.flag[i, t] = np.where(t - b == 1, ReturnFlag.VENDOR_RATIO, ReturnFlag.VENDOR_RATIO_OVER_GAP)

        i, t = np.nonzero(from_close)
        b = base[i, t]
        counts = self.events.sessions_with_events(n, self.start, self.last)
        eventful = counts[i, t] != counts[i, b]
        accrued = _none_accrued(len(i))
        some = self.events.accrue(i[eventful], b[eventful] + self.start, t[eventful] + self.start)
        for whole, part in zip(accrued, some, strict=True):
            whole[eventful] = part
        self.ret[i, t] = growth(self.close[i, b], self.close[i, t], accrued)
        flag = np.where(accrued.events > 0, ReturnFlag.WITH_EVENTS, ReturnFlag.ORDINARY)
        flag = np.where(t - b > 1, ReturnFlag.OVER_GAP, flag)
        self.flag[i, t] = np.where(accrued.problem != 0, accrued.problem, flag)
        self.plain = self.ret.copy()

    def judged(self, decisions: dict[int, list[tuple[int, int, str]]]) -> None:
        """Cells near an outlying move, a late row or a decision, each on the window of its own session."""
        reach = OUTLIERS.window(self.max_gap)
        with np.errstate(invalid="ignore", divide="ignore"):
            outlying = np.abs(np.log1p(self.plain)) > OUTLIERS.jump
        cells: set[tuple[int, int]] = set()
        for i, u in zip(*np.nonzero(outlying), strict=True):
            cells.update((int(i), t) for t in range(u, min(u + reach, self.last - self.start) + 1))
        late_of: dict[int, pd.DataFrame] = {}
        if len(self.late):
            late_of = dict(tuple(self.late.groupby("security", sort=True)))
            for row in self.late.itertuples():
                begin = int(row.visible) - self.start
                cells.update(
                    (row.security, t) for t in range(max(begin, 0), min(row.column + reach, self.last - self.start) + 1)
                )
        for i, made in decisions.items():
            for session, visible, _ in made:
                begin, end = max(session, visible) - self.start, session - self.start + reach
                cells.update((i, t) for t in range(max(begin, 0), min(end, self.last - self.start) + 1))
        for i, t in sorted(cells):
            if t + self.start >= self.first:
                self._judge(i, t, late_of.get(i), decisions.get(i, []))

    def _judge(self, i: int, t: int, late: pd.DataFrame | None, decisions: list[tuple[int, int, str]]) -> None:
        session = t + self.start
        lo = max(0, t - OUTLIERS.window(self.max_gap))
        close, vendor, volume = self.close[i, lo : t + 1], self.vendor[i, lo : t + 1], self.volume[i, lo : t + 1]
        if late is not None:
            known = late[(late["visible"] <= session) & (late["column"] >= lo) & (late["column"] <= t)]
            close, vendor, volume = close.copy(), vendor.copy(), volume.copy()
            for row in known.itertuples():  # in the order of `visible`: the last one known stays
                at = row.column - lo
                close[at], vendor[at], volume[at] = row.close, row.total_return_close, row.volume
        if not (np.isfinite(close[-1]) or np.isfinite(vendor[-1])):
            return
        verdict = {s - self.start - lo: d for s, visible, d in decisions if visible <= session and s - self.start >= lo}

        def walk(after: int, upto: int) -> Walked:
            return self._walked(i, lo + after, lo + upto, session)

        window = Window(
            close=close.tolist(),
            vendor_close=vendor.tolist(),
            volume=volume.tolist(),
            scale=[self._scale(i, u) if outlying else 0.0 for u, outlying in self._steps(i, lo, t)],
            verdict=verdict,
            walk=walk,
        )
        judgement: Judgement = judge(window, OUTLIERS, self.max_gap)
        first_price = int(self.first_price[i])
        flag = judgement.flag
        if flag == ReturnFlag.GAP_TOO_LONG and first_price >= session:
            flag = ReturnFlag.FIRST_SESSION
        self.ret[i, t], self.flag[i, t] = judgement.ret, flag
        for found in judgement.findings:
            self._note(
                i, lo + found.session, t, found.rule, found.outcome, found.observed, found.expected, found.evidence
            )

    def _steps(self, i: int, lo: int, t: int) -> list[tuple[int, bool]]:
        """Columns of a window; whether the scale of that column is worth computing."""
        plain = self.plain[i, lo : t + 1]
        with np.errstate(invalid="ignore"):
            large = ~(np.abs(plain) < 0.3)  # NaN counts as large: an outlying move may start from another base
        return list(zip(range(lo, t + 1), large.tolist(), strict=True))

    def _scale(self, i: int, column: int) -> float:
        """Robust daily scale before a column: 1.4826 times the median size of the returns of SCALE_SESSIONS."""
        before = self.plain[i, max(0, column - SCALE_SESSIONS) : column]
        before = np.sort(np.abs(before[np.isfinite(before)]))
        if len(before) < SCALE_SESSIONS // 3:
            return 0.0
        return float(1.4826 * before[len(before) // 2])

    def _walked(self, i: int, after: int, upto: int, known_at: int) -> Walked:
        one = self.events.accrue(
            np.array([i]), np.array([after + self.start]), np.array([upto + self.start]), np.array([known_at])
        )
        return Walked(
            float(one.num[0]),
            float(one.den[0]),
            float(one.cash[0]),
            int(one.events[0]),
            bool(one.splits[0]),
            int(one.problem[0]),
        )

    def delist(self, i: int, row: pd.Series) -> None:
        """Book the delisting return on its session; after it there is nothing."""
        booking, last = int(row["booking"]), int(row["last"])
        if booking > self.last:
            return
        b = booking - self.start
        if b >= 0:
            ret, flag, evidence = self._delisting_return(i, row, b)
            self.ret[i, b], self.flag[i, b] = ret, flag
            if flag == ReturnFlag.DELISTING_IMPUTED:
                self._note(i, b, b, "delisting_imputed", "flag", ret, np.nan, evidence)
            if booking > last + 1:
                late = f"delisting after session {last} was known {booking - last} sessions later"
                self._note(i, b, b, "late_delisting", "flag", float(booking - last), 1.0, late)
            self.close[i, b] = self.volume[i, b] = np.nan
        b = max(b, -1)
        self.close[i, b + 1 :] = self.volume[i, b + 1 :] = self.ret[i, b + 1 :] = np.nan
        self.flag[i, b + 1 :] = ReturnFlag.NOT_LISTED

    def _delisting_return(self, i: int, row: pd.Series, b: int) -> tuple[float, ReturnFlag, str]:
        booking, last = int(row["booking"]), int(row["last"])
        upto = last - self.start
        closes = self.close[i, max(0, upto - SCALE_SESSIONS) : upto + 1] if upto >= 0 else self.close[i, :0]
        good = np.flatnonzero(np.isfinite(closes))
        base = upto - (len(closes) - 1 - good[-1]) if len(good) else -1
        value = _consideration(self.facts.prices, row, booking)
        if np.isnan(value) and row["reason"] in PERFORMANCE and booking == last + 1:
            traded = np.isfinite(self.close[i, b]) and self.volume[i, b] > 0
            value = self.close[i, b] if traded else np.nan
        if np.isfinite(value):
            if base < 0:
                return np.nan, ReturnFlag.GAP_TOO_LONG, ""
            walked = self._walked(i, base, b, booking)
            if walked.problem:
                return np.nan, ReturnFlag(walked.problem), ""
            factor = (value * walked.num / walked.den + walked.cash) / self.close[i, base]
            return factor - 1.0, ReturnFlag.DELISTING, ""
        imputed = imputed_delisting_return(str(row["reason"]), str(row["exchange"]))
        return imputed, ReturnFlag.DELISTING_IMPUTED, f"{row['reason']} on {row['exchange'] or 'an unknown exchange'}"

    def _note(
        self,
        i: int,
        column: int,
        detected: int,
        rule: str,
        outcome: str,
        observed: float,
        expected: float,
        evidence: str,
    ) -> None:
        self.rows.append(
            {
                "sec_id": self.sec_ids[i],
                "session": int(column) + self.start,
                "rule": rule,
                "outcome": outcome,
                "observed": observed,
                "expected": expected,
                "evidence": evidence,
                "detected_at": int(detected) + self.start,
            }
        )

    def findings(self) -> pd.DataFrame:
        rows = pd.DataFrame(self.rows)
        return findings_frame(**{name: rows[name] for name in rows.columns}) if len(rows) else no_findings()


PERFORMANCE = frozenset({"exchange_drop", "bankruptcy", "unknown"})
"""Reasons that are imputed as performance delistings (CRSP 500, 520-584)."""


def imputed_delisting_return(reason: str, exchange: str) -> float:
    """Without evidence of what holders got: -30 % on NYSE and AMEX (Shumway 1997), -55 % on Nasdaq (Shumway and Warther
    1999) for performance reasons, nothing for the others."""
    if reason not in PERFORMANCE:
        return 0.0
    return -0.55 if "NAS" in exchange.upper() else -0.30


def _consideration(prices: pd.DataFrame, row: pd.Series, known_at: int) -> float:
    """Value of what one share became: cash, successor shares at their close of the last session, or both."""
    cash, successor, ratio = float(row["cash"]), row["successor_sec_id"], float(row["successor_ratio"])
    if successor and np.isfinite(ratio):
        close = close_of(prices, successor, int(row["last"]), known_at, max_age=SCALE_SESSIONS // 6)
        return (0.0 if np.isnan(cash) else cash) + ratio * close
    return cash


def _none_accrued(n: int) -> Accrued:
    return Accrued(np.ones(n), np.ones(n), np.zeros(n), np.zeros(n, np.int32), np.zeros(n, bool), np.zeros(n, np.int16))
