"""Cleaning of what a source delivered before anybody uses it: duplicate events, spin-offs that are written as odd
splits, share counts in a wrong unit.

Works on a source's tables, keyed by vendor code, and returns tables of the same form with one more column,
`splits.kind`: `split`, or `spin_off`, which is part of the return and never changes a share count. Every decision uses
the row itself and rows that were known no later, so that what is decided for a session does not depend on the future.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.calendar import ex_sessions, xnys
from pipeline.market_data.redated import Effect, cash_effect, redated, split_effect
from pipeline.market_data.share_counts import leave_out_jumps
from pipeline.market_data.still_trading import Contradiction, withdraw_contradicted
from pipeline.market_data.two_forms import ToldTwice, rounded_again, told_as_dividend
from pipeline.settings import CleaningRules
from pipeline.sources.tables import BarsOf, SourceTables

Row = dict[str, Any]

EVENT_FINDING_COLUMNS = ["table", "vendor_code", "ex_date", "rule", "observed", "expected", "evidence", "known_from"]


def _findings(rows: Iterable[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=EVENT_FINDING_COLUMNS)
    dates = {"ex_date": "datetime64[s]", "known_from": "datetime64[us]"}
    frame = frame.astype({"observed": "float64", "expected": "float64"} | dates)
    return frame.sort_values(["table", "vendor_code", "ex_date", "rule", "evidence"], ignore_index=True)


@dataclass(frozen=True, eq=False)
class CleanTables(SourceTables):
    """A source's tables, cleaned; `findings` says what was read differently or left out (EVENT_FINDING_COLUMNS)."""

    findings: pd.DataFrame = field(default_factory=lambda: _findings([]))


class Cleaned(NamedTuple):
    """One table cleaned, and what was found on the way."""

    table: pd.DataFrame
    findings: list[Row]


def clean_events(tables: SourceTables, rules: CleaningRules) -> CleanTables:
    """Duplicates removed, odd splits recognised, share counts in a wrong unit left out."""
    once = _drop_repeated(tables.splits, SPLIT, rules.duplicate_days)
    splits = _drop_redated(once, SPLIT, split_effect, tables.bars_of, rules)
    read = _recognise_spin_offs(splits.table, tables.spin_offs, rules)
    exact = _drop_told_twice(tables.dividends, rounded_again(tables.dividends), "duplicate_dividend")
    paid = _drop_repeated(exact.table, DIVIDEND, rules.duplicate_days)
    dividends = _drop_redated(paid, DIVIDEND, cash_effect, tables.bars_of, rules)
    odd_once = _drop_spin_offs_paid_twice(dividends.table, read.table, tables.bars_of, rules.paid_twice)
    twice = told_as_dividend(
        odd_once.table, only_splits(read.table), tables.spin_offs, tables.bars_of, rules.paid_twice
    )
    paid_once = _drop_told_twice(odd_once.table, twice, "event_told_twice")
    shares, doubted = leave_out_jumps(tables.shares, only_splits(read.table), rules)
    jumps = [_finding(rule, row, observed, expected, text) for row, observed, expected, text, rule in doubted]
    found = [
        *splits.findings,
        *read.findings,
        *exact.findings,
        *dividends.findings,
        *odd_once.findings,
        *paid_once.findings,
    ]
    found += jumps
    delistings, contradicted = withdraw_contradicted(
        tables.delistings, tables.securities, tables.last_dates(), tables.bars_of, rules
    )
    found += [_still_trading(one) for one in contradicted]
    delivered = {entry.name: getattr(tables, entry.name) for entry in fields(SourceTables)}
    cleaned = {"splits": read.table, "dividends": paid_once.table, "shares": shares, "delistings": delistings}
    cleaned["findings"] = _findings(found)
    return CleanTables(**delivered | cleaned)


def only_splits(splits: pd.DataFrame) -> pd.DataFrame:
    """The rows of cleaned `splits` that change a share count: those that are no spin-off."""
    return splits[splits["kind"] == "split"]


def is_small_ratio(ratio: Fraction, rules: CleaningRules) -> bool:
    """Whether companies split their shares like this: 2:1, 3:2, 1:20, 21:20; not 1253:1000."""
    stock_dividends = [_fraction(one) for one in rules.stock_dividends]
    return min(ratio.numerator, ratio.denominator) <= rules.small_term or ratio in stock_dividends


def _fraction(number: float) -> Fraction:
    """The number as it is written: 1.1 is 11/10."""
    return Fraction(str(number))


def read_ratio(ratio: Fraction, rules: CleaningRules) -> list[tuple[Fraction, str]]:
    """What a delivered split ratio means: its factors with their kind, in the order in which they happen.

    1253:1000 is a spin-off that a vendor wrote as a split. 17:36 is a spin-off of 17:12 on the day of a 1:3 reverse
    split. A ratio just below one (191:200) is an exchange of shares, and stays a split.
    """
    if is_small_ratio(ratio, rules):
        return [(ratio, "split")]
    if ratio > 1:
        return [(ratio, "spin_off")]
    old_for_one = ceil(1 / ratio)
    rest = ratio * old_for_one
    if old_for_one <= rules.odd_reverse and rest <= _fraction(rules.odd_spin_off):
        return [(rest, "spin_off"), (Fraction(1, old_for_one), "split")]
    return [(ratio, "split")]


