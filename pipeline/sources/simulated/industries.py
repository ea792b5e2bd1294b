"""The industries and factor ETFs of the simulated market: a part of the shipped taxonomy, with the real tickers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pipeline.sources.shipped import taxonomy

INDUSTRY_CODES = [
    "2510",
    "4110",
    "4820",
    "2040",
    "6010",
    "3520",
    "1110",
    "3210",
    "4130",
    "5020",
    "4010",
    "5510",
    "1510",
    "2010",
    "4830",
    "3540",
    "2050",
    "2520",
    "5010",
    "1530",
    "3530",
    "6020",
    "4020",
    "2030",
    "1560",
    "2070",
    "2075",
]
"""Slot k of the market starts in industry k modulo their number, so every industry has its share of the stocks."""

ETF_STARTS = {
    "XLC": ("2018-06-19", "IYZ"),
    "XLRE": ("2019-04-08", "IYR"),
    "JETS": ("2019-07-01", "IYT"),
    "SKYY": ("2020-03-02", "IGV"),
    "PAVE": ("2019-10-01", ""),
}
"""ETFs that start late here: first session, and the ETF that stands in before ("" for none)."""

MARKET_ETF = "SPY"
PROXY_OF_SECTOR = {"IYR": "XLRE"}
"""ETFs that only stand in for a sector ETF."""


@dataclass(frozen=True)
class Industry:
    """One 4-digit industry. sector, subsector: its ETFs, which also name its two factors."""

    code: str
    sector: str
    subsector: str


@cache
def industries() -> dict[str, Industry]:
    """The simulated industries by code, in the order of INDUSTRY_CODES."""
    rows = taxonomy().set_index("fs_industry_code")
    return {
        code: Industry(code, str(rows.at[code, "sector_etf"]), str(rows.at[code, "subsector_etf"]))
        for code in INDUSTRY_CODES
    }


@cache
def sector_etfs() -> tuple[str, ...]:
    return tuple(sorted(set(taxonomy()["sector_etf"])))


@cache
def sector_of_subsector() -> dict[str, str]:
    """Each subsector ETF with the sector ETF above it."""
    return {each.subsector: each.sector for each in sorted(industries().values(), key=lambda each: each.subsector)}
