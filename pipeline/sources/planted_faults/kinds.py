"""The kinds of vendor errors: what each does to the tables, and what is expected of who reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.random import Generator

from pipeline.calendar import xnys
from pipeline.sources.knowledge import PRICE_DELAY
from pipeline.sources.planted_faults.spoiled import EVERY_CODE, PRICE_COLUMNS, Spoiled

LONG_GAP = 35
SHIFTED_BLOCK = 40

TRACE_OF_A_MOVE = 8.0
"""Usual daily moves that one unexplained move must exceed to be told from an ordinary day ..."""
TRACE_OF_A_PAIR = 4.0
"""... and those that each of two must, one there and one back."""
FIRST_COUNT_DUE = 126
"""Sessions of trading after which a share count must have been filed: a quarter, and 90 days."""


@dataclass(frozen=True)
class Fault:
    """One kind. full_count: how many a market of 3,000 stocks over 20 years has."""

    plant: Callable[[Spoiled, Generator, int], None]
    full_count: int
    handling: Literal["reject", "quarantine", "accept-and-flag"]
    detectable: bool


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


def spliced_history(tables: Spoiled, rng: Generator, count: int) -> None:
    """A newcomer's history stands under the code of a dead company, and nothing says that it is another one."""
    securities = tables.tables["securities"]
    single = securities.drop_duplicates("vendor_code", keep=False)
    named = set(tables.tables["spin_offs"]["child_code"]) | set(tables.tables["delistings"]["successor_code"])
    single = single[
        ~single["vendor_code"].isin(named | tables.etfs | set(tables.tables["ticker_changes"]["vendor_code"]))
    ]
    dead = single[single["last_session"].notna()]
    for at in rng.permutation(len(dead))[: 4 * count].tolist():
        if count == 0:
            return
        old, last = dead["vendor_code"].iloc[at], tables.ordinal(dead["last_session"].iloc[at])
        late = single[
            (single["first_session"] > tables.day(last + 25)) & (single["first_session"] < tables.day(last + 500))
        ]
        for new in late["vendor_code"]:
            a, b = tables.rows_of(new)
            first_new, last_new = int(tables.ordinals[a]), int(tables.ordinals[b - 1])
            if b - a < 60 or not tables.take(new, first_new, last_new):
                continue
            if not tables.take(old, last, last_new):
                continue
            _recode(tables, new, old)
            tables.record(old, first_new, last_new, new, old)
            count -= 1
            break


def date_shift(tables: Spoiled, rng: Generator, count: int) -> None:
    """A block of rows is dated a calendar day early."""
    for at in tables.pick_rows(rng, count, SHIFTED_BLOCK):
        block = slice(at, at + SHIFTED_BLOCK)
        true = tables.dates[at]
        tables.dates[block] -= np.timedelta64(1, "D")
        if tables.dates[at - 1] == tables.dates[at]:
            tables.dropped[at - 1] = True
        first, last = int(tables.ordinals[at]) - 1, int(tables.ordinals[at + SHIFTED_BLOCK - 1])
        tables.record(tables.code_at(at), first, last, _text(true), _text(tables.dates[at]))


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


def duplicate_split(tables: Spoiled, rng: Generator, count: int) -> None:
    """A split comes again some days later."""
    _repeat(tables, rng, count, "splits")


def duplicate_dividend(tables: Spoiled, rng: Generator, count: int) -> None:
    """A dividend comes again some days later."""
    _repeat(tables, rng, count, "dividends")


def misdated_split(tables: Spoiled, rng: Generator, count: int) -> None:
    """A split has its ex-date one session early or late."""
    frame = tables.tables["splits"]
    for at in tables.pick_events(rng, count, "splits"):
        ex = tables.ordinal(frame["ex_date"].iloc[at])
        wrong = ex + (1 if rng.random() < 0.5 else -1)
        frame.loc[at, "ex_date"] = tables.day(wrong)
        tables.record(
            frame["vendor_code"].iloc[at],
            min(ex, wrong),
            max(ex, wrong),
            _text(tables.day(ex)),
            _text(tables.day(wrong)),
            _split_shows(tables, frame.iloc[at], TRACE_OF_A_PAIR),
        )


