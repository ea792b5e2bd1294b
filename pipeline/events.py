"""Cleaning of delivered events before anybody uses them: duplicates, and spin-offs that are written as odd splits.

Works on a source's tables, keyed by vendor code, and returns tables of the same form with one more column,
`splits.kind`: `split`, or `spin_off`, which is part of the return and never changes a share count. Every decision uses
the row itself and rows that were known no later, so that what is decided for a session does not depend on the future.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pipeline.sources.tables import SourceTables

EVENT_FINDING_COLUMNS = ["table", "vendor_code", "ex_date", "rule", "observed", "expected", "evidence", "known_from"]

DUPLICATE_DIVIDEND_DAYS = 7
"""Two equal dividends closer than this are one dividend delivered twice. (Equal amounts exactly 7 days apart are a
weekly payer's.)"""

LARGEST_SMALL_TERM = 5
"""A split's ratio in lowest terms has one term up to this (3:2, 5:4, 7:2, 1:20) ..."""

STOCK_DIVIDENDS = frozenset({Fraction(11, 10), Fraction(21, 20)})
"""... or it is one of the customary stock dividends. Any other ratio above one is a spin-off's price factor."""

LARGEST_REVERSE_IN_ODD_RATIO = 10
LARGEST_SPIN_FACTOR_IN_ODD_RATIO = Fraction(8, 5)


@dataclass(frozen=True, eq=False)
class CleanedEvents:
    """`tables` with clean splits and dividends; `findings` says what was read differently (EVENT_FINDING_COLUMNS)."""

    tables: SourceTables
    findings: pd.DataFrame


def clean_events(tables: SourceTables) -> CleanedEvents:
    """Duplicates removed, odd splits recognised. Cleaning twice is cleaning once."""
    splits, dividends = tables.splits, tables.dividends
    if "kind" in splits.columns:
        return CleanedEvents(tables, _findings([]))
    findings: list[dict[str, object]] = []
    splits = _drop_repeated_splits(splits, findings)
    splits = _recognise_spin_offs(splits, tables.spin_offs, findings)
    dividends = _drop_repeated_dividends(dividends, findings)
    dividends = _drop_spin_offs_paid_twice(dividends, splits, tables.prices, findings)
    return CleanedEvents(replace(tables, splits=splits, dividends=dividends), _findings(findings))


def is_small_ratio(ratio: Fraction) -> bool:
    """Whether companies split their shares like this: 2:1, 3:2, 1:20, 21:20; not 1253:1000."""
    return min(ratio.numerator, ratio.denominator) <= LARGEST_SMALL_TERM or ratio in STOCK_DIVIDENDS


def read_ratio(ratio: Fraction) -> list[tuple[Fraction, str]]:
    """What a delivered split ratio means: its factors with their kind, in the order in which they happen.

    1253:1000 is a spin-off that a vendor wrote as a split. 17:36 is a spin-off of 17:12 on the day of a 1:3 reverse
    split. A ratio just below one (191:200) is an exchange of shares, and stays a split.
    """
    if is_small_ratio(ratio):
        return [(ratio, "split")]
    if ratio > 1:
        return [(ratio, "spin_off")]
    old_for_one = ceil(1 / ratio)
    rest = ratio * old_for_one
    if old_for_one <= LARGEST_REVERSE_IN_ODD_RATIO and rest <= LARGEST_SPIN_FACTOR_IN_ODD_RATIO:
        return [(rest, "spin_off"), (Fraction(1, old_for_one), "split")]
    return [(ratio, "split")]


def _drop_repeated_splits(splits: pd.DataFrame, findings: list[dict[str, object]]) -> pd.DataFrame:
    """One row for a ratio that is delivered again for its ex-date. A different ratio is a correction and stays."""
    rows = splits.sort_values(["vendor_code", "ex_date", "known_from", "ratio_new", "ratio_old"], ignore_index=True)
    same_day = rows["vendor_code"].eq(rows["vendor_code"].shift()) & rows["ex_date"].eq(rows["ex_date"].shift())
    same_ratio = (rows["ratio_new"] * rows["ratio_old"].shift()).eq(rows["ratio_old"] * rows["ratio_new"].shift())
    repeated = same_day & same_ratio
    for row in rows[repeated].itertuples():
        ratio = row.ratio_new / row.ratio_old
        evidence = f"split {row.ratio_new}:{row.ratio_old} delivered again for one ex-date, counted once"
        findings.append(_finding("splits", row, "duplicate_split", ratio * ratio, ratio, evidence))
    return rows[~repeated].reset_index(drop=True)


def _recognise_spin_offs(
    splits: pd.DataFrame, spin_offs: pd.DataFrame, findings: list[dict[str, object]]
) -> pd.DataFrame:
    """The `kind` of each split. The factor of a spin-off that `spin_offs` states too ends where that row is known."""
    stated = spin_offs.groupby(["vendor_code", "ex_date"])["known_from"].min().to_dict()
    rows: list[dict[str, object]] = []
    for row in splits.itertuples(index=False):
        ratio = Fraction(int(row.ratio_new), int(row.ratio_old))
        for factor, kind in read_ratio(ratio):
            read = row._asdict() | {"ratio_new": factor.numerator, "ratio_old": factor.denominator, "kind": kind}
            if kind == "split":
                rows.append(read)
                continue
            evidence = f"{row.ratio_new}:{row.ratio_old} is no split ratio, {factor} is read as a spin-off"
            known = stated.get((row.vendor_code, row.ex_date))
            if known is None or known > row.known_from:
                rows.append(read)
            if known is not None:
                evidence += "; the spin-off is also delivered as such, and that row is used"
                if known > row.known_from:
                    rows.append(read | {"ratio_new": 1, "ratio_old": 1, "known_from": known})
            findings.append(_finding("splits", row, "spin_off_as_split", float(ratio), 1.0, evidence))
    if not rows:
        return splits.iloc[:0].assign(kind=pd.Series(dtype="str"))
    return pd.DataFrame(rows, columns=[*splits.columns, "kind"]).astype(dict(splits.dtypes) | {"kind": "str"})


def _drop_repeated_dividends(dividends: pd.DataFrame, findings: list[dict[str, object]]) -> pd.DataFrame:
    """A dividend that comes again with the same amount and an ex-date less than a week away counts once.

    The row that was known first stays (of two known together, the one that goes ex first): when the second arrives,
    the first is already in force.
    """
    what = ["vendor_code", "amount", "currency", "kind", "basis"]
    rows = dividends.sort_values([*what, "ex_date", "known_from"], ignore_index=True)
    near = rows.duplicated(what, keep=False) & (rows["amount"] > 0)
    dropped: list[int] = []
    for _, group in rows[near].groupby(what, sort=False):
        kept: list[np.datetime64] = []
        for row in group.sort_values(["known_from", "ex_date"]).itertuples():
            clash = [day for day in kept if abs(row.ex_date - day) < pd.Timedelta(days=DUPLICATE_DIVIDEND_DAYS)]
            if not clash:
                kept.append(row.ex_date)
                continue
            dropped.append(row.Index)
            evidence = f"dividend {row.amount:g} {row.currency} of {clash[0]:%Y-%m-%d} delivered again, counted once"
            findings.append(_finding("dividends", row, "duplicate_dividend", 2 * row.amount, row.amount, evidence))
    return rows.drop(index=dropped).reset_index(drop=True)


def _drop_spin_offs_paid_twice(
    dividends: pd.DataFrame, splits: pd.DataFrame, prices: pd.DataFrame, findings: list[dict[str, object]]
) -> pd.DataFrame:
    """A dividend on the day of an odd split, worth about what the split is worth, is the same spin-off once more."""
    odd = splits.loc[splits["kind"] == "spin_off", ["vendor_code", "ex_date", "ratio_new", "ratio_old", "known_from"]]
    both = dividends.reset_index().merge(odd, on=["vendor_code", "ex_date"], suffixes=("", "_split"))
    both = both[both["known_from_split"] <= both["known_from"]]
    if both.empty:
        return dividends
    bars = prices.loc[prices["vendor_code"].isin(set(both["vendor_code"])), ["vendor_code", "date", "close"]]
    bars = bars[bars["close"] > 0].assign(vendor_code=lambda x: x["vendor_code"].astype("str")).sort_values("date")
    both = pd.merge_asof(
        both.sort_values("ex_date"),
        bars,
        left_on="ex_date",
        right_on="date",
        by="vendor_code",
        allow_exact_matches=False,
    )
    worth_as_split = (1 - both["ratio_old"] / both["ratio_new"]) * both["close"]
    twice = (both["amount"] / worth_as_split).between(2 / 3, 3 / 2)
    for row in both[twice].itertuples():
        worth = (1 - row.ratio_old / row.ratio_new) * row.close
        evidence = (
            f"dividend {row.amount:g} and ratio {row.ratio_new}:{row.ratio_old} are one spin-off, the ratio is used"
        )
        findings.append(_finding("dividends", row, "spin_off_paid_twice", row.amount, worth, evidence))
    return dividends.drop(index=both.loc[twice, "index"]).reset_index(drop=True)


def _finding(table: str, row: object, rule: str, observed: float, expected: float, evidence: str) -> dict[str, object]:
    values = (table, row.vendor_code, row.ex_date, rule, observed, expected, evidence, row.known_from)  # type: ignore[attr-defined]
    return dict(zip(EVENT_FINDING_COLUMNS, values, strict=True))


def _findings(rows: Iterable[dict[str, object]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=EVENT_FINDING_COLUMNS)
    frame = frame.astype(
        {"observed": float, "expected": float, "ex_date": "datetime64[s]", "known_from": "datetime64[us]"}
    )
    return frame.sort_values(["table", "vendor_code", "ex_date", "rule", "evidence"], ignore_index=True)
