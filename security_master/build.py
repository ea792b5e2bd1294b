"""Building a master: delivered tables, together with what the previous master holds, into one new SQLite file.

    rows of earlier batches + delivered rows -> identities -> facts -> guards -> file

Facts are derived anew from all rows each time; ids are looked up in the registry that came with the previous master.
So delivering the same rows again changes nothing, and the file does not depend on the clock or on the order of rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from security_master import schema
from security_master.dates import NEVER, date_text, date_texts, instant_text
from security_master.evidence import (
    ROW_TABLES,
    Evidence,
    Revision,
    counted_rows,
    delivered_rows,
    merge,
    row_digest,
    row_hashes,
    stored_rows,
)
from security_master.facts import Owners, classification_facts, filing_dates, keyed_facts
from security_master.identity import Decision, Identities, Question, answered, resolve_identities
from security_master.listings import Listings
from security_master.master_file import Contents, columns_of, write_master
from security_master.registry import Anchor, Entry, Registry, read_registry
from security_master.spans import listing_facts
from security_master.taxonomy import (
    FACTOR_ETF_COLUMNS,
    TAXONOMY_COLUMNS,
    checked,
    read_configurations,
    shipped,
    taxonomy_version,
)

FACT_TABLES = (
    "listing",
    "ticker_map",
    "xref",
    "classification_hist",
    "shares_hist",
    "corp_action",
    "delisting",
)
MAX_LOST_SHARE = 0.01


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    minted: ids that the previous master did not have. lost: ids of it that no delivered row speaks of any more (they
    stay in the master). open_questions: what a person has to decide. unclassified: delivered classification rows whose
    industry is not known. restated: facts of the previous master that the new rows contradict retroactively.
    new_rows: rows of each table that were not known before. counts: rows of each fact table.
    """

    build_id: str
    minted: tuple[str, ...]
    lost: tuple[str, ...]
    open_questions: tuple[Question, ...]
    moved: tuple[Question, ...]
    revisions: tuple[Revision, ...]
    unclassified: int
    restated: int
    new_rows: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


class IdentityGuard(RuntimeError):
    """A build that would change known ids, or lose too many. Nothing was written. `report` says what was found."""

    def __init__(self, message: str, report: BuildReport) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True)
class _Previous:
    """What a new build takes over from the previous master."""

    rows: dict[str, pd.DataFrame]
    registry: Registry
    decisions: list[Decision]
    batches: list[tuple[str, int, int]]
    taxonomy: list[tuple[str, pd.DataFrame, pd.DataFrame]]
    carried: dict[str, pd.DataFrame]
    facts: dict[str, NDArray[np.uint64]]


