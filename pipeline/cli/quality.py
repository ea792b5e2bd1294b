"""`erm3 quality`: what the rules found, what people decide about it, and how good the rules are."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import (
    DAY,
    INSTANT,
    AsJson,
    Root,
    SourceName,
    SourcePath,
    commands,
    out,
    print_frame,
    print_json,
    records,
    settings_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.quality.decisions import Verdict
    from pipeline.settings import Settings

app = commands(
    """What the data-quality rules found, and what people decide about it.

    A rule never edits a value: it flags it, or withholds it (quarantine) until somebody releases or confirms it."""
)

Who = Annotated[
    str, typer.Argument(help="Permanent id or ticker of the session; '*' for the session's whole delivery.")
]
When = Annotated[datetime, typer.Argument(formats=DAY, help="The session of the cell.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the decision.")]
ByRule = Annotated[
    str | None, typer.Option("--rule", help="The rule that stopped the run; needed with '*', other rules still stop.")
]
By = Annotated[str | None, typer.Option(help="Who decides; the user of this computer by default.")]


@app.command("list")
def list_(
    root: Root = None,
    rule: Annotated[str | None, typer.Option(help="Only this rule (`erm3 quality rules` lists them).")] = None,
    since: Annotated[datetime | None, typer.Option(formats=DAY, help="Found on or after this day.")] = None,
    flags: Annotated[bool, typer.Option("--flags", help="Flags too, not only what is quarantined.")] = False,
    decided: Annotated[bool, typer.Option("--decided", help="Also cells that somebody decided about.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Longest list; 0 for all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Findings that wait for a person, the worst first."""
    import numpy as np

    from pipeline.calendar import xnys
    from pipeline.quality.findings import RULES
    from pipeline.reports.quality_report import named, published_findings, undecided, worst

    if rule is not None and rule not in RULES:
        raise typer.BadParameter(f"there is no rule {rule!r}; there are {', '.join(RULES)}")
    where = settings_of(root=root).root
    rows, tickers = published_findings(where)
    if not flags:
        rows = rows[rows["outcome"] == "quarantine"]
    if not decided:
        rows = undecided(rows, where)
    if rule is not None:
        rows = rows[rows["rule"] == rule]
    if since is not None:
        rows = rows[rows["detected_at"] >= xnys().on_or_after(np.datetime64(since.date()))]
    shown = named(worst(rows, limit or len(rows)), tickers, xnys().sessions)
    _tell(shown, as_json, f"{len(rows):,} findings" + (f", {len(shown)} shown" if len(shown) < len(rows) else ""))


@app.command()
def release(
    security: Who, session: When, reason: Reason, rule: ByRule = None, root: Root = None, by: By = None
) -> None:
    """The value is right: publish it, with a flag. Or accept the delivery of a session that a rule stopped."""
    _decide("release", security, session, reason, root, by, rule)


@app.command()
def confirm(security: Who, session: When, reason: Reason, root: Root = None, by: By = None) -> None:
    """The value is wrong: its close is no price."""
    _decide("confirm", security, session, reason, root, by)


def _decide(
    verdict: Verdict,
    security: str,
    session: datetime,
    reason: str,
    root: str | None,
    by: str | None,
    rule: str | None = None,
) -> None:
    from getpass import getuser

    from pipeline.engine.decide import decide

    where, day, now = settings_of(root=root).root, session.date().isoformat(), datetime.now(UTC).replace(tzinfo=None)
    made = decide(where, verdict, security, day, by or getuser(), reason, now, rule or "")
    about = f" ({rule})" if rule else ""
    out.print(f"{verdict}{about}: {security} ({made.sec_id}) on {day}, in force from {made.known_from} UTC.")
    out.print(
        f"What is published changes only by: erm3 restate --from {day} --known-as-of {made.known_from} --reason ..."
    )


@app.command()
def rules(as_json: AsJson = False) -> None:
    """All rules with what follows from them."""
    from pipeline.quality.findings import RULES

    if as_json:
        print_json([asdict(rule) for rule in RULES.values()])
        return
    for name, rule in RULES.items():
        out.print(f"{name:<26}{rule.level:<8}{rule.outcome:<12}{rule.meaning}")


