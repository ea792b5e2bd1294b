"""One event that a delivery tells in two forms: as a distribution of shares and as a dividend of its worth, or twice
with a rounded amount. It counts once.

The dividend is the same event when it is worth as much *and* the close fell by one of the two, not by both: a company
may well pay cash on the day of a spin-off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.sources.tables import BarsOf

Row = dict[str, Any]


class ToldTwice(NamedTuple):
    """A dividend (its position) that is another event's second form, with what that event is worth per share."""

    at: int
    row: Row
    worth: float
    evidence: str


def told_as_dividend(
    dividends: pd.DataFrame, splits: pd.DataFrame, spin_offs: pd.DataFrame, bars_of: BarsOf, within: float
) -> list[ToldTwice]:
    """Dividends that are a split or spin-off of the same day once more, worth as much within a factor."""
    events = [splits[["vendor_code", "ex_date"]], spin_offs[["vendor_code", "ex_date"]]]
    shared = pd.concat(events, ignore_index=True).drop_duplicates()
    both = dividends.reset_index(names="at").merge(shared, on=["vendor_code", "ex_date"])
    if both.empty:
        return []
    spun_off = both.merge(spin_offs[["vendor_code", "ex_date", "child_code"]], on=["vendor_code", "ex_date"])
    bars = bars_of(set(both["vendor_code"]) | set(spun_off["child_code"]))
    bars = bars.loc[bars["close"] > 0, ["vendor_code", "date", "close"]]
    closes = {str(code): rows.drop_duplicates("date").set_index("date")["close"].sort_index()
              for code, rows in bars.groupby("vendor_code", observed=True)}  # fmt: skip
    found = []
    for record in both.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        own = closes.get(row["vendor_code"], pd.Series(dtype=float))
        day, before = row["ex_date"], own[own.index < row["ex_date"]]
        if before.empty or day not in own.index:
            continue
        last, now, on_day = float(before.iloc[-1]), float(own[day]), _same_event(row)
        ratio = float(np.prod([r["ratio_new"] / r["ratio_old"] for r in splits[on_day(splits)].to_dict("records")]))
        children = [_worth(child, closes, day) for child in spin_offs[on_day(spin_offs)].to_dict("records")]
        cash = float(np.nansum(children))
        for worth in [*children, cash, (1 - 1 / ratio) * last]:
            alone, twice = (now * ratio + cash) / last, (now * ratio + cash + row["amount"]) / last
            if worth > 0 and worth / within <= row["amount"] <= worth * within and _nearer(alone, twice):
                evidence = f"dividend {row['amount']:g} and a distribution worth {worth:g} are one event, counted once"
                found.append(ToldTwice(int(row["at"]), row, worth, evidence))
                break
    return found


def _same_event(row: Row) -> Any:
    return lambda frame: (frame["vendor_code"] == row["vendor_code"]) & (frame["ex_date"] == row["ex_date"])


def _worth(child: dict[Any, Any], closes: dict[str, pd.Series], day: pd.Timestamp) -> float:
    """What a parent's share got of a child: at its close of the day, else as stated."""
    close = closes.get(child["child_code"], pd.Series(dtype=float)).get(day, np.nan)
    return float(child["child_ratio"] * close) if np.isfinite(close) else float(child["value"])


def _nearer(alone: float, twice: float) -> bool:
    """Whether the close moved less with the event once than with it twice."""
    return abs(np.log(alone)) < abs(np.log(twice))


def rounded_again(dividends: pd.DataFrame) -> list[ToldTwice]:
    """Dividends that are another one of the same day, kind and instant with its amount rounded (to cents or finer)."""
    key = ["vendor_code", "ex_date", "currency", "kind", "basis", "known_from"]
    rows = dividends.reset_index(names="at")
    rows = rows[rows.duplicated(key, keep=False)]
    found = []
    for _, group in rows.groupby(key, sort=False):
        records = [{str(name): value for name, value in row.items()} for row in group.to_dict("records")]
        for row in records:
            digits = max(len(f"{row['amount']:.10f}".rstrip("0").partition(".")[2]), 2)
            exact = [r["amount"] for r in records if r["amount"] != row["amount"]]
            match = [amount for amount in exact if round(abs(amount - row["amount"]), 10) <= 0.5 * 10.0**-digits]
            if match:
                evidence = f"dividend {row['amount']:g} is {match[0]:g} rounded, counted once"
                found.append(ToldTwice(int(row["at"]), row, match[0], evidence))
    return found
