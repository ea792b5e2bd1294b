"""Answers for people: what is known of a security, why a ticker means it, and what was learnt when."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from security_master import lineage as edges_of
from security_master.dates import END, NEVER, date_text, instant_text
from security_master.derive import FACT_TABLES
from security_master.names import canonical_ticker
from security_master.resolution import contests
from security_master.store import BELIEVED, Store, instant_or_newest

HISTORY_COLUMNS = ["what", "value", "detail", "valid_from", "valid_to", "known_from", "source", "evidence"]
EXPLAIN_COLUMNS = ["step", "sec_id", "value", "valid_from", "valid_to", "known_from", "source", "evidence", "batch_id"]
CHANGES_COLUMNS = ["at", "change", "table", "sec_id", "fact", "batch_id"]
QUEUE_COLUMNS = ["question_id", "kind", "subject", "candidates", "detail", "known_from"]

_TAIL_COLUMNS = ["known_from", "known_to", "known_assumed", "source", "evidence", "batch_id"]
_HISTORY = (
    ("ticker", "ticker_map", "ticker", "market"),
    ("listing", "listing", "vendor_code", "exchange"),
    ("name", "listing", "name", "sec_type"),
    ("identifier", "xref", "value", "scheme"),
    ("class", "classification_hist", "code", "scheme"),
)
"""What a history shows of the fact tables: (what, table, column of the value, column of the detail)."""


def history(store: Store, sec_id: str, as_of: Any, known_as_of: Any) -> pd.DataFrame:
    """See SecurityMaster.history."""
    parts = []
    for what, table, value, detail in _HISTORY:
        rows = store.of_security(table, sec_id, known_as_of)
        parts.append(rows.assign(what=what, value=rows[value], detail=rows[detail])[HISTORY_COLUMNS])
    ends = store.of_security("delisting", sec_id, known_as_of)
    told = {"value": ends["reason"], "detail": ends["successor_code"], "valid_from": ends["last_session"]}
    parts.append(ends.assign(what="delisting", valid_to=END, **told)[HISTORY_COLUMNS])
    rows = pd.concat([part for part in parts if len(part)], ignore_index=True)
    if as_of is not None:
        rows = rows[rows["valid_from"] <= date_text(as_of)]
    order = {what: at for at, what in enumerate([*(what for what, *_ in _HISTORY), "delisting"])}
    rows = rows.assign(order=rows["what"].map(order)).sort_values(["order", "valid_from", "value"], kind="stable")
    return rows[HISTORY_COLUMNS].astype("str").reset_index(drop=True)


def lineage(store: Store, sec_id: str, as_of: Any, known_as_of: Any) -> pd.DataFrame:
    """See SecurityMaster.lineage."""
    listings, delistings, actions = (
        store.believed(table, known_as_of) for table in ("listing", "delisting", "corp_action")
    )
    edges = edges_of.lineage(listings, delistings, actions, _decided_claims(store, instant_or_newest(known_as_of)))
    edges = edges[(edges["from_sec_id"] == sec_id) | (edges["to_sec_id"] == sec_id)]
    if as_of is not None:
        edges = edges[edges["date"] <= date_text(as_of)]
    return edges.reset_index(drop=True)


def _decided_claims(store: Store, known: str) -> pd.DataFrame:
    """Decisions that two ids are one claim, as edges of the lineage."""
    rows = store.rows(
        "SELECT q.subject, q.candidates, d.known_from, d.decided_by FROM decision d JOIN resolution_queue q "
        "USING (question_id) WHERE q.kind = 'late_ticker_change' AND d.choice = 'same' AND d.known_from <= :known",
        known=known,
    )
    edges = []
    for subject, candidates, since, by in rows:
        before, after = json.loads(candidates)
        edges.append(
            ("same_claim", json.loads(subject)["date"], before, after, 1.0, np.nan, since, f"decision of {by}")
        )
    return pd.DataFrame(edges, columns=edges_of.COLUMNS)


def explain(store: Store, ticker: str, as_of: Any, known_as_of: Any) -> pd.DataFrame:
    """See SecurityMaster.explain."""
    name, day, known = canonical_ticker(ticker), date_text(as_of), instant_or_newest(known_as_of)
    at = {"day": day, "known": known}
    steps: list[tuple[Any, ...]] = store.rows(
        "SELECT 'ticker', sec_id, ticker || ' (' || market || ', ' || trading_mode || ')', valid_from, valid_to, "
        "known_from, source, evidence, batch_id FROM ticker_map WHERE ticker = :ticker AND valid_from <= :day "
        f"AND :day < valid_to AND {BELIEVED} ORDER BY sec_id",
        ticker=name,
        **at,
    )
    for sec_id in sorted({row[1] for row in steps}):
        steps += store.rows(
            "SELECT 'listing', sec_id, vendor_code || ' on ' || exchange || ', ' || name, valid_from, valid_to, "
            "known_from, source, evidence, batch_id FROM listing WHERE sec_id = :sec_id AND valid_from <= :day "
            f"AND :day < valid_to AND {BELIEVED}",
            sec_id=sec_id,
            **at,
        )
        steps += store.rows(
            "SELECT 'identity', sec_id, anchor_type || ' ' || anchor_value || ': ' || rule, anchor_from, '', "
            "known_from, 'id_registry', '', batch_id FROM id_registry WHERE sec_id = :sec_id "
            "AND known_from <= :known ORDER BY known_from, anchor_type, anchor_value",
            sec_id=sec_id,
            known=known,
        )
    for contest in contests(store, known):
        if contest.ticker == name and contest.start <= day < contest.end:
            steps += [("contest", s, name, contest.start, contest.end, "", "", "", "") for s in contest.candidates]
    return pd.DataFrame(steps, columns=EXPLAIN_COLUMNS)


def changes(store: Store, known_from: Any, known_to: Any) -> pd.DataFrame:
    """See SecurityMaster.changes."""
    since, until = instant_text(known_from), min(instant_text(known_to), NEVER)
    parts = []
    for table in FACT_TABLES:
        frame = store.table(table)
        for change, column in (("learnt", "known_from"), ("withdrawn", "known_to")):
            rows = frame[(frame[column] >= since) & (frame[column] < until)]
            if rows.empty:
                continue
            told = rows[[c for c in rows.columns if c not in ("sec_id", *_TAIL_COLUMNS)]]
            facts = [json.dumps({k: v for k, v in row.items() if v == v}) for row in told.to_dict("records")]
            said = rows.assign(at=rows[column], change=change, table=table, fact=facts)
            parts.append(said[CHANGES_COLUMNS])
    if not parts:
        return pd.DataFrame(columns=CHANGES_COLUMNS)
    return pd.concat(parts).sort_values(["at", "change", "table", "sec_id", "fact"], ignore_index=True)


def queue(store: Store, known_as_of: Any) -> pd.DataFrame:
    """See SecurityMaster.queue."""
    rows = store.rows(
        f"SELECT {', '.join(QUEUE_COLUMNS)} FROM resolution_queue WHERE {BELIEVED} ORDER BY known_from, question_id",
        known=instant_or_newest(known_as_of),
    )
    return pd.DataFrame(rows, columns=QUEUE_COLUMNS)
