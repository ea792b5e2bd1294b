"""Answers of EODHD to rows: pure, offline, one function for each kind of answer.

Rows that cannot be read become rejects with a reason; a whole answer of another form raises `WrongAnswer`.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.vendors.contract import Spent
from pipeline.vendors.values import Unreadable, date, decimal, exact, number, ratio, said, text

BAR = ("open", "high", "low", "close", "volume")
Columns = dict[str, NDArray[Any]]


class WrongAnswer(ValueError):
    """A whole answer that is not of the expected form."""


@dataclass
class Rows:
    """Rows of one answer. rejects: (row, why)."""

    found: list[Any] = field(default_factory=list)
    rejects: list[tuple[int, str]] = field(default_factory=list)


class Split(NamedTuple):
    """code: "" in an answer about one symbol. ratio: new shares for one old."""

    code: str
    ex_date: dt.date
    ratio: Fraction


class Dividend(NamedTuple):
    """amount: per share as paid then; rounded: half a unit of its last digit, in the same unit; currency: ISO 4217."""

    code: str
    ex_date: dt.date
    value: Decimal
    unadjusted: Decimal | None
    currency: str
    record_date: dt.date | None
    period: str


class Listed(NamedTuple):
    """A row of a symbol list, as the vendor calls things."""

    code: str
    name: str
    exchange: str
    currency: str
    type: str
    isin: str


class Change(NamedTuple):
    """A company that moved to another symbol."""

    old: str
    new: str
    effective: dt.date
    name: str


class Fundamentals(NamedTuple):
    """What is said of a company now. figi: composite. shares: outstanding as stated today, None for none or zero."""

    code: str
    type: str
    name: str
    figi: str
    isin: str
    cusip: str
    cik: str
    gics_sub_industry: str
    category: str
    industry: str
    shares: Decimal | None
    updated: dt.date | None


class Mapped(NamedTuple):
    """A row of the id mapping. figi: composite."""

    code: str
    isin: str
    figi: str
    cusip: str
    cik: str


def parse_bars(body: bytes) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """One symbol's bars: columns `date` (datetime64[s]), open, high, low, close, volume, adjusted_close (float64).

    A bar without a close is rejected; prices that cannot be true pass, for the rules about data.
    """
    columns, rejects = parse_columns(body)
    return pd.DataFrame(columns), rejects


def parse_columns(body: bytes) -> tuple[Columns, list[tuple[int, str]]]:
    """One symbol's bars as the columns of `parse_bars`: of thousands of answers, frames are what takes long."""
    rows = _rows(json.loads(body), "bars")
    kept, columns, rejects = _cells(rows)
    days = columns["date"]
    if not rejects and not np.isnan(columns["close"]).any() and (days[1:] > days[:-1]).all():
        return columns, rejects  # nothing to refuse
    frame, rejects = _bars(rows, kept, columns, rejects, code=False)
    return {str(name): values.to_numpy() for name, values in frame.items()}, rejects


def parse_bulk_bars(body: bytes) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """One day's bars of an exchange: as `parse_bars`, with `code`; rows of another exchange than US are rejected."""
    rows = _rows(json.loads(body), "bars of a day")
    return _bars(rows, *_cells(rows), code=True)


def parse_splits(body: bytes) -> Rows:
    """Splits of one symbol, or of one day with their codes. A split that changes nothing is rejected."""

    def split(row: dict[str, Any]) -> Split:
        found = Split(_code(row), _day(row), ratio(row.get("split")))
        if found.ratio == 1:
            raise Unreadable("a split of 1 for 1")
        return found

    return _each(_rows(exact(body), "splits"), split)


def parse_dividends(body: bytes) -> Rows:
    """Dividends of one symbol (`value`), or of one day (`dividend`, in text), with both amounts as given."""

    def dividend(row: dict[str, Any]) -> Dividend:
        value, unadjusted = decimal(row.get("value", row.get("dividend"))), decimal(row.get("unadjustedValue"))
        if value is None:
            value = unadjusted
        if value is None or value < 0 or (unadjusted is not None and unadjusted < 0):
            raise Unreadable("no amount" if value is None else f"the amount {value} is negative")
        currency = text(row.get("currency")).upper() or "USD"
        try:
            record = date(row.get("recordDate"))
        except Unreadable:
            record = None
        return Dividend(_code(row), _day(row), value, unadjusted, currency, record, text(row.get("period")))

    return _each(_rows(exact(body), "dividends"), dividend)