class _Kind(NamedTuple):
    """What makes two events of one table the same: the columns `what`; `describe` gives observed, expected, text."""

    rule: str
    what: list[str]
    describe: Callable[[Row], tuple[float, float, str]]


def _describe_split(row: Row) -> tuple[float, float, str]:
    ratio = row["ratio_new"] / row["ratio_old"]
    return ratio * ratio, ratio, f"split {row['ratio_new']}:{row['ratio_old']}"


def _describe_dividend(row: Row) -> tuple[float, float, str]:
    return 2 * row["amount"], row["amount"], f"dividend {row['amount']:g} {row['currency']}"


SPLIT = _Kind("duplicate_split", ["vendor_code", "ratio_new", "ratio_old"], _describe_split)
DIVIDEND = _Kind("duplicate_dividend", ["vendor_code", "amount", "currency", "kind", "basis"], _describe_dividend)


def _drop_repeated(events: pd.DataFrame, kind: _Kind, days: int) -> Cleaned:
    """An event that comes again, the same but for an ex-date at most `days` away, counts once."""
    rows = events.sort_values([*kind.what, "ex_date", "known_from"], ignore_index=True)
    ex = rows["ex_date"].to_numpy("datetime64[D]")
    rows["off_record"] = rows["record_date"].isna() | (ex_sessions(rows["record_date"]) != xnys().on_or_after(ex))
    follows = np.zeros(len(rows), bool)
    follows[1:] = (np.diff(ex) <= np.timedelta64(days, "D")) & rows.duplicated(kind.what).to_numpy()[1:]
    near = follows | np.r_[follows[1:], False]
    run = np.cumsum(~follows)[near]
    beside = events[events["vendor_code"].isin(rows.loc[near, "vendor_code"])]
    known = beside.groupby(["vendor_code", "ex_date"], observed=True)["known_from"].min().to_dict()
    dropped: list[int] = []
    findings: list[Row] = []
    for _, group in rows[near].groupby(run, sort=False):
        for row, clash in _repeated(group, known, pd.Timedelta(days=days)):
            dropped.append(row["index"])
            observed, expected, text = kind.describe(row)
            evidence = f"{text} of {clash['ex_date']:%Y-%m-%d} delivered again, counted once"
            findings.append(_finding(kind.rule, row, observed, expected, evidence))
    return Cleaned(rows.drop(index=dropped, columns="off_record").reset_index(drop=True), findings)


def _drop_redated(cleaned: Cleaned, kind: _Kind, effect: Effect, bars_of: BarsOf, rules: CleaningRules) -> Cleaned:
    """Without events that are another one under a date that the close did not follow: gone where that is known on the
    date; of a split that was before the other, undone from when the other shows it."""
    events, findings, undone, dropped = cleaned.table, list(cleaned.findings), [], []
    for one in redated(events, kind.what, effect, bars_of, rules):
        observed, expected, text = kind.describe(one.row)
        evidence = (
            f"{text} of {one.row['ex_date']:%Y-%m-%d} is that of {one.other['ex_date']:%Y-%m-%d}, which the close "
            "followed; counted once"
        )
        findings.append(_finding(kind.rule, one.row | {"known_from": one.known_from}, observed, expected, evidence))
        if one.row["ex_date"] > one.other["ex_date"]:
            dropped.append(one.at)
        elif kind is SPLIT:
            undone.append(one.row | {"ratio_new": 1, "ratio_old": 1, "known_from": one.known_from})
    table = events.reset_index(drop=True).drop(index=dropped)
    if undone:
        rows = pd.DataFrame(undone)[table.columns].astype(dict(table.dtypes))
        table = pd.concat([table, rows])
    return Cleaned(table.reset_index(drop=True), findings)


def _repeated(group: pd.DataFrame, known: Mapping[Any, pd.Timestamp], apart: pd.Timedelta) -> Iterator[tuple[Row, Row]]:
    """Of equal events near each other those that are delivered again, each with the one that stays.

    The row that was known first stays: when the second arrives, the first is already in force. Of two known together
    the one stays whose ex-date agrees with its record date, else the one that goes ex first. The same ex-date known at
    another instant is a correction, which replaces by itself. `known`: since when by code and ex-date.
    """
    kept: list[Row] = []
    ordered = sorted(
        ({**row, "index": int(i)} for i, row in zip(group.index, _records(group), strict=True)),
        key=lambda row: (row["known_from"], row["off_record"], row["ex_date"]),
    )
    for row in ordered:
        clash = next((k for k in kept if abs(row["ex_date"] - k["ex_date"]) <= apart), None)
        if clash is None or (clash["ex_date"] == row["ex_date"] and clash["known_from"] != row["known_from"]):
            kept.append(row)
            continue
        first, second = sorted((clash["ex_date"], row["ex_date"]))
        before = known.get((row["vendor_code"], first - apart), pd.Timestamp.max)
        if second - first == apart and before <= row["known_from"]:  # a weekly payer
            kept.append(row)
            continue
        yield row, clash


