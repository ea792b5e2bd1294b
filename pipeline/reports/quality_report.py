"""What the quality rules found, for people: counts by rule, the worst findings, a calendar of quarantined cells, HTML.

Works on the findings that are published beside the stores (`quality_findings.parquet`,
columns of `pipeline.quality.findings`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.outside.visible import in_html
from pipeline.quality.decisions import recorded_decisions
from pipeline.quality.findings import FINDINGS_FILE, RULES
from pipeline.read import open_family
from pipeline.store.objects import StoreError

WORST = 20
SHADES = ("#eef1f4", "#fbc79a", "#f5995c", "#e76a37", "#bf3322", "#7f1d1d")


def published_findings(root: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Published findings, and the tickers of the securities that they name. Raises StoreError where there are none."""
    family = open_family(root)
    content = family.file(FINDINGS_FILE)
    if content is None:
        raise StoreError(f"{root} has no {FINDINGS_FILE}: publish a run there first (erm3 run, erm3 demo)")
    rows = pd.read_parquet(io.BytesIO(content))
    with family.master() as master:
        ids = np.array(sorted(set(rows["sec_id"]) & set(master.roster()["sec_id"])), dtype=object)
        last = xnys().sessions[int(rows["detected_at"].max())] if len(rows) else xnys().sessions[0]
        labels = master.labels(ids, last)[0]
    return rows, dict(zip(ids, labels, strict=True))


def counts_by_rule(findings: pd.DataFrame) -> pd.DataFrame:
    """rule, level, outcome, findings, securities, first and last session; rules that found nothing are left out."""
    rows = findings.groupby("rule", sort=False).agg(
        findings=("rule", "size"), securities=("sec_id", "nunique"), first=("session", "min"), last=("session", "max")
    )
    order = [name for name in RULES if name in rows.index]
    rows = rows.loc[order].reset_index()
    rows.insert(1, "level", [RULES[name].level for name in rows["rule"]])
    rows.insert(2, "outcome", [RULES[name].outcome for name in rows["rule"]])
    return rows


def worst(findings: pd.DataFrame, n: int = WORST) -> pd.DataFrame:
    """The findings farthest from what their rule expects, quarantined ones first."""
    far = (findings["observed"] - findings["expected"]).abs() / findings["expected"].abs().clip(lower=1e-6)
    order = pd.DataFrame({"quarantine": findings["outcome"] != "quarantine", "far": -far.fillna(0)})
    order[["session", "sec_id", "rule"]] = findings[["session", "sec_id", "rule"]]
    return findings.loc[order.sort_values(list(order.columns), kind="stable").index[:n]].reset_index(drop=True)


def undecided(findings: pd.DataFrame, root: str) -> pd.DataFrame:
    """Findings about cells of which nobody has said anything."""
    done = {(one.sec_id, xnys().ordinal(one.session)) for one in recorded_decisions(root)}
    cells = zip(findings["sec_id"], findings["session"], strict=True)
    return findings[np.array([cell not in done for cell in cells], bool)]


def quarantined_by_session(findings: pd.DataFrame) -> pd.Series:
    """How many cells each session has in quarantine (index: session ordinals that have some)."""
    cells = findings.loc[findings["outcome"] == "quarantine", ["sec_id", "session"]].drop_duplicates()
    return cells.groupby("session").size().rename("cells")


def calendar(findings: pd.DataFrame, sessions: NDArray[Any], first: int, last: int) -> pd.DataFrame:
    """day, year, week (0 to 53), weekday (Monday is 0), quarantined cells and shade (of SHADES) of each session."""
    days = pd.DatetimeIndex(sessions[first : last + 1])
    weekday_of_new_year = (days.day_of_week - days.day_of_year + 1) % 7
    week = (days.day_of_year - 1 + weekday_of_new_year) // 7
    cells = quarantined_by_session(findings).reindex(range(first, last + 1), fill_value=0).to_numpy(np.int64)
    shade = np.where(cells == 0, 0, np.minimum(1 + np.log2(np.maximum(cells, 1)).astype(int), len(SHADES) - 1))
    place = {"day": days, "year": days.year, "week": week, "weekday": days.day_of_week}
    return pd.DataFrame({**place, "cells": cells, "shade": shade})


def heat_map(findings: pd.DataFrame, sessions: NDArray[Any], first: int, last: int) -> str:
    """An SVG calendar, one row of weeks per year, one square per session, darker with more quarantined cells."""
    cell, gap, left, row_height = 9, 2, 46, 5 * 11 + 16
    squares = []
    shown = calendar(findings, sessions, first, last)
    years = sorted(set(shown["year"]))
    for k, year in enumerate(years):
        top = k * row_height + 14
        squares.append(f'<text x="0" y="{top + 32}" font-size="13">{year}</text>')
        for one in shown[shown["year"] == year].itertuples(index=False):
            x, y = left + one.week * (cell + gap), top + one.weekday * (cell + gap)
            title = f"<title>{one.day:%Y-%m-%d}: {one.cells} quarantined</title>"
            fill = SHADES[one.shade]
            squares.append(f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" fill="{fill}">{title}</rect>')
    width, height = left + 54 * (cell + gap), len(years) * row_height + 14
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{"".join(squares)}</svg>'


def named(findings: pd.DataFrame, tickers: Mapping[str, str], sessions: NDArray[Any]) -> pd.DataFrame:
    """Findings with tickers and dates instead of ordinals."""
    rows = findings.copy()
    rows.insert(0, "ticker", [tickers.get(sec_id, "") for sec_id in findings["sec_id"]])
    for column in ("session", "detected_at", "first", "last", "touched_first", "touched_last"):
        if column in rows:
            rows[column] = sessions[rows[column].to_numpy(int)].astype("datetime64[D]").astype(str)
    return rows


STYLE = """body { font: 14px system-ui, sans-serif; margin: 2em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: 2px 10px; text-align: left; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }"""


def _html_table(frame: pd.DataFrame, **options: Any) -> str:
    """A table whose texts are shown whole, whatever stands in them."""
    safe = frame.map(lambda cell: in_html(cell) if isinstance(cell, str) else cell)
    with pd.option_context("display.max_colwidth", None):
        return str(safe.to_html(index=False, border=0, escape=False, **options))


def html_report(
    findings: pd.DataFrame,
    tickers: Mapping[str, str],
    sessions: NDArray[Any],
    first: int,
    last: int,
    odd_months: pd.DataFrame,
) -> str:
    """One self-contained page. odd_months: what `quality.market_correlation` found."""
    counts = named(counts_by_rule(findings).assign(sec_id=""), {}, sessions).drop(columns=["ticker", "sec_id"])
    counts["meaning"] = [RULES[name].meaning for name in counts["rule"]]
    shown = named(worst(findings), tickers, sessions)
    title = in_html(f"Data quality, {sessions[first]} to {sessions[last]}")
    cells = int(quarantined_by_session(findings).sum())
    correlation = _html_table(odd_months) if len(odd_months) else "<p>The market ETF moved with the stocks.</p>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>
<p>{len(findings):,} findings, {cells:,} quarantined cells. A rule never edits: it flags a value or withholds it.</p>
<h2>By rule</h2>{_html_table(counts)}
<h2>Quarantined cells by session</h2>{heat_map(findings, sessions, first, last)}
<h2>The {len(shown)} worst</h2>{_html_table(shown, float_format=lambda x: f"{x:.6g}", na_rep="")}
<h2>Months in which the market ETF and the cap-weighted stocks part</h2>{correlation}
</body></html>
"""
