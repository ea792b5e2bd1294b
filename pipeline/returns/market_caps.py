"""Market caps in dollars: closes times share counts, where counts, turnover, splits and other classes do not contradict
each other.

A cap needs the count in the unit of the close. The security master multiplies a count by each split from its ex-date
on; the returns know whether the close followed, and whether it fell by a split that nobody told. Nobody can trade, day
after day, more shares than there are, and two classes of one company do not have the same number of shares.

A count that was contradicted stays so until another one is known: no cap beats a wrong one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.cells import Found
from pipeline.settings import DataRules

Cells = NDArray[np.bool_]


class Known(NamedTuple):
    """What is known of a range beside its panel, arrays that begin where the panel does.

    rate:  (n, T) dollars for one unit of the close's money, NaN where no rate is known.
    twins: (n, T) the count is exactly that of another class of the company.
    close, cap: (n, B) as they were published, or staged, for the first B columns; NaN for none. They say which counts
           were contradicted already.
    """

    rate: NDArray[np.float64]
    twins: Cells
    close: NDArray[np.float64]
    cap: NDArray[np.float64]


def lookback(rules: DataRules) -> int:
    """Sessions before a cell that its market cap depends on, beside what was published for them."""
    return max(rules.outliers.due_bill_sessions + 2 + rules.cleaning.usual_sessions, rules.max_gap + 1)


def market_caps(
    close: NDArray[np.float64],
    volume: NDArray[np.float64],
    flag: NDArray[np.int16],
    shares: NDArray[np.float64],
    rules: DataRules,
    known: Known | None = None,
) -> tuple[NDArray[np.float64], list[Found]]:
    """(n, T) market caps, NaN for none, and what was found, from arrays (n, T) that begin `lookback` sessions earlier.

    close: raw; volume: shares; flag: ReturnFlag; shares: outstanding, in units that count every split from its ex-date.
    known: None for closes in dollars, no other classes and nothing published.
    """
    waits, unit = rules.outliers.due_bill_sessions, rules.cleaning.unit_of_count
    counts, unfollowed = in_the_units_of_closes(shares, flag, waits, unit)
    usual = rules.cleaning.usual_sessions
    twins = np.zeros(close.shape, bool) if known is None else known.twins
    reasons = (
        (
            traded_more_than_exist(counts, volume, usual),
            "share_count_below_volume",
            f"shares outstanding, of which more change hands in the median of {usual} sessions",
        ),
        (unfollowed, "share_count_contradicted", f"shares, with a split that the close did not follow in {waits}"),
        (flag == ReturnFlag.MISSING_SPLIT, "share_count_contradicted", "shares, while the close moved by a split"),
        (twins, "share_count_contradicted", "shares, exactly as many as another class of the company"),
    )
    cells, rate = np.isfinite(close * counts), np.ones_like(close) if known is None else known.rate
    doubted = np.logical_or.reduce([bad for bad, *_ in reasons]) & cells
    doubted = until_another_is_known(doubted, cells, shares, rules.max_gap, known)
    found = [
        Found(i, t, rule, counts[i, t], np.nan, f"{counts[i, t]:.0f} {says}; no cap until another count is known")
        for bad, rule, says in reasons
        for i, t in np.argwhere(begins(bad & cells)).tolist()
    ]
    found += [
        Found(i, t, "no_fx_rate", close[i, t], np.nan, "a close in another currency, without a rate: no market cap")
        for i, t in np.argwhere(begins(cells & np.isnan(rate))).tolist()
    ]
    cap = np.where(doubted, np.nan, close * counts * rate)
    return np.where(cap > 0, cap, np.nan), found  # no shares is a count that is not known


def begins(bad: Cells) -> Cells:
    """Cells (n, T) at which something begins."""
    first = bad.copy()
    first[:, 1:] &= ~bad[:, :-1]
    return first


def until_another_is_known(
    doubted: Cells, cells: Cells, shares: NDArray[np.float64], max_gap: int, known: Known | None
) -> Cells:
    """`doubted` (n, T), and from there on as long as the count is the same, over sessions without a cap too.

    cells: (n, T) those that would have a cap. max_gap: sessions without one that a doubt outlives.
    """
    out = doubted.copy()
    n, before = len(out), 0 if known is None else known.cap.shape[1]
    last, count, since = np.zeros(n, bool), np.full(n, np.nan), np.zeros(n, np.int64)
    for t in range(out.shape[1]):
        there = cells[:, t]
        if known is not None and t < before:
            there = np.isfinite(known.close[:, t] * shares[:, t] * known.rate[:, t])
            out[:, t] = there & np.isnan(known.cap[:, t])
        else:
            out[:, t] |= there & last & (since <= max_gap) & (shares[:, t] == count)
        last, count = np.where(there, out[:, t], last), np.where(there, shares[:, t], count)
        since = np.where(there, 0, since + 1)
    return out


def in_the_units_of_closes(
    shares: NDArray[np.float64], flag: NDArray[np.int16], sessions: int, unit: float
) -> tuple[NDArray[np.float64], Cells]:
    """Counts (n, T) without a split that the close has not followed yet, for so many sessions after its ex-date; and
    the cells at which it is clear that it did not follow.

    unit: factor between two counts from which on such a split is taken for their reason.
    """
    counts, unfollowed = shares.copy(), np.zeros(shares.shape, bool)
    for i, ex in np.argwhere(flag[:, 1:] == ReturnFlag.EVENT_CONFLICT).tolist():
        ratio = shares[i, ex + 1] / shares[i, ex]
        if not np.isfinite(ratio) or 1 / unit < ratio < unit:
            continue
        waits = slice(ex + 1, ex + 2 + sessions)
        followed = np.flatnonzero(flag[i, waits] == ReturnFlag.EVENT_MOVED)
        until = ex + 1 + (int(followed[0]) if len(followed) else sessions + 1)
        counts[i, ex + 1 : until] /= ratio
        if not len(followed):
            unfollowed[i, until : until + 1] = shares[i, until : until + 1] == shares[i, ex + 1]
    return counts, unfollowed


def traded_more_than_exist(counts: NDArray[np.float64], volume: NDArray[np.float64], sessions: int) -> Cells:
    """Cells (n, T) whose count is below the median volume of the last `sessions`.

    A session without a bar has no volume and counts as none: what was traded on half of the days is no habit.
    """
    more = np.nan_to_num(volume) > counts
    days = np.cumsum(np.pad(more, ((0, 0), (sessions, 0))), axis=1, dtype=np.int32)
    return (2 * (days[:, sessions:] - days[:, :-sessions]) > sessions) & more


def twins_of(shares: NDArray[np.float64], pairs: NDArray[np.int64], since: NDArray[np.int64]) -> Cells:
    """Cells (n, T) whose count is exactly that of another class of the same company.

    pairs: (P, 2) rows of two classes; since: (P,) column from which on it is known that they are.
    """
    same = np.zeros(shares.shape, bool)
    for (a, b), first in zip(pairs.tolist(), since.tolist(), strict=True):
        equal = shares[a, first:] == shares[b, first:]
        same[a, first:] |= equal
        same[b, first:] |= equal
    return same
