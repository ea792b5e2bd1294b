"""Share counts in a wrong unit: left out before the security master reads them.

A filed count that differs from the one known before it by more than a factor (after the splits between their period
ends) is left out and reported, until a second filing says about the same: then it is the count, and was not wrong.
"""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.settings import CleaningRules

Row = dict[str, Any]


class Doubted(NamedTuple):
    """A filing whose count is not believed, next to the count before it."""

    filing: Row
    observed: float
    expected: float
    evidence: str


def leave_out_jumps(
    shares: pd.DataFrame, splits: pd.DataFrame, rules: CleaningRules
) -> tuple[pd.DataFrame, list[Doubted]]:
    """`shares` without the counts that are not believed, and those."""
    rows = shares.sort_values(["vendor_code", "known_from", "period_end", "shares"], kind="stable")
    code, count = rows["vendor_code"].to_numpy(object), rows["shares"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.abs(np.log(count[1:] / count[:-1]))
    suspicious = set(code[1:][(code[1:] == code[:-1]) & ~(step <= log(rules.share_jump) / 2)])
    dropped: list[int] = []
    doubts: list[Doubted] = []
    of_code = {str(name): _Splits.of(own) for name, own in splits.groupby("vendor_code", observed=True)}
    none = _Splits.of(splits.iloc[:0])
    for name, group in rows[rows["vendor_code"].isin(suspicious)].groupby("vendor_code", sort=True):
        own = of_code.get(str(name), none)
        believed: Row | None = None
        doubted: Row | None = None
        for index, row in zip(group.index, group.to_dict("records"), strict=True):
            filing: Row = {str(key): value for key, value in row.items()}
            fits = believed is None or _factor(believed, filing, own) <= rules.share_jump
            if fits or (doubted is not None and _factor(doubted, filing, own) <= rules.share_agrees):
                believed, doubted = filing, None
            elif believed is not None:
                dropped.append(int(index))
                doubted = filing
                evidence = f"{filing['shares']:.0f} shares after {believed['shares']:.0f}; left out until confirmed"
                doubts.append(Doubted(filing, filing["shares"], believed["shares"], evidence))
    return (shares.drop(index=dropped).reset_index(drop=True) if dropped else shares), doubts


class _Splits(NamedTuple):
    """The splits of one code: ex-date, when it became known, new shares for one old."""

    ex_date: NDArray[np.datetime64]
    known_from: NDArray[np.datetime64]
    ratio: NDArray[np.float64]

    @classmethod
    def of(cls, splits: pd.DataFrame) -> _Splits:
        ratio = (splits["ratio_new"] / splits["ratio_old"]).to_numpy(float)
        return cls(splits["ex_date"].to_numpy(), splits["known_from"].to_numpy(), ratio)

    def between(self, first: pd.Timestamp, last: pd.Timestamp, known_at: pd.Timestamp) -> float:
        """How many shares one became, by the splits after `first` and up to `last` that were known."""
        if not len(self.ratio):
            return 1.0
        inside = (self.ex_date > first.to_datetime64()) & (self.ex_date <= last.to_datetime64())
        return float(self.ratio[inside & (self.known_from <= known_at.to_datetime64())].prod())


def _factor(before: Row, now: Row, splits: _Splits) -> float:
    """How many times larger one count is than the other, in the units of the same day."""
    first, last = sorted((before["period_end"], now["period_end"]))
    ratio = splits.between(first, last, now["known_from"])
    expected = before["shares"] * (ratio if before["period_end"] <= now["period_end"] else 1 / ratio)
    if not (expected > 0 and now["shares"] > 0):
        return 1.0 if expected == now["shares"] else float("inf")
    return float(max(now["shares"] / expected, expected / now["shares"]))
