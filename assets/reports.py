"""Reports on what is published. They come after `publication` in the same run, and none can fail it.

A report reads published stores only, takes no lease and is in no pool. What goes wrong in it becomes a failed check of
the report, a warning.
"""

# No `from __future__ import annotations` here: Dagster looks at the annotation of `context` itself.

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import dagster as dg
import numpy as np

from assets.deployment import Deployment
from assets.forms import MOST_FORMS, decision_form
from assets.metadata import Phases, attach_series, location
from assets.names import EFFECTIVENESS, PUBLICATION, QUALITY, REPORTS, SECURITY_COVERAGE
from assets.partitions import asked, sessions
from assets.plots import coverage_by_year, left_by_month, markdown, quarantine_calendar
from assets.tables import figure, table_of
from pipeline.calendar import xnys
from pipeline.engine.figures import Series
from pipeline.outside.visible import visible
from pipeline.quality.findings import FINDINGS_FILE, RULES
from pipeline.read import read_manifest
from pipeline.reports import hedge_effectiveness as effectiveness
from pipeline.reports.quality_report import (
    WORST,
    calendar,
    counts_by_rule,
    named,
    published_findings,
    quarantined_by_session,
    undecided,
    worst,
)
from pipeline.reports.security_coverage import coverage_report
from pipeline.settings import Settings
from security_master.errors import ExplainedError

WAS_MADE = "was_made"
WITHIN_HISTORY = "hedges_leave_what_they_used_to"
HISTORY = 5 * 252
"""Sessions that the report of hedges looks back: its months are held against those before."""


@dataclass(frozen=True)
class Report:
    """figures, tables and plots, for one partition; and numbers for each session that was asked for.

    warnings: by check of the report, what a person should look at, "" for nothing. to_decide: cells that a form is
    offered for, by ticker and session.
    """

    shown: dict[str, Any]
    by_session: Series = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    to_decide: Sequence[tuple[str, str]] = ()


Make = Callable[[Settings, int, int], Report]
"""(settings, first, last): a report of what is published, in a run over the sessions with these ordinals."""


def report_assets(settings: Settings, deployment: Deployment) -> list[dg.AssetsDefinition]:
    """The reports of a root."""
    return [
        _report_asset(
            settings,
            deployment,
            SECURITY_COVERAGE,
            "By year: securities known to the master, priced, classified and with share counts, those that its source "
            "seems to have forgotten (`missing_share` of the `expected`), and what that does to mean returns "
            "(`survivors_bias`). All published years, as `erm3 security coverage` prints them.",
            security_coverage,
        ),
        _report_asset(
            settings,
            deployment,
            QUALITY,
            "What the quality rules found in the published data: counts by rule, the worst findings, and when cells "
            "were quarantined. A rule never edits: it flags a value or withholds it until a person decides, by the "
            "forms here or with `erm3 quality list`, `release`, `confirm`.",
            quality,
        ),
        _report_asset(
            settings,
            deployment,
            EFFECTIVENESS,
            "Whether the hedges work: the share of variance that the ratios of one session left of the next one's "
            "return, by sector and month, the 20 worst stocks with what can be named as the reason, and how many "
            "members have which level (`erm3 effectiveness`).",
            hedge_effectiveness,
            {
                WITHIN_HISTORY: "At each level, in the universe and in each sector, the last month left no more of the "
                "variance than the months before suggest. A warning; nothing is withheld."
            },
        ),
    ]


