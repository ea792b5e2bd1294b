"""What a delivery says of sessions that were read before, held against what was read then.

Beside the stores lie the bars and the events of the last sessions, and those of the warm-up. A run compares what it
gets with them, and stages what the next one compares with.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.engine.run import INPUT_STORES, Run
from pipeline.market_data.delivery import Delivery
from pipeline.market_data.point_in_time import Facts
from pipeline.quality.deliveries import TABLES_FILE
from pipeline.quality.drift import DELIVERED_FILE, KEY, WARM_UP_BARS, drift, drift_findings, first_prints
from pipeline.quality.event_drift import DELIVERED_EVENTS, WARM_UP_EVENTS, event_drift, read_events, told_events
from pipeline.quality.findings import concat_findings, no_findings
from pipeline.quality.older_closes import YEARS_FILE, rewritten_years
from pipeline.store.windows import warm_up_file
from security_master.errors import at_file

REWRITTEN = ("rewritten_bar", "rewritten_event")
"""Rules about what was published and is told differently now."""

MOST_TOLD = 10

Span = tuple[int, int]
"""First and last session, ordinals."""


@dataclass(frozen=True)
class _Kind:
    """Bars, or events. recent, warm_up: files beside the stores; before: what `recent` has, None where it is not there.

    read: (first, last) -> what a run keeps of them. against: (rows kept, span, of the warm-up) -> findings about the
    sessions of the span.
    """

    recent: str
    before: pd.DataFrame | None
    warm_up: str
    read: Callable[[int, int], pd.DataFrame]
    against: Callable[[pd.DataFrame, Span, bool], pd.DataFrame]


def compare_deliveries(run: Run, facts: Facts, left: Sequence[str]) -> pd.DataFrame:
    """A finding for each bar, and each session's events, that the vendor has rewritten since they were read, and for
    too many of them.

    A declared restatement is the way to publish what was rewritten, so it compares nothing. Stages what is delivered
    now, for the next run to compare with. left: ended securities that the vendor left out.
    """
    bars = _published(run, DELIVERED_FILE)
    held = (run.first, run.first - 1)
    if bars is not None and len(bars):
        held = int(bars["session"].min()), int(bars["session"].max())
    found = []
    for kind in (_bars(run, bars, facts.prices, left), _events(run, facts, left, held[0])):
        found += [_compare_recent(run, kind, held), _compare_warm_up(run, kind, held)]
    return concat_findings(found)


def _bars(run: Run, kept: pd.DataFrame | None, prices: pd.DataFrame, left: Sequence[str]) -> _Kind:
    def against(before: pd.DataFrame, span: Span, of_warm_up: bool) -> pd.DataFrame:
        found = drift(before[before["session"].between(*span)], prices, left)
        return drift_findings(found, run.first, run.settings.rules.drift, of_warm_up)

    return _Kind(DELIVERED_FILE, kept, WARM_UP_BARS, lambda first, last: first_prints(prices, first, last), against)


def _events(run: Run, facts: Facts, left: Sequence[str], since: int) -> _Kind:
    rules = run.settings.rules.drift
    begins = min(run.warm_up_first if run.needs_warm_up else since, since, run.first - rules.sessions)
    told = told_events(facts.splits, facts.dividends, facts.spin_offs, begins, run.last)

    def against(before: pd.DataFrame, span: Span, of_warm_up: bool) -> pd.DataFrame:
        known_at = (run.published_first if of_warm_up else run.first) - 1
        return event_drift(before, told, span, known_at, run.first, rules, of_warm_up, left)

    kept = _published(run, DELIVERED_EVENTS)
    return _Kind(DELIVERED_EVENTS, kept, WARM_UP_EVENTS, lambda first, last: read_events(told, first, last), against)


def _compare_recent(run: Run, kind: _Kind, held: Span) -> pd.DataFrame:
    """Findings about the last sessions before the run. held: the sessions that are kept of them."""
    rules, found = run.settings.rules.drift, no_findings()
    begins, before = run.last - rules.sessions + 1, kind.before
    now = kind.read(begins, run.last)
    if before is not None:
        if run.restated_as_of is None:
            found = kind.against(before, (held[0], run.first - 1), False)
        own = begins if run.restated_as_of is None else max(begins, run.first)
        kept = before[~before["session"].between(own, run.last)]
        now = pd.concat([kept, now[now["session"] >= own]]).sort_values(KEY, kind="stable", ignore_index=True)
        now = now[now["session"] > max(run.last, held[1]) - rules.sessions]
    _stage(run, kind.recent, now)
    return found


def _compare_warm_up(run: Run, kind: _Kind, held: Span) -> pd.DataFrame:
    """As `_compare_recent`, for the sessions of the warm-up before those, while windows reach into it."""
    if not run.needs_warm_up:
        return no_findings()
    first, last, found = run.warm_up_first, run.published_first - 1, no_findings()
    before = _published(run, kind.warm_up)
    if before is not None and run.restated_as_of is None:
        found = kind.against(before, (first, min(held[0] - 1, last)), True)
    if before is None or run.restated_as_of is None or run.restates_warm_up:
        _stage(run, kind.warm_up, kind.read(first, last))
    return found


def compare_older_closes(
    run: Run, delivery: Delivery, before: Mapping[str, Any], through: str, instant: np.datetime64
) -> pd.DataFrame:
    """A finding for each year with closes that read otherwise than in the last delivery; stages today's digests.

    before: what `TABLES_FILE` says of the last one. through: the last session that is published when this run is.
    instant: when this delivery is known. A declared restatement compares nothing, as in `compare_deliveries`.
    """
    rules, found = run.settings.rules.drift, no_findings()
    published = _published(run, YEARS_FILE)

    def reaches(day: str) -> np.datetime64:
        """The last session that `compare_deliveries` no longer reaches after a day."""
        return run.calendar.sessions[max(run.calendar.ordinal(day) - rules.sessions, 0)]

    if published is not None and run.stage.kind != "restatement":
        reached, known_by = reaches(before["through"]), np.datetime64(before["known_by"])
        then = delivery.year_digests(reached, known_by)
        names = delivery.tables.securities.drop_duplicates("vendor_code", keep="last")
        tickers = dict(zip(names["vendor_code"].astype(str), names["ticker"], strict=True))
        found = rewritten_years(published, then, tickers, before["through"], run.first, rules)
    _stage(run, YEARS_FILE, delivery.year_digests(reaches(through), instant))
    return found


def _published(run: Run, name: str) -> pd.DataFrame | None:
    published = run.stage.published_file(name, run.scratch / f"before_{name}")
    return None if published is None else pd.read_parquet(published)


def _stage(run: Run, name: str, rows: pd.DataFrame) -> None:
    path = run.scratch / name
    with at_file(path):
        rows.to_parquet(path, index=False, compression="zstd")
    run.stage.add_file(name, path)


def published_wrong(run: Run, rows: pd.DataFrame) -> list[str]:
    """What was published and is told differently since, of findings of REWRITTEN: factor ETFs first, and the command
    that mends it."""
    another = (rows["observed"] != rows["expected"]) & rows["observed"].notna()
    rows = rows[another | (rows["rule"] == "rewritten_event")].drop_duplicates(["sec_id", "session", "rule"])
    if rows.empty:
        return []
    etfs = set(run.etf_ids.tolist())
    rows = rows.assign(stock=~rows["sec_id"].isin(etfs)).sort_values(
        ["stock", "session", "sec_id", "rule"], kind="stable"
    )
    shown = rows.head(max(MOST_TOLD, int((~rows["stock"]).sum())))
    days, ids = run.calendar.sessions, shown["sec_id"].to_numpy(object)
    tickers = run.master.labels(ids, days[run.last])[0]
    said = [
        f"{ticker} on {days[row['session']]}: {_says(row, row['session'] < run.published_first)}"
        + ("" if row["stock"] else "; a factor ETF: every beta whose window holds that session rests on it")
        for ticker, row in zip(tickers, shown.to_dict("records"), strict=True)
    ]
    if len(rows) > len(shown):
        said.append(f"and {len(rows) - len(shown)} more, in `erm3 quality list`")
    first = days[max(int(rows["session"].min()), run.published_first)]
    what = " and ".join(
        name for rule, name in zip(REWRITTEN, ("closes", "events"), strict=True) if rule in set(rows["rule"])
    )
    return [
        *said,
        f'What was published stays until: erm3 restate --from {first} --reason "the vendor corrected {what}"',
    ]


def _says(row: dict[Hashable, Any], in_warm_up: bool) -> str:
    if row["rule"] == "rewritten_event":
        return str(row["evidence"])
    where = " in the warm-up" if in_warm_up else ""
    return f"the close {row['expected']:g} is published{where}, now it is told as {row['observed']:g}"


def not_compared(run: Run) -> list[str]:
    """What a run cannot compare, because the version that published the root did not keep it: a sentence each."""
    if run.stage.seal is None or not run.stage.seal.manifest["stores"]:
        return []
    warm_up = [*map(warm_up_file, INPUT_STORES), WARM_UP_BARS] if run.needs_warm_up else []
    says = {
        TABLES_FILE: "no table of this delivery was held against what the last one had",
        DELIVERED_FILE: "no bar of this delivery was held against what was delivered before",
        YEARS_FILE: "no older close of this delivery was held against what was delivered before",
        DELIVERED_EVENTS: "no event of this delivery was held against what was delivered before",
        **({WARM_UP_EVENTS: "no event of the warm-up was held against what was read"} if run.needs_warm_up else {}),
        **dict.fromkeys(warm_up, "the warm-up was read anew from this delivery, and not held against what was read"),
    }
    missing = list(dict.fromkeys(said for name, said in says.items() if not run.published_with(name)))
    why = (
        "an older version published this root and did not keep it. It is kept from now on: look at this night yourself"
    )
    return [f"{said}: {why}" for said in missing]
