"""Building a master: delivered tables, together with what the previous master holds, into one new SQLite file.

    rows of earlier batches + delivered rows -> identities -> facts -> guards -> file

Facts are derived anew from all rows each time; ids are looked up in the registry that came with the previous master.
So delivering the same rows again changes nothing, and the file does not depend on the clock or on the order of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from security_master import schema
from security_master.assemble import assemble
from security_master.dates import NEVER, date_text, date_texts, instant_text
from security_master.derive import FACT_TABLES, build_id, derive
from security_master.errors import ExplainedError
from security_master.evidence import (
    ROW_TABLES,
    Evidence,
    Revision,
    counted_rows,
    delivered_rows,
    merge,
    row_digest,
)
from security_master.identity import Identities, resolve_identities
from security_master.listings import Listings
from security_master.master_file import write_master
from security_master.previous import Previous, fact_hashes, read_previous
from security_master.questions import IdentityDecision, Question, answered
from security_master.registry import SCHEMES, Anchor
from security_master.taxonomy import configuration_of

MAX_LOST_SHARE = 0.01


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    minted: ids that the previous master did not have. lost: ids of it that no delivered row speaks of any more (they
    stay in the master). changed: listings whose id would not be the one that they had. moved: delivered identifiers
    that are known to be another security's. open_questions: what a person has to decide. revisions: rows delivered
    again with the same known_from and other content. unclassified: classification rows whose industry is not known.
    restated: facts of the previous master that the new rows contradict retroactively. new_rows: rows of each table that
    were not known before. counts: rows of each fact table.
    """

    build_id: str
    minted: tuple[str, ...]
    lost: tuple[str, ...]
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


def build_master(
    path: Path,
    tables: Mapping[str, pd.DataFrame],
    *,
    batch_id: str,
    previous: Path | None = None,
    first_bars: Mapping[str, Any] | pd.Series | pd.DataFrame | None = None,
    decisions: Sequence[IdentityDecision] = (),
    max_lost_share: float = MAX_LOST_SHARE,
    keep_ids: bool = False,
) -> BuildReport:
    """Write a master to `path` (replacing a file there) from the previous master's rows and the delivered tables.

    tables: the frames of docs/sources.md by name; any may be absent. A table that is present is taken as a full
    delivery when ids are checked for loss. previous may be `path` itself. first_bars: date of the first price by vendor
    code (or a frame with vendor_code and first_session), used where a listing states no first session. decisions: new
    answers to questions. keep_ids: go on where delivered identifiers point to other ids than the registry; the registry
    stands and the contradictions become questions.

    Raises IdentityGuard, before anything is written, when the delivery would change a known id or speaks of fewer than
    1 - max_lost_share of the known ones; ConflictingRows and TaxonomyError for input that contradicts itself.
    """
    path, before = Path(path), read_previous(previous)
    delivered = delivered_rows(tables, batch_id, _first_bars(first_bars))
    evidence = merge(before.rows if before else None, delivered)
    for name, table in ROW_TABLES.items():
        evidence.frames[name]["digest"] = row_digest(evidence[name], table)
    known = before.decisions if before else []
    given = [replace(d, known_from=instant_text(d.known_from), batch_id=batch_id) for d in decisions]
    fresh = [d for d in given if not _contains(known, d)]
    all_decisions = sorted([*known, *fresh], key=lambda d: (d.known_from, d.question_id))

    counted = counted_rows(evidence)
    listings = Listings(counted["securities"], counted["ticker_changes"], counted["delistings"])
    identities = resolve_identities(listings, all_decisions, before.registry if before else None)
    configuration = configuration_of(tables, before.taxonomy if before else [])
    derived = derive(counted, listings, identities, all_decisions, configuration)
    facts = derived.facts
    questions = [answered(q, all_decisions) for q in (*identities.questions, *derived.questions, *identities.moved)]
    questions.sort(key=lambda q: (q.known_from, q.question_id))

    report = BuildReport(
        build_id=build_id(facts, identities.registry, all_decisions, configuration),
        minted=tuple(sorted(set(identities.registry.minted) - set(before.registry.minted if before else ()))),
        lost=tuple(_lost(before, delivered["securities"], identities) if "securities" in tables else ()),
        changed=tuple(_changed(before, identities)),
        moved=tuple(_newly_moved(identities, evidence, batch_id) if before else ()),
        open_questions=tuple(q for q in questions if q.known_to == NEVER),
        revisions=tuple(evidence.revisions),
        unclassified=derived.unclassified,
        restated=_restated(before, facts),
        new_rows={name: n for name, n in evidence.new_rows.items() if n},
        counts={"security": len(identities.registry.minted)} | {name: len(facts[name]) for name in FACT_TABLES},
    )
    _check(report, before, max_lost_share, keep_ids)
    contents = assemble(
        batch_id, before, evidence, identities, all_decisions, configuration, facts, questions, report.build_id
    )
    write_master(path, contents, before=previous if before else None)
    return report


