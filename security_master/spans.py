"""Facts about listings: which code, exchange, ticker and identifiers a security had, when, as known when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from security_master.bitemporal import Known, Source, believed
from security_master.dates import END, close_of, new_york_date
from security_master.identity import Decision, Identities, Question
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


class ListingFacts(NamedTuple):
    listings: list[Known[Listing]]
    tickers: list[Known[TickerSpan]]
    identifiers: list[Known[Identifier]]
    questions: list[Question]


def listing_facts(listings: Listings, identities: Identities, decisions: Iterable[Decision]) -> ListingFacts:
    """Listing, ticker and identifier facts of every security, and the tickers that two securities claim at once."""
    of_security: dict[str, list[Episode]] = defaultdict(list)
    for key, assigned in identities.assigned.items():
        of_security[assigned.sec_id].append(listings.episodes[key])
    rows: list[Known[Listing]] = []
    claims: list[Known[TickerSpan]] = []
    identifiers: list[Known[Identifier]] = []
    for sec_id in sorted(of_security):
        view = _SecurityView(sec_id, of_security[sec_id], listings, identities)
        instants = view.instants()
        rows += believed(instants, view.listings)
        claims += believed(instants, view.tickers)
        identifiers += believed(instants, view.identifiers)
    decided = list(decisions)
    tickers, questions = _uncontested(claims, decided)
    shared, more = _unshared(identifiers, decided)
    return ListingFacts(rows, tickers, shared, questions + more)


class _Span(NamedTuple):
    """A stretch in which a security is listed as one episode with one set of attributes."""

    start: str
    end: str
    episode: Episode
    version: Version


class _SecurityView:
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
            since = self.identities.assigned[episode.key].known_from
            found.add(since)
            for sibling in self.listed.by_code[episode.vendor_code]:
                for version in sibling.versions:
                    found.add(version.known_from)
                    if version.last_session:
                        found.add(max(version.known_from, close_of(version.last_session)))
            found |= {c.known_from for c in self.listed.changes_by_code.get(episode.vendor_code, ())}
            found |= {d.known_from for d in self.listed.delistings_by_code.get(episode.vendor_code, ())}
        first = min(self.identities.assigned[e.key].known_from for e in self.episodes)
        return {instant for instant in found if instant >= first}

    def spans(self, instant: str) -> list[_Span]:
        """Stretches of listing in order, none overlapping.

        One security may be delivered under two codes at once. A code without a stated end gives way to the one that
        starts later (it has moved); one with a stated end keeps its sessions.
        """
        if instant not in self._spans:
            self._spans[instant] = self._find_spans(instant)
        return self._spans[instant]

    def _find_spans(self, instant: str) -> list[_Span]:
        known = [e for e in self.episodes if self.identities.assigned[e.key].known_from <= instant]
        rank = {e.key: self.identities.assigned[e.key].known_from for e in known}
        whole: list[tuple[str, str, Episode]] = []
        for episode in sorted(known, key=lambda e: (e.start(instant), rank[e.key], e.key)):
            start, end = episode.start(instant), self.listed.end(episode, instant)
            if whole and start < whole[-1][1]:
                before_start, before_end, before = whole[-1]
                if before_start == start and rank[before.key] < rank[episode.key]:
                    whole.pop()
                elif before_end == END and before_start < start:
                    whole[-1] = (before_start, start, before)
                else:
                    start = before_end
            if start < end:
                whole.append((start, end, episode))
        return [span for start, end, episode in whole for span in _by_attributes(start, end, episode, instant)]

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
        return dict(_joined(pieces))

    def identifiers(self, instant: str) -> dict[Identifier, Source]:
        pieces: list[tuple[Identifier, Source]] = []
        for span in self.spans(instant):
            for scheme, value in [*span.version.ids.items(), ("cik", span.version.cik)]:
                if value:
                    pieces.append((Identifier(self.sec_id, scheme, value, span.start, span.end), _source(span.version)))
        pieces.sort(key=lambda piece: (piece[0].scheme, piece[0].valid_from))
        return dict(_joined(pieces))


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


def _joined(pieces: list[tuple]) -> list[tuple]:
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


def _uncontested(
    claims: list[Known[TickerSpan]], decisions: list[Decision]
) -> tuple[list[Known[TickerSpan]], list[Question]]:
    """Claims to tickers without those that exclude each other.

    In one market a symbol belongs to one security. A claim without a known end gives way to a later listing under the
    same ticker. Any other overlap is a question, and nobody has the ticker there until it is decided.
    """
    by_ticker: dict[tuple[str, str], list[Known[TickerSpan]]] = defaultdict(list)
    for claim in claims:
        by_ticker[claim.fact.market, claim.fact.ticker].append(claim)
    kept: list[Known[TickerSpan]] = []
    questions: list[Question] = []
    for (market, ticker), group in sorted(by_ticker.items()):
        if len({claim.fact.sec_id for claim in group}) == 1:
            kept += group
            continue
        name = f"ticker:{market}:{ticker}"
        answers = [d for d in decisions if d.question_id.startswith(name + ":")]
        instants = {k for c in group for k in (c.known_from, c.known_to)} | {d.known_from for d in answers}
        overlaps: dict[str, _Overlap] = {}

        state = partial(_ticker_state, group=group, name=name, answers=answers, overlaps=overlaps)
        rows = believed(instants, state)
        kept += rows
        for question_id, overlap in sorted(overlaps.items()):
            subject = {"market": market, "ticker": ticker, "from": overlap.start, "to": overlap.end}
            detail = f"{ticker} is claimed by {len(overlap.candidates)} securities at once"
            candidates = tuple(sorted(overlap.candidates))
            questions.append(Question(question_id, "ticker_claimed_twice", subject, candidates, detail, overlap.asked))
    return kept, questions


@dataclass
class _Overlap:
    """A stretch of dates in which several securities claim one ticker. asked: when that was first known."""

    start: str
    end: str
    asked: str
    candidates: set[str]


def _ticker_state(
    instant: str,
    group: list[Known[TickerSpan]],
    name: str,
    answers: list[Decision],
    overlaps: dict[str, _Overlap],
) -> dict[TickerSpan, Source]:
    """Who has one ticker, as known at an instant."""
    now = [(claim.fact, claim.source) for claim in group if claim.known_from <= instant < claim.known_to]
    decided = {answer.question_id: answer for answer in answers if answer.known_from <= instant}
    return _settled(now, name, decided, overlaps, instant)


def _settled(
    claims: list[tuple[TickerSpan, Source]],
    name: str,
    decided: dict[str, Decision],
    overlaps: dict[str, _Overlap],
    instant: str,
) -> dict[TickerSpan, Source]:
    """The claims to one ticker at one instant, cut so that no two overlap."""
    claims = sorted(claims, key=lambda claim: (claim[0].valid_from, claim[0].sec_id))
    cut: list[tuple[TickerSpan, Source]] = []
    for at, (fact, source) in enumerate(claims):
        later = [
            f.valid_from for f, _ in claims[at + 1 :] if f.valid_from > fact.valid_from and f.sec_id != fact.sec_id
        ]
        if fact.valid_to == END and later:
            fact = fact._replace(valid_to=min(later))
        cut.append((fact, source))
    edges = sorted({day for fact, _ in cut for day in (fact.valid_from, fact.valid_to)})
    pieces: list[tuple[TickerSpan, Source]] = []
    contested: _Overlap | None = None
    for start, end in pairwise(edges):
        here = [(f, s) for f, s in cut if f.valid_from <= start and end <= f.valid_to]
        names = {f.sec_id for f, _ in here}
        if len(names) > 1:
            question_id = f"{name}:{contested.start if contested else start}"
            contested = overlaps.setdefault(question_id, _Overlap(start, end, instant, set()))
            contested.end = max(contested.end, end)
            contested.candidates |= names
            answer = decided.get(question_id)
            here = [(f, s) for f, s in here if answer is not None and f.sec_id == answer.sec_id]
        else:
            contested = None
        pieces += [(f._replace(valid_from=start, valid_to=end), s) for f, s in here[:1]]
    return dict(_joined(pieces))


def _unshared(
    claims: list[Known[Identifier]], decisions: list[Decision]
) -> tuple[list[Known[Identifier]], list[Question]]:
    """Identifiers without those that two securities carry at the same time; these are questions until decided."""
    by_value: dict[tuple[str, str], list[Known[Identifier]]] = defaultdict(list)
    for claim in claims:
        by_value[claim.fact.scheme, claim.fact.value].append(claim)
    kept: list[Known[Identifier]] = []
    questions: list[Question] = []
    for (scheme, value), group in sorted(by_value.items()):
        holders = sorted({claim.fact.sec_id for claim in group})
        if scheme == "cik" or len(holders) == 1:
            kept += group
            continue
        question_id = f"{scheme}:{value}"
        answers = [d for d in decisions if d.question_id == question_id]
        clashes: list[str] = []
        state = partial(_identifier_state, group=group, answers=answers, clashes=clashes)
        instants = {k for c in group for k in (c.known_from, c.known_to)} | {d.known_from for d in answers}
        kept += believed(instants, state)
        if clashes:
            detail = f"{scheme} {value} is carried by {len(holders)} securities at once and identifies none of them"
            subject = {"scheme": scheme, "value": value}
            questions.append(Question(question_id, "identifier_shared", subject, tuple(holders), detail, min(clashes)))
    return kept, questions


def _identifier_state(
    instant: str, group: list[Known[Identifier]], answers: list[Decision], clashes: list[str]
) -> dict[Identifier, Source]:
    """Who carries one identifier, as known at an instant; of those who carry it together, the one decided on."""
    now = [(claim.fact, claim.source) for claim in group if claim.known_from <= instant < claim.known_to]
    chosen = {answer.sec_id for answer in answers if answer.known_from <= instant}
    clean: dict[Identifier, Source] = {}
    for fact, source in now:
        rivals = [f for f, _ in now if f.sec_id != fact.sec_id]
        clash = any(f.valid_from < fact.valid_to and fact.valid_from < f.valid_to for f in rivals)
        if clash:
            clashes.append(instant)
        if not clash or fact.sec_id in chosen:
            clean[fact] = source
    return clean