def _report_asset(
    settings: Settings,
    deployment: Deployment,
    key: dg.AssetKey,
    description: str,
    make: Make,
    checks: Mapping[str, str] = MappingProxyType({}),
) -> dg.AssetsDefinition:
    """checks: what else the report looks at, by name, each a warning."""

    @dg.asset(
        key=key,
        description=description,
        deps=[PUBLICATION],
        group_name=REPORTS,
        kinds={"pandas"},
        owners=list(deployment.owners),
        partitions_def=sessions(),
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[
            dg.AssetCheckSpec(
                WAS_MADE,
                asset=key,
                description="The report could be made. If not, what is published is none the worse for it.",
            ),
            *(dg.AssetCheckSpec(name, asset=key, description=meaning) for name, meaning in checks.items()),
        ],
    )
    def report(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        first, last = (xnys().ordinal(day) for day in asked(context))
        phases, partition = Phases(), str(xnys().sessions[last])
        problem, warnings = "", dict.fromkeys(checks, "")
        try:
            with phases("read and draw"):
                made = make(settings, first, last)
            warnings |= made.warnings
            attach_series(context, xnys().sessions[first : last + 1], made.by_session)
            forms = {
                f"release {who} of {day}": decision_form(context.run, "release", day, who)
                for who, day in made.to_decide
            }
            context.add_asset_metadata(forms | made.shown | phases.metadata, partition_key=partition)
        except Exception as error:
            problem = visible(f"{type(error).__name__}: {error}")
            context.log.warning(f"no report: {problem}", exc_info=not isinstance(error, ExplainedError))
            context.add_asset_metadata({"not made": problem}, partition_key=partition)
        yield dg.AssetCheckResult(
            passed=not problem,
            check_name=WAS_MADE,
            asset_key=key,
            severity=dg.AssetCheckSeverity.WARN,
            description=problem or "The report was made.",
        )
        for name, warning in warnings.items():
            yield dg.AssetCheckResult(
                passed=not warning and not problem,
                check_name=name,
                asset_key=key,
                severity=dg.AssetCheckSeverity.WARN,
                description=warning or problem or "nothing to look at",
            )
        yield dg.MaterializeResult()

    return report


def security_coverage(settings: Settings, first: int, last: int) -> Report:
    """Every published year as a table and a plot, and the figures of the last one."""
    years = coverage_report(settings.root)
    now = {f"{column}, last year": figure(float(value)) for column, value in years.iloc[-1].items() if column != "year"}
    title = "securities by year"
    return Report(
        {"years": len(years), **now, "by year": table_of(years), title: markdown(title, coverage_by_year(years))}
    )


def quality(settings: Settings, first: int, last: int) -> Report:
    """All published findings."""
    findings, tickers = published_findings(settings.root)
    days, published = xnys().sessions, read_manifest(settings.root)["stores"]["ds_daily"]
    begins, ends = (xnys().ordinal(published[end]) for end in ("first", "last"))
    counts = named(counts_by_rule(findings).assign(sec_id=""), {}, days).drop(columns=["ticker", "sec_id"])
    counts["meaning"] = [RULES[name].meaning for name in counts["rule"]]
    cells = quarantined_by_session(findings)
    title, of_run = "calendar of quarantined cells", range(first, last + 1)
    waiting = undecided(findings[findings["outcome"] == "quarantine"], settings.root)
    newest = waiting.sort_values(["detected_at", "session"], ascending=False, kind="stable")[:WORST]
    newest = named(newest, tickers, days)
    fresh = newest[newest["detected_at"] >= str(days[first])][:MOST_FORMS]
    return Report(
        {
            "findings": len(findings),
            "securities with findings": int(findings["sec_id"].nunique()),
            "quarantined cells in all": int(cells.sum()),
            "waiting for a decision": len(waiting),
            "the newest that wait": table_of(newest[["ticker", "session", "rule", "evidence"]]),
            "counts by rule": table_of(counts),
            f"the {WORST} worst": table_of(named(worst(findings), tickers, days)),
            title: markdown(title, quarantine_calendar(calendar(findings, days, begins, ends))),
            "all findings": location(settings.root, FINDINGS_FILE),
            "full report": dg.MetadataValue.text(
                f"erm3 quality report --root {visible(settings.root)} --html quality.html"
            ),
        },
        {
            "new findings": _of_sessions(findings["detected_at"].value_counts(), of_run),
            "quarantined cells": _of_sessions(cells, of_run),
        },
        to_decide=[(str(one.ticker or one.sec_id), str(one.session)) for one in fresh.itertuples()],
    )


def hedge_effectiveness(settings: Settings, first: int, last: int) -> Report:
    """Of the first factor set, over the last five years."""
    published = effectiveness.Published.of(settings.root, settings.factor_sets[0], HISTORY)
    by_month = effectiveness.months(published)
    left = effectiveness.left_their_history(by_month)
    title = "variance left by the hedges, by month"
    said = [
        f"{row.cohort} at {row.level}: {row.left:.1%} of the variance in {row.month}, usually {row.usual:.1%}"
        for row in left.itertuples()
    ]
    return Report(
        {
            "months that left their history": len(left),
            "by sector": table_of(effectiveness.by_sector(published)),
            f"the {effectiveness.WORST} worst": table_of(effectiveness.worst(published)),
            "names by level": table_of(effectiveness.level_names(published)),
            title: markdown(title, left_by_month(by_month)),
        },
        warnings={WITHIN_HISTORY: "; ".join(said)},
    )


def _of_sessions(counts: Any, ordinals: range) -> np.ndarray:
    return counts.reindex(ordinals, fill_value=0).to_numpy(np.float64)
