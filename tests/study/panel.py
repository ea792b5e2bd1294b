"""What the study reads of a published root: returns, ETFs in force, industries and market caps, stock-major."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.engine import execution
from pipeline.read import open_family
from pipeline.settings import DataRules, EtfRules, Settings

REAL = Path(__file__).parents[3] / "shared/data/us_equities"
SIMULATED = "the simulated market"
WRONG_CLOSES = np.array(["2009-07-16", "2014-07-17"], "datetime64[D]")
"""Closes of SPY in the real sample at which the gate stops (rule market_etf_off): returns to and from them are left
out."""


@dataclass(frozen=True)
class Panel:
    """r: (n, T) returns, etf: (E, T), market: its row; pairs: (P, 2) rows of etf (subsector, sector).

    sector, subsector: (n, T) rows of etf in force, -1 none. industry: (n, T). log_weight: (n, T), finite.
    first: ordinal of column 0. traded: (n,) median dollars traded.
    """

    source: str
    sessions: NDArray[np.datetime64]
    first: int
    r: NDArray[np.float64]
    etf: NDArray[np.float64]
    market: int
    pairs: NDArray[np.int16]
    sector: NDArray[np.int16]
    subsector: NDArray[np.int16]
    industry: NDArray[np.int16]
    log_weight: NDArray[np.float64]
    traded: NDArray[np.float64]


def published(place: Path) -> tuple[str, str]:
    """A root with returns of the real sample where it is at hand, of the simulated market otherwise; and what it is."""
    if REAL.is_dir():
        rules = DataRules(etfs=EtfRules(sigmas=30.0))
        settings = Settings(root=str(place), source="files", source_path=str(REAL), rules=rules)
        span, source = ("2007-01-03", "2026-03-13"), "real prices of S&P 500 members of 2026 (survivors)"
    else:
        settings = Settings(root=str(place), source="simulated")
        span, source = ("2019-01-02", "2023-12-29"), SIMULATED
    for until in ("ds_masks", "ds_erm3_link_betas"):
        execution.execute(settings, *span, until)
    return str(place), source


def read(root: str, source: str) -> Panel:
    """The panel of a published root."""
    family = open_family(root)
    daily, etfs = family.dataset("ds_daily"), family.dataset("ds_etf")
    sessions = daily["teo"].values.astype("datetime64[D]")
    r = np.ascontiguousarray(daily["return"].values.T.astype(np.float64))
    alive = np.isfinite(r).sum(axis=1) >= 252
    industry = np.ascontiguousarray(daily["fs_industry_code"].values.T[alive])
    cap = daily["market_cap"].values.T[alive].astype(np.float64)
    dollars = (daily["close"] * daily["volume"]).values.T[alive]
    calendar = xnys()
    with family.master() as master:
        factor = master.factor_etfs()
        rule = {"calendar": calendar.sessions, "min_obs": 126}
        sector = factor.sector_positions(industry, sessions, **rule)
        subsector = factor.subsector_positions(industry, sessions, **rule)
    at = {symbol: k for k, symbol in enumerate(etfs["symbol"].values.tolist())}
    returns = etfs["return"].values.T.astype(np.float64)
    etf = np.full((len(factor.tickers), len(sessions)), np.nan)
    for k, symbol in enumerate(factor.sec_ids):
        if symbol in at:
            etf[k] = returns[at[symbol]]
    if source != SIMULATED:
        wrong = np.flatnonzero(np.isin(sessions, WRONG_CLOSES))
        etf[factor.market, np.concatenate([wrong, wrong + 1])] = np.nan
    cap = pd.DataFrame(cap.T).ffill().bfill().fillna(np.nanmedian(cap)).to_numpy().T
    return Panel(
        source,
        sessions,
        calendar.ordinal(sessions[0]),
        r[alive],
        etf,
        factor.market,
        np.ascontiguousarray(factor.pairs),
        sector,
        subsector,
        industry,
        np.ascontiguousarray(np.log1p(cap)),
        np.nanmedian(np.where(np.isfinite(dollars), dollars, np.nan), axis=1),
    )
