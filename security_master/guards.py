"""What a build found out against the master before it, and the guard that keeps known ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from security_master.dates import NEVER
from security_master.derive import FACT_TABLES, Derived
from security_master.errors import ExplainedError
from security_master.evidence import Evidence, Revision
from security_master.identity import Identities
from security_master.listings import Episode, Listings
from security_master.previous import Previous, fact_hashes
from security_master.questions import Question
from security_master.registry import SCHEMES, Anchor


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    minted: ids that the previous master did not have. lost: ids of it that no delivered row speaks of any more (they
    stay in the master), without `left`: those that had ended and that a vendor may leave out. changed: listings whose
    id would not be the one that they had. moved: delivered identifiers that are known to be another security's.
    open_questions: what a person has to decide. revisions: rows delivered again with the same known_from and other
    content. unclassified: classification rows whose industry is not known.
    restated: facts of the previous master that the new rows contradict retroactively. new_rows: rows of each table that
    were not known before. counts: rows of each fact table.
    """

    build_id: str
    minted: tuple[str, ...]
    lost: tuple[str, ...]
    left: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[Question, ...]
    open_questions: tuple[Question, ...]
    revisions: tuple[Revision, ...]
    unclassified: int
    restated: int
    new_rows: dict[str, int]
    counts: dict[str, int]


class IdentityGuard(ExplainedError, RuntimeError):
    """A build that would change known ids, or lose too many. Nothing was written. `report` says what was found."""

    def __init__(self, message: str, report: BuildReport) -> None:
        super().__init__(message)
        self.report = report


class UnknownQuestion(ExplainedError, LookupError):
    """A decision about something that is no question."""


SHOWN = 5
"""Securities that a message names at most."""


def check_ids(
    report: BuildReport,
    before: Previous | None,
    max_lost_share: float,
    keep_ids: bool,
    listings: Listings,
    identities: Identities,
) -> None:
    """Raises IdentityGuard for a build that would change known ids or lose more than a share of them."""
    if before is None:
        return
    if report.changed:
        named = [f"{key} ({_names(listings.episodes[key])})" for key in report.changed[:SHOWN]]
        raise IdentityGuard(
            f"{len(report.changed)} listings would get another id than the registry has for them: "
            f"{_shown(named, report.changed)}. Nothing was written",
            report,
        )
    if report.moved and not keep_ids:
        named = [f"{q.detail} ({'; '.join(_called(q.candidates, listings, identities))})" for q in report.moved[:SHOWN]]
        raise IdentityGuard(
            f"the delivery would change {len(report.moved)} known ids: {_shown(named, report.moved)}. Nothing was "
            "written. Correct the delivery, or build with --keep-ids to let the registry stand and to queue the "
            "contradictions",
            report,
        )
    known = len(before.registry.minted)
    if known and len(report.lost) > max_lost_share * known:
        named = _called(report.lost[:SHOWN], listings, identities)
        raise IdentityGuard(
            f"{len(report.lost)} of {known} known securities have not ended and are not in the delivery; at most "
            f"{max_lost_share:.1%} may be missing (missing: {_shown(named, report.lost)}). Nothing was written. "
            "Is `securities` complete? Who has ended may be left out; of the others, deliver the row again, or build "
            "with a larger --max-lost",
            report,
        )


def _shown(named: Sequence[str], all_of_them: Sequence[object]) -> str:
    more = len(all_of_them) - len(named)
    return "; ".join(named) + (f" and {more:,} more" if more else "")


def _names(episode: Episode) -> str:
    last = episode.versions[-1]
    return f"{last.ticker or episode.vendor_code} {last.name}".strip()


def _called(sec_ids: Sequence[str], listings: Listings, identities: Identities) -> list[str]:
    """Securities as a person knows them: ticker and name of the last listing, its first session, and the id."""
    last = _last_listings(sec_ids, listings, identities)
    return [
        f"{_names(last[sec_id])}, since {last[sec_id].start(NEVER)}, {sec_id}" if sec_id in last else sec_id
        for sec_id in sec_ids
    ]


