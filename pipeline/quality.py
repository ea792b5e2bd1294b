"""The rules about bars, events and sessions (those about returns are in `pipeline.outliers`, about rewritten bars in
`pipeline.drift`).

Rules that look at one bar or one event give findings; the panel leaves out what they quarantine. Rules that look at a
whole delivery stop the session before anything is computed (`BatchFault`), unless a person released it. A rule looks at
rows up to the session in which it reports and no further.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.delistings import close_of
from pipeline.findings import concat_findings, findings_frame, no_findings
from pipeline.settlement import ex_sessions


@dataclass(frozen=True)
class BarRules:
    """Bounds of the bar rules.

    sentinel:       closes from here on are no prices (vendors write 1e6 for "none"), unless a close of the
                    `sentinel_sessions` before was above `sentinel_if_below`
    ohlc_tolerance: relative
    stale_sessions: the repetition of a close without volume from which on it is no price
    """

    sentinel: float = 1e6
    sentinel_if_below: float = 5e5
    sentinel_sessions: int = 60
    ohlc_tolerance: float = 1e-6
    stale_sessions: int = 5


@dataclass(frozen=True)
class EventRules:
    """Bounds of the event rules.

    ratio:      largest split either way
    yield_jump: factor by which a regular dividend's yield may leave the range of the last four
    basis:      difference of the return between the two bases from which on somebody should look
    due_bill:   share of the price from which on a payout goes ex after it is paid, whatever its record date
    """

    ratio: float = 1000.0
    yield_jump: float = 5.0
    basis: float = 0.0025
    due_bill: float = 0.25


@dataclass(frozen=True)
class PanelRules:
    """Bounds for one session over all securities; sessions with fewer than `names` securities are not judged.

    coverage:        smallest share of the names with a price the session before that must have one
    stale:           largest share of names whose close and volume both repeat the session before
    broken_factor, broken_share: largest share of names whose close breaks by more than the factor without an event
    shifted_bars, shifted_sessions: bars on closed days within so many sessions that make the dates of a code shifted
    zero_returns:    largest share of returns that are exactly zero
    median_move:     largest median of |return|
    splits, dividends: largest share of names with one on one ex-date
    market_correlation, month_sessions: smallest correlation of the market ETF with the cap-weighted stocks in a month
                     of at least so many sessions
    """

    names: int = 20
    coverage: float = 0.7
    stale: float = 0.5
    broken_factor: float = 8.0
    broken_share: float = 0.05
    shifted_bars: int = 3
    shifted_sessions: int = 25
    zero_returns: float = 0.3
    median_move: float = 0.06
    splits: float = 0.03
    dividends: float = 0.15
    market_correlation: float = 0.9
    month_sessions: int = 15


STOCK_TYPES = ("common", "adr", "reit")

SESSIONS_AT_ONCE = 504
"""Sessions whose bars are laid out side by side at a time, which bounds the memory."""

SHARES_EXPECTED_AFTER = 126
"""Sessions after the first price by which a share count should be known."""

BAR_RULES, EVENT_RULES, PANEL_RULES = BarRules(), EventRules(), PanelRules()


class BatchFault(RuntimeError):
    """A delivery is wrong as a whole; nothing of it may be computed. `findings` are the rows that say why."""

    def __init__(self, findings: pd.DataFrame) -> None:
        self.findings = findings
        shown = "\n".join(f"  {row['rule']}: {row['evidence']}" for row in findings.to_dict("records")[:20])
        super().__init__(
            f"{len(findings)} faults of whole deliveries; nothing was computed.\n{shown}\n"
            "Have the vendor deliver again. Or accept it as it is: erm3 quality release '*' SESSION (a code: SEC_ID\n"
            "SESSION). Or withhold the session: erm3 quality confirm '*' SESSION"
        )


def rejected_closes(bars: pd.DataFrame, rules: BarRules = BAR_RULES) -> NDArray[np.bool_]:
    """Bars whose close is a number that cannot be a price. Bars of one security stand together, by session."""
    close = bars["close"].to_numpy()
    with np.errstate(invalid="ignore"):
        impossible = ~np.isnan(close) & ~((close > 0) & np.isfinite(close))
        sentinel = close >= rules.sentinel
    if sentinel.any():  # a stock that really trades there has traded near there
        owner, session = bars["sec_id"].cat.codes.to_numpy(), bars["session"].to_numpy()
        for k in np.flatnonzero(sentinel & ~impossible):
            near = (owner == owner[k]) & (session < session[k]) & (session >= session[k] - rules.sentinel_sessions)
            impossible[k] = not (close[near & (close < rules.sentinel)] >= rules.sentinel_if_below).any()
    return impossible


def inconsistent_bars(bars: pd.DataFrame, rules: BarRules = BAR_RULES) -> NDArray[np.bool_]:
    """Bars that break `low <= open, close <= high`; a missing field breaks nothing."""
    slack = 1 + rules.ohlc_tolerance
    opened, high, low, close = (bars[name].to_numpy() for name in ("open", "high", "low", "close"))
    with np.errstate(invalid="ignore"):
        return (
            (low > high * slack)
            | (low > opened * slack)
            | (low > close * slack)
            | (opened > high * slack)
            | (close > high * slack)
        )


def closes_outside_range(bars: pd.DataFrame, factor: float) -> NDArray[np.bool_]:
    """Closes more than `factor` outside the [low, high] of their own bar."""
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    with np.errstate(invalid="ignore"):
        return (close > factor * high) | (close * factor < low)


def impossible_volumes(bars: pd.DataFrame) -> NDArray[np.bool_]:
    volume = bars["volume"].to_numpy()
    with np.errstate(invalid="ignore"):
        return ~np.isnan(volume) & ~((volume >= 0) & np.isfinite(volume))


def stale_closes(
    close: NDArray[np.float64], volume: NDArray[np.float64], rules: BarRules = BAR_RULES
) -> NDArray[np.bool_]:
    """(n, T) cells from the `stale_sessions`-th on of a run of one close without volume, sessions without gaps."""
    repeats = np.zeros(close.shape, bool)
    repeats[:, 1:] = (close[:, 1:] == close[:, :-1]) & (volume[:, 1:] == 0)
    stale = repeats.copy()
    for back in range(1, rules.stale_sessions):
        stale[:, back:] &= repeats[:, :-back]
        stale[:, :back] = False
    return stale


def event_findings(
    prices: pd.DataFrame,
    splits: pd.DataFrame,
    dividends: pd.DataFrame,
    spin_offs: pd.DataFrame,
    rules: EventRules = EVENT_RULES,
) -> list[pd.DataFrame]:
    """Findings about events one by one, each reported at the first session that can use the event."""
    kinds = (("split", splits), ("dividend", dividends), ("spin-off", spin_offs))
    return [
        *(_late(frame, name) for name, frame in kinds),
        _odd_ratios(splits, rules),
        *_odd_dividends(prices, splits, dividends, rules),
        _spin_off_values(prices, spin_offs),
    ]


def _dated(rows: pd.DataFrame, rule: str, observed: Any, expected: Any, evidence: list[str]) -> pd.DataFrame:
    """Findings about events; each is reported at the first session that knows the event, not before its ex-date."""
    return findings_frame(
        sec_id=rows["sec_id"].to_numpy(),
        session=rows["ex"].to_numpy(),
        rule=rule,
        observed=observed,
        expected=expected,
        evidence=evidence,
        detected_at=np.maximum(rows["ex"].to_numpy(), rows["visible"].to_numpy()),
        index=range(len(rows)),
    )


def _late(events: pd.DataFrame, name: str) -> pd.DataFrame:
    rows = events[events["visible"] > events["ex"]]
    delay = (rows["visible"] - rows["ex"]).to_numpy()
    evidence = [f"{name} became known {n} sessions after its ex-date" for n in delay]
    return _dated(rows, "late_event", delay, 0.0, evidence)


def _odd_ratios(splits: pd.DataFrame, rules: EventRules) -> pd.DataFrame:
    ratio = splits["ratio_new"].to_numpy() / splits["ratio_old"].to_numpy()
    odd = (ratio > rules.ratio) | (ratio < 1 / rules.ratio)
    return _dated(splits[odd], "ratio_out_of_bounds", ratio[odd], rules.ratio, [f"ratio {r:g}" for r in ratio[odd]])


def _odd_dividends(
    prices: pd.DataFrame, splits: pd.DataFrame, dividends: pd.DataFrame, rules: EventRules
) -> list[pd.DataFrame]:
    """Yield jumps, changes of currency, and a basis that matters."""
    rows = dividends.copy()
    rows["price"] = closes_before(prices, rows)
    both = rows.merge(splits[["sec_id", "ex", "ratio_new", "ratio_old"]], on=["sec_id", "ex"])
    ratio = (both["ratio_new"] / both["ratio_old"]).to_numpy()
    differs = both["amount"].to_numpy() * np.abs(ratio - 1) / both["price"].to_numpy()
    matters = differs > rules.basis
    says = [
        f"{basis} basis used; the other differs by {d:.2%}" for basis, d in zip(both["basis"], differs, strict=True)
    ]
    review = _dated(both[matters], "basis_review", differs[matters], rules.basis, list(np.array(says)[matters]))

    regular = rows[rows["kind"] == "regular"].sort_values(["sec_id", "ex", "visible"], ignore_index=True)
    regular = regular.drop_duplicates(["sec_id", "ex"], keep="first", ignore_index=True)
    before = regular.shift()
    follows = (regular["sec_id"] == before["sec_id"]) & (before["visible"] <= regular[["ex", "visible"]].max(axis=1))
    same_money = regular["currency"] == before["currency"]
    yields = (regular["amount"] / regular["price"]).where(follows | (regular["sec_id"] != before["sec_id"]))
    owner = regular["sec_id"].to_numpy()
    earlier = np.column_stack([yields.shift(k).where(pd.Series(owner).shift(k) == owner) for k in range(1, 5)])
    high, low = np.fmax.reduce(earlier, axis=1), np.fmin.reduce(earlier, axis=1)
    now = yields.to_numpy()
    with np.errstate(invalid="ignore"):
        jumps = (follows & same_money).to_numpy() & ((now > rules.yield_jump * high) | (now * rules.yield_jump < low))
    evidence = [f"yield {y:.3%}, the last four had {a:.3%} to {b:.3%}" for y, a, b in zip(now, low, high, strict=True)]
    odd_yield = _dated(regular[jumps], "yield_jump", now[jumps], high[jumps], list(np.array(evidence, object)[jumps]))
    return [review, odd_yield, *_odd_currencies(regular, before, follows.to_numpy(), same_money.to_numpy())]


def _odd_currencies(
    regular: pd.DataFrame, before: pd.DataFrame, follows: NDArray[np.bool_], same_money: NDArray[np.bool_]
) -> list[pd.DataFrame]:
    """Dividends in another currency than the one before, or, the first of a security, than its price.

    When the second has another one than the first, either may be wrong: the first is named too, at that moment.
    """
    changed = follows & ~same_money
    first = (regular["sec_id"] != before["sec_id"]).to_numpy()
    alone = first & (regular["currency"] != regular["quoted"]).to_numpy()
    second = changed & np.r_[False, first[:-1]]
    earlier = before[second].astype({"ex": "int32"})
    moment = regular.loc[second, ["ex", "visible"]].max(axis=1).to_numpy()
    told = [
        f"paid in {now}, the one before in {then}"
        for now, then in zip(regular["currency"][changed], before["currency"][changed], strict=True)
    ]
    abroad = [
        f"the first one, paid in {paid}, the price is in {quoted}"
        for paid, quoted in zip(regular["currency"][alone], regular["quoted"][alone], strict=True)
    ]
    doubted = [
        f"paid in {then}, the next one in {now}"
        for now, then in zip(regular["currency"][second], earlier["currency"], strict=True)
    ]
    return [
        _dated(regular[changed], "currency_change", np.nan, np.nan, told),
        _dated(regular[alone], "currency_change", np.nan, np.nan, abroad),
        _dated(earlier, "currency_change", np.nan, np.nan, doubted).assign(detected_at=moment.astype(np.int32)),
    ]


def _spin_off_values(prices: pd.DataFrame, spin_offs: pd.DataFrame) -> pd.DataFrame:
    """How each spin-off is valued: from the child's first close, or as stated."""
    values, evidence = [], []
    for row in spin_offs.to_dict("records"):
        close = close_of(prices, row["child_sec_id"], row["ex"], max(row["ex"], row["visible"]))
        values.append(row["child_ratio"] * close if np.isfinite(close) else row["value"])
        evidence.append(
            f"{row['child_ratio']:g} * close {close:g}" if np.isfinite(close) else "as stated by the vendor"
        )
    return _dated(spin_offs, "spin_off_value", values, np.nan, evidence)


