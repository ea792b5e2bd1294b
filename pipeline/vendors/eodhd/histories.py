"""One symbol's bars, splits and dividends, asked together, and which of them count.

A history counts when the splits asked before and after it are the same bytes: otherwise its volumes and amounts may be
in units of either side of a split. And it must go on from what was recorded under its code: a vendor that folds a
spin-off into its bars, or answers with another company, contradicts nearly all of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.landing.requests import Line
from pipeline.vendors.contract import Landed, Reject, name_of
from pipeline.vendors.eodhd import endpoints as ask
from pipeline.vendors.eodhd.parse import (
    Change,
    Columns,
    Dividend,
    Split,
    WrongAnswer,
    parse_columns,
    parse_dividends,
    parse_splits,
)

Event = TypeVar("Event", Split, Dividend)

FEW = 5
"""So many closes may always be corrected."""
OTHERS = 0.5
"""Share of the recorded closes, or dividends, from which on a history that says others is about something else."""
SAME_FACTOR = 0.002
"""Corrected closes whose ratios to the recorded ones lie within this are one segment, multiplied."""


@dataclass(frozen=True, eq=False)
class History:
    """One symbol's bars, splits and dividends, asked together. known: receipt of the bars, NaT for a first history.

    columns: of the bars, as `parse_bars` has them.
    """

    code: str
    line: Line
    columns: Columns
    splits: tuple[Split, ...]
    dividends: tuple[Dividend, ...]
    known: pd.Timestamp

    @cached_property
    def bars(self) -> pd.DataFrame:
        """The bars as a frame, for those who look at few histories."""
        return pd.DataFrame(self.columns)

    @property
    def days(self) -> NDArray[np.datetime64]:
        return self.columns["date"]


class Histories:
    """All landed histories, in the order of receipt. changes: (line, change), as told; census: closes by code and day.

    accepted: those that count; refused: their bars' lines, by (batch, code, nth), of the whole ones that do not.
    """

    def __init__(
        self,
        landed: Landed,
        changes: Sequence[tuple[Line, Change]],
        census: Mapping[str, Mapping[dt.date, float]],
        rejects: list[Reject],
    ) -> None:
        self.landed, self._census, self._rejects = landed, census, rejects
        self._renamed: dict[str, list[tuple[str, str]]] = {}
        for told, change in changes:
            self._renamed.setdefault(change.new, []).append((told.received_at, change.old))
        self._recorded: dict[str, History] = {}
        self.refused: set[tuple[str, str, int]] = set()
        self.accepted: list[History] = list(self._all())

    def _all(self) -> Iterator[History]:
        parts = {(line.batch_id, endpoint, ask.code_of(line), line.nth): line
                 for endpoint in (ask.SPLITS, ask.DIVIDENDS) for line in self.landed.of(endpoint)}  # fmt: skip
        for line in self.landed.of(ask.EOD):
            batch, code, nth = line.batch_id, ask.code_of(line), line.nth
            before = parts.get((batch, ask.SPLITS, code, 2 * nth - 1))
            after = parts.get((batch, ask.SPLITS, code, 2 * nth))
            paid = parts.get((batch, ask.DIVIDENDS, code, nth))
            if before is None or after is None or paid is None:
                continue
            found = self._counting(line, before, after, paid)
            if found is None:
                self.refused.add((batch, code, nth))
            else:
                self._recorded[code] = found
                yield found

    def _counting(self, line: Line, before: Line, after: Line, paid: Line) -> History | None:
        """The history, or None with a reject that says why it does not count."""
        if before.sha256 != after.sha256:
            self._rejects.append(Reject.of(line, -1, "the splits asked before and after it differ; does not count"))
            return None
        known = self.landed.known_from(line)
        made_of = [part for each in (line, before, paid) for part in (each.request_key, each.sha256)]
        found, rejects = self.landed.once(
            ("history", *name_of(line)),
            (*made_of, before.batch_id, paid.batch_id, pd.isna(known)),
            lambda: _history(self.landed, line, before, paid, known),
        )
        self._rejects += rejects
        if found is None:
            return None
        recorded = self._recorded_of(found)
        census = self._census.get(found.code, {}) if recorded is None else {}
        why = self.landed.once(
            ("contradiction", *name_of(line)),
            (found, recorded, census),
            lambda: _against_census(found, census) if recorded is None else _against_recorded(recorded, found),
        )
        if why:
            self._rejects.append(Reject.of(line, -1, f"{why}; the history does not count"))
            return None
        if not found.splits and self.landed.once(("rounded", *name_of(line)), (found,), lambda: _rounded(found)):
            self._rejects.append(Reject.of(line, -1, "volumes that are no whole numbers were rounded"))
        return found

    def _recorded_of(self, found: History) -> History | None:
        """What was recorded of the company of a history before it; None for a first one."""
        recorded = self._recorded.get(found.code)
        for told_at, old in self._renamed.get(found.code, []):  # since then the code is another company's
            if told_at <= found.line.received_at and (recorded is None or told_at > recorded.line.received_at):
                recorded = self._recorded.get(old, recorded)
        return recorded


def _history(
    landed: Landed, line: Line, before: Line, paid: Line, known: pd.Timestamp
) -> tuple[History | None, list[Reject]]:
    """What bars, splits and dividends say; None where one of them cannot be read."""
    try:
        bars, strange = landed.parsed(line, parse_columns)
        splits, dividends = landed.parsed(before, parse_splits), landed.parsed(paid, parse_dividends)
    except (WrongAnswer, ValueError) as error:
        return None, [Reject.of(line, -1, f"{error}; the history does not count")]
    bars, outside = _asked_bars(line, bars)
    rejects = [Reject.of(line, row, why) for row, why in [*strange, *outside]]
    for part, rows in ((before, splits), (paid, dividends)):
        rejects += [Reject.of(part, row, why) for row, why in rows.rejects]
    split, payments = _asked_events(before, splits.found, rejects), _asked_events(paid, dividends.found, rejects)
    return History(ask.code_of(line), line, bars, tuple(split), tuple(payments), known), rejects


def _rounded(found: History) -> bool:
    """Whether volumes are no whole numbers."""
    return bool((found.columns["volume"] % 1 > 0).any())


def _against_census(found: History, census: Mapping[dt.date, float]) -> str:
    """Why a first history is not what the bars of past days say, that were asked for all symbols; "" when it is."""
    closes, same = found.columns["close"], []
    for day, close in census.items():
        at = np.searchsorted(found.days, np.datetime64(day, "s"))
        if at < len(closes) and found.days[at] == np.datetime64(day, "s"):
            same.append(closes[at] == close)
    return "" if any(same) or not same else f"none of its {len(same)} closes in the bars of all symbols is the same"


def _against_recorded(recorded: History, found: History) -> str:
    """Why a history does not go on from what was recorded of its company; "" when it does."""
    return _other_bars(recorded, found) or _lost_dividends(recorded, found)


def _other_bars(before: History, now: History) -> str:
    days = before.days
    at = np.searchsorted(days, now.days)
    common = at < len(days)
    common[common] = days[at[common]] == now.days[common]
    was, new = before.columns["close"][at[common]], now.columns["close"][common]
    other = (was != new) & (was > 0) & (new > 0)
    if other.sum() <= FEW:
        return ""
    ratio = new[other] / was[other]
    usual = float(np.median(ratio))
    if abs(usual - 1) > SAME_FACTOR and np.ptp(np.quantile(ratio, [0.05, 0.95])) <= SAME_FACTOR * usual:
        return f"{int(other.sum()):,} recorded closes times {usual:.4g}, with no event: bars adjusted for something"
    share = other.mean()
    return f"{share:.0%} of the {len(was):,} recorded closes are others: another company?" if share > OTHERS else ""


def _lost_dividends(before: History, now: History) -> str:
    first, last = ask.span_of(now.line)
    had = {paid.ex_date for paid in before.dividends if first <= paid.ex_date <= last}
    lost = had - {paid.ex_date for paid in now.dividends}
    few = len(lost) <= FEW or len(lost) <= OTHERS * len(had)
    return "" if few else f"{len(lost)} of the {len(had)} recorded dividends are gone"


def _asked_bars(line: Line, columns: Columns) -> tuple[Columns, list[tuple[int, str]]]:
    """The bars of the days that were asked for, in their order, one for each."""
    first, last = (np.datetime64(day, "s") for day in ask.span_of(line))
    days, rejects = columns["date"], []
    if len(days) and days[0] >= first and days[-1] <= last and (days[1:] > days[:-1]).all():
        return columns, []  # the usual answer
    bars = pd.DataFrame(columns)
    own = (days >= first) & (days <= last)
    if not own.all():
        rejects.append((-1, f"{int((~own).sum()):,} bars of days that were not asked for"))
        bars, days = bars[own], days[own]
    if (days[1:] < days[:-1]).any():
        rejects.append((-1, "bars out of order, put in order"))
        bars = bars.sort_values("date", kind="stable")
    twice = bars["date"].duplicated(keep=False).to_numpy()
    if twice.any():
        rejects.append((-1, f"{int(twice.sum()):,} bars of days that have several"))
        bars = bars[~twice]
    return {str(name): values.to_numpy() for name, values in bars.items()}, rejects


def _asked_events(line: Line, rows: Sequence[Event], rejects: list[Reject]) -> list[Event]:
    """The events of the days that were asked for."""
    first, last = ask.span_of(line)
    own = [row for row in rows if first <= row.ex_date <= last]
    if len(own) < len(rows):
        rejects.append(Reject.of(line, -1, f"{len(rows) - len(own)} rows of days that were not asked for"))
    return own
