"""Putting the parts of a build together as the tables of a file."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from security_master.evidence import ROW_TABLES, Evidence
from security_master.identity import Identities
from security_master.master_file import SNAPSHOTS, Contents, frame_of_rows
from security_master.previous import Previous
from security_master.questions import IdentityDecision, Question
from security_master.taxonomy import Configuration


def assemble(
    batch_id: str,
    before: Previous | None,
    evidence: Evidence,
    identities: Identities,
    decisions: list[IdentityDecision],
    configuration: Configuration,
    facts: dict[str, pd.DataFrame],
    questions: list[Question],
    build_id: str,
) -> Contents:
    """Everything that the file holds, each table in its order; without the snapshots of the master before."""
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
        "id_registry": [entry.row for entry in registry.in_order()],
        "decision": [
            (d.question_id, d.choice, d.sec_id, d.decided_by, d.reason, d.known_from, d.batch_id) for d in decisions
        ],
        "resolution_queue": [_question_row(question) for question in questions],
        "resolution_log": _log(identities, before),
        "revision": revisions,
        "taxonomy": [(v, n, *row) for v, frame, _ in versions for n, row in enumerate(frame.to_numpy().tolist())],
        "factor_etf": [(v, n, *row) for v, _, frame in versions for n, row in enumerate(frame.to_numpy().tolist())],
    }
    contents = {table: frame_of_rows(table, found) for table, found in rows.items()}
    contents |= {table.stored: evidence[name] for name, table in ROW_TABLES.items()}
    contents |= facts
    if before:
        contents["revision"] = pd.concat([before.carried["revision"], contents["revision"]], ignore_index=True)
    else:
        contents |= {table: frame_of_rows(table, []) for table in SNAPSHOTS}
    return contents


def _log(identities: Identities, before: Previous | None) -> list[tuple[Any, ...]]:
    """Why each listing has its id; what was concluded once keeps its reason."""
    rows = list(before.carried["resolution_log"].itertuples(index=False, name=None)) if before else []
    told = {row[0] for row in rows}
    rows += [(c.subject, c.sec_id, c.rule, c.detail, c.known_from) for c in identities.log if c.subject not in told]
    return sorted(rows, key=lambda row: (row[4], row[0]))


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
