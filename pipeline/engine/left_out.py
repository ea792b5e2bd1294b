"""What a run left out and why, in counts with examples, and what would help: sentences for whoever ran it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.engine.run import Run
from pipeline.quality.deliveries import listed
from pipeline.sources import SourceTables
from security_master import BuildReport

SHOWN = 5
"""Examples in a sentence at most."""


def of_inputs(run: Run, tables: SourceTables, report: BuildReport, missing: Sequence[str]) -> list[str]:
    """What of the delivery is not used, and what was not delivered. missing: `not_delivered` of the run."""
    said = []
    effects = {
        "shares": "no market capitalisations, so no universe and no betas: deliver the table",
        "classification": "no L2 and no L3: deliver the table",
        "prices.volume": "no volumes, so that a stock counts as traded wherever it has a close",
    }
    said += [f"{need} is not delivered: {effects.get(need, 'what is made from it is empty')}" for need in missing]
    said += [f"{n.table}: {n.what}: {n.rows:,} rows, the first is row {n.first_row}" for n in tables.notices]
    open_ones = [q for q in report.open_questions if "vendor_code" in q.subject]
    if open_ones:
        codes = [f"{q.subject['vendor_code']} ({q.kind})" for q in open_ones]
        said.append(
            f"{len(codes)} listings may have no cells until somebody says who they are: {listed(codes, SHOWN)}; "
            "`erm3 security queue` shows the questions"
        )
    return said


def of_stores(run: Run) -> list[str]:
    """At the run's last session: stocks with a price and without a market cap, and those without L2 or L3, and why."""
    store, day = run.open("ds_daily"), run.days(run.last, run.last)[0]
    if day not in store.teo:  # a run that stops before this store
        return []
    industry, close, cap = (run.last_session("ds_daily", var) for var in ("fs_industry_code", "close", "market_cap"))
    priced = np.isfinite(close)
    stocks = int(priced.sum())
    missing = run.inputs["not_delivered"]
    said = []

    def tell(who: np.ndarray, what: str) -> None:
        if who.any():
            tickers = [str(ticker) for ticker in run.master.labels(store.symbol[who], day)[0]]
            said.append(f"{len(tickers)} of {stocks} stocks {what} (for example {listed(tickers, SHOWN)})")

    if "shares" not in missing:
        days = run.settings.rules.shares_max_age_days
        tell(
            priced & ~np.isfinite(cap),
            f"have no market cap: no share count of at most {days} days (shares_max_age_days)",
        )
    if "classification" not in missing:
        tell(priced & (industry == 0), "are not classified, so without L2 and L3: give them an industry")
    for level, etf_of in (("L2", run.etfs.sector_of), ("L3", run.etfs.subsector_of)):
        absent = {
            code: row
            for code, row in etf_of.items()
            if row >= 0 and not any(run.etf_ids[k] for k in run.etfs.chain(row))
        }
        who = priced & np.isin(industry, list(absent))
        names = sorted({run.etfs.tickers[absent[int(code)]] for code in industry[who]})
        tell(who, f"have no {level}: {listed(names, SHOWN)} {'is' if len(names) == 1 else 'are'} not delivered")
    instead = run.etfs.stand_ins
    replaced = {code for code, row in run.etfs.subsector_of.items() if run.etfs.tickers[row] in instead}
    pairs = [f"{stand_in} for {etf}" for etf, stand_in in sorted(instead.items())]
    tell(
        priced & np.isin(industry, sorted(replaced)),
        f"have an L3 from stand-ins, as their own ETF is not delivered: {listed(pairs, len(pairs))}",
    )
    return said