def wrong_ratio_fixed_later(tables: Spoiled, rng: Generator, count: int) -> None:
    """A split has a wrong ratio at first; the correction is known ten sessions after the ex-date."""
    frame = tables.tables["splits"]
    corrections = []
    for at in tables.pick_events(rng, count, "splits"):
        ex = tables.ordinal(frame["ex_date"].iloc[at])
        new, old = int(frame["ratio_new"].iloc[at]), int(frame["ratio_old"].iloc[at])
        known = xnys().closes[ex + 10] + PRICE_DELAY
        corrections.append(frame.iloc[[at]].assign(known_from=known, known_assumed=False))
        name = "ratio_new" if new > old else "ratio_old"
        frame.loc[at, name] = max(new, old) * 2 + 1
        wrong = f"{frame['ratio_new'].iloc[at]}:{frame['ratio_old'].iloc[at]}"
        tables.record(frame["vendor_code"].iloc[at], ex, ex, f"{new}:{old}", wrong)
    tables.tables["splits"] = pd.concat([frame, *corrections], ignore_index=True)


def missing_split(tables: Spoiled, rng: Generator, count: int) -> None:
    """A split is not there."""
    _lose(tables, rng, count, "splits")


def missing_dividend(tables: Spoiled, rng: Generator, count: int) -> None:
    """A dividend is not there."""
    _lose(tables, rng, count, "dividends")


def adjusted_dividend(tables: Spoiled, rng: Generator, count: int) -> None:
    """The amount is in the share units of today: divided by the splits that came later."""
    frame, splits = tables.tables["dividends"], tables.tables["splits"]
    later = np.ones(len(frame))
    ratios = splits["ratio_new"] / splits["ratio_old"]
    for code, ex_date, ratio in zip(splits["vendor_code"], splits["ex_date"], ratios, strict=True):
        before = (frame["vendor_code"] == code) & (frame["ex_date"] < ex_date)
        later[before.to_numpy()] *= ratio
    for at in tables.pick_events(rng, count, "dividends", later != 1):
        wrong = float(np.round(frame["amount"].iloc[at] / later[at], 4))
        _change(tables, "dividends", at, "amount", wrong)


def wrong_currency(tables: Spoiled, rng: Generator, count: int) -> None:
    """A dividend has another currency than the company's others."""
    frame = tables.tables["dividends"]
    rated = sorted(set(tables.tables["fx_rates"]["currency"]))
    if not rated:
        return
    for at in tables.pick_events(rng, count, "dividends"):
        true = frame["currency"].iloc[at]
        _change(tables, "dividends", at, "currency", str(rng.choice(rated)) if true == "USD" else "USD")


def spin_off_as_split(tables: Spoiled, rng: Generator, count: int) -> None:
    """A spin-off is written as a split with an odd ratio, such as 1253:1000."""
    frame = tables.tables["spin_offs"]
    lost = []
    rows = []
    for at in tables.pick_events(rng, count, "spin_offs"):
        code, ex = frame["vendor_code"].iloc[at], tables.ordinal(frame["ex_date"].iloc[at])
        child, parent = tables.row(frame["child_code"].iloc[at], ex), tables.row(code, ex - 1)
        if child is None or parent is None:
            continue
        before = tables.values["close"][parent]
        left = before - frame["child_ratio"].iloc[at] * tables.values["close"][child]
        ratio = int(np.round(1000 * before / left))
        row = frame.iloc[at]
        rows.append(
            {"vendor_code": code, "ex_date": row["ex_date"], "ratio_new": ratio, "ratio_old": 1000,
             "known_from": row["known_from"], "known_assumed": row["known_assumed"]}
        )  # fmt: skip
        lost.append(at)
        tables.record(code, ex, ex, f"{row['child_ratio']:g} of {row['child_code']}", f"{ratio}:1000")
    if rows:
        splits = tables.tables["splits"]
        extra = pd.DataFrame(rows).reindex(columns=splits.columns)
        extra = extra.astype({name: splits[name].dtype for name in splits.columns})
        tables.tables["splits"] = pd.concat([splits, extra], ignore_index=True)
        tables.tables["spin_offs"] = frame.drop(index=lost).reset_index(drop=True)


