"""The continuity rules: which security an episode goes on, by the evidence known at an instant.

An episode belongs to an existing security when the evidence names exactly one. When it names none it is a new one. When
the evidence is ambiguous it is a question.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from security_master.dates import BEGINNING, days_between
from security_master.listings import Episode, Listings, TickerChange, Version
from security_master.registry import SCHEMES, Anchor, Registry

CLOSE_BY_DAYS = 7
"""A ticker change and the first session under the new ticker lie at most this many days apart."""
LONG_GAP_DAYS = 30
"""After a longer absence a common vendor code and name do not prove that the claim is the same."""
CLAIM_ENDED = frozenset({"bankruptcy", "liquidation", "merger"})
"""Reasons of a delisting after which the old claim is gone; what lists later under its name is new."""


@dataclass(frozen=True)
class Assigned:
    """The id of an episode, and the instant since when it is known."""

    sec_id: str
    known_from: str
    rule: str = ""


@dataclass(frozen=True)
class Same:
    """The episode goes on an existing security. rule: the evidence that says so."""

    sec_id: str
    rule: str
    detail: str = ""


@dataclass(frozen=True)
class New:
    """No security goes on as the episode."""

    detail: str = ""


@dataclass(frozen=True)
class Open:
    """Ambiguous: a question of this kind, with the securities that it may be."""

    kind: str
    candidates: tuple[str, ...]
    detail: str


Outcome = Same | New | Open

TWIN, MOVED = "figi_and_closes", "figi_moved"
"""Rules by which a code goes on a security that is listed under another code at the same time: both have one FIGI, and
either the same closes, or the other code is not delivered any more."""


@dataclass(frozen=True)
class Continuity:
    """The rules over what has been settled so far. They read `registry`, `assigned` and `of_security`, which grow.

    copies: pairs of vendor codes with the same closes, and since when that is known. delivered: the vendor codes of
    the delivery that is judged, None when it has no table of securities.
    """

    listings: Listings
    registry: Registry
    assigned: Mapping[str, Assigned]
    of_security: Mapping[str, list[Episode]]
    copies: Mapping[frozenset[str], str] = field(default_factory=dict)
    delivered: Set[str] | None = None

    def by_evidence(self, episode: Episode, instant: str) -> Outcome:
        """What an episode is, as known at an instant; the strongest evidence first."""
        version = version_at(episode, instant)
        figis = [a for a in version.anchors if a.type.endswith("figi")]
        numbers = [a for a in version.anchors if not a.type.endswith("figi")]
        by_figi = self._same_kind(self.registry.holders(figis), version)
        by_number = self._same_kind(self.registry.holders(numbers), version)
        linked = [
            s for s in self._linked_by_ticker_change(episode, instant) if not self.figis_differ(s, version, instant)
        ]
        if by_figi:
            named = list(dict.fromkeys(by_figi + by_number))
            if len(named) > 1:
                return Open("identifiers_disagree", tuple(named), "its identifiers belong to different securities")
            return self._identified(episode, by_figi[0], "figi", linked, instant)
        by_number = [s for s in by_number if not self.figis_differ(s, version, instant)]
        if len(by_number) > 1:
            return Open("identifiers_disagree", tuple(by_number), "its ISIN or CUSIP belongs to several securities")
        if by_number:
            return self._identified(episode, by_number[0], "isin_or_cusip", linked, instant)
        if len(linked) > 1:
            return Open("ticker_change_unclear", tuple(linked), "the ticker change fits several securities")
        if linked:
            return Same(linked[0], "ticker_change")
        return self._same_code(episode, instant) or self._same_issuer(episode, instant) or New()

    def _identified(self, episode: Episode, sec_id: str, rule: str, linked: list[str], instant: str) -> Outcome:
        """An identifier that one security has carried: the same one, unless it is listed elsewhere at the same time.

        Vendors repeat identifiers, so two codes at once are a question. It is a move, and no question, when a ticker
        change says so, or when a FIGI's whole history is delivered anew under another code: later, in place of the
        old one, or beside it with the same closes.
        """
        meeting = [
            other
            for other in self.of_security[sec_id]
            if other.vendor_code != episode.vendor_code and self._overlap(other, episode, instant)
        ]
        if rule == "figi":
            meeting = [other for other in meeting if not self._moved_with_history(other, episode, instant)]
            if meeting and all(self._left_for(other, episode, instant) for other in meeting):
                return Same(sec_id, MOVED)
            if meeting and all(self._has_its_closes(other, episode, instant) for other in meeting):
                return Same(sec_id, TWIN)
        if meeting and sec_id not in linked:
            detail = f"carries an identifier of {meeting[0].key}, which is listed at the same time"
            return Open("two_codes_one_identifier", (sec_id,), detail)
        return Same(sec_id, rule)

    def _moved_with_history(self, before: Episode, after: Episode, instant: str) -> bool:
        """Whether a listing was delivered later than another with the same start."""
        return before.start(instant) == after.start(instant) and before.known_from < after.known_from

    def _left_for(self, before: Episode, after: Episode, instant: str) -> bool:
        """Whether the delivery has a code in place of another, with the history from its start on."""
        gone = self.delivered is not None and before.vendor_code not in self.delivered
        return gone and before.start(instant) == after.start(instant)

    def _has_its_closes(self, one: Episode, other: Episode, instant: str) -> bool:
        """Whether two codes are known to have the same closes."""
        since = self.copies.get(frozenset((one.vendor_code, other.vendor_code)))
        return since is not None and since <= instant

    def _linked_by_ticker_change(self, episode: Episode, instant: str) -> list[str]:
        """Securities that, by a ticker change, go on as this episode under another vendor code."""
        found: list[str] = []
        for change in self.listings.changes_to.get(self.listings.first_ticker(episode, instant), ()):
            if change.known_from <= instant:
                found += [sec_id for _, sec_id in self.predecessors(episode, change, instant)]
        return list(dict.fromkeys(found))

    def predecessors(self, episode: Episode, change: TickerChange, instant: str) -> list[tuple[Episode, str]]:
        """Episodes (with their ids) that the ticker change turns into this one."""
        begins_as = self.listings.first_ticker(episode, instant)
        if not episode.first_session or begins_as != change.new:
            return []
        if abs(days_between(change.effective, episode.first_session)) > CLOSE_BY_DAYS:
            return []
        version = version_at(episode, instant)
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

    def _same_code(self, episode: Episode, instant: str) -> Outcome | None:
        """An earlier episode of the same vendor code. Two rows of one code are two companies unless shown otherwise."""
        earlier = [e for e in self.listings.by_code[episode.vendor_code] if e is not episode and e.key in self.assigned]
        if not earlier:
            return None
        version = version_at(episode, instant)
        nearest = max(earlier, key=lambda e: (e.start(instant) <= episode.start(instant), e.start(instant)))
        sec_id = self.assigned[nearest.key].sec_id
        before = version_at(nearest, instant)
        if self.figis_differ(sec_id, version, instant) or not self._same_kind([sec_id], version):
            return New("another FIGI or kind than the code's holder before")
        gone = self.listings.delisting(nearest, instant)
        if gone is not None and gone.reason in CLAIM_ENDED:
            return New(f"the code's holder before ended by {gone.reason}")
        issuers_differ = bool(version.cik and before.cik and version.cik != before.cik)
        names_differ = bool(version.name and before.name and version.comparable_name != before.comparable_name)
        if issuers_differ or (names_differ and not version.cik):
            return New("another issuer or name than the code's holder before")
        same_issuer = bool(version.cik) and version.cik == before.cik and version.sec_type == before.sec_type
        same_name = bool(version.name) and version.comparable_name == before.comparable_name
        if not same_issuer and not same_name:
            restated = days_between(before_start := nearest.start(instant), episode.start(instant))
            if before_start != BEGINNING and abs(restated) <= CLOSE_BY_DAYS:
                return Open("first_session_moved", (sec_id,), f"starts {restated} days after {nearest.key}")
            return New("second company of this code")
        last = self.listings.last_session(nearest, instant)
        gap = days_between(last, episode.start(instant)) if last and episode.first_session else 0
        if gap <= LONG_GAP_DAYS and not self._numbers_differ(sec_id, version, instant):
            return Same(sec_id, "code_and_issuer" if same_issuer else "code_and_name")
        why = f"{gap} days after {nearest.key}" if gap > LONG_GAP_DAYS else f"another ISIN or CUSIP than {nearest.key}"
        return Open("same_claim", (sec_id,), f"same code and {'issuer' if same_issuer else 'name'}, {why}")

    def _same_issuer(self, episode: Episode, instant: str) -> Outcome | None:
        """An episode of the same CIK and kind that ended just before this one began, under another code."""
        version = version_at(episode, instant)
        if not version.cik or not episode.first_session:
            return None
        candidates: list[str] = []
        for sec_id in self._same_kind(self.registry.holders([cik_anchor(version)]), version):
            lasts = [self.listings.last_session(other, instant) for other in self.of_security[sec_id]]
            if not lasts or not all(lasts) or self.figis_differ(sec_id, version, instant):
                continue
            ended = max(self.of_security[sec_id], key=lambda e: self.listings.last_session(e, instant))
            gone = self.listings.delisting(ended, instant)
            gap = days_between(self.listings.last_session(ended, instant), episode.first_session)
            alike = version_at(ended, instant).comparable_name == version.comparable_name
            near = gap <= CLOSE_BY_DAYS or (alike and gap <= LONG_GAP_DAYS)
            if gap > 0 and near and (gone is None or gone.reason not in CLAIM_ENDED):
                candidates.append(sec_id)
        if not candidates:
            return None
        return Open("same_claim", tuple(candidates), f"same CIK {version.cik}, listed just after it ended")

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

    def figis_differ(self, sec_id: str, version: Version, instant: str) -> bool:
        return self._differ(sec_id, version, SCHEMES[:2], instant)

    def _numbers_differ(self, sec_id: str, version: Version, instant: str) -> bool:
        return self._differ(sec_id, version, SCHEMES[2:], instant)

    def _overlap(self, a: Episode, b: Episode, instant: str) -> bool:
        return a.start(instant) < self.listings.end(b, instant) and b.start(instant) < self.listings.end(a, instant)


def version_at(episode: Episode, instant: str) -> Version:
    """What is known of an episode at an instant at which it is known."""
    version = episode.at(instant)
    assert version is not None, f"{episode.key} is not known at {instant}"
    return version


def cik_anchor(version: Version) -> Anchor:
    return Anchor("cik_type", f"{version.cik}|{version.sec_type}")
