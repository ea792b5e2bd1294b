"""The tables that come with the project and that a source may build on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

import security_master

_DATA = Path(security_master.__file__).parent / "data"


@cache
def industry_of_gics() -> dict[str, str]:
    """GICS sub-industry name to 4-digit industry code."""
    table = _read("gics_to_industry.csv")
    return dict(zip(table["gics_sub_industry"], table["fs_industry_code"], strict=True))


@cache
def taxonomy() -> pd.DataFrame:
    """Industries with their sector, sector ETF and subsector ETF; all text."""
    return _read("taxonomy.csv")


@cache
def shipped_factor_etfs() -> tuple[str, ...]:
    """Tickers of the ETFs that stocks are regressed on, and of their proxies."""
    table, industries = _read("factor_etfs.csv"), taxonomy()
    names = [*table["etf"], *table["proxy"], *industries["sector_etf"], *industries["subsector_etf"]]
    return tuple(dict.fromkeys(name for name in names if name))


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(_DATA / name, dtype=str, keep_default_na=False)
