"""What to ask next: the cheapest requests that a need still lacks. Pure; asked again after each round."""

from __future__ import annotations

import datetime as dt
import hashlib
from functools import cached_property

import numpy as np

from pipeline.calendar import xnys
from pipeline.landing.fetcher import Bundle
from pipeline.landing.requests import Class
from pipeline.vendors.contract import BACKFILL, Need
from pipeline.vendors.eodhd import endpoints as ask
from pipeline.vendors.eodhd.delivered import Delivered
from pipeline.vendors.eodhd.parse import is_old
from pipeline.vendors.rounds import Rounds

LIST_DAYS = 7
"""Both symbol lists are read anew so often."""
CHANGES_SINCE = dt.date(2022, 7, 22)
"""The symbol change history begins here."""
LATE_SESSIONS = 3
"""Splits and dividends are asked again for so many sessions: some come late."""
TURN = 30
"""Each night one of so many parts of the histories is read again, against silent restatements."""
TRIES = 3
"""How often a history is asked in one batch when its parts do not hang together."""


class Plan(Rounds):
    """What EODHD is asked, in the order of its cost."""

    def __init__(self, need: Need, delivered: Delivered) -> None:
        super().__init__(need, delivered.landed)
        self.delivered = delivered

    def next(self) -> list[Bundle]:
        """The next round; [] when nothing is left."""
        return self.first_open(
            [self.lists, self.changes, self.census, self.every_history, self.every_description, self.ids, self.rates]
            if self.need.kind == BACKFILL
            else [self.changes, self.day, self.lists, self.touched_histories, self.descriptions, self.ids, self.rates]
        )

    # Rounds

    def day(self) -> list[Bundle]:
        """The day's bars, again while they are not whole, and the events of the last sessions.

        The splits of the next session too: by the morning the vendor has applied them to the volumes of the day.
        Events of the session that none had are asked twice: an empty answer looks like a quiet day.
        """
        session = self.need.end
        whole = any(not day.why for day in self.delivered.days if day.session == session)
        request = None if whole else self.again(ask.of_day(ask.DAY_BARS, session))
        bars: list[Bundle] = [] if request is None else [[request]]
        calendar = xnys()
        at = calendar.ordinal(session)
        days = [calendar.sessions[at - back].item() for back in range(LATE_SESSIONS)]
        events = (ask.DAY_SPLITS, ask.DAY_DIVIDENDS)
        empty = {line.endpoint for line in self.asked.values() if line.answer is Class.EMPTY and line.nth == 1
                 and line.endpoint in events and ask.day_of(line) == session}  # fmt: skip
        again: list[Bundle] = [[ask.of_day(kind, session, nth=2)] for kind in events if kind in empty]
        ahead = ask.of_day(ask.DAY_SPLITS, calendar.sessions[at + 1].item())
        return [*bars, [ahead], *([ask.of_day(kind, day)] for day in days for kind in events), *again]

    def lists(self) -> list[Bundle]:
        """Both lists, once a week, and when the day has codes that no list knows, or lacks listed ones."""
        own = any(line.endpoint == ask.ACTIVE and line.batch_id == self.need.batch_id for line in self.landed.facts)
        if own or not self._lists_are_old():
            return []
        return [[ask.symbol_list(ask.ACTIVE), ask.symbol_list(ask.DELISTED)]]

    def changes(self) -> list[Bundle]:
        """Also those of the next days: a night's answers may already stand under the codes of the next morning."""
        start = CHANGES_SINCE
        if self.need.kind != BACKFILL:
            earlier = self.landed.of(ask.CHANGES)
            lines = [line for line in earlier if line.batch_id != self.need.batch_id]
            told = [ask.span_of(line)[1] for line in lines]
            start = max([CHANGES_SINCE, *(day - dt.timedelta(days=3 * LIST_DAYS) for day in told)])
        until = self.need.end + dt.timedelta(days=LIST_DAYS)
        return [[ask.symbol_changes(start, until)]] if start <= until else []

    def census(self) -> list[Bundle]:
        """The bars of the last session of each year: who was alive, under today's codes."""
        days = xnys().between(self.need.start, self.need.end)
        years = days.astype("datetime64[Y]")
        last = days[np.append(years[1:] != years[:-1], False)] if len(days) else days
        return [[ask.of_day(ask.DAY_BARS, day.item())] for day in last]

    def every_history(self) -> list[Bundle]:
        """All symbols of the scope, living and dead, with their `_old` twins, a bundle for each."""
        active, delisted = self.delivered.active(), self.delivered.delisted()
        scope = {code for rows in (delisted, active) for code, row in rows.items() if self.delivered.in_scope(row)}
        return [self.history(code, live=code in active and not is_old(code)) for code in sorted(scope)]

    def every_description(self) -> list[Bundle]:
        codes = sorted(self.delivered.codes - self.delivered.factor_etfs)
        return [[ask.fundamentals(code)] for code in codes]

    def touched_histories(self) -> list[Bundle]:
        """Symbols with a split, new and renamed ones, those the day had no bar of, and tonight's part of the rest."""
        codes = self._with_news() | self._new_codes() | self._gaps()
        ordinal = xnys().ordinal(self.need.end)
        codes |= {code for code in self.delivered.codes if _turn(code) == ordinal % TURN and self._alive(code)}
        return [self.history(code, live=self._alive(code)) for code in sorted(codes)]

    def descriptions(self) -> list[Bundle]:
        """Fundamentals of symbols that have none."""
        described = {said.code for _, said in self.delivered.fundamentals}
        wanted = self._new_codes(known=True) - described - self.delivered.factor_etfs
        return [[ask.fundamentals(code)] for code in sorted(wanted)]

    def ids(self) -> list[Bundle]:
        """The identifiers of stocks whose description names no issuer, or could not be had; asked once."""
        issuers = {said.code for _, said in self.delivered.fundamentals if said.cik}
        codes = sorted(self.delivered.codes - self.delivered.factor_etfs - issuers)
        return [[request] for code in codes if not self.is_answered(request := ask.ids(code))]

    def rates(self) -> list[Bundle]:
        """Exchange rates of the currencies that dividends were paid in."""
        return [[ask.rate(currency, *self._span())] for currency in sorted(self.delivered.foreign)]

    def history(self, code: str, *, live: bool) -> Bundle:
        """Splits, bars, dividends, splits again; once more when what came whole does not count."""
        start, end = self._span()
        for nth in range(1, TRIES + 1):
            bundle = [
                ask.of_symbol(ask.SPLITS, code, start, end, nth=2 * nth - 1),
                ask.of_symbol(ask.EOD, code, start, end, nth=nth, live=live),
                ask.of_symbol(ask.DIVIDENDS, code, start, end, nth=nth),
                ask.of_symbol(ask.SPLITS, code, start, end, nth=2 * nth),
            ]
            if not all(self.is_settled(request) for request in bundle):
                return bundle
            if (self.need.batch_id, code, nth) not in self.delivered.refused:
                break
        return bundle

    # What the plan looks at

    def _span(self) -> tuple[dt.date, dt.date]:
        """The range of histories: that of the backfill, on a night through its session."""
        if self.need.kind == BACKFILL:
            return self.need.start, self.need.end
        return self._first_asked, self.need.end

    @cached_property
    def _first_asked(self) -> dt.date:
        return min((ask.span_of(line)[0] for line in self.landed.of(ask.EOD)), default=self.need.start)

    def _lists_are_old(self) -> bool:
        lists = self.delivered.lists
        if not lists:
            return True
        read = max(line.received_at[:10] for line, *_ in lists)
        if self.need.kind == BACKFILL:
            return False
        if (self.need.end - dt.date.fromisoformat(read)).days >= LIST_DAYS - 1:
            return True
        known = set(self.delivered.active()) | set(self.delivered.delisted())
        return bool(self._codes_of_day() - known)

    def _codes_of_day(self) -> set[str]:
        lines = [line for line in self.landed.of(ask.DAY_BARS) if line.batch_id == self.need.batch_id]
        return {code for line in lines[-1:] for code in self.delivered.day_bars(line)[0]["code"]}

    def _with_news(self) -> set[str]:
        """Codes with a split on one of the days that were asked tonight and that no later history has."""
        found = set()
        held = {(h.code, split.ex_date) for h in self.delivered.histories for split in h.splits}
        for _, day, splits in self.delivered.day_events(ask.DAY_SPLITS):
            found |= {row.code for row in splits if (row.code, day) not in held or self._asked_history(row.code)}
        return found

    def _new_codes(self, *, known: bool = False) -> set[str]:
        """Active codes of the scope without a history before this night."""
        before = {h.code for h in self.delivered.histories if h.line.batch_id != self.need.batch_id}
        found = {code for code, row in self.delivered.active().items() if self.delivered.in_scope(row)} - before
        return found & self.delivered.codes if known else found

    def _gaps(self) -> set[str]:
        """Names with a bar lately and none in the day's bars that count."""
        days = [day for day in self.delivered.days if day.session == self.need.end and not day.why]
        return set().union(*(day.gaps for day in days[-1:]))

    def _asked_history(self, code: str) -> bool:
        request = ask.of_symbol(ask.EOD, code, *self._span())
        return (request.key, request.nth) in self.asked

    def _alive(self, code: str) -> bool:
        return code in self.delivered.active() and not is_old(code)


def _turn(code: str) -> int:
    """Which part of the histories a code belongs to; the same on every machine."""
    return int(hashlib.sha256(code.encode()).hexdigest()[:8], 16) % TURN
