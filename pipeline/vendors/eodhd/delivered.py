"""What of the landed answers counts: histories that hang together, nights that are whole, lists, changes.

The bars of a day count when they cover the names that had one the session before, or when a person accepted them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.landing.requests import Line
from pipeline.quality.deliveries import listed
from pipeline.settings import Settings
from pipeline.sources.currencies import CURRENCIES
from pipeline.sources.shipped import shipped_factor_etfs
from pipeline.vendors.contract import NIGHT, Landed, Reject, name_of
from pipeline.vendors.eodhd import endpoints as ask
from pipeline.vendors.eodhd.histories import Histories, History
from pipeline.vendors.eodhd.parse import (
    Change,
    Dividend,
    Fundamentals,
    Listed,
    Mapped,
    Rows,
    Split,
    WrongAnswer,
    parse_bars,
    parse_bulk_bars,
    parse_changes,
    parse_dividends,
    parse_fundamentals,
    parse_id_mapping,
    parse_list,
    parse_splits,
)
from pipeline.vendors.values import VENUES

STOCK, ETF = "Common Stock", "ETF"
LATELY = 3
"""A name is looked for in its history so many sessions after its last bar."""
LOOK_BACK = 10
"""Sessions back to which a delivery is held against an earlier one."""


@dataclass(frozen=True)
class Day:
    """The bars of one day as delivered. why: what is missing when they do not count; coverage: share of the names with
    a bar the session before; gaps: names without one that had it lately."""

    session: dt.date
    line: Line
    bars: pd.DataFrame
    known: pd.Timestamp
    why: str
    coverage: float
    gaps: frozenset[str]


class Delivered:
    """The landed answers of the vendor, read once."""

    def __init__(self, landed: Landed, settings: Settings) -> None:
        self.landed, self.settings = landed, settings
        self.rejects: list[Reject] = []
        self.factor_etfs = frozenset(shipped_factor_etfs())
        self._day_events: dict[str, list[tuple[Line, dt.date, list[Any]]]] = {}

    @cached_property
    def lists(self) -> list[tuple[Line, bool, dict[str, Listed]]]:
        """(line, whether of the active symbols, rows by code), in the order of receipt."""
        found = []
        for line in self.landed.facts:
            if line.endpoint in (ask.ACTIVE, ask.DELISTED):
                rows = self._rows(line, parse_list)
                found.append((line, line.endpoint == ask.ACTIVE, {row.code: row for row in rows}))
        return found

    @cached_property
    def changes(self) -> list[tuple[Line, Change]]:
        """Each symbol change with the line that told it first, in the order of their dates."""
        told: dict[tuple[str, str, dt.date], tuple[Line, Change]] = {}
        for line in self.landed.of(ask.CHANGES):
            for change in self._rows(line, parse_changes):
                told.setdefault((change.old, change.new, change.effective), (line, change))
        return sorted(told.values(), key=lambda pair: (pair[1].effective, pair[1].old, pair[1].new))

    @cached_property
    def fundamentals(self) -> list[tuple[Line, Fundamentals]]:
        found = []
        for line in self.landed.of(ask.FUNDAMENTALS):
            said = self.landed.read(line, parse_fundamentals, self.rejects)
            if said is None:
                continue
            if said.code == ask.code_of(line):
                found.append((line, said))
            else:
                self.rejects.append(Reject.of(line, -1, f"the answer is about {said.code}"))
        return found

    @cached_property
    def mapped(self) -> list[tuple[Line, Mapped]]:
        """Identifiers of codes whose description has none."""
        return [(line, row) for line in self.landed.of(ask.IDS) for row in self._rows(line, parse_id_mapping)]

    @cached_property
    def _asked(self) -> Histories:
        return Histories(self.landed, self.changes, self._census, self.rejects)

    @cached_property
    def histories(self) -> list[History]:
        return self._asked.accepted

    @property
    def refused(self) -> set[tuple[str, str, int]]:
        """(batch, code, nth) of histories that came whole and do not count."""
        return self._asked.refused

    @cached_property
    def _census(self) -> dict[str, dict[dt.date, float]]:
        """By code, the closes of past days that were asked for all symbols."""
        lines = [line for line in self.landed.of(ask.DAY_BARS) if not line.batch_id.startswith(NIGHT)]
        made_of = tuple((line.request_key, line.sha256) for line in lines)
        return self.landed.once(("census",), made_of, lambda: self._census_of(lines))

    def _census_of(self, lines: list[Line]) -> dict[str, dict[dt.date, float]]:
        found: dict[str, dict[dt.date, float]] = {}
        for line in lines:
            frame, day = self.day_bars(line)[0], ask.day_of(line)
            own = frame[(frame["date"] == np.datetime64(day, "s")).to_numpy()]
            for code, close in zip(own["code"].tolist(), own["close"].tolist(), strict=True):
                found.setdefault(code, {})[day] = close
        return found

    @cached_property
    def days(self) -> list[Day]:
        """The bars of nights, in the order of receipt, each judged by the names that counted before it."""
        found: list[Day] = []
        counted = _Names(self)
        for line in self.landed.of(ask.DAY_BARS):
            if not line.batch_id.startswith(NIGHT):
                continue  # a census: it says who was alive
            session = ask.day_of(line)
            frame, names, rejects = self.landed.once(
                ("day", *name_of(line)), (line.sha256, self.codes), partial(self._own_rows, line)
            )
            self.rejects += rejects
            before, lately = counted.expected(line, session)
            why = counted.lacking(session, before, names)
            if why and names and session in self.landed.accepted:
                self.rejects.append(
                    Reject.of(line, -1, f"the bars of the day count because a person accepted them: {why}")
                )
                why = ""
            known, share = self.landed.known_from(line), len(before & names) / max(len(before), 1)
            day = Day(session, line, frame, known, why, share, frozenset(lately - names))
            found.append(day)
            if why:
                self.rejects.append(Reject.of(line, -1, f"the bars of the day do not count: {why}"))
            else:
                fractions = int((frame["volume"] % 1 > 0).sum())
                if fractions:
                    self.rejects.append(Reject.of(line, -1, f"{fractions:,} volumes that are no whole numbers"))
                counted.add(session, names)
        return found

    def _own_rows(self, line: Line) -> tuple[pd.DataFrame, frozenset[str], list[Reject]]:
        """Of the bars of a day those of the day and of known codes, and the codes; the rest as rejects."""
        frame, rejects = self.day_bars(line)
        own = (frame["date"] == np.datetime64(ask.day_of(line), "s")).to_numpy()
        rejects = rejects + [(-1, f"{int((~own).sum())} rows of other days")] * bool((~own).any())
        frame = frame[own & frame["code"].isin(self.codes).to_numpy()]
        twice = frame["code"].duplicated(keep=False)
        if twice.any():
            rejects = [*rejects, (-1, f"{int(twice.sum())} rows of codes that stand twice")]
            frame = frame[~twice]
        found = frame.reset_index(drop=True), frozenset(frame["code"].tolist())
        return *found, [Reject.of(line, row, why) for row, why in rejects]

    def day_bars(self, line: Line) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
        """The bars of a day as they came, and the rows that are none."""
        try:
            return self.landed.parsed(line, parse_bulk_bars)
        except (WrongAnswer, ValueError) as error:
            return _no_bars(), [(-1, str(error))]

    @cached_property
    def codes(self) -> frozenset[str]:
        """The codes with a history: those whose rows can be anybody's."""
        return frozenset(history.code for history in self.histories)

    def day_events(self, endpoint: str) -> list[tuple[Line, dt.date, list[Split] | list[Dividend]]]:
        """The splits or dividends of days: rows of that day and of known codes."""
        if endpoint not in self._day_events:
            self._day_events[endpoint] = [self._events_of(line, endpoint) for line in self.landed.of(endpoint)]
        return self._day_events[endpoint]

    def _events_of(self, line: Line, endpoint: str) -> tuple[Line, dt.date, list[Any]]:
        day = ask.day_of(line)
        found = self._rows(line, parse_splits if endpoint == ask.DAY_SPLITS else parse_dividends)
        rows = [row for row in found if row.code in self.codes]
        own = [row for row in rows if row.ex_date == day]
        if len(own) < len(rows):
            self.rejects.append(Reject.of(line, -1, f"{len(rows) - len(own)} rows of other days"))
        return line, day, own

    @cached_property
    def foreign(self) -> frozenset[str]:
        """Currencies other than the dollar that dividends of known codes were paid in."""
        paid = {d.currency for history in self.histories for d in history.dividends}
        for _, _, rows in self.day_events(ask.DAY_DIVIDENDS):
            paid |= {row.currency for row in rows if isinstance(row, Dividend)}
        return frozenset((paid & CURRENCIES) - {"USD"})

    @cached_property
    def rates(self) -> list[tuple[Line, str, pd.DataFrame]]:
        """(line, currency, bars) of exchange rates, in the order of receipt."""
        found = []
        for line in self.landed.of(ask.RATES):
            read = self.landed.read(line, parse_bars, self.rejects)
            if read is not None:
                found.append((line, ask.code_of(line).removesuffix("USD"), read[0]))
        return found

    def in_scope(self, row: Listed) -> bool:
        """Whether a listed symbol is one of the model's: a stock of our venues, a factor ETF, or asked for by name."""
        names = self.settings.fetching.names
        etf = row.type == ETF and row.code in self.factor_etfs
        if row.exchange not in VENUES or not (row.type == STOCK or etf):
            return False
        return etf or not names or row.code in names

    def active(self) -> dict[str, Listed]:
        """The active symbols of the latest list."""
        return next((rows for _, active, rows in reversed(self.lists) if active), {})

    def delisted(self) -> dict[str, Listed]:
        return next((rows for _, active, rows in reversed(self.lists) if not active), {})

    def _rows(self, line: Line, parse: Callable[[bytes], Rows]) -> list[Any]:
        rows = self.landed.read(line, parse, self.rejects)
        if rows is None:
            return []
        self.rejects += [Reject.of(line, row, why) for row, why in rows.rejects]
        return rows.found


