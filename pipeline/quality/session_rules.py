"""Rules about whole sessions and deliveries.

A rule looks at rows up to the session in which it reports and no further.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.quality.deliveries import Names, listed
from pipeline.quality.findings import RULES, concat_findings, findings_frame, no_findings
from pipeline.settings import SCALE, SessionRules
from security_master.errors import ExplainedError

SHOWN = 20
"""Faults that a message shows at most."""

SESSIONS_AT_ONCE = 504
"""Sessions whose bars are laid out side by side at a time, which bounds the memory."""


class BatchFault(ExplainedError, RuntimeError):
    """A delivery is wrong as a whole; nothing of it may be computed. `findings` are the rows that say why."""

    def __init__(self, findings: pd.DataFrame) -> None:
        self.findings = findings
        rows = findings.to_dict("records")
        days = [str(xnys().sessions[int(row["session"])]) for row in rows]
        shown = "\n".join(
            f"  {day} {row['rule']}: {row['evidence']}" for day, row in zip(days[:SHOWN], rows, strict=False)
        )
        asked = dict.fromkeys((row["sec_id"] or "'*'", day, row["rule"]) for row, day in zip(rows, days, strict=True))
        accept = "\n".join(
            f"  erm3 quality release {who} {day} --rule {rule} --reason ..." for who, day, rule in list(asked)[:SHOWN]
        )
        alone = dict.fromkeys(who for who, _, rule in asked if RULES[rule].level == "return")
        held_back = [*((who, "its price") for who in alone), ("'*'", "all prices of a session")]
        withhold = "\n".join(
            f"Or withhold {what}: erm3 quality confirm {who} SESSION --reason ..." for who, what in held_back
        )
        super().__init__(
            f"{len(findings)} fault{'s' * (len(findings) > 1)} of the delivery; nothing was published.\n{shown}\n"
            f"Have the vendor deliver again. Or accept what was delivered, and run again:\n{accept}\n"
            f"{withhold}"
        )


def batch_findings(
    prices: pd.DataFrame, events: pd.DataFrame, first: int, last: int, rules: SessionRules, named: Names = list
) -> pd.DataFrame:
    """Faults of whole sessions in [first, last]; each looks at its session and the one before, as first printed.

    events: frame with `sec_id` and `ex` whose securities are left out of the comparison of closes on that session.
    named: permanent ids -> how a person calls them.
    """
    blocks = [
        _faults_of_sessions(prices, events, begin, min(begin + SESSIONS_AT_ONCE - 1, last), rules, named)
        for begin in range(first, last + 1, SESSIONS_AT_ONCE)
    ]
    return concat_findings(blocks)


class _Sessions(NamedTuple):
    """Bars of consecutive sessions as first printed, side by side: (n, T) with one row for each security.

    vendor: back-adjusted closes; eventful: sessions on which an event goes ex
    """

    close: NDArray[np.float64]
    vendor: NDArray[np.float64]
    volume: NDArray[np.float64]
    eventful: NDArray[np.bool_]

    @classmethod
    def of(cls, prices: pd.DataFrame, events: pd.DataFrame, first: int, last: int) -> _Sessions:
        session = prices["session"].to_numpy()
        at = np.flatnonzero((session >= first) & (session <= last) & (prices["visible"].to_numpy() <= session))
        names = prices["sec_id"].cat.categories
        row, column = prices["sec_id"].cat.codes.to_numpy()[at], session[at] - first
        shape = len(names), last - first + 1
        close, vendor, volume = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
        for name, array in (("close", close), ("total_return_close", vendor), ("volume", volume)):
            array[row, column] = prices[name].to_numpy()[at]
        eventful = np.zeros(shape, bool)
        near = events[events["ex"].between(first, last)]
        position = names.get_indexer(pd.Index(near["sec_id"]))
        eventful[position[position >= 0], near["ex"].to_numpy(np.int64)[position >= 0] - first] = True
        return cls(close, vendor, volume, eventful)


def _faults_of_sessions(
    prices: pd.DataFrame, events: pd.DataFrame, first: int, last: int, rules: SessionRules, named: Names
) -> pd.DataFrame:
    close, vendor, volume, eventful = _Sessions.of(prices, events, first - 1, last)
    level = np.where(np.isfinite(close), close, vendor)
    priced = np.isfinite(level)
    before, now = priced[:, :-1], priced[:, 1:]
    both = before & now
    with np.errstate(invalid="ignore", divide="ignore"):
        covered = both.sum(0) / before.sum(0)
        repeated = both & (level[:, 1:] == level[:, :-1]) & (volume[:, 1:] == volume[:, :-1]) & (volume[:, 1:] > 0)
        stale = repeated.sum(0) / both.sum(0)
        had_volume = both & (volume[:, :-1] > 0)
        traded = (had_volume & (volume[:, 1:] > 0)).sum(0) / had_volume.sum(0)
        step = np.log(close[:, 1:] / close[:, :-1])
        broken = ((np.abs(step) > np.log(rules.broken_factor)) & ~eventful[:, 1:]).sum(0) / both.sum(0)
        unchanged = (both & (level[:, 1:] == level[:, :-1])).sum(0) / both.sum(0)
    as_one, moved = _moved_as_one(np.where(eventful[:, 1:], np.nan, step), rules)
    enough = before.sum(0) >= rules.names
    untraded = (traded < rules.traded) & (had_volume.sum(0) >= rules.names)
    rows = [
        ("coverage", covered, rules.coverage, covered < rules.coverage, "names priced the session before have one"),
        ("no_volume", traded, rules.traded, untraded, "names with a volume the session before have one"),
        ("stale_session", stale, rules.stale, stale > rules.stale, "names repeat close and volume"),
        ("broken_session", broken, rules.broken_share, broken > rules.broken_share, "closes break without event"),
        ("unchanged_closes", unchanged, rules.unchanged, unchanged > rules.unchanged, "names repeat their close"),
    ]
    found = [_stops(rule, value, bound, enough & bad, says, first) for rule, value, bound, bad, says in rows]
    ids = prices["sec_id"].cat.categories.to_numpy(object)
    found[0]["evidence"] = [
        f"{says}; without one: {listed(named(ids[before[:, k] & ~now[:, k]].tolist()))}"
        for says, k in zip(found[0]["evidence"], found[0]["session"].to_numpy() - first, strict=True)
    ]
    odd = np.flatnonzero(enough & (as_one > rules.as_one) & (np.abs(moved) > rules.as_one_move))
    found.append(
        findings_frame(
            sec_id="",
            session=odd + first,
            rule="moved_as_one",
            observed=as_one[odd],
            expected=rules.as_one,
            evidence=[
                f"the median close moved by {np.expm1(moved[k]):+.1%}, {as_one[k]:.1f} times as far as the closes "
                f"differ among themselves; at most {rules.as_one:g} times is known of a market, another unit does this"
                for k in odd
            ],
            detected_at=odd + first,
            index=range(len(odd)),
        )
    )
    return pd.concat(found, ignore_index=True)


def _moved_as_one(step: NDArray[np.float64], rules: SessionRules) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of log moves (n, T), NaN for none: the median over 1.4826 times the median distance to it (T,), and the median.

    0 where fewer than `rules.names` moved, or none did.
    """
    size, median = np.zeros(step.shape[1]), np.zeros(step.shape[1])
    for k in np.flatnonzero(np.isfinite(step).sum(0) >= rules.names):
        moves = step[np.isfinite(step[:, k]), k]
        median[k] = np.median(moves)
        spread = SCALE * np.median(np.abs(moves - median[k]))
        size[k] = abs(median[k]) / spread if spread > 0 else (np.inf if median[k] else 0.0)
    return size, median


