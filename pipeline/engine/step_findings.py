"""What the rules found in a run, from the steps that find it to the file beside the stores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.engine.left_out import of_stores
from pipeline.engine.rewritten import (
    MOST_TOLD,
    REWRITTEN,
    compare_deliveries,
    compare_older_closes,
    not_compared,
    published_wrong,
)
from pipeline.engine.run import Run
from pipeline.market_data.delivery import Delivery, cut
from pipeline.market_data.gate import delivery_faults, refuse_undecided
from pipeline.market_data.point_in_time import Facts
from pipeline.quality.deliveries import TABLES_FILE, counted, lost_securities, lost_tables, moved_identifiers
from pipeline.quality.findings import FINDINGS_FILE, concat_findings
from pipeline.quality.texts import among
from pipeline.quality.tickers import living_tickers, rewritten_tickers
from pipeline.returns.panel import lookback
from security_master import BuildReport
from security_master.errors import at_file

LOUD = (
    "zero_returns",
    "median_move",
    "event_count",
    "market_correlation",
    *REWRITTEN,
    "rewritten_year",
    "etf_off_market",
    "missing_etf",
    "market_etf_off",
)
"""Flags that stop nothing and that whoever runs the night must hear of all the same."""

GATE = "gate"
"""Name under which the findings of the run's gate are kept, beside those of the stores."""


@dataclass(frozen=True)
class Told:
    """What the rules of a run found, for whoever ran it.

    counts: findings by rule. loud: a sentence each about what was published wrong, or looks so, and what mends it.
    left_out: a sentence each about what has no values for want of an input, and what would help.
    """

    counts: dict[str, int]
    loud: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def told(run: Run) -> Told:
    """What the rules found in this run, before its scratch directory is removed."""
    fresh = [run.scratch / f"findings_{name}.parquet" for name in (GATE, "ds_daily", "ds_etf")]
    rows = concat_findings([pd.read_parquet(path) for path in fresh if path.exists()])
    rows = rows[rows["detected_at"].between(run.first, run.last)]
    counts = {str(rule): int(n) for rule, n in rows["rule"].value_counts().sort_index().items()}
    days = run.calendar.sessions
    sessions = rows[rows["rule"].isin(LOUD) & ~rows["rule"].isin(REWRITTEN)]
    loud = [
        f"{days[row['session']]}: {row['evidence']} ({row['rule']})"
        for row in sessions.head(MOST_TOLD).to_dict("records")
    ]
    left_out = (*run.inputs["left_out"], *of_stores(run))
    loud = [*not_compared(run), *loud]
    return Told(counts, (*loud, *published_wrong(run, rows[rows["rule"].isin(REWRITTEN)])), left_out)


def keep_findings(run: Run, name: str, found: Sequence[pd.DataFrame]) -> None:
    """What the rules found for one store, or at the gate.

    Steps may run side by side, so each has a file of its own until the end.
    """
    path = run.scratch / f"findings_{name}.parquet"
    _write(path, found)


def _write(path: Path, found: Sequence[pd.DataFrame]) -> None:
    with at_file(path):
        concat_findings(found).to_parquet(path, index=False, compression="zstd")


def add_findings(run: Run) -> None:
    """Publish what the run's rules found beside the stores, in place of earlier rows about the same sessions."""
    fresh = {name: run.scratch / f"findings_{name}.parquet" for name in (GATE, "ds_daily", "ds_etf")}
    fresh = {name: path for name, path in fresh.items() if path.exists()}
    stores = [name for name in fresh if name != GATE]
    if not stores:
        return
    rows = [pd.read_parquet(path) for path in fresh.values()]
    before = run.stage.published_file(FINDINGS_FILE, run.scratch / f"before_{FINDINGS_FILE}")
    if before is not None:
        old = pd.read_parquet(before)
        about = [symbol for name in stores for symbol in run.open(name).symbol]
        if "ds_daily" in fresh:  # findings about whole sessions come with the stocks
            about.append("")
        ours = among(old["sec_id"], about) | (old["outcome"] == "stop")  # the gate speaks of all securities
        rows.append(old[~(ours & old["detected_at"].between(run.first, run.last))])
    path = run.scratch / FINDINGS_FILE
    _write(path, rows)
    run.stage.add_file(FINDINGS_FILE, path)


