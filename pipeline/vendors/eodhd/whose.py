"""Whose a row is: histories move on renames and recycled codes turn `_old`, our vendor codes do not.

A row belongs to the code that its company had on the row's day. After FB became META the vendor has all bars under
META; those before the change stay FB's. When ABC passes to another company, its earlier owner becomes ABC_old; where
ABC was recorded before, ABC_old is its earlier episode, otherwise it is a code of its own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.vendors.eodhd.delivered import Delivered
from pipeline.vendors.eodhd.histories import History
from pipeline.vendors.eodhd.parse import Change, is_old

TWINS_AGREE = 0.9
"""Share of the common days on which two codes must have equal closes to be one security."""


class Boundary(NamedTuple):
    """From `day` on the code is another company's, or nobody's. owner: where the one before is found now."""

    day: np.datetime64
    known: pd.Timestamp
    owner: str


class Whose:
    """Codes and boundaries of everything delivered."""

    def __init__(self, delivered: Delivered) -> None:
        self.delivered = delivered
        self._to: dict[str, list[Change]] = {}
        for _, change in delivered.changes:
            self._to.setdefault(change.new, []).append(change)

    def codes(self, code: str, dates: NDArray[np.datetime64]) -> NDArray[np.object_]:
        """The code that each row of the vendor's `code` belongs to, by its date."""
        now = self.twin_of.get(code, code)
        found = np.full(len(dates), now, dtype=object)
        inside = np.ones(len(dates), bool)
        for day, before in self._renames(now):
            inside &= dates < np.datetime64(day, "s")
            found[inside] = before
        return found

    def every_code(self, code: str) -> list[str]:
        """The codes that a row of the vendor's `code` can belong to, whatever its date."""
        now = self.twin_of.get(code, code)
        return [now, *(before for _, before in self._renames(now))]

    def _renames(self, now: str) -> Iterator[tuple[dt.date, str]]:
        """Renames that led to a code, backwards in time: when, and from which code."""
        bound = dt.date.max
        while change := next((c for c in reversed(self._to.get(now, [])) if c.effective < bound), None):
            now, bound = change.old, change.effective
            yield bound, now

    def code_on(self, code: str, day: dt.date) -> str:
        return str(self.codes(code, np.array([day], "datetime64[s]"))[0])

    @cached_property
    def latest(self) -> dict[str, History]:
        """The last history of each of the vendor's codes."""
        return {history.code: history for history in self.delivered.histories}

    @cached_property
    def twin_of(self) -> dict[str, str]:
        """`X_old` codes whose bars were recorded under X: one security, twice."""
        found = {}
        recorded = self._recorded
        for code, history in self.latest.items():
            plain = code[: code.rindex("_old")] if is_old(code) else ""
            if not plain or plain not in recorded:
                continue
            common = history.bars.merge(recorded[plain], on="date", suffixes=("", "_x"))
            if len(common) and float((common["close"] == common["close_x"]).mean()) >= TWINS_AGREE:
                found[code] = plain
        return found

    @cached_property
    def _recorded(self) -> dict[str, pd.DataFrame]:
        """Closes of plain codes with an `_old` one beside them, as first recorded: histories, then days."""
        wanted = {code[: code.rindex("_old")] for code in self.latest if is_old(code)}
        parts: dict[str, list[pd.DataFrame]] = {code: [] for code in wanted}
        for history in self.delivered.histories:
            if history.code in wanted:
                parts[history.code].append(history.bars[["date", "close"]])
        for day in self.delivered.days:
            if not day.why:
                rows = day.bars[day.bars["code"].isin(wanted)]
                for code, own in rows.groupby("code"):
                    parts[str(code)].append(own[["date", "close"]])
        return {code: pd.concat(own).drop_duplicates("date") for code, own in parts.items() if own}

    @cached_property
    def boundaries(self) -> dict[str, list[Boundary]]:
        """By code, the days from which on it is another's: of renames, and of recycled codes."""
        found: dict[str, list[Boundary]] = {}
        for line, change in self.delivered.changes:
            known = self.delivered.landed.known_from(line)
            day = np.datetime64(change.effective, "s")
            found.setdefault(change.old, []).append(Boundary(day, known, change.new))
        for old, plain in self.twin_of.items():
            before, after = self.latest[old], self.latest.get(plain)
            last = before.bars["date"].max()
            if after is None or not len(after.bars) or not (after.bars["date"] > last).all():
                continue  # one security under two codes, and nobody's heir
            begins = after.bars["date"].min().to_datetime64().astype("datetime64[s]")
            found.setdefault(plain, []).append(Boundary(begins, before.known, old))
        return {code: sorted(own, key=lambda b: b.day) for code, own in found.items()}
