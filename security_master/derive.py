"""From identities and delivered rows to dated facts, and the id of what they say together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from security_master import schema
from security_master.evidence import row_hashes
from security_master.facts import Owners, classification_facts, filing_dates, keyed_facts
from security_master.identity import Identities
from security_master.listing_facts import listing_facts
from security_master.listings import WITHDRAWN, Listings
from security_master.master_file import columns_of, frame_of_rows
from security_master.questions import IdentityDecision, Question
from security_master.registry import Registry
from security_master.taxonomy import Configuration

FACT_TABLES = (
    "listing",
    "ticker_map",
    "xref",
    "classification_hist",
    "shares_hist",
    "corp_action",
    "delisting",
)


@dataclass(frozen=True)
class Derived:
    """Every fact table as a frame with its columns, the questions found on the way, and rows without an industry."""

    facts: dict[str, pd.DataFrame]
    questions: list[Question]
    unclassified: int


def derive(
    rows_of: dict[str, pd.DataFrame],
    listings: Listings,
    identities: Identities,
    decisions: list[IdentityDecision],
    configuration: Configuration,
) -> Derived:
    """All facts that follow from the delivered rows (by table, see evidence.counted_rows) and from decisions."""
    found = listing_facts(listings, identities, decisions)
    facts = {
        name: _frame_of_beliefs(known, name)
        for name, known in (("listing", found.listings), ("ticker_map", found.tickers), ("xref", found.identifiers))
    }
    owners = Owners(listings, identities)

    rows = rows_of["classification"]
    rows = owners.attribute(rows, rows["valid_from"].tolist())
    codes = set(configuration.taxonomy["fs_industry_code"])
    facts["classification_hist"], unknown = classification_facts(rows, codes, configuration.version)

    rows = rows_of["shares"]
    rows = owners.attribute(rows, filing_dates(rows["filed_at"].tolist()), rows["period_end"].tolist())
    rows = rows.rename(columns={"shares": "shares_raw"})
    facts["shares_hist"] = keyed_facts(rows, ["period_end", "filed_at"], ["shares_raw"], "shares")

    rows = rows_of["splits"]
    rows = owners.attribute(rows, rows["ex_date"].tolist())
    rows = rows.rename(columns={"ratio_new": "ratio_num", "ratio_old": "ratio_den"})
    rows = rows.assign(type=np.where(rows["kind"] == "spin_off", "split_as_spin_off", "split"))
    splits = keyed_facts(rows, ["ex_date"], ["type", "ratio_num", "ratio_den"], "splits")
    splits = splits.assign(child_code="", child_ratio=np.nan, value=np.nan)
    rows = rows_of["spin_offs"]
    rows = owners.attribute(rows, rows["ex_date"].tolist()).assign(type="spin_off", ratio_num=1, ratio_den=1)
    payload = ["type", "ratio_num", "ratio_den", "child_ratio", "value"]
    spin_offs = keyed_facts(rows, ["ex_date", "child_code"], payload, "spin_offs")
    both = [frame for frame in (splits, spin_offs[splits.columns]) if len(frame)]
    actions = pd.concat(both, ignore_index=True) if both else splits
    order = ["sec_id", "type", "ex_date", "child_code", "known_from"]
    facts["corp_action"] = actions.sort_values(order, kind="stable", ignore_index=True)

    rows = rows_of["delistings"]
    rows = owners.attribute(rows, rows["last_session"].tolist())
    payload = ["reason", "cash", "successor_code", "successor_ratio"]
    ends = keyed_facts(rows, ["last_session"], payload, "delistings")
    facts["delisting"] = ends[ends["reason"] != WITHDRAWN].reset_index(drop=True)
    return Derived(facts, found.questions, len(unknown))


def _frame_of_beliefs(known: Sequence[Any], table: str) -> pd.DataFrame:
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
    return frame_of_rows(table, sorted(rows))


def build_id(
    facts: dict[str, pd.DataFrame], registry: Registry, decisions: list[IdentityDecision], configuration: Configuration
) -> str:
    """16 hex digits of what the master says, whichever batches it came in."""
    digest = hashlib.sha256(f"schema {schema.current_version()}\n{configuration.version}\n".encode())
    for entry in registry.in_order():
        digest.update("\t".join((*entry.row[:-1], "\n")).encode())
    for decision in decisions:
        digest.update(decision.content.encode())
    for name in FACT_TABLES:
        said = [column for column in columns_of(name) if column != "batch_id"]
        digest.update(f"{name}\n".encode() + row_hashes(facts[name], said).tobytes())
    return digest.hexdigest()[:16]