def _stops(
    rule: str, share: NDArray[np.float64], bound: float, bad: NDArray[np.bool_], says: str, first: int
) -> pd.DataFrame:
    """A finding for each bad session; `share`, `bad`: (T,) from the ordinal `first` on."""
    sessions = np.flatnonzero(bad) + first
    return findings_frame(
        sec_id="",
        session=sessions,
        rule=rule,
        observed=share[sessions - first],
        expected=bound,
        evidence=[f"{share[s - first]:.1%} of the {says}" for s in sessions],
        detected_at=sessions,
        index=range(len(sessions)),
    )


def shifted_codes(findings: pd.DataFrame, first: int, last: int, rules: SessionRules) -> pd.DataFrame:
    """Securities whose bars lie on closed days again and again: their dates are shifted.

    findings: those of `Facts`; the `bar_on_closed_day` among them count, at the session that could see them. One run
    of such bars is one finding, at the session at which there were enough of them: a decision about that session holds
    for the run, and for no later one.
    """
    closed = findings[findings["rule"] == "bar_on_closed_day"].sort_values(["sec_id", "detected_at"], ignore_index=True)
    owner, seen = closed["sec_id"].to_numpy(object), closed["detected_at"].to_numpy()
    back = rules.shifted_bars - 1
    dense = np.zeros(len(closed), bool)
    dense[back:] = (owner[back:] == np.roll(owner, back)[back:]) & (
        seen[back:] - np.roll(seen, back)[back:] <= rules.shifted_sessions
    )
    goes_on = np.zeros(len(closed), bool)
    goes_on[1:] = dense[1:] & dense[:-1] & (owner[1:] == owner[:-1])
    run = np.cumsum(~goes_on)
    began = closed.groupby(run)["session"].transform("first")
    rows = closed.assign(session=began, run=run)[dense & (seen >= first) & (seen <= last)].drop_duplicates("run")
    return findings_frame(
        sec_id=rows["sec_id"].to_numpy(object),
        session=rows["session"].to_numpy(),
        rule="shifted_code",
        observed=float(rules.shifted_bars),
        expected=0.0,
        evidence=[f"{rules.shifted_bars} bars on closed days within {rules.shifted_sessions} sessions"] * len(rows),
        detected_at=rows["detected_at"].to_numpy(),
        index=range(len(rows)),
    )