@app.command()
def report(
    root: Root = None,
    to: Annotated[Path, typer.Option("--html", help="File to write.")] = Path("quality.html"),
) -> None:
    """One HTML page: counts by rule, a calendar of quarantined cells, the worst findings."""
    from pipeline.calendar import xnys
    from pipeline.reports.quality_report import html_report, published_findings

    settings = settings_of(root=root)
    rows, tickers = published_findings(settings.root)
    if rows.empty:
        out.print("nothing was found; no report is written")
        return
    first, last = int(rows["session"].min()), int(rows["session"].max())
    odd_months = _odd_months(settings)
    to.write_text(html_report(rows, tickers, xnys().sessions, first, last, odd_months), "utf-8")
    out.print(f"{len(rows):,} findings in {to}")


@app.command()
def late(
    known_as_of: Annotated[
        datetime,
        typer.Option(formats=INSTANT, help="UTC instant whose knowledge is compared."),
    ],
    root: Root = None,
    source: SourceName = None,
    source_path: SourcePath = None,
    as_json: AsJson = False,
) -> None:
    """Returns that facts learned late would change, with the sessions whose model values hold them in their window.

    Publishes nothing; `erm3 restate` does.
    """
    import numpy as np

    from pipeline.calendar import xnys
    from pipeline.quality.decisions import recorded_decisions
    from pipeline.reports.dry_run import dry_run
    from pipeline.reports.late_changes import late_changes
    from pipeline.reports.quality_report import named
    from pipeline.vendors.layers import open_source

    settings = settings_of(root=root, source=source, source_path=source_path)
    instant = np.datetime64(known_as_of, "us")
    tables = open_source(settings).load()
    decided = recorded_decisions(settings.root)
    first_print = dry_run(tables, settings.rules, decisions=decided)
    restated = dry_run(tables, settings.rules, restated_as_of=instant, decisions=decided)
    rows = late_changes(first_print.panel, restated.panel, settings.model.window)
    shown = named(rows, restated.ticker_of, xnys().sessions)
    _tell(shown, as_json, f"{len(rows):,} returns would change with what was known at {instant}")


