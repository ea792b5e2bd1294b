"""Which security an episode belongs to: the continuity rules.

Episodes are looked at in the order in which they became known, each with nothing but what was known by then. So the id
of a security does not depend on anything that comes later, on the order of rows, or on how often they were delivered.

An episode belongs to an existing security when the evidence names exactly one. When it names none, a new id is minted.
When the evidence is ambiguous, the episode has no id until later evidence or a decision settles it: a question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from security_master.dates import BEGINNING, NEVER, close_of, days_between
from security_master.listings import Episode, Listings, TickerChange, Version
from security_master.registry import SCHEMES, Anchor, Entry, Registry

CLOSE_BY_DAYS = 7
"""A ticker change and the first session under the new ticker lie at most this many days apart."""
LONG_GAP_DAYS = 30
"""After a longer absence a common vendor code and name do not prove that the claim is the same."""
CLAIM_ENDED = frozenset({"bankruptcy", "liquidation", "merger"})
"""Reasons of a delisting after which the old claim is gone; what lists later under its name is new."""


@dataclass(frozen=True)
class Decision:
    """A person's answer to a question. choice: 'same' (as sec_id), 'new' or 'ignore'."""

    question_id: str
    choice: str
    sec_id: str
    decided_by: str
    reason: str
    known_from: str
    batch_id: str = ""


@dataclass(frozen=True)
class Question:
    """Something that the evidence leaves open. Open while `known_to` is NEVER."""

    question_id: str
    kind: str
    subject: dict[str, str]
    candidates: tuple[str, ...]
    detail: str
    known_from: str
    known_to: str = NEVER


@dataclass(frozen=True)
class Conclusion:
    """A line of the resolution log: why an episode has its id."""

    subject: str
    sec_id: str
    rule: str
    detail: str
    known_from: str


@dataclass(frozen=True)
class Assigned:
    sec_id: str
    known_from: str


@dataclass
class Identities:
    """The outcome: the id of each episode and since when it is known, the registry, questions and log."""

    assigned: dict[str, Assigned]
    registry: Registry
    questions: list[Question]
    log: list[Conclusion]
    moved: list[Question]


@dataclass(frozen=True)
class _Same:
    sec_id: str
    rule: str
    detail: str = ""


@dataclass(frozen=True)
class _New:
    detail: str = ""


@dataclass(frozen=True)
class _Open:
    kind: str
    candidates: tuple[str, ...]
    detail: str


_Outcome = _Same | _New | _Open


def answered(question: Question, decisions: Sequence[Decision]) -> Question:
    """An open question, closed at the first decision about it."""
    answers = [d.known_from for d in decisions if d.question_id == question.question_id]
    answers = [instant for instant in answers if instant > question.known_from]
    return replace(question, known_to=min(answers)) if answers and question.known_to == NEVER else question


def resolve_identities(listings: Listings, decisions: Sequence[Decision], prior: Registry | None = None) -> Identities:
    """Give every episode its id. `prior`: the registry of the previous master; what it says about an episode stands."""
    return _Resolver(listings, decisions, prior or Registry()).run()