def off_record_findings(
    prices: pd.DataFrame, splits: pd.DataFrame, dividends: pd.DataFrame, rules: EventRules = EVENT_RULES
) -> list[pd.DataFrame]:
    """Dividends, and stock dividends, whose ex-date is not the one that their `record_date` gives; none without one."""
    paid = dividends[dividends["record_date"].notna()]
    given = splits[splits["record_date"].notna() & (splits["kind"] == "split")]
    with np.errstate(invalid="ignore"):
        paid = paid[~(paid["amount"].to_numpy() >= rules.due_bill * closes_before(prices, paid))]
    ratio = given["ratio_new"] / given["ratio_old"]
    given = given[(ratio > 1) & (ratio < 1 + rules.due_bill)]
    found = []
    for rows in (paid, given):
        expected = ex_sessions(rows["record_date"])
        off = expected != rows["ex"].to_numpy()
        evidence = [
            f"record date {day:%Y-%m-%d}: {abs(by)} sessions too {'late' if by > 0 else 'early'}"
            for day, by in zip(rows["record_date"][off], (rows["ex"].to_numpy() - expected)[off], strict=True)
        ]
        found.append(_dated(rows[off], "ex_date_off_record", rows["ex"].to_numpy()[off], expected[off], evidence))
    return found


def missing_share_counts(prices: pd.DataFrame, securities: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Stocks that still trade half a year after their first price while no share count of theirs is known."""
    stocks = securities.loc[securities["sec_type"].isin(STOCK_TYPES), "sec_id"]
    spans = prices.groupby("sec_id", observed=True)["session"].agg(["min", "max"])
    spans = spans[spans.index.isin(stocks)]
    due = spans["min"] + SHARES_EXPECTED_AFTER
    known = shares.groupby("sec_id")["visible"].min().reindex(spans.index.astype("str")).to_numpy()
    late = (spans["max"] >= due).to_numpy() & ~(known <= due.to_numpy())
    return findings_frame(
        sec_id=spans.index[late].astype("str"),
        session=due[late].to_numpy(),
        rule="no_share_count",
        observed=0.0,
        expected=1.0,
        evidence=f"{SHARES_EXPECTED_AFTER} sessions after the first price no share count is known",
        detected_at=due[late].to_numpy(),
        index=range(int(late.sum())),
    )


def closes_before(prices: pd.DataFrame, events: pd.DataFrame) -> NDArray[np.float64]:
    """Last close before each event's ex-date, as first printed; NaN for none. (n,)"""
    codes = prices["sec_id"].cat.codes.to_numpy(np.int64)
    printed = np.flatnonzero((prices["visible"] <= prices["session"]) & (prices["close"] > 0))
    key = (codes[printed] << 20) | prices["session"].to_numpy(np.int64)[printed]
    owner = prices["sec_id"].cat.categories.get_indexer(pd.Index(events["sec_id"])).astype(np.int64)
    wanted = (owner << 20) | events["ex"].to_numpy(np.int64)
    at = np.searchsorted(key, wanted) - 1
    found = (at >= 0) & (owner >= 0)
    found[found] = key[at[found]] >> 20 == owner[found]
    close = np.full(len(events), np.nan)
    close[found] = prices["close"].to_numpy()[printed[at[found]]]
    return close


def batch_findings(
    prices: pd.DataFrame, events: pd.DataFrame, first: int, last: int, rules: PanelRules = PANEL_RULES
) -> pd.DataFrame:
    """Faults of whole sessions in [first, last]; each looks at its session and the one before, as first printed.

    events: frame with `sec_id` and `ex` whose securities are left out of the comparison of closes on that session.
    """
    blocks = [
        _faults_of_sessions(prices, events, begin, min(begin + SESSIONS_AT_ONCE - 1, last), rules)
        for begin in range(first, last + 1, SESSIONS_AT_ONCE)
    ]
    return concat_findings(blocks)


def _faults_of_sessions(
    prices: pd.DataFrame, events: pd.DataFrame, first: int, last: int, rules: PanelRules
) -> pd.DataFrame:
    session = prices["session"].to_numpy()
    at = np.flatnonzero((session >= first - 1) & (session <= last) & (prices["visible"].to_numpy() <= session))
    names = prices["sec_id"].cat.categories
    row, column = prices["sec_id"].cat.codes.to_numpy()[at], session[at] - (first - 1)
    shape = len(names), last - first + 2
    close, vendor, volume = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    for name, array in (("close", close), ("total_return_close", vendor), ("volume", volume)):
        array[row, column] = prices[name].to_numpy()[at]
    eventful = np.zeros(shape, bool)
    near = events[events["ex"].between(first - 1, last)]
    position = names.get_indexer(pd.Index(near["sec_id"]))
    eventful[position[position >= 0], near["ex"].to_numpy(np.int64)[position >= 0] - (first - 1)] = True

    level = np.where(np.isfinite(close), close, vendor)
    priced = np.isfinite(level)
    before, now = priced[:, :-1], priced[:, 1:]
    both = before & now
    found = []
    with np.errstate(invalid="ignore", divide="ignore"):
        covered = both.sum(0) / before.sum(0)
        repeated = both & (level[:, 1:] == level[:, :-1]) & (volume[:, 1:] == volume[:, :-1]) & (volume[:, 1:] > 0)
        stale = repeated.sum(0) / both.sum(0)
        step = np.abs(np.log(close[:, 1:] / close[:, :-1]))
        broken = ((step > np.log(rules.broken_factor)) & ~eventful[:, 1:]).sum(0) / both.sum(0)
    enough = before.sum(0) >= rules.names
    for rule, value, bound, bad, says in (
        (
            "coverage",
            covered,
            rules.coverage,
            covered < rules.coverage,
            "of the names priced the session before have one",
        ),
        ("stale_session", stale, rules.stale, stale > rules.stale, "of the names repeat close and volume"),
        (
            "broken_session",
            broken,
            rules.broken_share,
            broken > rules.broken_share,
            "of the closes break without event",
        ),
    ):
        sessions = np.flatnonzero(enough & bad) + first
        found.append(
            findings_frame(
                sec_id="",
                session=sessions,
                rule=rule,
                observed=value[sessions - first],
                expected=bound,
                evidence=[f"session {s}: {value[s - first]:.1%} {says}" for s in sessions],
                detected_at=sessions,
                index=range(len(sessions)),
            )
        )
    return pd.concat(found, ignore_index=True)


def shifted_codes(findings: pd.DataFrame, first: int, last: int, rules: PanelRules = PANEL_RULES) -> pd.DataFrame:
    """Securities whose bars lie on closed days again and again: their dates are shifted.

    findings: those of `Facts`; the `bar_on_closed_day` among them count, at the session that could see them.
    """
    closed = findings[findings["rule"] == "bar_on_closed_day"].sort_values(["sec_id", "detected_at"])
    owner, seen = closed["sec_id"].to_numpy(object), closed["detected_at"].to_numpy()
    back = rules.shifted_bars - 1
    third = np.arange(back, len(closed))
    dense = (owner[third] == owner[third - back]) & (seen[third] - seen[third - back] <= rules.shifted_sessions)
    third = third[dense & (seen[third] >= first) & (seen[third] <= last)]
    rows = closed.iloc[third].drop_duplicates("sec_id")
    return findings_frame(
        sec_id=rows["sec_id"].to_numpy(object),
        session=rows["session"].to_numpy(),
        rule="shifted_code",
        observed=float(rules.shifted_bars),
        expected=0.0,
        evidence=[
            f"{rules.shifted_bars} bars of {sec_id} on closed days within {rules.shifted_sessions} sessions"
            for sec_id in rows["sec_id"]
        ],
        detected_at=rows["detected_at"].to_numpy(),
        index=range(len(rows)),
    )


def panel_findings(
    ret: NDArray[np.float64], events: Mapping[str, NDArray[np.integer]], first: int, rules: PanelRules = PANEL_RULES
) -> pd.DataFrame:
    """Flags of sessions that look odd over all securities of a panel.

    ret: (n, T) returns; events: by kind ("split", "dividend") (T,) how many securities have one; first: ordinal of
    column 0.
    """
    finite = np.isfinite(ret)
    n = finite.sum(0)
    priced = np.flatnonzero(n >= rules.names)
    if not len(priced):
        return no_findings()
    sizes = np.abs(ret[:, priced])
    checks = [
        ("zero_returns", (ret[:, priced] == 0).sum(0) / n[priced], rules.zero_returns, "of the returns are zero"),
        ("median_move", np.nanmedian(sizes, axis=0), rules.median_move, "is the median size of a return"),
    ]
    for kind, count in events.items():
        bound = rules.splits if kind == "split" else rules.dividends
        checks.append(("event_count", count[priced] / n[priced], bound, f"of the names have a {kind}"))
    found = []
    for rule, value, bound, says in checks:
        bad = np.flatnonzero(value > bound)
        found.append(
            findings_frame(
                sec_id="",
                session=priced[bad] + first,
                rule=rule,
                observed=value[bad],
                expected=bound,
                evidence=[f"{value[k]:.2%} {says}" for k in bad],
                detected_at=priced[bad] + first,
                index=range(len(bad)),
            )
        )
    return pd.concat(found, ignore_index=True)


def market_correlation(
    ret: NDArray[np.float64],
    cap: NDArray[np.float64],
    market: NDArray[np.float64],
    months: NDArray[np.datetime64],
    rules: PanelRules = PANEL_RULES,
) -> pd.DataFrame:
    """Months in which the cap-weighted stocks do not move with the market ETF: month, sessions, correlation.

    ret, cap: (T, n) returns and the market caps of the session before; market: (T,); months: (T,) datetime64[M].
    """
    weight = np.where(np.isfinite(ret) & np.isfinite(cap), cap, 0.0)
    total = weight.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        stocks = (weight * np.nan_to_num(ret)).sum(1) / total
    rows = []
    for month in np.unique(months):
        use = (months == month) & (total > 0) & np.isfinite(market) & ((weight > 0).sum(1) >= rules.names)
        if use.sum() >= rules.month_sessions:
            correlation = float(np.corrcoef(stocks[use], market[use])[0, 1])
            if not correlation >= rules.market_correlation:
                rows.append((month, int(use.sum()), correlation))
    return pd.DataFrame(rows, columns=["month", "sessions", "correlation"])
