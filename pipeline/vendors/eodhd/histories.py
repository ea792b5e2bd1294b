"""One symbol's bars, splits and dividends, asked together, and which of them count.

A history counts when the splits asked before and after it are the same bytes: otherwise its volumes and amounts may be
in units of either side of a split. And it must go on from what was recorded under its code: a vendor that folds a
spin-off into its bars, or answers with another company, contradicts nearly all of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from pipeline.landing.requests import Line
from pipeline.vendors.contract import Landed, Reject
from pipeline.vendors.eodhd import endpoints as ask
from pipeline.vendors.eodhd.parse import (
    Change,
    Dividend,
    Split,
    WrongAnswer,
    parse_bars,
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


@dataclass(frozen=True)
class History:
    """One symbol's bars, splits and dividends, asked together. known: receipt of the bars, NaT for a first history."""

    code: str
    line: Line
    bars: pd.DataFrame
    splits: tuple[Split, ...]
    dividends: tuple[Dividend, ...]
    known: pd.Timestamp


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
        parts = {(line.batch_id, line.endpoint, ask.code_of(line), line.nth): line for line in self.landed.facts
                 if line.endpoint in (ask.SPLITS, ask.DIVIDENDS)}  # fmt: skip
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
        code = ask.code_of(line)
        if before.sha256 != after.sha256:
            self._rejects.append(Reject.of(line, -1, "the splits asked before and after it differ; does not count"))
            return None
        try:
            bars, strange = self.landed.parsed(line, parse_bars)
            splits, dividends = self.landed.parsed(before, parse_splits), self.landed.parsed(paid, parse_dividends)
        except (WrongAnswer, ValueError) as error:
            self._rejects.append(Reject.of(line, -1, f"{error}; the history does not count"))
            return None
        bars, outside = _asked_bars(line, bars)
        self._rejects += [Reject.of(line, row, why) for row, why in [*strange, *outside]]
        for part, rows in ((before, splits), (paid, dividends)):
            self._rejects += [Reject.of(part, row, why) for row, why in rows.rejects]
        found = History(
            code,
            line,
            bars,
            tuple(_asked_events(before, splits.found, self._rejects)),
            tuple(_asked_events(paid, dividends.found, self._rejects)),
            self.landed.known_from(line),
        )
        why = self._contradiction(found)
        if why:
            self._rejects.append(Reject.of(line, -1, f"{why}; the history does not count"))
            return None
        if not found.splits and (bars["volume"].to_numpy() % 1 > 0).any():
            self._rejects.append(Reject.of(line, -1, "volumes that are no whole numbers were rounded"))
        return found

    def _contradiction(self, found: History) -> str:
        """Why a history does not go on from what was recorded of its company; "" when it does."""
        recorded = self._recorded.get(found.code)
        for told_at, old in self._renamed.get(found.code, []):  # since then the code is another company's
            if told_at <= found.line.received_at and (recorded is None or told_at > recorded.line.received_at):
                recorded = self._recorded.get(old, recorded)
        if recorded is None:
            return self._against_census(found)
        return _other_bars(recorded.bars, found.bars) or _lost_dividends(recorded, found)

    def _against_census(self, found: History) -> str:
        """A first history against the closes of past days that were asked for all symbols."""
        days, closes = found.bars["date"].to_numpy(), found.bars["close"].to_numpy()
        same = []
        for day, close in self._census.get(found.code, {}).items():
            at = np.searchsorted(days, np.datetime64(day, "s"))
            if at < len(days) and days[at] == np.datetime64(day, "s"):
                same.append(closes[at] == close)
        return "" if any(same) or not same else f"none of its {len(same)} closes in the bars of all symbols is the same"


def _other_bars(before: pd.DataFrame, now: pd.DataFrame) -> str:
    days = before["date"].to_numpy()
    at = np.searchsorted(days, now["date"].to_numpy())
    common = at < len(days)
    common[common] = days[at[common]] == now["date"].to_numpy()[common]
    was, new = before["close"].to_numpy()[at[common]], now["close"].to_numpy()[common]
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


def _asked_bars(line: Line, bars: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """The bars of the days that were asked for, in their order, one for each."""
    first, last = (np.datetime64(day, "s") for day in ask.span_of(line))
    days, rejects = bars["date"].to_numpy(), []
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
    return bars.reset_index(drop=True) if rejects else bars, rejects


def _asked_events(line: Line, rows: Sequence[Event], rejects: list[Reject]) -> list[Event]:
    """The events of the days that were asked for."""
    first, last = ask.span_of(line)
    own = [row for row in rows if first <= row.ex_date <= last]
    if len(own) < len(rows):
        rejects.append(Reject.of(line, -1, f"{len(rows) - len(own)} rows of days that were not asked for"))
    return own