def pass_gate(run: Run, facts: Facts, delivery: Delivery, report: BuildReport) -> Facts:
    """The facts that the sessions of the run may use, with a finding for each published bar that was rewritten since.

    Raises BatchFault when a delivery is wrong as a whole, lacks what the one before had, or has rewritten too much of
    what is published, and nobody decided about it. What was decided is kept, to be published with the other findings.
    """
    rules = run.settings.rules
    rewritten, lost = compare_deliveries(run, facts, report.left), _compare_tables(run, delivery, report)
    facts = cut(facts, run.reads_from - lookback(rules), run.last)
    faults = delivery_faults(facts, run.computed, rules.sessions, lambda ids: _tickers(run, ids))
    about = (faults["sec_id"] != "").to_numpy()
    named = [
        f"{who}: {says}"
        for who, says in zip(_named(run, list(faults["sec_id"][about])), faults["evidence"][about], strict=True)
    ]
    faults.loc[about, "evidence"] = np.asarray(named, object)
    refuse_undecided(concat_findings([faults, rewritten, lost]), run.decisions)
    keep_findings(run, GATE, [faults[faults["detected_at"].between(run.first, run.last)], lost])
    return replace(facts, findings=concat_findings([facts.findings, rewritten]))


def _compare_tables(run: Run, delivery: Delivery, report: BuildReport) -> pd.DataFrame:
    """What the delivery lacks of the last accepted one, or says otherwise. Stages what it holds, for the next run."""
    rules, at, tables = run.settings.rules, run.first, delivery.tables
    published = run.stage.published_file(TABLES_FILE, run.scratch / f"before_{TABLES_FILE}")
    before: dict[str, Any] = {"through": "", "tables": {}, "unmentioned": [], "tickers": {}}
    if published is not None:
        before |= json.loads(published.read_text())
    through = max(before["through"], str(run.calendar.sessions[run.last]))
    ordinal = run.calendar.ordinal(through)
    instant = run.instants(ordinal, ordinal)[0]
    # Counted as known at the session itself: what a restatement knows of later days, the next night does not know yet.
    own = run.calendar.knowledge_instants([ordinal], rules.vendor_delay_minutes)[0]
    delivered, tickers = counted(tables, own), living_tickers(tables.frames, instant)
    codes = set(tables.securities["vendor_code"].astype(str))
    lost = sorted(set(report.lost) - set(before["unmentioned"]))
    known = report.counts["security"] - len(report.minted)
    moved = [f"{q.detail} ({', '.join(_named(run, q.candidates))})" for q in report.moved]
    since, changes = before["through"], tables.ticker_changes
    found = [
        lost_tables(before["tables"], delivered, codes, since, at, rules.deliveries),
        lost_securities(_named(run, lost), known, at, rules.deliveries),
        moved_identifiers(moved, at),
        rewritten_tickers(before["tickers"], tickers, changes, since, at, rules.deliveries),
        compare_older_closes(run, delivery, before, through, instant),
    ]
    path = run.scratch / TABLES_FILE
    now = {
        "through": through,
        "known_by": str(instant),
        "tables": delivered,
        "tickers": tickers,
        "unmentioned": sorted(report.lost),
    }
    with at_file(path):
        path.write_text(json.dumps(now, sort_keys=True))
    run.stage.add_file(TABLES_FILE, path)
    return concat_findings(found)


def _tickers(run: Run, sec_ids: Sequence[str]) -> list[str]:
    ids = np.asarray(sec_ids, dtype=object)
    return [str(ticker) for ticker in run.master.labels(ids, run.calendar.sessions[run.first])[0]]


def _named(run: Run, sec_ids: Sequence[str]) -> list[str]:
    """Securities as a person knows them: ticker (or vendor code), name, first session and permanent id."""
    if not sec_ids:
        return []
    ids = np.asarray(sec_ids, dtype=object)
    tickers: list[Any] = run.master.labels(ids, run.calendar.sessions[run.first])[0].tolist()
    roster: Any = run.master.roster().set_index("sec_id").loc[list(sec_ids)]
    return [
        f"{ticker or row.vendor_code} ({row.name}, since {row.first_session:%Y-%m-%d}, {sec_id})"
        for ticker, sec_id, row in zip(tickers, sec_ids, roster.itertuples(index=False), strict=True)
    ]