def parse_list(body: bytes) -> Rows:
    """A symbol list: code, name, venue, currency, type and ISIN of each."""

    def one(row: dict[str, Any]) -> Listed:
        code = str(row.get("Code") or "").strip()  # `NA` and `TRUE` are codes
        if not code:
            raise Unreadable("no Code")
        cells = [text(row.get(key)) for key in ("Name", "Exchange", "Currency", "Type", "Isin")]
        return Listed(code, *cells)

    return _each(_rows(json.loads(body), "listings"), one)


def parse_changes(body: bytes) -> Rows:
    """The symbol change history, in the order of its dates; other exchanges than US are rejected."""

    def change(row: dict[str, Any]) -> Change:
        if text(row.get("exchange")) not in ("US", ""):
            raise Unreadable(f"exchange {row.get('exchange')}")
        old, new = str(row.get("old_symbol") or "").strip(), str(row.get("new_symbol") or "").strip()
        day = date(row.get("effective"))
        if not old or not new or day is None or old == new:
            raise Unreadable("not two symbols and a date")
        return Change(old, new, day, text(row.get("company_name")))

    found = _each(_rows(json.loads(body), "symbol changes"), change)
    found.found.sort(key=lambda change: (change.effective, change.old, change.new))
    return found


def parse_fundamentals(body: bytes) -> Fundamentals:
    """General, SharesStats and the identifiers. Keys may be missing; averages and future rows are no counts."""
    value = exact(body)
    general = value.get("General", value) if isinstance(value, dict) else None
    if not isinstance(general, dict) or "Code" not in general:
        raise WrongAnswer("no General section with a Code")
    stats = value.get("SharesStats")
    try:
        shares = decimal(stats.get("SharesOutstanding")) if isinstance(stats, dict) else None
        updated = date(general.get("UpdatedAt"))
    except Unreadable:
        shares, updated = None, None
    cik = text(general.get("CIK"))
    return Fundamentals(
        code=str(general["Code"]),
        type=text(general.get("Type")),
        name=text(general.get("Name")),
        figi=text(general.get("OpenFigi")),
        isin=text(general.get("ISIN")),
        cusip=text(general.get("CUSIP")),
        cik=cik.zfill(10) if cik.isdigit() else "",
        gics_sub_industry=text(general.get("GicSubIndustry")),
        category=text(general.get("HomeCategory")),
        industry=text(general.get("Industry")),
        shares=shares if shares else None,
        updated=updated,
    )


def parse_id_mapping(body: bytes) -> Rows:
    """One page of the id mapping, keys in lower case or as the vendor's own description has them."""

    def one(row: dict[str, Any]) -> Mapped:
        lower = {key.lower(): value for key, value in row.items()}
        symbol = text(lower.get("symbol")) or f"{text(lower.get('code'))}.{text(lower.get('exchange'))}"
        code, _, exchange = symbol.rpartition(".")
        if exchange != "US" or not code:
            raise Unreadable(f"symbol {symbol!r} is not of the exchange US")
        cik = text(lower.get("cik"))
        isin, figi, cusip = (text(lower.get(key)) for key in ("isin", "figi", "cusip"))
        return Mapped(code, isin, figi, cusip, cik.zfill(10) if cik.isdigit() else "")

    value = json.loads(body)
    if not isinstance(value, dict) or "data" not in value:
        raise WrongAnswer("no `data`")
    return _each(_rows(value["data"], "ids"), one)


def parse_user(body: bytes) -> Spent:
    """Until the first request of a day the day and the units are those of the last one."""
    value = json.loads(body)
    if not isinstance(value, dict) or "apiRequests" not in value:
        raise WrongAnswer("no apiRequests")
    limit = int(number(value.get("dailyRateLimit") or 0)) + int(number(value.get("extraLimit") or 0))
    return Spent(int(number(value["apiRequests"])), text(value.get("apiRequestsDate")), limit)