def build_master(
    path: Path,
    tables: Mapping[str, pd.DataFrame],
    *,
    batch_id: str,
    previous: Path | None = None,
    first_bars: Mapping[str, Any] | pd.Series | pd.DataFrame | None = None,
    decisions: Sequence[Decision] = (),
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
    path, before = Path(path), _read_previous(previous)
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
    configuration = _configuration(tables, before)
    facts, questions, unclassified = _facts(counted, listings, identities, all_decisions, configuration)
    questions = [answered(q, all_decisions) for q in (*identities.questions, *questions, *identities.moved)]
    questions.sort(key=lambda q: (q.known_from, q.question_id))

    report = BuildReport(
        build_id=_build_id(facts, identities, all_decisions, configuration),
        minted=tuple(sorted(set(identities.registry.minted) - set(before.registry.minted if before else ()))),
        lost=tuple(_lost(before, delivered["securities"], identities) if "securities" in tables else ()),
        open_questions=tuple(q for q in questions if q.known_to == NEVER),
        moved=tuple(_newly_moved(identities, evidence, batch_id) if before else ()),
        revisions=tuple(evidence.revisions),
        unclassified=unclassified,
        restated=_restated(before, facts),
        new_rows={name: n for name, n in evidence.new_rows.items() if n},
        counts={"security": len(identities.registry.minted)} | {name: len(facts[name]) for name in FACT_TABLES},
    )
    _check(report, before, max_lost_share, keep_ids)
    contents = _contents(
        batch_id, before, evidence, identities, all_decisions, configuration, facts, questions, report.build_id
    )
    write_master(path, contents)
    return report


class UnknownQuestion(LookupError):
    """A decision about something that is no question."""


def decide(path: Path, decision: Decision, *, batch_id: str) -> BuildReport:
    """Record a person's decision in a master and derive its facts anew.

    The question is one of the queue. A listing's is answered with 'same' and the security that it is, 'new' or
    'ignore'; a ticker's or an identifier's with 'same' and the one that it belongs to, or 'ignore'. Raises
    UnknownQuestion.
    """
    path = Path(path)
    before = _read_previous(path)
    if before is None:
        raise FileNotFoundError(f"no security master at {path}")
    connection = schema.open_existing(path)
    questions = dict(connection.execute("SELECT question_id, candidates FROM resolution_queue"))
    connection.close()
    if decision.question_id not in questions:
        shown = ", ".join(sorted(questions)[:5]) or "none"
        raise UnknownQuestion(f"no question {decision.question_id!r}; there are: {shown}")
    if decision.choice == "same" and decision.sec_id not in before.registry.minted:
        raise UnknownQuestion(f"{decision.sec_id!r} is no security; candidates: {questions[decision.question_id]}")
    return build_master(path, {}, batch_id=batch_id, previous=path, decisions=[decision])


# -- deriving -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Configuration:
    """The taxonomy and factor ETFs in force, and all versions that there have been."""

    version: str
    taxonomy: pd.DataFrame
    factor_etfs: pd.DataFrame
    earlier: list[tuple[str, pd.DataFrame, pd.DataFrame]]


def _configuration(tables: Mapping[str, pd.DataFrame], before: _Previous | None) -> _Configuration:
    """Delivered tables, else those of the previous master, else the shipped ones."""
    last = before.taxonomy[-1] if before and before.taxonomy else ("", None, None)
    taxonomy = _delivered_configuration(tables.get("taxonomy"), TAXONOMY_COLUMNS)
    factor_etfs = _delivered_configuration(tables.get("factor_etfs"), FACTOR_ETF_COLUMNS)
    if taxonomy is None:
        taxonomy = last[1] if last[1] is not None else _delivered_configuration(shipped("taxonomy"), TAXONOMY_COLUMNS)
    if factor_etfs is None:
        usual = _delivered_configuration(shipped("factor_etfs"), FACTOR_ETF_COLUMNS)
        factor_etfs = last[2] if last[2] is not None else usual
    assert taxonomy is not None
    assert factor_etfs is not None
    checked(taxonomy, factor_etfs)
    version = taxonomy_version(taxonomy, factor_etfs)
    earlier = [row for row in (before.taxonomy if before else []) if row[0] != version]
    return _Configuration(version, taxonomy, factor_etfs, earlier)


def _delivered_configuration(frame: pd.DataFrame | None, columns: Sequence[str]) -> pd.DataFrame | None:
    if frame is None or frame.empty:
        return None
    data: dict[str, list[str]] = {}
    for name in columns:
        if name not in frame.columns:
            data[name] = [""] * len(frame)
        elif name == "first_session":
            data[name] = [date_text(value) for value in frame[name]]
        else:
            data[name] = [str(value).strip() for value in frame[name].fillna("")]
    return pd.DataFrame(data, columns=list(columns), dtype=object)


def _facts(
    evidence: dict[str, pd.DataFrame],
    listings: Listings,
    identities: Identities,
    decisions: list[Decision],
    configuration: _Configuration,
) -> tuple[dict[str, pd.DataFrame], list[Question], int]:
    """Every fact table as a frame with its columns, the questions found on the way, and rows without an industry."""
    found = listing_facts(listings, identities, decisions)
    facts = {
        name: _frame_of(known, name)
        for name, known in (("listing", found.listings), ("ticker_map", found.tickers), ("xref", found.identifiers))
    }
    owners = Owners(listings, identities)

    rows = evidence["classification"]
    rows = owners.attribute(rows, rows["valid_from"].tolist())
    codes = set(configuration.taxonomy["fs_industry_code"])
    facts["classification_hist"], unknown = classification_facts(rows, codes, configuration.version)

    rows = evidence["shares"]
    rows = owners.attribute(rows, filing_dates(rows["filed_at"].tolist()), rows["period_end"].tolist())
    rows = rows.rename(columns={"shares": "shares_raw"})
    facts["shares_hist"] = keyed_facts(rows, ["period_end", "filed_at"], ["shares_raw"], "shares")

    rows = evidence["splits"]
    rows = owners.attribute(rows, rows["ex_date"].tolist())
    rows = rows.rename(columns={"ratio_new": "ratio_num", "ratio_old": "ratio_den"})
    rows = rows.assign(type=np.where(rows["kind"] == "spin_off", "split_as_spin_off", "split"))
    splits = keyed_facts(rows, ["ex_date"], ["type", "ratio_num", "ratio_den"], "splits")
    splits = splits.assign(child_code="", child_ratio=np.nan, value=np.nan)
    rows = evidence["spin_offs"]
    rows = owners.attribute(rows, rows["ex_date"].tolist()).assign(type="spin_off", ratio_num=1, ratio_den=1)
    payload = ["type", "ratio_num", "ratio_den", "child_ratio", "value"]
    spin_offs = keyed_facts(rows, ["ex_date", "child_code"], payload, "spin_offs")
    both = [frame for frame in (splits, spin_offs[splits.columns]) if len(frame)]
    actions = pd.concat(both, ignore_index=True) if both else splits
    order = ["sec_id", "type", "ex_date", "child_code", "known_from"]
    facts["corp_action"] = actions.sort_values(order, kind="stable", ignore_index=True)

    rows = evidence["delistings"]
    rows = owners.attribute(rows, rows["last_session"].tolist())
    payload = ["reason", "cash", "successor_code", "successor_ratio"]
    facts["delisting"] = keyed_facts(rows, ["last_session"], payload, "delistings")
    return facts, found.questions, len(unknown)


def _frame_of(known: Sequence[Any], table: str) -> pd.DataFrame:
    """Facts with their beliefs as a frame, sorted."""
    rows = [
        (
            *k.fact,
            k.known_from,
            k.known_to,
            k.source.known_assumed,
            k.source.table,
            k.source.evidence,
            k.source.batch_id,
        )
        for k in known
    ]
    return _frame(table, sorted(rows))


def _build_id(
    facts: dict[str, pd.DataFrame], identities: Identities, decisions: list[Decision], configuration: _Configuration
) -> str:
    """16 hex digits of what the master says, whichever batches it came in."""
    digest = hashlib.sha256(f"schema {schema.current_version()}\n{configuration.version}\n".encode())
    for entry in _sorted_entries(identities.registry):
        digest.update("\t".join((*_entry_row(entry)[:-1], "\n")).encode())
    for decision in decisions:
        digest.update(repr(replace(decision, batch_id="")).encode())
    for name in FACT_TABLES:
        said = [column for column in columns_of(name) if column != "batch_id"]
        digest.update(f"{name}\n".encode() + row_hashes(facts[name], said).tobytes())
    return digest.hexdigest()[:16]


# -- guards -------------------------------------------------------------------------------------------------------


def _lost(before: _Previous | None, delivered: pd.DataFrame, identities: Identities) -> list[str]:
    """Known ids of which the delivery shows neither a listing nor an identifier."""
    if before is None:
        return []
    keys = zip(delivered["vendor_code"], delivered["first_session"], strict=True)
    anchors = {Anchor("listing", f"{code}|{first}") for code, first in keys}
    for scheme in ("share_class_figi", "composite_figi", "isin", "cusip"):
        anchors |= {Anchor(scheme, value.upper()) for value in delivered[scheme] if value}
    seen = set(before.registry.holders(anchors)) | {
        identities.assigned[a.value].sec_id for a in anchors if a.type == "listing" and a.value in identities.assigned
    }
    return sorted(set(before.registry.minted) - seen)


def _newly_moved(identities: Identities, evidence: Evidence, batch_id: str) -> list[Question]:
    """Contradictions with the registry that came with this delivery."""
    rows = evidence["securities"]
    fresh = rows[rows["batch_id"] == batch_id]
    codes = set(zip(fresh["vendor_code"], fresh["first_session"], strict=True))
    return [q for q in identities.moved if (q.subject["vendor_code"], q.subject["first_session"]) in codes]


def _restated(before: _Previous | None, facts: dict[str, pd.DataFrame]) -> int:
    """Facts that the previous master believed from some instant on, and this one does not, not even for a while."""
    if before is None:
        return 0
    return sum(len(np.setdiff1d(before.facts[name], _fact_hashes(facts[name], name))) for name in FACT_TABLES)


def _fact_hashes(frame: pd.DataFrame, name: str) -> NDArray[np.uint64]:
    """A hash of each fact without its end of belief, which a later batch may close, and without its provenance."""
    ignored = ("row_id", "known_to", "known_assumed", "source", "evidence", "batch_id")
    return row_hashes(frame, [c for c in schema.column_types(name) if c not in ignored])


def _check(report: BuildReport, before: _Previous | None, max_lost_share: float, keep_ids: bool) -> None:
    if before is None:
        return
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


# -- reading the previous master, writing the new one ---------------------------------------------------------------

_CARRIED = ("revision", "universe_membership", "universe_snapshot", "resolution_log")


def _read_previous(path: Path | None) -> _Previous | None:
    if path is None or not Path(path).exists():
        return None
    connection = schema.open_migrated_copy(Path(path))
    try:
        registry = read_registry(connection)
        columns = "question_id, choice, sec_id, decided_by, reason, known_from, batch_id"
        decisions = [Decision(*row) for row in connection.execute(f"SELECT {columns} FROM decision")]
        batches = connection.execute("SELECT batch_id, seq, new_rows FROM load_batch ORDER BY seq").fetchall()
        return _Previous(
            rows=stored_rows(connection),
            registry=registry,
            decisions=decisions,
            batches=batches,
            taxonomy=read_configurations(connection),
            carried={name: schema.read_frame(connection, name, columns_of(name)) for name in _CARRIED},
            facts={name: _fact_hashes(schema.read_frame(connection, name), name) for name in FACT_TABLES},
        )
    finally:
        connection.close()


def _contents(
    batch_id: str,
    before: _Previous | None,
    evidence: Evidence,
    identities: Identities,
    decisions: list[Decision],
    configuration: _Configuration,
    facts: dict[str, pd.DataFrame],
    questions: list[Question],
    build_id: str,
) -> Contents:
    """Everything that the file holds, each table in its order."""
    registry = identities.registry
    minted = sorted(registry.minted.values(), key=lambda m: (m.known_from, m.sec_id))
    versions = [*configuration.earlier, (configuration.version, configuration.taxonomy, configuration.factor_etfs)]
    new_rows = sum(evidence.new_rows.values()) + sum(d.batch_id == batch_id for d in decisions)
    batches = list(before.batches) if before else []
    if batch_id not in {row[0] for row in batches} and (new_rows or not batches):
        batches.append((batch_id, len(batches) + 1, new_rows))
    revisions = [(r.table, r.key, r.was, batch_id) for r in evidence.revisions]
    rows: dict[str, list[tuple[Any, ...]]] = {
        "meta": [*((f"taxonomy_{n:04d}", row[0]) for n, row in enumerate(versions)), ("build_id", build_id)],
        "load_batch": batches,
        "security": [(m.sec_id, m.anchor.type, m.anchor.value, m.known_from, m.batch_id) for m in minted],
        "id_registry": [_entry_row(entry) for entry in _sorted_entries(registry)],
        "decision": [
            (d.question_id, d.choice, d.sec_id, d.decided_by, d.reason, d.known_from, d.batch_id) for d in decisions
        ],
        "resolution_queue": [_question_row(question) for question in questions],
        "resolution_log": _log(identities, before),
        "revision": revisions,
        "taxonomy": [(v, n, *row) for v, frame, _ in versions for n, row in enumerate(frame.to_numpy().tolist())],
        "factor_etf": [(v, n, *row) for v, _, frame in versions for n, row in enumerate(frame.to_numpy().tolist())],
    }
    contents = {table: _frame(table, found) for table, found in rows.items()}
    contents |= {table.stored: evidence[name] for name, table in ROW_TABLES.items()}
    contents |= facts
    for table in ("revision", "universe_membership", "universe_snapshot"):
        carried = before.carried[table] if before else _frame(table, [])
        contents[table] = pd.concat([carried, contents[table]], ignore_index=True) if table in contents else carried
    return contents


def _frame(table: str, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    names = columns_of(table)
    return schema.typed_frame(
        dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True)), table
    )