def build_report(
    build_id: str,
    batch_id: str,
    before: Previous | None,
    securities: pd.DataFrame | None,
    evidence: Evidence,
    listings: Listings,
    identities: Identities,
    derived: Derived,
    questions: list[Question],
) -> BuildReport:
    """What the build did. securities: the delivered rows, None when the delivery has no such table."""
    minted = identities.registry.minted
    silent = _silent(before, securities, identities) if before and securities is not None else []
    ended = _ended(silent, listings, identities)
    return BuildReport(
        build_id=build_id,
        minted=tuple(sorted(set(minted) - set(before.registry.minted if before else ()))),
        lost=tuple(sec_id for sec_id in silent if sec_id not in ended),
        left=tuple(sec_id for sec_id in silent if sec_id in ended),
        changed=tuple(_changed(before, identities) if before else ()),
        moved=tuple(_newly_moved(identities, evidence, batch_id) if before else ()),
        open_questions=tuple(q for q in questions if q.known_to == NEVER),
        revisions=tuple(evidence.revisions),
        unclassified=derived.unclassified,
        restated=_restated(before, derived.facts) if before else 0,
        new_rows={name: n for name, n in evidence.new_rows.items() if n},
        counts={"security": len(minted)} | {name: len(derived.facts[name]) for name in FACT_TABLES},
    )


def _ended(sec_ids: list[str], listings: Listings, identities: Identities) -> set[str]:
    """Those whose last listing is over, as its row or a delisting says."""
    last = _last_listings(sec_ids, listings, identities)
    return {sec_id for sec_id, episode in last.items() if listings.last_session(episode, NEVER)}


def _last_listings(sec_ids: Sequence[str], listings: Listings, identities: Identities) -> dict[str, Episode]:
    wanted, last = set(sec_ids), dict[str, Episode]()
    for episode in listings.episodes.values():
        held = identities.assigned.get(episode.key)
        if held is None or held.sec_id not in wanted:
            continue
        if held.sec_id not in last or last[held.sec_id].start(NEVER) < episode.start(NEVER):
            last[held.sec_id] = episode
    return last


def _silent(before: Previous, delivered: pd.DataFrame, identities: Identities) -> list[str]:
    """Known ids of which the delivery shows neither a listing nor an identifier."""
    keys = zip(delivered["vendor_code"], delivered["first_session"], strict=True)
    anchors = {Anchor("listing", f"{code}|{first}") for code, first in keys}
    for scheme in SCHEMES:
        anchors |= {Anchor(scheme, value.upper()) for value in delivered[scheme] if value}
    seen = set(before.registry.holders(anchors)) | {
        identities.assigned[a.value].sec_id for a in anchors if a.type == "listing" and a.value in identities.assigned
    }
    return sorted(set(before.registry.minted) - seen)


def _changed(before: Previous, identities: Identities) -> list[str]:
    """Listings that the registry knows and that would have another id now."""
    known = [entry for entry in before.registry.entries.values() if entry.anchor.type == "listing"]
    now = identities.assigned
    return [e.anchor.value for e in known if e.anchor.value in now and now[e.anchor.value].sec_id != e.sec_id]


def _newly_moved(identities: Identities, evidence: Evidence, batch_id: str) -> list[Question]:
    """Contradictions with the registry that came with this delivery."""
    rows = evidence["securities"]
    fresh = rows[rows["batch_id"] == batch_id]
    codes = set(zip(fresh["vendor_code"], fresh["first_session"], strict=True))
    return [q for q in identities.moved if (q.subject["vendor_code"], q.subject["first_session"]) in codes]


def _restated(before: Previous, facts: dict[str, pd.DataFrame]) -> int:
    """Facts that the previous master believed from some instant on, and this one does not, not even for a while."""
    return sum(len(np.setdiff1d(before.facts[name], fact_hashes(facts[name], name))) for name in FACT_TABLES)
