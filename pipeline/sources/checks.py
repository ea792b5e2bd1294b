"""Checks that need more than one cell: keys and their versions, listings, and references between tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.sources.cells import SourceError
from pipeline.sources.typed import TypedTable

Positions = NDArray[np.int64]


def check_references(tables: dict[str, TypedTable]) -> None:
    """Every vendor code names a row of `securities`. Raises SourceError."""
    listed = set(tables["securities"].frame["vendor_code"])
    for table in tables.values():
        for name, coded in table.codes.items():
            at = coded.first([value != "" and value not in listed for value in coded.values])
            if at is not None:
                code = coded.values[coded.codes[at]]
                table.place.fail(f"unknown vendor_code {code!r}; add its row to `securities`", name, at)


def check_currencies(tables: dict[str, TypedTable]) -> None:
    """A dividend in another currency than its security's needs a rate of both. Raises SourceError."""
    if "dividends" not in tables:
        return
    securities = tables["securities"].frame
    listed = dict(zip(securities["vendor_code"], securities["currency"], strict=True))
    rated = {"USD"} | (set(tables["fx_rates"].frame["currency"]) if "fx_rates" in tables else set())
    dividends, place = tables["dividends"].frame, tables["dividends"].place
    own = dividends["vendor_code"].map(listed)
    rateless = ~(dividends["currency"].isin(rated) & own.isin(rated))
    for at in np.flatnonzero((dividends["currency"] != own) & rateless).tolist():
        for currency in (dividends["currency"].iloc[at], own.iloc[at]):
            if currency not in rated:
                problem = f"a dividend in {dividends['currency'].iloc[at]} on a security in {own.iloc[at]}"
                place.fail(f"{problem} needs the rate of {currency}; add it to `fx_rates`", "currency", at)


def versions(table: TypedTable) -> tuple[Positions, Positions]:
    """(order, repeated): the rows to keep, by key and then `known_from`, and the positions of exact duplicates.

    Two different rows with one key and one `known_from` raise SourceError. A table without a key is ordered by all
    its columns. The order does not depend on the order of delivery.
    """
    frame, spec = table.frame, table.spec
    facts = [name for name in frame.columns if name != "known_assumed"]
    key = list(spec.key) or facts
    packed = _packed([_ranks(frame[name]) for name in key])
    if len(packed) < 2 or (packed[1:] > packed[:-1]).all():
        return np.arange(len(packed)), np.zeros(0, np.int64)
    known = frame["known_from"].to_numpy().astype(np.int64) if spec.dated else np.zeros(len(packed), np.int64)
    order = np.lexsort((known, packed))
    same = np.flatnonzero((np.diff(packed[order]) == 0) & (np.diff(known[order]) == 0))
    if len(same) == 0:
        return order, np.zeros(0, np.int64)
    before, after = order[same], order[same + 1]
    differs = ~_equal_rows(frame[facts], before, after)
    if differs.any():
        k = int(differs.argmax())
        earlier, later = sorted((int(before[k]), int(after[k])))
        shown = ", ".join(_shown(frame[name].iloc[later]) for name in spec.key)
        place = table.place
        problem = f"a second row for ({shown}), with other values than row {place.first_row + earlier}"
        remedy = "; keep one of them, or give the correction a later known_from" if spec.dated else "; keep one of them"
        place.fail(problem + remedy, spec.key[-1], later)
    return np.delete(order, same + 1), np.sort(after)


def check_listings(table: TypedTable) -> None:
    """Sessions of each listing are in order, and listings under one vendor code do not overlap. Raises SourceError."""
    frame, place = table.frame, table.place
    reversed_ = (frame["last_session"] < frame["first_session"]).to_numpy()
    if reversed_.any():
        at = int(reversed_.argmax())
        shown = [_shown(frame[name].iloc[at]) for name in ("last_session", "first_session")]
        place.fail("found {}, which is before the first session {}".format(*shown), "last_session", at)
    latest = frame.sort_values("known_from", kind="stable").drop_duplicates(
        ["vendor_code", "first_session"], keep="last"
    )
    shared = latest[latest["vendor_code"].duplicated(keep=False)]
    for code, listings in shared.sort_values("first_session", na_position="first").groupby("vendor_code", sort=True):
        rows = listings.index.to_numpy()
        if listings["first_session"].isna().any():
            at = int(rows[listings["first_session"].isna().to_numpy().argmax()])
            place.fail(f"{code!r} has {len(rows)} listings, so each needs its first_session", "first_session", at)
        first, last = listings["first_session"].to_numpy(), listings["last_session"].to_numpy()
        overlap = ~(last[:-1] < first[1:])
        if overlap.any():
            k = int(overlap.argmax())
            problem = (
                f"{code!r} is listed from {_shown(first[k + 1])} here and until {_shown(last[k])} in row "
                f"{place.first_row + rows[k]}; one vendor code cannot hold two companies at once"
            )
            place.fail(problem, "first_session", int(rows[k + 1]))


def check_delistings(table: TypedTable, securities: pd.DataFrame) -> None:
    """No security is delisted before it was first listed. Raises SourceError."""
    begun = securities.dropna(subset=["first_session"]).groupby("vendor_code")["first_session"].min()
    first = begun.reindex(table.frame["vendor_code"]).reset_index(drop=True)
    early = (table.frame["last_session"] < first).to_numpy()
    if early.any():
        at = int(early.argmax())
        found = _shown(table.frame["last_session"].iloc[at])
        table.place.fail(
            f"found {found}, which is before the first session {_shown(first.iloc[at])}", "last_session", at
        )


def missing_table(name: str, where: str) -> SourceError:
    return SourceError(f"the table {name!r} is missing; expected {name}.parquet or {name}.csv", where)


def _ranks(column: pd.Series) -> NDArray[np.int64]:
    """Integers that sort as the column's values do, equal where they are equal, from 0."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy().astype(np.int64)
    if column.dtype.kind == "M" and len(column):
        values = column.to_numpy().astype("datetime64[s]" if column.dtype == "datetime64[s]" else "datetime64[us]")
        if column.dtype == "datetime64[s]":
            days = values.astype("datetime64[D]").astype(np.int64)
            missing = np.isnat(values)
            days[missing] = days[~missing].min() - 1 if not missing.all() else 0
            return days - days.min()
        return np.unique(values, return_inverse=True)[1].astype(np.int64)
    return pd.factorize(column, sort=True, use_na_sentinel=False)[0].astype(np.int64)


def _packed(ranks: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """One integer per row that sorts as the tuple of ranks does."""
    packed = ranks[0]
    for rank in ranks[1:]:
        width = int(rank.max(initial=0)) + 1
        if int(packed.max(initial=0) + 1) * width >= 2**62:
            packed = np.unique(packed, return_inverse=True)[1].astype(np.int64)
        packed = packed * width + rank
    return packed


def _equal_rows(frame: pd.DataFrame, before: Positions, after: Positions) -> NDArray[np.bool_]:
    equal = np.ones(len(before), bool)
    for name in frame.columns:
        left, right = frame[name].iloc[before].reset_index(drop=True), frame[name].iloc[after].reset_index(drop=True)
        equal &= ((left == right) | (left.isna() & right.isna())).to_numpy(bool)
    return equal


def _shown(value: object) -> str:
    return str(value)[:10] if isinstance(value, np.datetime64 | pd.Timestamp) else str(value)
