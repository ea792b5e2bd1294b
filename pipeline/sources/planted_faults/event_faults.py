"""Errors in the events: splits, dividends and spin-offs that are wrong, missing, or there twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator

from pipeline.calendar import xnys
from pipeline.sources.knowledge import PRICE_DELAY
from pipeline.sources.planted_faults.spoiled import Spoiled, text_of

TRACE_OF_A_MOVE = 8.0
"""Usual daily moves that one unexplained move must exceed to be told from an ordinary day ..."""
TRACE_OF_A_PAIR = 4.0
"""... and those that each of two must, one there and one back."""


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
            text_of(tables.day(ex)),
            text_of(tables.day(wrong)),
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


def _repeat(tables: Spoiled, rng: Generator, count: int, table: str) -> None:
    """Deliver an event again, 1 to 4 sessions later."""
    frame = tables.tables[table]
    again = []
    for at in tables.pick_events(rng, count, table):
        ex = tables.ordinal(frame["ex_date"].iloc[at])
        wrong = ex + int(rng.integers(1, 5))
        again.append(frame.iloc[[at]].assign(ex_date=tables.day(wrong)))
        tables.record(frame["vendor_code"].iloc[at], wrong, wrong, "once", f"again on {text_of(tables.day(wrong))}")
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
