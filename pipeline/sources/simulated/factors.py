"""Factor returns and ETF total returns: the common part of every simulated return.

    f_m   market: GJR-GARCH(1,1) with Student-t(6) shocks and a drift of 7.5 % a year
    f_s   one per sector, own GARCH, 8.5 % a year of volatility, times volstate^0.6
    f_u   one per subsector, own GARCH, 7.5 % a year of volatility, times volstate^0.5
    SPY = f_m + 1 bp      sector ETF = b_m f_m + f_s + 2 bp      subsector ETF = b_m f_m + b_s f_s + f_u + 3 bp

The factors are independent of each other in population, so every beta of the cascade is known in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.sources.simulated.industries import MARKET_ETF, PROXY_OF_SECTOR, sector_etfs, sector_of_subsector
from pipeline.sources.streams import stream

SESSIONS_A_YEAR = 252
MARKET_DRIFT = 0.075
SECTOR_VOL = 0.085
SUBSECTOR_VOL = 0.075
LONG_RUN_VOL = 0.175
MARKET_VOL_OF_YEAR = {
    2006: 0.099, 2007: 0.159, 2008: 0.389, 2009: 0.267, 2010: 0.180, 2011: 0.230, 2012: 0.130, 2013: 0.112,
    2014: 0.113, 2015: 0.154, 2016: 0.131, 2017: 0.067, 2018: 0.170, 2019: 0.125, 2020: 0.334,
}  # fmt: skip
"""Volatility that SPY had in each year; later years run free around LONG_RUN_VOL."""

FX_STARTS = {"EUR": (1.18, 4), "GBP": (1.33, 4), "CAD": (0.78, 4), "JPY": (0.0091, 6)}
"""Dollars per unit at the start, and decimals of the quotation."""
FX_VOL = 0.085

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EtfLoadings:
    """Loadings of an ETF on f_m, on its sector's factor, and on its own; noise: daily standard deviation."""

    market: float
    sector: float
    own: float
    noise: float


@dataclass(frozen=True, eq=False)
class FactorReturns:
    """Daily returns from session ordinal `first`.

    market: (H,); of_etf: the factor that a sector or subsector ETF names, (H,) each; etfs: total returns of the ETFs,
    (H,) each; volstate: (H,) market volatility of the day against its long-run mean; loadings: of the ETFs.
    """

    first: int
    market: Array
    of_etf: dict[str, Array]
    etfs: dict[str, Array]
    volstate: Array
    loadings: dict[str, EtfLoadings]


def factor_returns(seed: int, first: int, last: int) -> FactorReturns:
    """Factors and ETFs for the session ordinals first..last, both included."""
    H = last - first + 1
    market, daily_vol = _market(seed, first, H)
    volstate = daily_vol * np.sqrt(SESSIONS_A_YEAR) / LONG_RUN_VOL
    above = sector_of_subsector()
    of_etf = {etf: _own_factor(seed, etf, SECTOR_VOL, volstate**0.6) for etf in sector_etfs()}
    of_etf |= {etf: _own_factor(seed, etf, SUBSECTOR_VOL, volstate**0.5) for etf in above}
    etfs: dict[str, Array] = {}
    loadings: dict[str, EtfLoadings] = {}
    for etf in (MARKET_ETF, *of_etf, *PROXY_OF_SECTOR):
        rng = stream(seed, "etf", etf)
        b_m, b_s = rng.normal(1.0, 0.25), rng.normal(1.0, 0.3)
        sector = above.get(etf) or PROXY_OF_SECTOR.get(etf) or etf
        if etf == MARKET_ETF:
            load = EtfLoadings(1.0, 0.0, 0.0, 1e-4)
        elif etf in above:
            load = EtfLoadings(b_m + 0.05, b_s, 1.0, 3e-4)
        else:
            load = EtfLoadings(b_m, 1.0, 0.0, 1e-3 if etf in PROXY_OF_SECTOR else 2e-4)
        total = load.market * market + load.noise * rng.standard_normal(H)
        if load.sector:
            total += load.sector * of_etf[sector]
        if load.own:
            total += load.own * of_etf[etf]
        etfs[etf], loadings[etf] = total, load
    return FactorReturns(first, market, of_etf, etfs, volstate, loadings)


def fx_rates(seed: int, first: int, last: int) -> dict[str, Array]:
    """Dollars per unit of each foreign currency, as quoted on the session ordinals first..last."""
    rates = {}
    for currency, (start, decimals) in FX_STARTS.items():
        moves = stream(seed, "fx", currency).standard_normal(last - first + 1) * FX_VOL / np.sqrt(SESSIONS_A_YEAR)
        rates[currency] = np.round(start * np.exp(np.cumsum(moves)), decimals)
    return rates


def _market(seed: int, first: int, H: int) -> tuple[Array, Array]:
    """(returns, daily volatility) of the market: a GJR-GARCH of mean variance 1, times the volatility of the year."""
    alpha, gamma, beta = 0.03, 0.12, 0.88
    years = xnys().sessions[first : first + H].astype("datetime64[Y]").astype(int) + 1970
    of_year = np.array([MARKET_VOL_OF_YEAR.get(int(year), LONG_RUN_VOL) for year in years]) / np.sqrt(SESSIONS_A_YEAR)
    shocks = stream(seed, "market", MARKET_ETF).standard_t(6, H) * np.sqrt(4 / 6)
    returns, vols = np.empty(H), np.empty(H)
    variance = 1.0
    for t in range(H):
        vols[t] = of_year[t] * np.sqrt(variance)
        shock = np.sqrt(variance) * min(max(shocks[t], -6.0), 5.0)
        returns[t] = MARKET_DRIFT / SESSIONS_A_YEAR + of_year[t] * shock
        variance = 1 - alpha - gamma / 2 - beta + (alpha + gamma * (shock < 0)) * shock**2 + beta * variance
        variance = min(variance, 5.0)
    return returns, vols


def _own_factor(seed: int, etf: str, annual_vol: float, scale: Array) -> Array:
    """A factor with its own GARCH(1,1) of mean variance 1, scaled."""
    alpha, beta = 0.05, 0.93
    shocks = stream(seed, "factor", etf).standard_t(6, len(scale)) * np.sqrt(4 / 6)
    unit = np.empty(len(scale))
    variance = 1.0
    for t in range(len(scale)):
        unit[t] = np.sqrt(variance) * shocks[t]
        variance = min(1 - alpha - beta + alpha * unit[t] ** 2 + beta * variance, 9.0)
    return annual_vol / np.sqrt(SESSIONS_A_YEAR) * scale * unit
