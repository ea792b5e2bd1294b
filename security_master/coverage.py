"""How complete the record is, by year: who is known, priced, classified and has share counts, and who is missing.

A list of names drawn up today contains today's survivors. The report says how much of the past that leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from security_master.lookup import SecurityMaster
from security_master.store import NEWEST, Store
from security_master.universe import STOCK_TYPES

USUAL_EXIT_RATE = 0.07
"""Share of listed US stocks that leave the market in a year by merger or delisting; 6 to 8 % since 2006."""


def coverage_by_year(
    master: SecurityMaster,
    priced: pd.DataFrame,
    *,
    returns: pd.DataFrame | None = None,
    exit_rate: float = USUAL_EXIT_RATE,
) -> pd.DataFrame:
    """One row for each year of `priced`, over stocks (common, adr, reit).

    priced: columns year, sec_id: the securities with a price in a year. returns: columns year, sec_id, total_return of
    the year.

    Columns: known, priced, classified, with_shares (securities listed in the year; a filing counts when it was filed in
    the year or the 400 days before its end), ended (left in the year), survivors (still listed at the end of the last
    year), expected (what `known` would be, had the survivors come from a market that loses `exit_rate` of its stocks a
    year), missing_share (of the expected), and with returns survivors_bias: mean return of the survivors minus that of
    all. A missing_share well above 0 means that the source has forgotten the dead.
    """
    years = sorted(set(priced["year"].astype(int)))
    if not years:
        return pd.DataFrame(columns=["year", "known", "priced", "classified", "with_shares", "ended", "survivors"])
    record = _Record.of(master, years[-1], exit_rate)
    rows = []
    for year in years:
        known = record.known(year)
        row = record.row(year, known, set(priced.loc[priced["year"] == year, "sec_id"]))
        if returns is not None:
            row["survivors_bias"] = _bias(returns[returns["year"] == year], known, record.survivors & known)
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Record:
    """What the master says of stocks. survivors: those still listed at the end of `last_year`."""

    stocks: pd.DataFrame
    last_stretches: pd.DataFrame
    classes: pd.DataFrame
    filings: pd.DataFrame
    survivors: set[str]
    last_year: int
    exit_rate: float

    @classmethod
    def of(cls, master: SecurityMaster, last_year: int, exit_rate: float) -> _Record:
        store = master._store
        listings = store.believed("listing", None)
        stocks = listings[listings["sec_type"].isin(STOCK_TYPES)]
        classes = store.believed("classification_hist", None)
        return cls(
            stocks=stocks,
            last_stretches=stocks.sort_values("valid_to").drop_duplicates("sec_id", keep="last"),
            classes=classes[(classes["scheme"] == "fs") & (classes["code"] != "0")],
            filings=_filings(store),
            survivors=_alive(stocks, f"{last_year}-12-31", f"{last_year + 1}-01-01"),
            last_year=last_year,
            exit_rate=exit_rate,
        )

    def known(self, year: int) -> set[str]:
        return _alive(self.stocks, f"{year}-01-01", f"{year + 1}-01-01")

    def row(self, year: int, known: set[str], priced: set[str]) -> dict[str, Any]:
        """The counts of a year."""
        first_day, after = f"{year}-01-01", f"{year + 1}-01-01"
        end, at = np.datetime64(after), self.filings["filed_at"].to_numpy()
        filed = self.filings[(at >= end - np.timedelta64(400, "D")) & (at < end)]
        ends = self.last_stretches["valid_to"]
        living = self.survivors & known
        expected = max(len(known), len(living) / (1 - self.exit_rate) ** (self.last_year - year))
        return {
            "year": year,
            "known": len(known),
            "priced": len(known & priced),
            "classified": len(known & _alive(self.classes, first_day, after)),
            "with_shares": len(known & set(filed["sec_id"])),
            "ended": len(known & set(self.last_stretches.loc[(ends > first_day) & (ends <= after), "sec_id"])),
            "survivors": len(living),
            "expected": round(expected),
            "missing_share": 1 - len(known) / expected if expected else 0.0,
        }


def _filings(store: Store) -> pd.DataFrame:
    """Securities (sec_id) and days (filed_at) of the share counts that are believed."""
    facts = store.columns("shares_hist", "sec_id", "filed_at", where="WHERE ? < known_to", values=[NEWEST])
    return facts.assign(filed_at=np.array([at[:10] for at in facts["filed_at"]], "datetime64[s]"))


def _alive(spans: pd.DataFrame, start: str, end: str) -> set[str]:
    """Securities with a span that meets [start, end)."""
    return set(spans.loc[(spans["valid_from"] < end) & (spans["valid_to"] > start), "sec_id"])


def _bias(returns: pd.DataFrame, known: set[str], living: set[str]) -> float:
    """Mean return of the survivors minus that of all, NaN without returns."""
    own = returns[returns["sec_id"].isin(known)].dropna(subset=["total_return"])
    alive = own[own["sec_id"].isin(living)]
    if own.empty or alive.empty:
        return float("nan")
    return float(alive["total_return"].mean() - own["total_return"].mean())
