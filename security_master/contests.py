"""Tickers and identifiers that several securities claim: who has them, and what is a question until it is decided."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from security_master.bitemporal import Known, Source, believed
from security_master.dates import END
from security_master.questions import IdentityDecision, Question
from security_master.spans import Identifier, TickerSpan, joined


def uncontested(
    claims: list[Known[TickerSpan]], decisions: list[IdentityDecision]
) -> tuple[list[Known[TickerSpan]], list[Question]]:
    """Claims to tickers without those that exclude each other.

    In one market a ticker belongs to one security. A claim without a known end gives way to a later listing under the
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
        kept += believed(instants, partial(_ticker_state, group=group, name=name, answers=answers, overlaps=overlaps))
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
    answers: list[IdentityDecision],
    overlaps: dict[str, _Overlap],
) -> dict[TickerSpan, Source]:
    """Who has one ticker, as known at an instant."""
    now = [(claim.fact, claim.source) for claim in group if claim.known_from <= instant < claim.known_to]
    decided = {answer.question_id: answer for answer in answers if answer.known_from <= instant}
    return _settled(now, name, decided, overlaps, instant)


def _settled(
    claims: list[tuple[TickerSpan, Source]],
    name: str,
    decided: dict[str, IdentityDecision],
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
    return dict(joined(pieces))


def unshared(
    claims: list[Known[Identifier]], decisions: list[IdentityDecision]
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
    instant: str, group: list[Known[Identifier]], answers: list[IdentityDecision], clashes: list[str]
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
