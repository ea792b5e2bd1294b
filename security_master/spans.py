"""The listings, tickers and identifiers of one security, as known at an instant."""

from __future__ import annotations

from typing import NamedTuple

from security_master.bitemporal import Source
from security_master.continuity import MOVED, TWIN
from security_master.dates import END, new_york_date
from security_master.identity import Identities
from security_master.listings import Episode, Listings, Version


class Listing(NamedTuple):
    sec_id: str
    vendor_code: str
    exchange: str
    market: str
    trading_mode: str
    sec_type: str
    currency: str
    name: str
    valid_from: str
    valid_to: str


class TickerSpan(NamedTuple):
    sec_id: str
    market: str
    ticker: str
    trading_mode: str
    valid_from: str
    valid_to: str


class Identifier(NamedTuple):
    sec_id: str
    scheme: str
    value: str
    valid_from: str
    valid_to: str


class _Span(NamedTuple):
    """A stretch in which a security is listed as one episode with one set of attributes."""

    start: str
    end: str
    episode: Episode
    version: Version


class SecurityView:
    """One security as known at an instant."""

    def __init__(self, sec_id: str, episodes: list[Episode], listings: Listings, identities: Identities) -> None:
        self.sec_id = sec_id
        self.episodes = episodes
        self.listed = listings
        self.identities = identities
        self._spans: dict[str, list[_Span]] = {}

    def instants(self) -> set[str]:
        """When something that concerns this security became known."""
        found: set[str] = set()
        for episode in self.episodes:
            found.add(self.identities.assigned[episode.key].known_from)
            for sibling in self.listed.by_code[episode.vendor_code]:
                found |= sibling.instants()
            found |= {c.known_from for c in self.listed.changes_by_code.get(episode.vendor_code, ())}
            found |= {d.known_from for d in self.listed.delistings_by_code.get(episode.vendor_code, ())}
        first = min(self.identities.assigned[e.key].known_from for e in self.episodes)
        return {instant for instant in found if instant >= first}

    def spans(self, instant: str) -> list[_Span]:
        """Stretches of listing in order, none overlapping.

        One security may be delivered under two codes at once. A code without a stated end gives way to the one that
        starts later (it has moved); one with a stated end keeps its sessions. Of two with one start, the one delivered
        later, or in place of the other, has them all; one that repeats the other's closes goes on where that one ends,
        or where its ticker changes into the other's.
        """
        if instant not in self._spans:
            self._spans[instant] = self._find_spans(instant)
        return self._spans[instant]

    def _find_spans(self, instant: str) -> list[_Span]:
        known = [e for e in self.episodes if self.identities.assigned[e.key].known_from <= instant]
        rank = {e.key: self.identities.assigned[e.key].known_from for e in known}
        whole: list[tuple[str, str, Episode]] = []
        rule = {e.key: self.identities.assigned[e.key].rule for e in known}
        for episode in sorted(
            known, key=lambda e: (e.start(instant), rule[e.key] in (TWIN, MOVED), rank[e.key], e.key)
        ):
            start, end = episode.start(instant), self.listed.end(episode, instant)
            if whole and start < whole[-1][1]:
                before_start, before_end, before = whole[-1]
                if rule[episode.key] == TWIN:
                    turn = self._turned_into(before, episode, before_start, before_end, instant)
                    whole[-1] = (before_start, turn, before)
                    start = turn
                elif before_start == start and (rank[before.key] < rank[episode.key] or rule[episode.key] == MOVED):
                    whole.pop()
                elif before_end == END and before_start < start:
                    whole[-1] = (before_start, start, before)
                else:
                    start = before_end
            if start < end:
                whole.append((start, end, episode))
        return [span for start, end, episode in whole for span in _by_attributes(start, end, episode, instant)]

    def _turned_into(self, before: Episode, after: Episode, start: str, end: str, instant: str) -> str:
        """Where a ticker change of `after` from a ticker of `before` takes effect within [start, end), else `end`."""
        had = {ticker for _, ticker in self.listed.tickers(before, instant)}
        changes = self.listed.changes(after.vendor_code, instant)
        return min((c.effective for c in changes if c.old in had and start < c.effective < end), default=end)

    def listings(self, instant: str) -> dict[Listing, Source]:
        return {
            Listing(
                self.sec_id,
                span.version.vendor_code,
                span.version.exchange,
                span.version.market,
                span.version.mode,
                span.version.sec_type,
                span.version.currency,
                span.version.name,
                span.start,
                span.end,
            ): _source(span.version)
            for span in self.spans(instant)
        }

    def tickers(self, instant: str) -> dict[TickerSpan, Source]:
        pieces: list[tuple[TickerSpan, Source]] = []
        for span in self.spans(instant):
            names = self.listed.tickers(span.episode, instant)
            ends = [day for day, _ in names[1:]] + [END]
            for (day, ticker), until in zip(names, ends, strict=True):
                start, end = max(day, span.start), min(until, span.end)
                if start < end and ticker:
                    fact = TickerSpan(self.sec_id, span.version.market, ticker, span.version.mode, start, end)
                    pieces.append((fact, _source(span.version)))
        return dict(joined(pieces))

    def identifiers(self, instant: str) -> dict[Identifier, Source]:
        pieces: list[tuple[Identifier, Source]] = []
        for span in self.spans(instant):
            for scheme, value in [*span.version.ids.items(), ("cik", span.version.cik)]:
                if value:
                    pieces.append((Identifier(self.sec_id, scheme, value, span.start, span.end), _source(span.version)))
        pieces.sort(key=lambda piece: (piece[0].scheme, piece[0].valid_from))
        return dict(joined(pieces))


def _by_attributes(start: str, end: str, episode: Episode, instant: str) -> list[_Span]:
    """One span for each set of attributes: a later version with other ones takes effect on the day it was known."""
    cuts: list[tuple[str, Version]] = []
    for version in (v for v in episode.versions if v.known_from <= instant):
        day = start if not cuts else max(start, new_york_date(version.known_from))
        if cuts and _attributes(version) == _attributes(cuts[-1][1]):
            continue
        while cuts and cuts[-1][0] >= day:
            cuts.pop()
        cuts.append((day, version))
    ends = [day for day, _ in cuts[1:]] + [END]
    pieces = [(day, min(until, end), version) for (day, version), until in zip(cuts, ends, strict=True)]
    return [_Span(day, until, episode, version) for day, until, version in pieces if day < until]


def _attributes(version: Version) -> tuple[object, ...]:
    named = (version.exchange, version.sec_type, version.currency, version.name, version.cik)
    return (*named, *sorted(version.ids.items()))


def _source(version: Version) -> Source:
    return Source("securities", version.digest, version.batch_id, version.known_assumed)


def joined(pieces: list[tuple]) -> list[tuple]:
    """Neighbouring pieces that differ in their interval only, made one."""
    joined: list[tuple] = []
    for fact, source in pieces:
        if joined:
            last, first_source = joined[-1]
            if last.valid_to == fact.valid_from and last[:-2] == fact[:-2]:
                joined[-1] = (last._replace(valid_to=fact.valid_to), first_source)
                continue
        joined.append((fact, source))
    return joined
