"""Market caps: closes times share counts, where count, turnover and splits do not contradict each other.

A cap needs the count in the unit of the close. The security master multiplies a count by each split from its ex-date
on; the returns know whether the close followed. And nobody can trade, day after day, more shares than there are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.cells import Found
from pipeline.settings import DataRules


def lookback(rules: DataRules) -> int:
    """Sessions before a cell that its market cap depends on."""
    return max(rules.outliers.due_bill_sessions + 1, rules.cleaning.usual_sessions)


def market_caps(
    close: NDArray[np.float64],
    volume: NDArray[np.float64],
    flag: NDArray[np.int16],
    shares: NDArray[np.float64],
    rules: DataRules,
) -> tuple[NDArray[np.float64], list[Found]]:
    """(n, T) market caps, NaN for none, and what was found, from arrays (n, T) that begin `lookback` sessions earlier.

    close: raw; volume: shares; flag: ReturnFlag; shares: outstanding, in units that count every split from its ex-date.
    """
    counts = in_the_units_of_closes(shares, flag, rules.outliers.due_bill_sessions, rules.cleaning.unit_of_count)
    impossible = traded_more_than_exist(counts, volume, rules.cleaning.usual_sessions)
    begins = impossible.copy()
    begins[:, 1:] &= ~impossible[:, :-1]
    says = f"shares outstanding, of which more change hands in the median of {rules.cleaning.usual_sessions} sessions"
    found = [
        Found(i, t, "share_count_below_volume", counts[i, t], np.nan, f"{counts[i, t]:.0f} {says}")
        for i, t in np.argwhere(begins).tolist()
    ]
    cap = np.where(impossible, np.nan, close * counts)
    return np.where(cap > 0, cap, np.nan), found  # no shares is a count that is not known


def in_the_units_of_closes(
    shares: NDArray[np.float64], flag: NDArray[np.int16], sessions: int, unit: float
) -> NDArray[np.float64]:
    """Counts (n, T) without a split that the close has not followed yet, for so many sessions after its ex-date.

    unit: factor between two counts from which on such a split is taken for their reason.
    """
    counts = shares.copy()
    for i, ex in np.argwhere(flag[:, 1:] == ReturnFlag.EVENT_CONFLICT).tolist():
        ratio = shares[i, ex + 1] / shares[i, ex]
        if not np.isfinite(ratio) or 1 / unit < ratio < unit:
            continue
        waits = slice(ex + 1, ex + 2 + sessions)
        followed = np.flatnonzero(flag[i, waits] == ReturnFlag.EVENT_MOVED)
        until = ex + 1 + (int(followed[0]) if len(followed) else sessions + 1)
        counts[i, ex + 1 : until] /= ratio
    return counts


def traded_more_than_exist(
    counts: NDArray[np.float64], volume: NDArray[np.float64], sessions: int
) -> NDArray[np.bool_]:
    """Cells (n, T) whose count is below the median volume of the last `sessions`.

    A session without a bar has no volume and counts as none: what was traded on half of the days is no habit.
    """
    more = np.nan_to_num(volume) > counts
    days = np.cumsum(np.pad(more, ((0, 0), (sessions, 0))), axis=1, dtype=np.int32)
    return (2 * (days[:, sessions:] - days[:, :-sessions]) > sessions) & more
