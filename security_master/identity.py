"""Giving every episode its id.

Episodes are looked at in the order in which they became known, each with nothing but what was known by then. So the id
of a security does not depend on anything that comes later, on the order of rows, or on how often they were delivered.

An episode goes on an existing security or gets a new id, as a decision or the rules of `continuity` say. While they
leave it open it has none, and there is a question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property

from security_master.continuity import Assigned, Continuity, New, Open, Outcome, Same, cik_anchor, version_at
from security_master.listings import Episode, Listings, TickerChange, Version
from security_master.questions import IdentityDecision, Question
from security_master.registry import Anchor, Entry, Registry


@dataclass(frozen=True)
class Conclusion:
    """A line of the resolution log: why an episode has its id."""

    subject: str
    sec_id: str
    rule: str
    detail: str
    known_from: str


@dataclass
class Identities:
    """The outcome: the id of each episode and since when it is known, the registry, questions and log."""

    assigned: dict[str, Assigned]
    registry: Registry
    questions: list[Question]
    log: list[Conclusion]
    moved: list[Question]


def resolve_identities(
    listings: Listings,
    decisions: Sequence[IdentityDecision],
    prior: Registry | None = None,
    copies: Mapping[frozenset[str], str] | None = None,
    delivered: Set[str] | None = None,
) -> Identities:
    """Give every episode its id. `prior`: the registry of the previous master; what it says about an episode stands.

    copies: pairs of vendor codes with the same closes, and since when that is known. delivered: the vendor codes of
    the delivery, None when it has no table of securities.
    """
    return _Resolver(listings, decisions, prior or Registry(), copies or {}, delivered).run()


@dataclass
class _Resolver:
    listings: Listings
    decisions: Sequence[IdentityDecision]
    prior: Registry
    copies: Mapping[frozenset[str], str] = field(default_factory=dict)
    delivered: Set[str] | None = None
    registry: Registry = field(default_factory=Registry)
    assigned: dict[str, Assigned] = field(default_factory=dict)
    of_security: dict[str, list[Episode]] = field(default_factory=lambda: defaultdict(list))
    open_questions: dict[str, Question] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)
    moved: list[Question] = field(default_factory=list)
    log: list[Conclusion] = field(default_factory=list)

    @cached_property
    def rules(self) -> Continuity:
        return Continuity(self.listings, self.registry, self.assigned, self.of_security, self.copies, self.delivered)

    def run(self) -> Identities:
        for minted in self.prior.minted.values():
            self.registry.restore(minted)
        arrivals: dict[str, list[tuple[Episode, Version]]] = defaultdict(list)
        for episode in self.listings.episodes.values():
            for version in episode.versions:
                arrivals[version.known_from].append((episode, version))
        pending: list[Episode] = []
        for instant in sorted(set(arrivals) | self._other_instants()):
            for episode, version in sorted(arrivals.get(instant, ()), key=lambda pair: self._turn(*pair)):
                if version is episode.versions[0]:
                    pending.append(episode)
                elif episode.key in self.assigned:
                    self._take_up(episode, version, instant)
            pending = [episode for episode in pending if not self._settle(episode, instant)]
        for entry in self.prior.entries.values():
            self.registry.record(entry)
        self.questions += self.open_questions.values()
        self.questions += self._late_ticker_changes()
        return Identities(self.assigned, self.registry, self.questions, self.log, self.moved)

    def _turn(self, episode: Episode, version: Version) -> tuple[bool, tuple[str, ...]]:
        """Of what becomes known together, what had its id before comes first."""
        return self.prior.listing(episode.key) is None, _order(episode, version)

    def _other_instants(self) -> set[str]:
        """Instants at which something becomes known that may settle an open question."""
        instants = {d.known_from for d in self.decisions} | set(self.copies.values())
        instants |= {c.known_from for changes in self.listings.changes_by_code.values() for c in changes}
        instants |= {d.known_from for rows in self.listings.delistings_by_code.values() for d in rows}
        instants |= {entry.known_from for entry in self.prior.entries.values()}
        for episode in self.listings.episodes.values():
            instants |= episode.instants()
        return instants

    def _settle(self, episode: Episode, instant: str) -> bool:
        """Try to give an episode its id. False while it stays open."""
        known = self.prior.listing(episode.key)
        if known is not None and known.known_from <= instant:
            self._assign(episode, known.sec_id, known.rule, "", instant)
            return True
        decision = self._decision(episode.key, instant)
        if decision is not None and decision.choice == "ignore":
            self._answered(episode.key, instant)
            return False
        if decision is not None:
            same = decision.choice == "same"
            outcome: Outcome = Same(decision.sec_id, "decision", decision.reason) if same else New(decision.reason)
        else:
            outcome = self.rules.by_evidence(episode, instant)
        if isinstance(outcome, Open):
            self._ask(episode, outcome, instant)
            return False
        if known is not None:
            return False  # settled later, when there was more to go by; the evidence has been revised since
        if isinstance(outcome, Same):
            self._assign(episode, outcome.sec_id, outcome.rule, outcome.detail, instant)
        else:
            anchor = self._first_anchor(episode, version_at(episode, instant))
            sec_id = self.registry.mint(anchor, instant, version_at(episode, instant).batch_id)
            self._assign(episode, sec_id, "minted", outcome.detail, instant)
        return True

    def _decision(self, question_id: str, instant: str) -> IdentityDecision | None:
        made = [d for d in self.decisions if d.question_id == question_id and d.known_from <= instant]
        return max(made, key=lambda d: d.known_from, default=None)

    def _ask(self, episode: Episode, outcome: Open, instant: str) -> None:
        if episode.key in self.open_questions:
            return
        version = version_at(episode, instant)
        subject = {"vendor_code": episode.vendor_code, "first_session": episode.first_session}
        subject |= {"ticker": version.ticker, "name": version.name}
        self.open_questions[episode.key] = Question(
            episode.key, outcome.kind, subject, outcome.candidates, outcome.detail, instant
        )

    def _answered(self, question_id: str, instant: str) -> None:
        question = self.open_questions.pop(question_id, None)
        if question is not None and instant > question.known_from:
            self.questions.append(replace(question, known_to=instant))

    def _assign(self, episode: Episode, sec_id: str, rule: str, detail: str, instant: str) -> None:
        self._answered(episode.key, instant)
        self.assigned[episode.key] = Assigned(sec_id, instant, rule)
        self.of_security[sec_id].append(episode)
        self.log.append(Conclusion(episode.key, sec_id, rule, detail, instant))
        version = version_at(episode, instant)
        self._record(Anchor("listing", episode.key), episode, sec_id, rule, instant, version.batch_id)
        self._take_up(episode, version, instant)

    def _take_up(self, episode: Episode, version: Version, instant: str) -> None:
        """Record the identifiers of a version, unless the strongest of them is known to mean another security."""
        sec_id = self.assigned[episode.key].sec_id
        if version.anchors:
            strongest = version.anchors[0]
            holders = self.registry.holders([strongest]) or self.prior.holders([strongest])
            if holders and sec_id not in holders:
                detail = f"{episode.key} is {sec_id}, but its {strongest.type} {strongest.value} is known as another's"
                subject = {"vendor_code": episode.vendor_code, "first_session": episode.first_session}
                question_id = f"{episode.key}|{strongest.type}={strongest.value}"
                self.moved.append(
                    Question(question_id, "identifier_moved", subject, (sec_id, *holders), detail, instant)
                )
                return
        for anchor in version.anchors:
            self._record(anchor, episode, sec_id, "seen", instant, version.batch_id)
        if version.cik:
            self._record(cik_anchor(version), episode, sec_id, "seen", instant, version.batch_id)

    def _record(self, anchor: Anchor, episode: Episode, sec_id: str, rule: str, instant: str, batch_id: str) -> None:
        self.registry.record(Entry(anchor, episode.first_session, sec_id, rule, instant, batch_id))

    def _first_anchor(self, episode: Episode, version: Version) -> Anchor:
        free = [anchor for anchor in version.anchors if not self.registry.holders([anchor])]
        return free[0] if free else Anchor("listing", episode.key)

    def _late_ticker_changes(self) -> list[Question]:
        """Ticker changes that became known only after both ends had their own ids.

        Ids do not change. A person may say that the two are one claim; the lineage then shows it.
        """
        found: dict[str, Question] = {}
        for changes in self.listings.changes_by_code.values():
            for change in changes:
                for question in self._late(change):
                    found.setdefault(question.question_id, question)
        return [found[key] for key in sorted(found)]

    def _late(self, change: TickerChange) -> Iterator[Question]:
        """Whether the episodes that a ticker change links, and that have other ids by now, are one claim."""
        instant = change.known_from
        for episode in self.listings.by_ticker.get(change.new, ()):
            given = self.assigned.get(episode.key)
            if given is None or given.known_from >= instant or not episode.at(instant):
                continue
            version = version_at(episode, instant)
            for other, sec_id in self.rules.predecessors(episode, change, instant):
                if sec_id == given.sec_id or self.rules.figis_differ(sec_id, version, instant):
                    continue
                yield Question(
                    question_id=f"link:{other.key}->{episode.key}",
                    kind="late_ticker_change",
                    subject={"from": other.key, "to": episode.key, "date": change.effective},
                    candidates=(sec_id, given.sec_id),
                    detail=f"ticker change {change.old} to {change.new} came after both had their ids",
                    known_from=instant,
                )


def _order(episode: Episode, version: Version) -> tuple[str, ...]:
    """Episodes that become known together are looked at in the order of their first sessions."""
    strongest = version.anchors[0].value if version.anchors else ""
    return (episode.first_session, strongest, episode.vendor_code)