@dataclass
class _Resolver:
    listings: Listings
    decisions: Sequence[Decision]
    prior: Registry
    registry: Registry = field(default_factory=Registry)
    assigned: dict[str, Assigned] = field(default_factory=dict)
    of_security: dict[str, list[Episode]] = field(default_factory=lambda: defaultdict(list))
    open_questions: dict[str, Question] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)
    moved: list[Question] = field(default_factory=list)
    log: list[Conclusion] = field(default_factory=list)

    def run(self) -> Identities:
        for minted in self.prior.minted.values():
            self.registry.restore(minted)
        arrivals: dict[str, list[tuple[Episode, Version]]] = defaultdict(list)
        for episode in self.listings.episodes.values():
            for version in episode.versions:
                arrivals[version.known_from].append((episode, version))
        pending: list[Episode] = []
        for instant in sorted(set(arrivals) | self._other_instants()):
            for episode, version in sorted(arrivals.get(instant, ()), key=lambda pair: _order(*pair)):
                if version is episode.versions[0]:
                    pending.append(episode)
                elif episode.key in self.assigned:
                    self._take_up(episode, version, instant)
            still: list[Episode] = []
            for episode in pending:
                if not self._settle(episode, instant):
                    still.append(episode)
            pending = still
        for entry in self.prior.entries.values():
            self.registry.record(entry)
        self.questions += self.open_questions.values()
        self.questions += self._late_ticker_changes()
        return Identities(self.assigned, self.registry, self.questions, self.log, self.moved)

    def _other_instants(self) -> set[str]:
        """Instants at which something becomes known that may settle an open question."""
        instants = {d.known_from for d in self.decisions}
        instants |= {c.known_from for changes in self.listings.changes_by_code.values() for c in changes}
        instants |= {d.known_from for rows in self.listings.delistings_by_code.values() for d in rows}
        instants |= {entry.known_from for entry in self.prior.entries.values()}
        for episode in self.listings.episodes.values():
            for version in episode.versions:
                if version.last_session:
                    instants.add(max(version.known_from, close_of(version.last_session)))
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
            outcome: _Outcome = _Same(decision.sec_id, "decision", decision.reason) if same else _New(decision.reason)
        else:
            outcome = self._by_evidence(episode, instant)
        if isinstance(outcome, _Open):
            self._ask(episode, outcome, instant)
            return False
        if known is not None:
            return False  # settled later, when there was more to go by; the evidence has been revised since
        if isinstance(outcome, _Same):
            self._assign(episode, outcome.sec_id, outcome.rule, outcome.detail, instant)
        else:
            anchor = self._first_anchor(episode, _version(episode, instant))
            sec_id = self.registry.mint(anchor, instant, _version(episode, instant).batch_id)
            self._assign(episode, sec_id, "minted", outcome.detail, instant)
        return True

    def _decision(self, question_id: str, instant: str) -> Decision | None:
        made = [d for d in self.decisions if d.question_id == question_id and d.known_from <= instant]
        return max(made, key=lambda d: d.known_from, default=None)

    def _ask(self, episode: Episode, outcome: _Open, instant: str) -> None:
        if episode.key in self.open_questions:
            return
        version = _version(episode, instant)
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
        self.assigned[episode.key] = Assigned(sec_id, instant)
        self.of_security[sec_id].append(episode)
        self.log.append(Conclusion(episode.key, sec_id, rule, detail, instant))
        version = _version(episode, instant)
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
            self._record(_cik_anchor(version), episode, sec_id, "seen", instant, version.batch_id)

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
                instant = change.known_from
                for episode in self.listings.by_ticker.get(change.new, ()):
                    given = self.assigned.get(episode.key)
                    if given is None or given.known_from >= instant or not episode.at(instant):
                        continue
                    for other, sec_id in self._predecessors(episode, change, instant):
                        if sec_id == given.sec_id or self._figis_differ(sec_id, _version(episode, instant), instant):
                            continue
                        question_id = f"link:{other.key}->{episode.key}"
                        subject = {"from": other.key, "to": episode.key, "date": change.effective}
                        detail = f"ticker change {change.old} to {change.new} came after both had their ids"
                        question = Question(
                            question_id, "late_ticker_change", subject, (sec_id, given.sec_id), detail, instant
                        )
                        found.setdefault(question_id, question)
        return [found[key] for key in sorted(found)]

    # -- the rules ------------------------------------------------------------------------------------------------

    def _by_evidence(self, episode: Episode, instant: str) -> _Outcome:
        """The continuity rules, strongest evidence first."""
        version = _version(episode, instant)
        figis = [a for a in version.anchors if a.type.endswith("figi")]
        numbers = [a for a in version.anchors if not a.type.endswith("figi")]
        by_figi = self._same_kind(self.registry.holders(figis), version)
        by_number = self._same_kind(self.registry.holders(numbers), version)
        linked = [
            s for s in self._linked_by_ticker_change(episode, instant) if not self._figis_differ(s, version, instant)
        ]
        if by_figi:
            named = list(dict.fromkeys(by_figi + by_number))
            if len(named) > 1:
                return _Open("identifiers_disagree", tuple(named), "its identifiers belong to different securities")
            return self._identified(episode, by_figi[0], "figi", linked, instant)
        by_number = [s for s in by_number if not self._figis_differ(s, version, instant)]
        if len(by_number) > 1:
            return _Open("identifiers_disagree", tuple(by_number), "its ISIN or CUSIP belongs to several securities")
        if by_number:
            return self._identified(episode, by_number[0], "isin_or_cusip", linked, instant)
        if len(linked) > 1:
            return _Open("ticker_change_unclear", tuple(linked), "the ticker change fits several securities")
        if linked:
            return _Same(linked[0], "ticker_change")
        return self._same_code(episode, instant) or self._same_issuer(episode, instant) or _New()

    def _identified(self, episode: Episode, sec_id: str, rule: str, linked: list[str], instant: str) -> _Outcome:
        """An identifier that one security has carried: the same one, unless it is listed elsewhere at the same time.

        Vendors repeat identifiers, so two codes at once are a question. It is a move, and no question, when a ticker
        change says so, or when a FIGI's whole history is delivered anew under another code.
        """
        meeting = [
            other
            for other in self.of_security[sec_id]
            if other.vendor_code != episode.vendor_code
            and self._overlap(other, episode, instant)
            and not (rule == "figi" and self._moved_with_history(other, episode, instant))
        ]
        if meeting and sec_id not in linked:
            detail = f"carries an identifier of {meeting[0].key}, which is listed at the same time"
            return _Open("two_codes_one_identifier", (sec_id,), detail)
        return _Same(sec_id, rule)

    def _moved_with_history(self, before: Episode, after: Episode, instant: str) -> bool:
        """Whether a listing was delivered later than another with the same start."""
        return before.start(instant) == after.start(instant) and before.known_from < after.known_from

    def _linked_by_ticker_change(self, episode: Episode, instant: str) -> list[str]:
        """Securities that, by a ticker change, go on as this episode under another vendor code."""
        found: list[str] = []
        for change in self.listings.changes_to.get(self.listings.first_ticker(episode, instant), ()):
            if change.known_from <= instant:
                found += [sec_id for _, sec_id in self._predecessors(episode, change, instant)]
        return list(dict.fromkeys(found))

    def _predecessors(self, episode: Episode, change: TickerChange, instant: str) -> list[tuple[Episode, str]]:
        """Episodes (with their ids) that the ticker change turns into this one."""
        begins_as = self.listings.first_ticker(episode, instant)
        if not episode.first_session or begins_as != change.new:
            return []
        if abs(days_between(change.effective, episode.first_session)) > CLOSE_BY_DAYS:
            return []
        version = _version(episode, instant)
        found = []
        for other in self.listings.by_ticker.get(change.old, ()):
            named = change.vendor_code in (other.vendor_code, episode.vendor_code)
            held = self.assigned.get(other.key)
            if other is episode or held is None or held.known_from > instant or not named:
                continue
            sec_id = held.sec_id
            if self._gives_way(other, episode, change.old, instant) and self._same_kind([sec_id], version):
                found.append((other, sec_id))
        return found

    def _gives_way(self, other: Episode, episode: Episode, ticker: str, instant: str) -> bool:
        """Whether `other` had `ticker` until just before `episode` began, and ended there or states no end."""
        begun = [t for day, t in self.listings.tickers(other, instant) if day < episode.first_session]
        if not begun or begun[-1] != ticker:
            return False
        last = self.listings.last_session(other, instant)
        return not last or 0 < days_between(last, episode.first_session) <= CLOSE_BY_DAYS

    def _same_code(self, episode: Episode, instant: str) -> _Outcome | None:
        """An earlier episode of the same vendor code. Two rows of one code are two companies unless shown otherwise."""
        earlier = [e for e in self.listings.by_code[episode.vendor_code] if e is not episode and e.key in self.assigned]
        if not earlier:
            return None
        version = _version(episode, instant)
        nearest = max(earlier, key=lambda e: (e.start(instant) <= episode.start(instant), e.start(instant)))
        sec_id = self.assigned[nearest.key].sec_id
        before = _version(nearest, instant)
        if self._figis_differ(sec_id, version, instant) or not self._same_kind([sec_id], version):
            return _New("another FIGI or kind than the code's holder before")
        gone = self.listings.delisting(nearest, instant)
        if gone is not None and gone.reason in CLAIM_ENDED:
            return _New(f"the code's holder before ended by {gone.reason}")
        issuers_differ = bool(version.cik and before.cik and version.cik != before.cik)
        names_differ = bool(version.name and before.name and version.comparable_name != before.comparable_name)
        if issuers_differ or (names_differ and not version.cik):
            return _New("another issuer or name than the code's holder before")
        same_issuer = bool(version.cik) and version.cik == before.cik and version.sec_type == before.sec_type
        same_name = bool(version.name) and version.comparable_name == before.comparable_name
        if not same_issuer and not same_name:
            restated = days_between(before_start := nearest.start(instant), episode.start(instant))
            if before_start != BEGINNING and abs(restated) <= CLOSE_BY_DAYS:
                return _Open("first_session_moved", (sec_id,), f"starts {restated} days after {nearest.key}")
            return _New("second company of this code")
        last = self.listings.last_session(nearest, instant)
        gap = days_between(last, episode.start(instant)) if last and episode.first_session else 0
        if gap <= LONG_GAP_DAYS and not self._numbers_differ(sec_id, version, instant):
            return _Same(sec_id, "code_and_issuer" if same_issuer else "code_and_name")
        why = f"{gap} days after {nearest.key}" if gap > LONG_GAP_DAYS else f"another ISIN or CUSIP than {nearest.key}"
        return _Open("same_claim", (sec_id,), f"same code and {'issuer' if same_issuer else 'name'}, {why}")

    def _same_issuer(self, episode: Episode, instant: str) -> _Outcome | None:
        """An episode of the same CIK and kind that ended just before this one began, under another code."""
        version = _version(episode, instant)
        if not version.cik or not episode.first_session:
            return None
        candidates: list[str] = []
        for sec_id in self._same_kind(self.registry.holders([_cik_anchor(version)]), version):
            lasts = [self.listings.last_session(other, instant) for other in self.of_security[sec_id]]
            if not lasts or not all(lasts) or self._figis_differ(sec_id, version, instant):
                continue
            ended = max(self.of_security[sec_id], key=lambda e: self.listings.last_session(e, instant))
            gone = self.listings.delisting(ended, instant)
            gap = days_between(self.listings.last_session(ended, instant), episode.first_session)
            alike = _version(ended, instant).comparable_name == version.comparable_name
            near = gap <= CLOSE_BY_DAYS or (alike and gap <= LONG_GAP_DAYS)
            if gap > 0 and near and (gone is None or gone.reason not in CLAIM_ENDED):
                candidates.append(sec_id)
        if not candidates:
            return None
        return _Open("same_claim", tuple(candidates), f"same CIK {version.cik}, listed just after it ended")

    # -- helpers --------------------------------------------------------------------------------------------------

    def _same_kind(self, sec_ids: list[str], version: Version) -> list[str]:
        """Without the when-issued lines of a regular security, and the other way round."""
        issued = version.sec_type == "when_issued"
        return [s for s in sec_ids if (self.of_security[s][0].versions[0].sec_type == "when_issued") == issued]

    def _differ(self, sec_id: str, version: Version, schemes: tuple[str, ...], instant: str) -> bool:
        """Whether both have an identifier of the same scheme (the strongest they share) and none in common."""
        for scheme in schemes:
            seen = {v.ids.get(scheme) for e in self.of_security[sec_id] for v in e.versions if v.known_from <= instant}
            if scheme in version.ids and seen - {None}:
                return version.ids[scheme] not in seen
        return False

    def _figis_differ(self, sec_id: str, version: Version, instant: str) -> bool:
        return self._differ(sec_id, version, SCHEMES[:2], instant)

    def _numbers_differ(self, sec_id: str, version: Version, instant: str) -> bool:
        return self._differ(sec_id, version, SCHEMES[2:], instant)

    def _overlap(self, a: Episode, b: Episode, instant: str) -> bool:
        return a.start(instant) < self.listings.end(b, instant) and b.start(instant) < self.listings.end(a, instant)


def _version(episode: Episode, instant: str) -> Version:
    version = episode.at(instant)
    assert version is not None, f"{episode.key} is not known at {instant}"
    return version


def _order(episode: Episode, version: Version) -> tuple[str, ...]:
    """Episodes that become known together are looked at in the order of their first sessions."""
    strongest = version.anchors[0].value if version.anchors else ""
    return (episode.first_session, strongest, episode.vendor_code)


def _cik_anchor(version: Version) -> Anchor:
    return Anchor("cik_type", f"{version.cik}|{version.sec_type}")