@app.command()
def score(
    stocks: Annotated[int, typer.Option(min=4, help="Stocks of the simulated market.")] = 300,
    seed: Annotated[int, typer.Option(help="Which errors are planted.")] = 1,
    scale: Annotated[
        float, typer.Option(min=0, help="How many, against a market of 3,000 stocks over 20 years.")
    ] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Plant vendor errors of every kind into a simulated market and count what the rules find."""
    from pipeline.reports.quality_score import score_faults
    from pipeline.settings import SimulatedMarket
    from pipeline.sources.planted_faults.plant import plant_faults, scaled_counts
    from pipeline.vendors.layers import open_source

    settings = settings_of(source="simulated", simulated=SimulatedMarket(stocks=stocks))
    clean = open_source(settings).load()
    planted, ledger = plant_faults(clean, seed=seed, counts=scaled_counts(scale))
    result = score_faults(clean, planted, ledger, settings.rules)
    columns = ["kind", "vendor_code", "first_session", "true_value", "wrong_value", "harm"]
    if as_json:
        rates = {"recall": result.recall, "taken_away": result.taken_away, "kept": result.kept, "jumps": result.jumps}
        print_json({"kinds": records(result.kinds), "missed": records(result.missed[columns]), **rates})
        return
    print_frame(result.kinds, ".4g", missing="NaN")
    if len(result.missed):
        out.print("\nnot found:")
        print_frame(result.missed[columns], missing="NaN")
    out.print(
        f"\nrecall {result.recall:.4f} on what a single source can reveal; {result.taken_away:.6%} of clean cells "
        f"withheld; {result.kept:.2%} of {result.jumps} genuine outlying returns kept"
    )


@app.command()
def alarms(
    source_path: Annotated[Path, typer.Option(help="Directory of a `files` source with years of history.")],
    stops: Annotated[bool, typer.Option("--stops", help="List only what would have stopped a night.")] = False,
    as_json: AsJson = False,
) -> None:
    """Count by year what the rules about sessions, members and factor ETFs say about the history of a source."""
    from pipeline.reports.false_alarms import false_alarms
    from pipeline.sources.files import FilesSource

    rows = false_alarms(FilesSource(source_path).load(), settings_of().rules)
    shown = rows[rows["outcome"] == "stop"] if stops else rows
    if as_json:
        print_json(records(shown))
        return
    _print_rows(shown.astype({"date": "str"}))
    nights = rows[rows["outcome"] == "stop"].drop_duplicates("date")
    by_year = nights["date"].dt.year.value_counts().sort_index()
    out.print(f"{len(nights)} nights would have stopped: " + (", ".join(f"{n} in {y}" for y, n in by_year.items())))
    out.print(f"{(rows['outcome'] == 'quarantine').sum()} returns of ETFs would have been withheld")


@app.command()
def compare(
    source_path: Annotated[Path, typer.Option(help="Directory of a `files` source with total_return_close.")],
    bound: Annotated[float, typer.Option(help="Difference from which on a name-day is listed.")] = 0.05,
    tolerance: Annotated[float, typer.Option(help="Difference up to which two returns agree.")] = 1e-3,
    periods: Annotated[list[str] | None, typer.Option("--period", help="FIRST:LAST, as often as wanted.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare returns from closes and events with the vendor's back-adjusted closes, and list where they part."""
    import numpy as np

    from pipeline.calendar import xnys
    from pipeline.reports.dry_run import dry_run
    from pipeline.reports.vendor_comparison import agreement, disagreements, vendor_returns, with_names
    from pipeline.sources.files import FilesSource
    from security_master.universe import STOCK_TYPES

    run = dry_run(FilesSource(source_path).load(), settings_of().rules, (*STOCK_TYPES, "etf"))
    theirs, calendar = vendor_returns(run.facts, run.panel), xnys()
    rows = disagreements(run.facts, run.panel, bound)
    listed = with_names(rows, run.ticker_of, calendar.sessions)
    agreed = []
    whole = f"{calendar.sessions[run.panel.first]}:{calendar.sessions[run.panel.last]}"
    for period in periods or [whole]:
        begin, _, end = period.partition(":")
        try:
            first = int(calendar.on_or_after(np.datetime64(begin, "D")))
            last = int(calendar.on_or_before(np.datetime64(end or begin, "D")))
        except ValueError:
            raise typer.BadParameter(f"{period!r} is no period; write it like 2024-01-02:2024-03-28") from None
        agreed.append((period, agreement(run.panel, theirs, first, last, tolerance)))
    if as_json:
        print_json({"differ": records(listed), "periods": {period: asdict(found) for period, found in agreed}})
        return
    print_frame(listed, "+.4f", missing="NaN")
    out.print(f"{len(rows)} name-days differ by more than {bound:.0%}")
    for period, found in agreed:
        out.print(f"{period}: {found.within:.4%} of {found.compared:,} returns within {tolerance * 1e4:g} bp")


def _odd_months(settings: Settings) -> pd.DataFrame:
    """Months of the published stores in which the market ETF and the cap-weighted stocks part."""
    import numpy as np

    from pipeline.quality.session_rules import market_correlation
    from pipeline.read import open_family

    family = open_family(settings.root)
    daily, etf = (family.dataset(name) for name in ("ds_daily", "ds_etf"))
    market = etf["return"].values[:, etf["ticker"].values == settings.market][:, 0]
    at = np.searchsorted(etf["teo"].values, daily["teo"].values)
    cap = daily["market_cap"].values.astype(float)
    before = np.vstack([np.full((1, cap.shape[1]), np.nan), cap[:-1]])
    ret = daily["return"].values.astype(float)
    months = daily["teo"].values.astype("datetime64[M]")
    return market_correlation(ret, before, market[at].astype(float), months, settings.rules.sessions)


def _tell(rows: pd.DataFrame, as_json: bool, words: str) -> None:
    if as_json:
        print_json(records(rows))
        return
    _print_rows(rows)
    out.print(words)


def _print_rows(rows: pd.DataFrame) -> None:
    if rows.empty:
        out.print("nothing")
    else:
        print_frame(rows, ".6g", missing="")