def _recognise_spin_offs(splits: pd.DataFrame, spin_offs: pd.DataFrame, rules: CleaningRules) -> Cleaned:
    """The `kind` of each split. The factor of a spin-off that `spin_offs` states too ends where that row is known."""
    stated = spin_offs.groupby(["vendor_code", "ex_date"])["known_from"].min().to_dict()
    rows: list[Row] = []
    findings: list[Row] = []
    for row in _records(splits):
        ratio = Fraction(int(row["ratio_new"]), int(row["ratio_old"]))
        for factor, kind in read_ratio(ratio, rules):
            read = row | {"ratio_new": factor.numerator, "ratio_old": factor.denominator, "kind": kind}
            if kind == "split":
                rows.append(read)
                continue
            evidence = f"{row['ratio_new']}:{row['ratio_old']} is no split ratio, {factor} is read as a spin-off"
            known = stated.get((row["vendor_code"], row["ex_date"]))
            if known is None or known > row["known_from"]:
                rows.append(read)
            if known is not None:
                evidence += "; the spin-off is also delivered as such, and that row is used"
                if known > row["known_from"]:
                    rows.append(read | {"ratio_new": 1, "ratio_old": 1, "known_from": known})
            findings.append(_finding("spin_off_as_split", row, float(ratio), 1.0, evidence))
    if not rows:
        return Cleaned(splits.iloc[:0].assign(kind=pd.Series(dtype="str")), findings)
    table = pd.DataFrame(rows, columns=[*splits.columns, "kind"]).astype(dict(splits.dtypes) | {"kind": "str"})
    return Cleaned(table, findings)


def _drop_spin_offs_paid_twice(
    dividends: pd.DataFrame, splits: pd.DataFrame, bars_of: BarsOf, within: float
) -> Cleaned:
    """A dividend on the day of an odd split, worth about what the split is worth, is the same spin-off once more."""
    odd = splits.loc[splits["kind"] == "spin_off", ["vendor_code", "ex_date", "ratio_new", "ratio_old", "known_from"]]
    both = dividends.reset_index().merge(odd, on=["vendor_code", "ex_date"], suffixes=("", "_split"))
    both = both[both["known_from_split"] <= both["known_from"]].sort_values("ex_date")
    if both.empty:
        return Cleaned(dividends, [])
    bars = bars_of(set(both["vendor_code"]))[["vendor_code", "date", "close"]]
    bars = bars[bars["close"] > 0].assign(vendor_code=lambda x: x["vendor_code"].astype("str")).sort_values("date")
    bars = bars.drop_duplicates(["vendor_code", "date"])  # the first print, which the event's day knows
    both = pd.merge_asof(both, bars, left_on="ex_date", right_on="date", by="vendor_code", allow_exact_matches=False)
    dropped: list[int] = []
    findings: list[Row] = []
    for row in _records(both):
        worth = (1 - row["ratio_old"] / row["ratio_new"]) * row["close"]
        if worth / within <= row["amount"] <= worth * within:
            dropped.append(row["index"])
            evidence = (
                f"dividend {row['amount']:g} and {row['ratio_new']}:{row['ratio_old']} are one spin-off, counted once"
            )
            findings.append(_finding("spin_off_paid_twice", row, row["amount"], worth, evidence))
    return Cleaned(dividends.drop(index=dropped).reset_index(drop=True), findings)


def _drop_told_twice(dividends: pd.DataFrame, twice: list[ToldTwice], rule: str) -> Cleaned:
    """Without the dividends that are another event's second form."""
    findings = [_finding(rule, one.row, one.row["amount"], one.worth, one.evidence) for one in twice]
    return Cleaned(dividends.drop(index=[one.at for one in twice]).reset_index(drop=True), findings)


def _still_trading(one: Contradiction) -> Row:
    """What is said about a delisting row that full trading contradicts."""
    last, day, close, volume = one.row["last_session"], one.bar["date"], one.bar["close"], one.bar["volume"]
    evidence = (
        f"delisted ({one.row['reason']}) after {last:%Y-%m-%d}, but traded on {day:%Y-%m-%d}: close {close:g}, "
        f"volume {volume:,.0f}; the row is withdrawn from then on"
    )
    known = max(one.bar["known_from"], one.row["known_from"])
    values = ("delistings", one.row["vendor_code"], day, "delisting_contradicted", close, one.last_close)
    return dict(zip(EVENT_FINDING_COLUMNS, (*values, evidence, known), strict=True))


def _records(frame: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _finding(rule: str, row: Row, observed: float, expected: float, evidence: str) -> Row:
    table = "dividends" if "amount" in row else "shares" if "shares" in row else "splits"
    about = row["ex_date"] if "ex_date" in row else row["period_end"]
    values = (table, row["vendor_code"], about, rule, observed, expected, evidence, row["known_from"])
    return dict(zip(EVENT_FINDING_COLUMNS, values, strict=True))