def late_delisting(tables: Spoiled, rng: Generator, count: int) -> None:
    """The notice of a delisting comes days after the last session."""
    frame = tables.tables["delistings"]
    horizon = int(tables.ordinals.max())
    for at in rng.permutation(len(frame)).tolist():
        if count == 0:
            return
        code, last = frame["vendor_code"].iloc[at], tables.ordinal(frame["last_session"].iloc[at])
        late = last + int(rng.integers(5, 21))
        if late > horizon or not tables.take(code, last, last + 1):
            continue
        true = frame["known_from"].iloc[at]
        frame.loc[at, "known_from"] = xnys().closes[late] + PRICE_DELAY
        frame.loc[at, "known_assumed"] = False
        tables.record(code, last, last, true, frame["known_from"].iloc[at])
        count -= 1


def shares_x1000(tables: Spoiled, rng: Generator, count: int) -> None:
    """A share count is in thousands."""
    frame = tables.tables["shares"]
    filed_before = frame.groupby("vendor_code").cumcount().to_numpy() > 0
    candidates = np.flatnonzero(filed_before)
    for at in rng.permutation(candidates)[:count].tolist():
        true = frame["shares"].iloc[at]
        frame.loc[at, "shares"] = true / 1000
        ordinal = tables.ordinal(frame["period_end"].iloc[at])
        tables.record(frame["vendor_code"].iloc[at], ordinal, ordinal, true, true / 1000)


def missing_shares(tables: Spoiled, rng: Generator, count: int) -> None:
    """A company that has traded long enough to have filed has no share counts at all."""
    frame = tables.tables["shares"]
    spoiled = {entry[1] for entry in tables.entries if entry[0] == "shares_x1000"}
    spans = {code: tables.rows_of(code) for code in set(frame["vendor_code"]) - spoiled}
    codes = sorted(
        code
        for code, (a, b) in spans.items()
        if b > a and tables.ordinals[b - 1] - tables.ordinals[a] > FIRST_COUNT_DUE
    )
    lost = rng.permutation(codes)[:count].tolist()
    for code in lost:
        days = frame["period_end"][frame["vendor_code"] == code]
        tables.record(code, tables.ordinal(days.min()), tables.ordinal(days.max()), f"{len(days)} rows", "no row")
    tables.tables["shares"] = frame[~frame["vendor_code"].isin(lost)].reset_index(drop=True)


FAULTS: dict[str, Fault] = {
    "spliced_history": Fault(spliced_history, 12, "reject", True),
    "stale_day": Fault(stale_day, 1, "quarantine", True),
    "partial_day": Fault(partial_day, 1, "quarantine", True),
    "date_shift": Fault(date_shift, 5, "quarantine", True),
    "long_gap": Fault(long_gap, 3, "accept-and-flag", True),
    "price_x100": Fault(price_x100, 40, "reject", True),
    "price_sentinel": Fault(price_sentinel, 15, "reject", True),
    "price_impossible": Fault(price_impossible, 20, "reject", True),
    "spin_off_as_split": Fault(spin_off_as_split, 20, "quarantine", True),
    "misdated_split": Fault(misdated_split, 40, "quarantine", True),
    "wrong_ratio_fixed_later": Fault(wrong_ratio_fixed_later, 10, "quarantine", True),
    "missing_split": Fault(missing_split, 25, "quarantine", True),
    "duplicate_split": Fault(duplicate_split, 25, "reject", True),
    "adjusted_dividend": Fault(adjusted_dividend, 60, "accept-and-flag", False),
    "wrong_currency": Fault(wrong_currency, 40, "quarantine", True),
    "duplicate_dividend": Fault(duplicate_dividend, 80, "reject", True),
    "missing_dividend": Fault(missing_dividend, 120, "accept-and-flag", False),
    "stale_tail": Fault(stale_tail, 60, "reject", True),
    "when_issued": Fault(when_issued, 10, "reject", True),
    "late_delisting": Fault(late_delisting, 30, "accept-and-flag", False),
    "ohlc_inconsistent": Fault(ohlc_inconsistent, 60, "accept-and-flag", True),
    "volume_overflow": Fault(volume_overflow, 5, "accept-and-flag", True),
    "duplicated_row": Fault(duplicated_row, 60, "accept-and-flag", True),
    "missing_day": Fault(missing_day, 400, "accept-and-flag", True),
    "shares_x1000": Fault(shares_x1000, 15, "quarantine", True),
    "missing_shares": Fault(missing_shares, 30, "accept-and-flag", True),
}
"""Rare events come first, so that they find a place."""


