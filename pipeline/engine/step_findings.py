"""What the rules found in a run, from the steps that find it to the file beside the stores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import FOR_EVER
from pipeline.engine.left_out import of_stores
from pipeline.engine.run import INPUT_STORES, Run
from pipeline.market_data.delivery import cut
from pipeline.market_data.gate import delivery_faults, refuse_undecided
from pipeline.market_data.point_in_time import Facts
from pipeline.quality.deliveries import TABLES_FILE, counted, lost_securities, lost_tables, moved_identifiers
from pipeline.quality.drift import DELIVERED_FILE, WARM_UP_BARS, delivered_bars, drift, drift_findings, first_prints
from pipeline.quality.findings import FINDINGS_FILE, concat_findings, no_findings
from pipeline.returns.panel import lookback
from pipeline.sources import SourceTables
from pipeline.store.windows import warm_up_file
from security_master import BuildReport
from security_master.errors import at_file

LOUD = (
    "zero_returns",
    "median_move",
    "event_count",
    "market_correlation",
    "rewritten_bar",
    "etf_off_market",
    "market_etf_off",
)
"""Flags that stop nothing and that whoever runs the night must hear of all the same."""

MOST_TOLD = 10

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
    sessions = rows[rows["rule"].isin(LOUD) & (rows["rule"] != "rewritten_bar")]
    loud = [
        f"{days[row['session']]}: {row['evidence']} ({row['rule']})"
        for row in sessions.head(MOST_TOLD).to_dict("records")
    ]
    left_out = (*run.inputs["left_out"], *of_stores(run))
    loud = [*not_compared(run), *loud]
    return Told(counts, (*loud, *_published_wrong(run, rows[rows["rule"] == "rewritten_bar"])), left_out)


def _published_wrong(run: Run, rows: pd.DataFrame) -> list[str]:
    """Closes that were published and that the vendor has corrected since, factor ETFs first, and the command for it."""
    rows = rows[(rows["observed"] != rows["expected"]) & rows["observed"].notna()].drop_duplicates(
        ["sec_id", "session"]
    )
    if rows.empty:
        return []
    etfs = set(run.etf_ids.tolist())
    rows = rows.assign(stock=~rows["sec_id"].isin(etfs)).sort_values(["stock", "session", "sec_id"], kind="stable")
    shown = rows.head(max(MOST_TOLD, int((~rows["stock"]).sum())))
    days, ids = run.calendar.sessions, shown["sec_id"].to_numpy(object)
    tickers = run.master.labels(ids, days[run.last])[0]
    said = [
        f"{ticker} on {days[row['session']]}: the close {row['expected']:g} is published"
        f"{' in the warm-up' if row['session'] < run.published_first else ''}, now it is told as {row['observed']:g}"
        + ("" if row["stock"] else "; a factor ETF: every beta whose window holds that session rests on it")
        for ticker, row in zip(tickers, shown.to_dict("records"), strict=True)
    ]
    if len(rows) > len(shown):
        said.append(f"and {len(rows) - len(shown)} more closes, in `erm3 quality list`")
    first = days[max(int(rows["session"].min()), run.published_first)]
    return [
        *said,
        f'What was published stays until: erm3 restate --from {first} --reason "the vendor corrected closes"',
    ]


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
        ours = old["sec_id"].isin(about) | (old["outcome"] == "stop")  # the gate speaks of all securities
        rows.append(old[~(ours & old["detected_at"].between(run.first, run.last))])
    path = run.scratch / FINDINGS_FILE
    _write(path, rows)
    run.stage.add_file(FINDINGS_FILE, path)


def pass_gate(run: Run, facts: Facts, tables: SourceTables, report: BuildReport) -> Facts:
    """The facts that the sessions of the run may use, with a finding for each published bar that was rewritten since.

    Raises BatchFault when a delivery is wrong as a whole, lacks what the one before had, or has rewritten too much of
    what is published, and nobody decided about it. What was decided is kept, to be published with the other findings.
    """
    rules = run.settings.rules
    rewritten, lost = _compare_deliveries(run, facts.prices, report.left), _compare_tables(run, tables, report)
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


def _compare_tables(run: Run, tables: SourceTables, report: BuildReport) -> pd.DataFrame:
    """What the delivery lacks of the last accepted one. Stages what it holds, for the next run to compare with."""
    rules, found = run.settings.rules.deliveries, []
    published = run.stage.published_file(TABLES_FILE, run.scratch / f"before_{TABLES_FILE}")
    before: dict[str, Any] = {"through": "", "tables": {}, "unmentioned": []}
    if published is not None:
        before = json.loads(published.read_text())
    through = max(before["through"], str(run.calendar.sessions[run.last]))
    at = run.calendar.ordinal(through)
    delivered = counted(tables.frames, run.instants(at, at)[0])
    codes = set(tables.securities["vendor_code"].astype(str))
    found.append(lost_tables(before["tables"], delivered, codes, before["through"], run.first, rules))
    lost = sorted(set(report.lost) - set(before["unmentioned"]))
    found.append(lost_securities(_named(run, lost), report.counts["security"] - len(report.minted), run.first, rules))
    moved = [f"{q.detail} ({', '.join(_named(run, q.candidates))})" for q in report.moved]
    found.append(moved_identifiers(moved, run.first))
    path = run.scratch / TABLES_FILE
    now = {"through": through, "tables": delivered, "unmentioned": sorted(report.lost)}
    with at_file(path):
        path.write_text(json.dumps(now, indent=1, sort_keys=True))
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


def _compare_deliveries(run: Run, prices: pd.DataFrame, left: Sequence[str]) -> pd.DataFrame:
    """A finding for each bar that was published and that the vendor has rewritten since, and for too many of them.

    A declared restatement is the way to publish what was rewritten, so it compares nothing. Stages what is delivered
    now, for the next run to compare with.
    """
    rules, found = run.settings.rules.drift, no_findings()
    now, before = delivered_bars(prices, run.last, rules), _published_bars(run, DELIVERED_FILE)
    since = int(FOR_EVER if before is None or before.empty else before["session"].min())
    of_warm_up = _compare_warm_up(run, prices, left, since)
    if before is not None:
        if run.restated_as_of is None:
            found = drift_findings(drift(before[before["session"] < run.first], prices, left), run.first, rules)
        own = now["session"] >= run.first if run.restated_as_of is not None else now["session"] >= 0
        kept = before[~before["session"].between(now.loc[own, "session"].min(), run.last)]
        now = pd.concat([kept, now[own]]).sort_values(["sec_id", "session"], ignore_index=True)
        now = now[now["session"] > now["session"].max() - rules.sessions]
    _stage_bars(run, DELIVERED_FILE, now)
    return concat_findings([found, of_warm_up])


def _compare_warm_up(run: Run, prices: pd.DataFrame, left: Sequence[str], until: int) -> pd.DataFrame:
    """As `_compare_deliveries`, for the bars of the warm-up before the session `until`, while windows reach into it."""
    if not run.needs_warm_up:
        return no_findings()
    rules, found = run.settings.rules.drift, no_findings()
    before = _published_bars(run, WARM_UP_BARS)
    if before is not None and run.restated_as_of is None:
        found = drift_findings(drift(before[before["session"] < until], prices, left), run.first, rules, True)
    if before is None or run.restated_as_of is None or run.restates_warm_up:
        _stage_bars(run, WARM_UP_BARS, first_prints(prices, run.warm_up_first, run.published_first - 1))
    return found


def _published_bars(run: Run, name: str) -> pd.DataFrame | None:
    published = run.stage.published_file(name, run.scratch / f"before_{name}")
    return None if published is None else pd.read_parquet(published)


def _stage_bars(run: Run, name: str, bars: pd.DataFrame) -> None:
    path = run.scratch / name
    with at_file(path):
        bars.to_parquet(path, index=False, compression="zstd")
    run.stage.add_file(name, path)


def not_compared(run: Run) -> list[str]:
    """What a run cannot compare, because the version that published the root did not keep it: a sentence each."""
    if run.stage.seal is None or not run.stage.seal.manifest["stores"]:
        return []
    warm_up = [*map(warm_up_file, INPUT_STORES), WARM_UP_BARS] if run.needs_warm_up else []
    says = {
        TABLES_FILE: "no table of this delivery was held against what the last one had",
        DELIVERED_FILE: "no bar of this delivery was held against what was delivered before",
        **dict.fromkeys(warm_up, "the warm-up was read anew from this delivery, and not held against what was read"),
    }
    missing = list(dict.fromkeys(said for name, said in says.items() if not run.published_with(name)))
    why = (
        "an older version published this root and did not keep it. It is kept from now on: look at this night yourself"
    )
    return [f"{said}: {why}" for said in missing]
