"""Share counts in a wrong unit: left out before the security master reads them.

A count may be in the units after a split that followed its period's end, when it was filed after the split: it is
carried back by the ratio. A filed count that differs from the one known before it by more than a factor (after the
splits between their period ends) is left out and reported, until a second filing says about the same: then it is the
count, and was not wrong. Rows of one filing never confirm each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from math import log
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.settings import CleaningRules

Row = dict[str, Any]


class Doubted(NamedTuple):
    """A filing whose count is not believed, next to the count before it."""

    filing: Row
    observed: float
    expected: float
    evidence: str
    rule: str = "share_count_jump"


class _Filing(NamedTuple):
    """A filed count. row: its index; instants and dates are microseconds since 1970, since a delivery has hundreds of
    thousands of them. filed_day: the date of `filed_at`."""

    row: int
    shares: float
    period_end: int
    filed_at: int
    filed_day: int
    known_from: int


def leave_out_jumps(
    shares: pd.DataFrame, splits: pd.DataFrame, rules: CleaningRules
) -> tuple[pd.DataFrame, list[Doubted]]:
    """`shares` without the counts that are not believed, and those."""
    rows = shares.sort_values(["vendor_code", "known_from", "period_end", "shares"], kind="stable")
    code, count = rows["vendor_code"].to_numpy(object), rows["shares"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.abs(np.log(count[1:] / count[:-1]))
    suspicious = set(code[1:][(code[1:] == code[:-1]) & ~(step <= log(rules.share_jump) / 2)])
    ratio = (splits["ratio_new"] / splits["ratio_old"]).to_numpy(float)
    suspicious |= set(splits["vendor_code"][(ratio >= rules.share_split) | (ratio <= 1 / rules.share_split)])
    dropped: list[int] = []
    restated: dict[int, float] = {}
    doubts: list[Doubted] = []
    of_code = _splits_of(splits[splits["vendor_code"].isin(suspicious)])
    asked = rows[np.fromiter((one in suspicious for one in code.tolist()), bool, len(code))]

    def doubt(filing: _Filing, expected: float, evidence: str, rule: str = "share_count_jump") -> None:
        told: Row = {str(name): value for name, value in asked.loc[filing.row].items()}
        doubts.append(Doubted(told | {"shares": filing.shares}, filing.shares, expected, evidence, rule))

    for name, group in groupby(_filings(asked), key=lambda one: one[0]):
        own = of_code.get(name, _NO_SPLITS)
        believed: _Filing | None = None
        doubted: _Filing | None = None
        for _, filing in group:
            split = _split_after(believed, filing, own, rules.share_split)
            if believed is not None and split != 1.0:
                restated[filing.row] = filing.shares / split
                evidence = f"{filing.shares:.0f} shares are in the units after the split {split:g} that followed"
                doubt(filing, restated[filing.row], evidence, "share_count_restated")
                filing = filing._replace(shares=restated[filing.row])
            fits = believed is None or _factor(believed, filing, own) <= rules.share_jump
            if fits or (
                doubted is not None
                and doubted.filed_at != filing.filed_at  # rows of one filing share its unit
                and _factor(doubted, filing, own) <= rules.share_agrees
            ):
                believed, doubted = filing, None
            elif believed is not None:
                dropped.append(filing.row)
                doubted = filing
                doubt(
                    filing,
                    believed.shares,
                    f"{filing.shares:.0f} shares after {believed.shares:.0f}; left out until confirmed",
                )
    if restated:
        shares = shares.assign(shares=shares["shares"].astype(float))
        shares.loc[list(restated), "shares"] = list(restated.values())
    return (shares.drop(index=dropped).reset_index(drop=True) if dropped else shares), doubts


def _filings(rows: pd.DataFrame) -> Iterator[tuple[str, _Filing]]:
    """The rows of `shares` with their codes, in their order."""
    values = (rows["shares"].tolist(), *(_moments(rows[name]) for name in ("period_end", "filed_at")))
    days = _moments(rows["filed_at"].to_numpy().astype("datetime64[D]"))
    columns = rows.index.tolist(), *values, days, _moments(rows["known_from"])
    return zip(rows["vendor_code"].astype(str).tolist(), map(_Filing, *columns), strict=True)


def _moments(times: Any) -> list[int]:
    """Microseconds since 1970."""
    return np.asarray(times, "datetime64[us]").astype(np.int64).tolist()


def _split_after(believed: _Filing | None, filing: _Filing, splits: _Splits, least: float) -> float:
    """Ratio of the splits between a count's period end and its filing where the count is in the units after them
    already: it fits the one before it only so. 1 for all others."""
    if believed is None or not splits.ratio:
        return 1.0
    later = splits.between(filing.period_end, filing.filed_day, filing.known_from)
    if 1 / least < later < least:
        return 1.0
    as_told = _factor(believed, filing, splits)
    restated = _factor(believed, filing._replace(shares=filing.shares / later), splits)
    return later if restated**2 < as_told else 1.0


class _Splits(NamedTuple):
    """The splits of one code: ex-date, when it became known (microseconds since 1970), new shares for one old."""

    ex_date: list[int]
    known_from: list[int]
    ratio: list[float]

    def between(self, first: int, last: int, known_at: int) -> float:
        """How many shares one became, by the splits after `first` and up to `last` that were known."""
        ratio = 1.0
        for ex_date, known_from, one in zip(self.ex_date, self.known_from, self.ratio, strict=True):
            if first < ex_date <= last and known_from <= known_at:
                ratio *= one
        return ratio


_NO_SPLITS = _Splits([], [], [])


def _splits_of(splits: pd.DataFrame) -> dict[str, _Splits]:
    """The splits by code, in their order."""
    found: dict[str, _Splits] = {}
    ratio = (splits["ratio_new"] / splits["ratio_old"]).astype(float).tolist()
    ex_date, known_from = (_moments(splits[name]) for name in ("ex_date", "known_from"))
    for code, day, known, new_for_old in zip(splits["vendor_code"].tolist(), ex_date, known_from, ratio, strict=True):
        own = found.setdefault(str(code), _Splits([], [], []))
        own.ex_date.append(day)
        own.known_from.append(known)
        own.ratio.append(new_for_old)
    return found


def _factor(before: _Filing, now: _Filing, splits: _Splits) -> float:
    """How many times larger one count is than the other, in the units of the same day."""
    first, last = sorted((before.period_end, now.period_end))
    ratio = splits.between(first, last, now.known_from)
    expected = before.shares * (ratio if before.period_end <= now.period_end else 1 / ratio)
    if not (expected > 0 and now.shares > 0):
        return 1.0 if expected == now.shares else float("inf")
    return float(max(now.shares / expected, expected / now.shares))
