"""Tables while faults are being planted: what was changed, dropped and added, and which places are taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.settings import SCALE
from pipeline.sources.tables import SourceTables

ELBOW_ROOM = 15
"""Sessions between two faults of one code."""
PRICE_COLUMNS = ("open", "high", "low", "close")
EVERY_CODE = ""


class Spoiled:
    """Copies of the tables that fault kinds change, with a ledger entry for every fault.

    Positions in `prices` stay what they are until `frames` puts everything together: rows are dropped and added there.
    `kind` is the kind whose faults are being planted.
    """

    def __init__(self, tables: SourceTables) -> None:
        self.kind = ""
        self.entries: list[tuple[Any, ...]] = []
        self.tables = {name: frame.copy() for name, frame in tables.frames.items()}
        prices = self.tables["prices"]
        self.values = {name: prices[name].to_numpy(copy=True) for name in (*PRICE_COLUMNS, "volume")}
        self.dates = prices["date"].to_numpy(copy=True)
        self.codes = prices["vendor_code"].cat.codes.to_numpy()
        self.code_names = list(prices["vendor_code"].cat.categories)
        self.ordinals = xnys().on_or_after(self.dates)
        self.dropped = np.zeros(len(prices), bool)
        self.added: list[dict[str, Any]] = []
        securities = self.tables["securities"]
        self.etfs = set(securities["vendor_code"][securities["type"] == "etf"])
        self._taken: dict[str, list[tuple[int, int]]] = {}
        starts = np.flatnonzero(np.r_[True, self.codes[1:] != self.codes[:-1]])
        ends = np.r_[starts[1:], len(self.codes)]
        self._span = {self.code_names[self.codes[a]]: (int(a), int(b)) for a, b in zip(starts, ends, strict=True)}

    def rows_of(self, code: str) -> tuple[int, int]:
        """[from, to) positions of a code's prices; (0, 0) when it has none."""
        return self._span.get(code, (0, 0))

    def row(self, code: str, ordinal: int) -> int | None:
        """Position of a code's price of one session, None when there is none."""
        a, b = self.rows_of(code)
        at = a + int(np.searchsorted(self.ordinals[a:b], ordinal))
        return at if at < b and self.ordinals[at] == ordinal and not self.dropped[at] else None

    def take(self, code: str, first: int, last: int) -> bool:
        """Reserve the session ordinals first..last of a code; False when another fault is near."""
        near = [*self._taken.get(code, ()), *self._taken.get(EVERY_CODE, ())]
        if any(first - ELBOW_ROOM <= b and a <= last + ELBOW_ROOM for a, b in near):
            return False
        self._taken.setdefault(code, []).append((first, last))
        return True

    def take_day(self, ordinal: int) -> None:
        """Reserve one session of every code."""
        self._taken.setdefault(EVERY_CODE, []).append((ordinal, ordinal))

    def pick_rows(self, rng: Generator, count: int, length: int = 1) -> list[int]:
        """Positions of up to `count` blocks of `length` rows of stocks, reserved, away from the ends of a listing."""
        picked: list[int] = []
        for _ in range(50 * count):
            if len(picked) == count:
                break
            at = int(rng.integers(len(self.codes)))
            code = self.code_names[self.codes[at]]
            a, b = self.rows_of(code)
            if code in self.etfs or at < a + 5 or at + length > b - 5 or not self.values["close"][at] > 0:
                continue
            if self.take(code, int(self.ordinals[at]), int(self.ordinals[at + length - 1])):
                picked.append(at)
        return picked

    def pick_events(self, rng: Generator, count: int, table: str, wanted: NDArray[np.bool_] | None = None) -> list[int]:
        """Positions of up to `count` rows of an event table of stocks (where `wanted`), their ex-dates reserved."""
        frame = self.tables[table]
        picked: list[int] = []
        for at in rng.permutation(len(frame)).tolist():
            if len(picked) == count:
                break
            code, ex = frame["vendor_code"].iloc[at], self.ordinal(frame["ex_date"].iloc[at])
            if code in self.etfs or (wanted is not None and not wanted[at]):
                continue
            if self.row(code, ex) is None or self.row(code, ex - 1) is None or self.row(code, ex + 6) is None:
                continue  # nothing printed around it
            if self.take(code, ex - 1, ex + 5):
                picked.append(at)
        return picked

    def record(
        self, code: str, first: int, last: int, true: object, wrong: object, leaves_a_trace: bool = True
    ) -> None:
        """One entry of the ledger; first, last: session ordinals of the wrong rows.

        leaves_a_trace: whether this one can be told from ordinary data at all, if its kind can.
        """
        self.entries.append((self.kind, code, self.day(first), self.day(last), str(true), str(wrong), leaves_a_trace))

    def usual_move(self, code: str, ordinal: int) -> float:
        """Robust daily log return of a code over the 60 sessions before one; 0 for none."""
        a, b = self.rows_of(code)
        before = (self.ordinals[a:b] < ordinal) & (self.ordinals[a:b] >= ordinal - 60) & ~self.dropped[a:b]
        close = self.values["close"][a:b][before]
        moves = np.abs(np.diff(np.log(close[close > 0])))
        return SCALE * float(np.median(moves)) if len(moves) else 0.0

    def code_at(self, position: int) -> str:
        return self.code_names[self.codes[position]]

    def add_price(self, code: str, ordinal: int, **values: float) -> None:
        self.added.append({"vendor_code": code, "date": self.day(ordinal), **values})

    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables with everything that was done; positions are not valid any more."""
        prices = self.tables["prices"].assign(date=self.dates, **self.values)[~self.dropped]
        if self.added:
            extra = pd.DataFrame(self.added).reindex(columns=prices.columns)
            extra["known_from"], extra["known_assumed"] = pd.NaT, True
            extra = extra.astype({name: prices[name].dtype for name in prices.columns})
            prices = pd.concat([prices, extra], ignore_index=True)
        return self.tables | {"prices": prices}

    @staticmethod
    def ordinal(date: Any) -> int:
        return int(xnys().on_or_after(np.datetime64(date, "D")))

    @staticmethod
    def day(ordinal: int) -> np.datetime64:
        return xnys().sessions[ordinal].astype("datetime64[s]")


def text_of(date: np.datetime64) -> str:
    """A date as the ledger writes it."""
    return str(date.astype("datetime64[D]"))