def panel_findings(
    ret: NDArray[np.float64], events: Mapping[str, NDArray[np.integer]], first: int, rules: SessionRules
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
    rules: SessionRules,
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


def parted_from_the_stocks(
    stocks: NDArray[np.float64],
    names: NDArray[np.integer],
    market: NDArray[np.float64],
    begin: int,
    first: int,
    rules: SessionRules,
) -> pd.DataFrame:
    """A flag for each session at which the market ETF has ceased to move with the stocks over the last month.

    stocks, market: (T,) cap-weighted return of the stocks and return of the market ETF; names: (T,) stocks that have
    one. The columns from `begin` on are judged, which has the ordinal `first`; each looks at `correlation_sessions`
    before it and one more, since of a stretch of such sessions the first is told.
    """
    use = np.isfinite(stocks) & np.isfinite(market) & (names >= rules.names)
    found: list[tuple[int, float]] = []
    before = _correlation(stocks, market, use, begin - 1, rules)
    for t in range(begin, len(stocks)):
        now = _correlation(stocks, market, use, t, rules)
        if now < rules.night_correlation and not before < rules.night_correlation:
            found.append((t - begin + first, now))
        before = now
    sessions, values = [t for t, _ in found], [value for _, value in found]
    return findings_frame(
        sec_id=[""] * len(found),
        session=sessions,
        rule=["market_correlation"] * len(found),
        observed=values,
        expected=[rules.night_correlation] * len(found),
        evidence=[
            f"over the last {rules.correlation_sessions} sessions the market ETF moved with the stocks by a "
            f"correlation of {value:.2f}, at least {rules.night_correlation:.2f} is usual"
            for value in values
        ],
        detected_at=sessions,
        index=range(len(found)),
    )


def _correlation(
    stocks: NDArray[np.float64], market: NDArray[np.float64], use: NDArray[np.bool_], t: int, rules: SessionRules
) -> float:
    """Over the sessions that end at column t, NaN for too few; in four digits, lest the order of sums matters."""
    days = np.arange(max(0, t - rules.correlation_sessions + 1), t + 1)
    days = days[use[days]]
    if len(days) < rules.month_sessions:
        return np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return round(float(np.corrcoef(stocks[days], market[days])[0, 1]), 4)