class _Names:
    """Who had a bar on which session, among what counted so far. A day is judged by what was known at its receipt."""

    def __init__(self, delivered: Delivered) -> None:
        self._delivered = delivered
        self._of: dict[dt.date, frozenset[str]] = {}
        self._earlier = 0
        self._codes: set[str] = set()

    def add(self, session: dt.date, names: frozenset[str]) -> None:
        self._of[session] = names

    def expected(self, line: Line, session: dt.date) -> tuple[set[str], set[str]]:
        """The names with a bar the session before, and those with one lately, by what was known at a receipt.

        Days and histories are in the order of receipt: the histories of each day begin with those of the day before it.
        """
        histories = self._delivered.histories
        while self._earlier < len(histories) and histories[self._earlier].line.received_at <= line.received_at:
            self._codes.add(histories[self._earlier].code)
            self._earlier += 1
        codes = self._codes.difference(
            change.old
            for told, change in self._delivered.changes
            if change.effective <= session and told.received_at <= line.received_at
        )
        at, before = xnys().ordinal(session), self._before(session, histories[: self._earlier])
        days = xnys().sessions[max(at - LATELY, 0) : at].tolist()
        return before & codes, before.union(*(self._of.get(day, ()) for day in days)) & codes

    def lacking(self, session: dt.date, before: set[str], names: frozenset[str]) -> str:
        """Why these names are not a whole delivery of the session; "" when they are."""
        if not bool(xnys().is_session(np.datetime64(session, "D"))):
            return f"{session} is no session"
        if not before:
            return "" if names else "no bars"
        bound = self._delivered.settings.fetching.coverage
        share = len(before & names) / len(before)
        if share < bound:
            return (
                f"bars of {share:.1%} of the {len(before):,} names of the session before, expected {bound:.0%}; "
                f"without one: {listed(sorted(before - names))}"
            )
        etfs = sorted((before & self._delivered.factor_etfs) - names)
        return f"no bars of the factor ETFs {', '.join(etfs[:5])}" if etfs else ""

    def _before(self, session: dt.date, earlier: list[History]) -> set[str]:
        """Names of the session before, from its delivery or from histories; of an earlier one where there are none."""
        calendar = xnys()
        at = calendar.ordinal(session)
        for before in calendar.sessions[max(at - LOOK_BACK, 0) : at][::-1]:
            found = set(self._of.get(before.item(), ()))
            day = before.astype("datetime64[s]")
            for history in earlier if not found else ():
                k = int(np.searchsorted(history.days, day))
                if k < len(history.days) and history.days[k] == day:
                    found.add(history.code)
            if found:
                return found
        return set()


def _no_bars() -> pd.DataFrame:
    columns = {name: np.zeros(0) for name in ("open", "high", "low", "close", "volume", "adjusted_close")}
    return pd.DataFrame({"code": [], "date": np.zeros(0, "datetime64[s]"), **columns})
