"""Answers of Tiingo to rows: pure, offline."""

from __future__ import annotations

import csv
import datetime as dt
import io
import zipfile
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.vendors.values import Unreadable, date, decimal, exact, number

PRICES = ("open", "high", "low", "close", "volume")
LARGEST_TERM = 1000
"""Of a split's ratio: factors come rounded, 0.333333 is 1 for 3."""


class Supported(NamedTuple):
    """A row of the list of tickers. first, last: of its bars; None where the list has none."""

    ticker: str
    exchange: str
    type: str
    currency: str
    first: dt.date | None
    last: dt.date | None


class Daily(NamedTuple):
    """bars: date, open, high, low, close, volume as traded, in order. rejects: (row, why)."""

    bars: pd.DataFrame
    splits: tuple[tuple[dt.date, Fraction], ...]
    dividends: tuple[tuple[dt.date, Decimal], ...]
    rejects: tuple[tuple[int, str], ...]


def parse_supported(body: bytes) -> tuple[Supported, ...]:
    """The zipped list. `TRUE` and `NA` are tickers; some stand twice: two companies, one after the other."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(body))
        text = archive.read(archive.namelist()[0]).decode()
    except (zipfile.BadZipFile, IndexError, UnicodeDecodeError) as error:
        raise Unreadable(f"no zipped list of tickers: {error}") from None
    return tuple(
        Supported(row["ticker"], row["exchange"], row["assetType"], row["priceCurrency"], date(row["startDate"]),
                  date(row["endDate"]))
        for row in csv.DictReader(io.StringIO(text))
    )  # fmt: skip


def parse_daily(body: bytes) -> Daily:
    """Bars with `divCash` and `splitFactor` on their ex-dates; a date may be an instant, whose date part counts."""
    rows = exact(body)
    if not isinstance(rows, list):
        raise Unreadable(f"bars should be a list, found {type(rows).__name__}")
    cells: dict[dt.date, list[float]] = {}
    splits, dividends, rejects = [], [], []
    for at, row in enumerate(rows):
        try:
            day, values, factor, paid = _read(row)
        except Unreadable as error:
            rejects.append((at, str(error)))
            continue
        if day in cells:
            rejects.append((at, "a second bar of its day"))
            continue
        cells[day] = values
        if factor != 1:
            splits.append((day, factor))
        if paid:
            dividends.append((day, paid))
    days = sorted(cells)
    columns = np.array([cells[day] for day in days], np.float64).reshape(len(days), len(PRICES))
    frame = pd.DataFrame(columns, columns=list(PRICES))
    frame.insert(0, "date", np.array(days, "datetime64[D]").astype("datetime64[s]"))
    return Daily(frame, tuple(sorted(splits)), tuple(sorted(dividends)), tuple(rejects))


def _read(row: Any) -> tuple[dt.date, list[float], Fraction, Decimal]:
    if not isinstance(row, dict):
        raise Unreadable("no object")
    day = date(row.get("date"))
    values = [number(row.get(name)) for name in PRICES]
    if day is None or np.isnan(values[PRICES.index("close")]):
        raise Unreadable("no date" if day is None else "no close")
    said = decimal(row.get("splitFactor"))
    factor = Fraction(1) if said is None else Fraction(said)
    paid = decimal(row.get("divCash")) or Decimal(0)
    if factor <= 0 or paid < 0:
        raise Unreadable(f"splitFactor {said}, divCash {paid}")
    return day, values, factor.limit_denominator(LARGEST_TERM), paid
