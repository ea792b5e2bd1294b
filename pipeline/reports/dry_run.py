"""From a source's tables to a panel, in memory and without a root: for checks of the data and of the rules."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.market_data.cleaning import clean_events
from pipeline.market_data.delivery import master_of
from pipeline.market_data.gate import delivery_faults
from pipeline.market_data.point_in_time import Facts, build_facts
from pipeline.quality.decisions import QualityDecision, decisions_frame
from pipeline.quality.findings import concat_findings
from pipeline.returns.cells import Span, findings_of
from pipeline.returns.market_caps import Known, market_caps, twins_of
from pipeline.returns.panel import DailyPanel, daily_panel
from pipeline.settings import DataRules
from pipeline.sources.tables import SourceTables
from security_master import MASTER_FILE, SecurityMaster
from security_master.universe import STOCK_TYPES


@dataclass(frozen=True, eq=False)
class DryRun:
    """panel: every session of the source; faults of whole deliveries are in `faults` and did not stop it.

    sec_ids_of: the securities that a vendor code means at one time or another; ticker_of: by permanent id.
    """

    tables: SourceTables
    facts: Facts
    panel: DailyPanel
    faults: pd.DataFrame
    sec_ids_of: dict[str, set[str]]
    ticker_of: dict[str, str]


def dry_run(
    tables: SourceTables,
    rules: DataRules,
    types: Sequence[str] = STOCK_TYPES,
    restated_as_of: np.datetime64 | None = None,
    decisions: Sequence[QualityDecision] = (),
    caps: bool = False,
) -> DryRun:
    """Cleaning, a fresh security master, facts, and the panel of all securities of `types`.

    restated_as_of: as in `build_facts`; the same roster and sessions come out with any instant.
    caps: whether share counts are held against volumes, splits and other classes, too.
    """
    cleaned = clean_events(tables, rules.cleaning)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / MASTER_FILE
        master_of(path, cleaned, "dry run")
        with SecurityMaster.open(path) as master:
            facts = build_facts(cleaned, master, xnys(), rules, restated_as_of)
            owners = _owners(cleaned, master)
            listed = facts.securities.loc[facts.securities["sec_type"].isin(types), "sec_id"].to_numpy(object)
            first, last = int(facts.prices["session"].min()), int(facts.prices["session"].max())
            tickers, _ = master.labels(listed, xnys().sessions[last])
            decided = decisions_frame(list(decisions), xnys(), rules, restated_as_of)
            panel = daily_panel(facts, listed, first, last, rules, decided)
            if caps:
                found = concat_findings([panel.quarantine, _of_counts(panel, master, rules)])
                panel = replace(panel, quarantine=found)
    faults = delivery_faults(facts, [(first, last)], rules.sessions)
    return DryRun(tables, facts, panel, faults, owners, dict(zip(listed, tickers, strict=True)))


def _of_counts(panel: DailyPanel, master: SecurityMaster, rules: DataRules) -> pd.DataFrame:
    """What the rules about market caps find; closes count as dollars."""
    ordinals = np.arange(panel.first, panel.last + 1)
    days, instants = xnys().sessions[ordinals], xnys().knowledge_instants(ordinals, rules.vendor_delay_minutes)
    shares = master.shares_panel(list(panel.sec_ids), days, instants, rules.shares_max_age_days)
    nothing = np.empty((len(shares), 0))
    twins = twins_of(shares, *master.siblings(panel.sec_ids, days, instants))
    known = Known(np.ones_like(panel.close), twins, nothing, nothing)
    _, found = market_caps(panel.close, panel.volume, panel.flag, shares, rules, known)
    return findings_of(found, panel.sec_ids, Span(panel.first, panel.first, panel.last))


def _owners(tables: SourceTables, master: SecurityMaster) -> dict[str, set[str]]:
    owners: dict[str, set[str]] = {}
    listed = tables.securities[["vendor_code", "first_session"]]
    first = listed["first_session"].fillna(tables.prices["date"].min())
    for code, sec_id in zip(listed["vendor_code"], master.assign(listed["vendor_code"], first), strict=True):
        owners.setdefault(code, set()).add(sec_id)
    return owners