def _cells(rows: list[Any]) -> tuple[NDArray[np.int64], Columns, list[tuple[int, str]]]:
    """The rows that can be read, their columns, and the others as rejects."""
    rejects: list[tuple[int, str]] = []
    keys = (*BAR, "adjusted_close")
    try:  # the usual answer: numbers throughout
        days = np.array([row["date"] for row in rows], dtype="datetime64[D]")
        columns = {key: np.array([row[key] for row in rows], dtype=np.float64) for key in BAR}
        columns["adjusted_close"] = _numbers([row.get("adjusted_close") for row in rows])
        kept = np.arange(len(rows))
    except (KeyError, TypeError, ValueError):
        good, cells = [], []
        for at, row in enumerate(rows):
            try:
                cells.append((_day(row), *(number(row.get(key)) for key in keys)))
                good.append(at)
            except (Unreadable, AttributeError) as error:
                rejects.append((at, str(error)))
        kept = np.array(good, dtype=np.int64)
        days = np.array([cell[0] for cell in cells], dtype="datetime64[D]")
        columns = {key: np.array([cell[k] for cell in cells], dtype=np.float64) for k, key in enumerate(keys, 1)}
    return kept, {"date": days.astype("datetime64[s]"), **columns}, rejects


def _bars(
    rows: list[Any], kept: NDArray[np.int64], columns: Columns, rejects: list[tuple[int, str]], *, code: bool
) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """What of the rows that can be read are bars."""
    frame = pd.DataFrame(columns)
    wanted = ~np.isnan(columns["close"])
    rejects += [(int(kept[k]), "no close") for k in np.flatnonzero(~wanted)]
    if code:
        frame.insert(0, "code", [str(rows[k].get("code") or "") for k in kept])
        venues = [rows[k].get("exchange_short_name", rows[k].get("exchange", "US")) for k in kept]
        venue = np.array([name == "US" for name in venues], bool)
        named = (frame["code"] != "").to_numpy()
        rejects += [(int(kept[k]), "another exchange than US, or no code") for k in np.flatnonzero(~(venue & named))]
        wanted &= venue & named
    twice = wanted & frame.duplicated().to_numpy()
    rejects += [(int(kept[k]), "stands twice") for k in np.flatnonzero(twice)]
    return frame[wanted & ~twice].reset_index(drop=True), sorted(rejects)


def _numbers(values: list[Any]) -> NDArray[np.float64]:
    """Numbers, NaN for what is not said. Raises TypeError or ValueError for other text."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return np.array([_maybe(value) for value in values], dtype=np.float64)


def _maybe(value: Any) -> float:
    return math.nan if said(value) is None else float(value)


def _rows(value: Any, what: str) -> list[Any]:
    """The rows of a list, without a last row that warns; [] for `{}`."""
    if isinstance(value, dict) and not value:
        return []
    if not isinstance(value, list):
        raise WrongAnswer(f"{what} should be a list, found {type(value).__name__}")
    return [row for row in value if not (isinstance(row, dict) and len(row) == 1 and "warning" in row)]


def _each(rows: list[Any], read: Callable[[dict[str, Any]], Any]) -> Rows:
    result = Rows()
    for at, row in enumerate(rows):
        try:
            if not isinstance(row, dict):
                raise Unreadable("no object")
            result.found.append(read(row))
        except Unreadable as error:
            result.rejects.append((at, str(error)))
    result.found = list(dict.fromkeys(result.found))
    return result


def _day(row: dict[str, Any]) -> dt.date:
    found = date(row.get("date"))
    if found is None:
        raise Unreadable("no date")
    return found


def _code(row: dict[str, Any]) -> str:
    """The code of a row of a day; "" in an answer about one symbol. Raises Unreadable for another exchange."""
    if "code" not in row:
        return ""
    if text(row.get("exchange", "US")) != "US":
        raise Unreadable(f"exchange {row.get('exchange')}")
    return str(row["code"])


_OLD = re.compile(r"_old\d*$")
_CLASS = re.compile(r"^([A-Z]+)-([A-Z])$")


def ticker_of(code: str) -> str:
    """The ticker behind a code: `ABC_old1` had ABC, `BRK-B` is BRK.B."""
    return _CLASS.sub(r"\1.\2", _OLD.sub("", code))


def is_old(code: str) -> bool:
    """Whether the code is what an earlier owner of a recycled code is called."""
    return bool(_OLD.search(code))
