"""Errors in the prices: whole days, stretches of a history, single rows."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from pipeline.sources.planted_faults.spoiled import EVERY_CODE, PRICE_COLUMNS, Spoiled, text_of

LONG_GAP = 35
SHIFTED_BLOCK = 40
TESTED = 3
"""Stocks with one test price."""


def stale_day(tables: Spoiled, rng: Generator, count: int) -> None:
    """A whole day repeats the day before."""
    for ordinal in _days(tables, rng, count):
        rows = np.flatnonzero(tables.ordinals == ordinal)
        rows = rows[(rows > 0) & (tables.codes[rows - 1] == tables.codes[rows])]
        for values in tables.values.values():
            values[rows] = values[rows - 1]
        tables.record(EVERY_CODE, ordinal, ordinal, f"{len(rows)} rows", "rows of the session before")


def partial_day(tables: Spoiled, rng: Generator, count: int) -> None:
    """A whole day has 60 % of its rows."""
    for ordinal in _days(tables, rng, count):
        rows = np.flatnonzero(tables.ordinals == ordinal)
        lost = rng.choice(rows, size=int(0.4 * len(rows)), replace=False)
        tables.dropped[lost] = True
        tables.record(EVERY_CODE, ordinal, ordinal, f"{len(rows)} rows", f"{len(rows) - len(lost)} rows")


def date_shift(tables: Spoiled, rng: Generator, count: int) -> None:
    """A block of rows is dated a calendar day early."""
    for at in tables.pick_rows(rng, count, SHIFTED_BLOCK):
        block = slice(at, at + SHIFTED_BLOCK)
        true = tables.dates[at]
        tables.dates[block] -= np.timedelta64(1, "D")
        if tables.dates[at - 1] == tables.dates[at]:
            tables.dropped[at - 1] = True
        first, last = int(tables.ordinals[at]) - 1, int(tables.ordinals[at + SHIFTED_BLOCK - 1])
        tables.record(tables.code_at(at), first, last, text_of(true), text_of(tables.dates[at]))


def long_gap(tables: Spoiled, rng: Generator, count: int) -> None:
    """Seven weeks are missing."""
    for at in tables.pick_rows(rng, count, LONG_GAP):
        tables.dropped[at : at + LONG_GAP] = True
        first, last = int(tables.ordinals[at]), int(tables.ordinals[at + LONG_GAP - 1])
        tables.record(tables.code_at(at), first, last, f"{LONG_GAP} rows", "no row")


def price_x100(tables: Spoiled, rng: Generator, count: int) -> None:
    """One day is quoted in another unit: a hundred times, or a hundredth."""
    for at in tables.pick_rows(rng, count):
        _scale(tables, at, 100.0 if rng.random() < 0.5 else 0.01)


def price_sentinel(tables: Spoiled, rng: Generator, count: int) -> None:
    """One day has 1,000,000 for a price."""
    for at in tables.pick_rows(rng, count):
        _set_prices(tables, at, 1e6)


def price_impossible(tables: Spoiled, rng: Generator, count: int) -> None:
    """One day has a price of zero, or a negative one."""
    for at in tables.pick_rows(rng, count):
        _set_prices(tables, at, 0.0 if rng.random() < 0.5 else -float(tables.values["close"][at]))


def shared_test_price(tables: Spoiled, rng: Generator, count: int) -> None:
    """Three stocks, far from each other in price, have one close in one session: a vendor tests its feed."""
    for _ in range(50):
        if count <= 0:
            return
        ordinal = int(rng.integers(int(tables.ordinals.min()) + 60, int(tables.ordinals.max()) - 60))
        price = round(float(rng.uniform(3000, 9000)), 2)  # more than any stock of the market costs
        rows = rng.permutation(np.flatnonzero(tables.ordinals == ordinal))
        stocks = [at for at in rows.tolist() if tables.code_at(at) not in tables.etfs and _inside(tables, at)]
        far = [at for at in stocks if price > 2 * tables.values["close"][at]]
        free = [at for at in far[:20] if tables.take(tables.code_at(at), ordinal, ordinal)][:TESTED]
        if len(free) == TESTED:
            for at in free:
                _set_prices(tables, at, price)
            count -= TESTED


def _inside(tables: Spoiled, at: int) -> bool:
    """Whether a row is away from the ends of its listing."""
    a, b = tables.rows_of(tables.code_at(at))
    return a + 5 <= at < b - 5 and not tables.dropped[at - 1 : at + 2].any()


def ohlc_inconsistent(tables: Spoiled, rng: Generator, count: int) -> None:
    """The high of a day is below its low; the close is right."""
    for at in tables.pick_rows(rng, count):
        true = tables.values["high"][at]
        tables.values["high"][at] = np.round(0.97 * tables.values["low"][at], 4)
        _record_row(tables, at, true, tables.values["high"][at])


def volume_overflow(tables: Spoiled, rng: Generator, count: int) -> None:
    """A volume beyond 32 bits came out negative."""
    for at in tables.pick_rows(rng, count):
        true = tables.values["volume"][at]
        tables.values["volume"][at] = true - 2.0**32
        _record_row(tables, at, true, tables.values["volume"][at])


def duplicated_row(tables: Spoiled, rng: Generator, count: int) -> None:
    """A row is delivered twice."""
    for at in tables.pick_rows(rng, count):
        row = {name: float(values[at]) for name, values in tables.values.items()}
        tables.add_price(tables.code_at(at), int(tables.ordinals[at]), **row)
        _record_row(tables, at, "1 row", "2 rows")


def missing_day(tables: Spoiled, rng: Generator, count: int) -> None:
    """A row is missing."""
    for at in tables.pick_rows(rng, count):
        tables.dropped[at] = True
        _record_row(tables, at, tables.values["close"][at], "no row")


def stale_tail(tables: Spoiled, rng: Generator, count: int) -> None:
    """After a delisting the last price is repeated for weeks."""
    dead = tables.tables["delistings"]
    horizon = int(tables.ordinals.max())
    for at in rng.permutation(len(dead)).tolist():
        if count == 0:
            return
        code, last = dead["vendor_code"].iloc[at], tables.ordinal(dead["last_session"].iloc[at])
        sessions = int(rng.integers(5, 31))
        row = tables.row(code, last)
        heir = tables.ordinals[slice(*tables.rows_of(code))].max(initial=0) > last
        if row is None or heir or last + sessions > horizon or not tables.take(code, last, last + sessions):
            continue
        close = float(tables.values["close"][row])
        for k in range(1, sessions + 1):
            tables.add_price(code, last + k, volume=0.0, **dict.fromkeys(PRICE_COLUMNS, close))
        tables.record(code, last + 1, last + sessions, "no row", close)
        count -= 1


def when_issued(tables: Spoiled, rng: Generator, count: int) -> None:
    """Prints of a when-issued line stand before the first session of the regular one."""
    securities = tables.tables["securities"].drop_duplicates("vendor_code", keep=False)
    late = securities[securities["first_session"] > tables.day(int(tables.ordinals.min()) + 10)]
    for at in rng.permutation(len(late)).tolist():
        if count == 0:
            return
        code, first = late["vendor_code"].iloc[at], tables.ordinal(late["first_session"].iloc[at])
        row = tables.row(code, first)
        if code in tables.etfs or row is None or not tables.take(code, first - 3, first):
            continue
        close = float(tables.values["close"][row])
        for k in range(1, 4):
            price = float(np.round(close * rng.uniform(0.6, 1.7), 2))
            tables.add_price(code, first - k, volume=100.0, **dict.fromkeys(PRICE_COLUMNS, price))
        tables.record(code, first - 3, first - 1, "no row", price)
        count -= 1


def _days(tables: Spoiled, rng: Generator, count: int) -> list[int]:
    first, last = int(tables.ordinals.min()), int(tables.ordinals.max())
    days = sorted(int(day) for day in rng.choice(np.arange(first + 20, last - 5), size=count, replace=False))
    for day in days:
        tables.take_day(day)
    return days


def _scale(tables: Spoiled, at: int, factor: float) -> None:
    true = tables.values["close"][at]
    for name in PRICE_COLUMNS:
        tables.values[name][at] = np.round(tables.values[name][at] * factor, 4)
    _record_row(tables, at, true, tables.values["close"][at])


def _set_prices(tables: Spoiled, at: int, price: float) -> None:
    true = tables.values["close"][at]
    for name in PRICE_COLUMNS:
        tables.values[name][at] = price
    _record_row(tables, at, true, price)


def _record_row(tables: Spoiled, at: int, true: object, wrong: object) -> None:
    ordinal = int(tables.ordinals[at])
    tables.record(tables.code_at(at), ordinal, ordinal, true, wrong)