def _days(tables: Spoiled, rng: Generator, count: int) -> list[int]:
    first, last = int(tables.ordinals.min()), int(tables.ordinals.max())
    days = sorted(int(day) for day in rng.choice(np.arange(first + 20, last - 5), size=count, replace=False))
    for day in days:
        tables.take_day(day)
    return days


def _recode(tables: Spoiled, code: str, to: str) -> None:
    """Write every row of one code under another one; its row in `securities` is gone."""
    place = {name: k for k, name in enumerate(tables.code_names)}
    a, b = tables.rows_of(code)
    categories = tables.tables["prices"]["vendor_code"].array
    codes = categories.codes.copy()
    codes[a:b] = place[to]
    tables.tables["prices"]["vendor_code"] = pd.Categorical.from_codes(codes, categories.categories)
    for name, frame in tables.tables.items():
        if "vendor_code" in frame and name not in ("prices", "securities"):
            frame.loc[frame["vendor_code"] == code, "vendor_code"] = to
    securities = tables.tables["securities"]
    tables.tables["securities"] = securities[securities["vendor_code"] != code].reset_index(drop=True)


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


def _repeat(tables: Spoiled, rng: Generator, count: int, table: str) -> None:
    """Deliver an event again, 1 to 4 sessions later."""
    frame = tables.tables[table]
    again = []
    for at in tables.pick_events(rng, count, table):
        ex = tables.ordinal(frame["ex_date"].iloc[at])
        wrong = ex + int(rng.integers(1, 5))
        again.append(frame.iloc[[at]].assign(ex_date=tables.day(wrong)))
        tables.record(frame["vendor_code"].iloc[at], wrong, wrong, "once", f"again on {_text(tables.day(wrong))}")
    tables.tables[table] = pd.concat([frame, *again], ignore_index=True)


def _lose(tables: Spoiled, rng: Generator, count: int, table: str) -> None:
    frame = tables.tables[table]
    picked = tables.pick_events(rng, count, table)
    for at in picked:
        row = frame.iloc[at]
        ex = tables.ordinal(row["ex_date"])
        true = f"{row['ratio_new']}:{row['ratio_old']}" if table == "splits" else row["amount"]
        shows = table != "splits" or _split_shows(tables, row, TRACE_OF_A_MOVE)
        tables.record(row["vendor_code"], ex, ex, true, "no row", shows)
    tables.tables[table] = frame.drop(index=picked).reset_index(drop=True)


def _split_shows(tables: Spoiled, split: Any, sigmas: float) -> bool:
    """Whether a split moves the price by more than so many usual daily moves of its stock."""
    usual = tables.usual_move(split["vendor_code"], tables.ordinal(split["ex_date"]))
    return bool(abs(np.log(split["ratio_new"] / split["ratio_old"])) > sigmas * usual)


def _change(tables: Spoiled, table: str, at: int, column: str, wrong: Any) -> None:
    frame = tables.tables[table]
    true = frame[column].iloc[at]
    ex = tables.ordinal(frame["ex_date"].iloc[at])
    frame.loc[at, column] = wrong
    tables.record(frame["vendor_code"].iloc[at], ex, ex, true, wrong)


def _text(date: np.datetime64) -> str:
    return str(date.astype("datetime64[D]"))