class UnknownQuestion(ExplainedError, LookupError):
    """A decision about something that is no question."""


def decide(path: Path, decision: IdentityDecision, *, batch_id: str) -> BuildReport:
    """Record a person's decision in a master and derive its facts anew.

    The question is one of the queue. A listing's is answered with 'same' and the security that it is, 'new' or
    'ignore'; a ticker's or an identifier's with 'same' and the one that it belongs to, or 'ignore'. Raises
    UnknownQuestion.
    """
    path = Path(path)
    before = read_previous(path)
    if before is None:
        raise schema.MasterNotFound(f"no security master at {path}; make one with `erm3 security build`")
    connection = schema.open_existing(path)
    questions = dict(connection.execute("SELECT question_id, candidates FROM resolution_queue"))
    connection.close()
    if decision.question_id not in questions:
        shown = ", ".join(sorted(questions)[:5]) or "none"
        raise UnknownQuestion(f"no question {decision.question_id!r}; there are: {shown}")
    if decision.choice == "same" and decision.sec_id not in before.registry.minted:
        raise UnknownQuestion(f"{decision.sec_id!r} is no security; candidates: {questions[decision.question_id]}")
    return build_master(path, {}, batch_id=batch_id, previous=path, decisions=[decision])


# -- guards ---------------------------------------------------------------------------------------------------------


def _lost(before: Previous | None, delivered: pd.DataFrame, identities: Identities) -> list[str]:
    """Known ids of which the delivery shows neither a listing nor an identifier."""
    if before is None:
        return []
    keys = zip(delivered["vendor_code"], delivered["first_session"], strict=True)
    anchors = {Anchor("listing", f"{code}|{first}") for code, first in keys}
    for scheme in SCHEMES:
        anchors |= {Anchor(scheme, value.upper()) for value in delivered[scheme] if value}
    seen = set(before.registry.holders(anchors)) | {
        identities.assigned[a.value].sec_id for a in anchors if a.type == "listing" and a.value in identities.assigned
    }
    return sorted(set(before.registry.minted) - seen)


def _changed(before: Previous | None, identities: Identities) -> list[str]:
    """Listings that the registry knows and that would have another id now."""
    if before is None:
        return []
    known = [entry for entry in before.registry.entries.values() if entry.anchor.type == "listing"]
    now = identities.assigned
    return [e.anchor.value for e in known if e.anchor.value in now and now[e.anchor.value].sec_id != e.sec_id]


def _newly_moved(identities: Identities, evidence: Evidence, batch_id: str) -> list[Question]:
    """Contradictions with the registry that came with this delivery."""
    rows = evidence["securities"]
    fresh = rows[rows["batch_id"] == batch_id]
    codes = set(zip(fresh["vendor_code"], fresh["first_session"], strict=True))
    return [q for q in identities.moved if (q.subject["vendor_code"], q.subject["first_session"]) in codes]


def _restated(before: Previous | None, facts: dict[str, pd.DataFrame]) -> int:
    """Facts that the previous master believed from some instant on, and this one does not, not even for a while."""
    if before is None:
        return 0
    return sum(len(np.setdiff1d(before.facts[name], fact_hashes(facts[name], name))) for name in FACT_TABLES)


def _check(report: BuildReport, before: Previous | None, max_lost_share: float, keep_ids: bool) -> None:
    if before is None:
        return
    if report.changed:
        raise IdentityGuard(
            f"{len(report.changed)} listings would get another id than the registry has for them: "
            f"{', '.join(report.changed[:5])}. Nothing was written",
            report,
        )
    if report.moved and not keep_ids:
        shown = "; ".join(q.detail for q in report.moved[:5])
        raise IdentityGuard(
            f"the delivery would change {len(report.moved)} known ids: {shown}. Nothing was written. Correct the "
            "delivery, or build with keep_ids to let the registry stand and to queue the contradictions",
            report,
        )
    known = len(before.registry.minted)
    if known and len(report.lost) > max_lost_share * known:
        shown = ", ".join(report.lost[:5])
        raise IdentityGuard(
            f"the delivery speaks of {known - len(report.lost)} of {known} known securities; at most "
            f"{max_lost_share:.1%} may be missing (missing: {shown}, ...). Nothing was written. "
            "Is `securities` complete?",
            report,
        )


# -- input ----------------------------------------------------------------------------------------------------------


def _first_bars(given: Mapping[str, Any] | pd.Series | pd.DataFrame | None) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, pd.DataFrame):
        dates = date_texts(given["first_session"].to_numpy())
        return dict(zip(given["vendor_code"].astype(str), dates, strict=True))
    return {str(code): date_text(day) for code, day in given.items()}


def _contains(decisions: list[IdentityDecision], one: IdentityDecision) -> bool:
    return any(replace(d, batch_id="") == replace(one, batch_id="") for d in decisions)
