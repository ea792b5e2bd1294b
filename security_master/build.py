"""Building a master: delivered tables, together with what the previous master holds, into one new SQLite file.

    rows of earlier batches + delivered rows -> identities -> facts -> guards -> file

Facts are derived anew from all rows each time; ids are looked up in the registry that came with the previous master.
So delivering the same rows again changes nothing, and the file does not depend on the clock or on the order of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from security_master import schema
from security_master.assemble import assemble
from security_master.dates import date_text, date_texts, instant_text
from security_master.derive import build_id, derive
from security_master.evidence import (
    ROW_TABLES,
    counted_rows,
    delivered_rows,
    merge,
    row_digest,
)
from security_master.guards import BuildReport, UnknownQuestion, build_report, check_ids
from security_master.identity import resolve_identities
from security_master.listings import Listings
from security_master.master_file import write_master
from security_master.previous import read_previous
from security_master.questions import IdentityDecision, answered
from security_master.taxonomy import configuration_of

MAX_LOST_SHARE = 0.01
"""Share of the known securities that a delivery may not speak of."""


def build_master(
    path: Path,
    tables: Mapping[str, pd.DataFrame],
    *,
    batch_id: str,
    previous: Path | None = None,
    first_bars: Mapping[str, Any] | pd.Series | pd.DataFrame | None = None,
    copies: Mapping[frozenset[str], str] | None = None,
    decisions: Sequence[IdentityDecision] = (),
    max_lost_share: float = MAX_LOST_SHARE,
    keep_ids: bool = False,
) -> BuildReport:
    """Write a master to `path` (replacing a file there) from the previous master's rows and the delivered tables.

    tables: the frames of docs/sources.md by name; any may be absent. A table that is present is taken as a full
    delivery when ids are checked for loss. previous may be `path` itself. first_bars: date of the first price by vendor
    code (or a frame with vendor_code and first_session), used where a listing states no first session. copies: pairs of
    vendor codes with the same closes, and the instant (text) since when that is known. decisions: new answers to
    questions. keep_ids: go on where delivered identifiers point to other ids than the registry; the registry stands
    and the contradictions become questions.

    Raises IdentityGuard, before anything is written, when the delivery would change a known id or speaks of fewer than
    1 - max_lost_share of the known ones; ConflictingRows and TaxonomyError for input that contradicts itself.

    >>> from tempfile import TemporaryDirectory
    >>> from security_master.example import example_tables
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "master.sqlite"
    ...     first = build_master(path, example_tables(), batch_id="first")
    ...     again = build_master(path, example_tables(), batch_id="again", previous=path)
    >>> first.counts["security"], len(first.minted), len(again.minted), again.build_id == first.build_id
    (2, 2, 0, True)
    """
    path, before = Path(path), read_previous(previous)
    delivered = delivered_rows(tables, batch_id, _first_bars(first_bars))
    evidence = merge(before.rows if before else None, delivered)
    for name, table in ROW_TABLES.items():
        evidence.frames[name]["digest"] = row_digest(evidence[name], table)
    all_decisions = _all_decisions(before.decisions if before else [], decisions, batch_id)
    counted = counted_rows(evidence)
    listings = Listings(counted["securities"], counted["ticker_changes"], counted["delistings"])
    codes = set(delivered["securities"]["vendor_code"]) if "securities" in tables else None
    identities = resolve_identities(listings, all_decisions, before.registry if before else None, copies, codes)
    configuration = configuration_of(tables, before.taxonomy if before else [])
    derived = derive(counted, listings, identities, all_decisions, configuration)
    questions = [answered(q, all_decisions) for q in (*identities.questions, *derived.questions, *identities.moved)]
    questions.sort(key=lambda q: (q.known_from, q.question_id))

    name = build_id(derived.facts, identities.registry, all_decisions, configuration)
    securities = delivered["securities"] if "securities" in tables else None
    report = build_report(name, batch_id, before, securities, evidence, listings, identities, derived, questions)
    check_ids(report, before, max_lost_share, keep_ids, listings, identities)
    contents = assemble(
        batch_id, before, evidence, identities, all_decisions, configuration, derived.facts, questions, name
    )
    write_master(path, contents, before=previous if before else None)
    return report


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


def _first_bars(given: Mapping[str, Any] | pd.Series | pd.DataFrame | None) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, pd.DataFrame):
        dates = date_texts(given["first_session"].to_numpy())
        return dict(zip(given["vendor_code"].astype(str), dates, strict=True))
    return {str(code): date_text(day) for code, day in given.items()}


def _all_decisions(
    known: list[IdentityDecision], given: Sequence[IdentityDecision], batch_id: str
) -> list[IdentityDecision]:
    """The known decisions and the new ones among those given, by instant."""
    told = {decision.content for decision in known}
    given = [replace(d, known_from=instant_text(d.known_from), batch_id=batch_id) for d in given]
    fresh = [decision for decision in given if decision.content not in told]
    return sorted([*known, *fresh], key=lambda d: (d.known_from, d.question_id))