def _log(identities: Identities, before: _Previous | None) -> list[tuple[Any, ...]]:
    """Why each listing has its id; what was concluded once keeps its reason."""
    rows = list(before.carried["resolution_log"].itertuples(index=False, name=None)) if before else []
    told = {row[0] for row in rows}
    rows += [(c.subject, c.sec_id, c.rule, c.detail, c.known_from) for c in identities.log if c.subject not in told]
    return sorted(rows, key=lambda row: (row[4], row[0]))


def _sorted_entries(registry: Registry) -> list[Entry]:
    return sorted(registry.entries.values(), key=lambda e: (e.known_from, e.anchor.type, e.anchor.value, e.since))


def _entry_row(entry: Entry) -> tuple[str, ...]:
    return (
        entry.anchor.type,
        entry.anchor.value,
        entry.since,
        entry.sec_id,
        entry.rule,
        entry.known_from,
        entry.batch_id,
    )


def _question_row(question: Question) -> tuple[str, ...]:
    return (
        question.question_id,
        question.kind,
        json.dumps(question.subject, sort_keys=True),
        json.dumps(list(question.candidates)),
        question.detail,
        question.known_from,
        question.known_to,
    )


def _first_bars(given: Mapping[str, Any] | pd.Series | pd.DataFrame | None) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, pd.DataFrame):
        dates = date_texts(given["first_session"].to_numpy())
        return dict(zip(given["vendor_code"].astype(str), dates, strict=True))
    return {str(code): date_text(day) for code, day in given.items()}


def _contains(decisions: list[Decision], one: Decision) -> bool:
    return any(replace(d, batch_id="") == replace(one, batch_id="") for d in decisions)
