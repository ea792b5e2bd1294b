"""The shipped tables: industries with their ETFs, when each factor ETF began, and GICS names as industries."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from security_master.dates import date_text
from security_master.errors import ExplainedError
from security_master.frames import read_frame

UNCLASSIFIED = "0"
"""Code of a stock whose industry is not known. It is never the nearest other code."""

_DATA = Path(__file__).parent / "data"
TAXONOMY_COLUMNS = ("fs_industry_code", "industry", "fs_sector_code", "sector", "sector_etf", "subsector_etf")
FACTOR_ETF_COLUMNS = ("etf", "role", "first_session", "proxy")

_GICS_VERSIONS = (
    ("2023-03-20", "gics-2023"),
    ("2018-10-01", "gics-2018"),
    ("2016-09-01", "gics-2016"),
    ("", "gics-2014"),
)
"""First session of each structure: retailers and payments moved in 2023, Communication Services was formed in 2018,
Real Estate became a sector in 2016."""


class TaxonomyError(ExplainedError, ValueError):
    """A taxonomy or factor-ETF table that cannot be used."""


@cache
def shipped(name: str) -> pd.DataFrame:
    """A shipped table (`taxonomy`, `factor_etfs`, `gics_to_industry`), all text, "" for missing."""
    return pd.read_csv(_DATA / f"{name}.csv", dtype=str, keep_default_na=False)


@cache
def industry_of_gics() -> dict[str, str]:
    """GICS sub-industry name to 4-digit industry code."""
    table = shipped("gics_to_industry")
    return dict(zip(table["gics_sub_industry"], table["fs_industry_code"], strict=True))


def gics_version(valid_from: str) -> str:
    """The version of the GICS structure in force on a date."""
    return next(version for start, version in _GICS_VERSIONS if valid_from >= start)


def taxonomy_version(taxonomy: pd.DataFrame, factor_etfs: pd.DataFrame) -> str:
    """A name for this pair of tables, made from their content."""
    text = taxonomy.to_csv(index=False) + "\n" + factor_etfs.to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def checked(taxonomy: pd.DataFrame, factor_etfs: pd.DataFrame) -> None:
    """Raise TaxonomyError unless there is one market ETF, codes are unique and each ETF is listed once."""
    markets = factor_etfs.loc[factor_etfs["role"] == "market", "etf"].tolist()
    if len(markets) != 1:
        raise TaxonomyError(f"factor_etfs: expected one row with role 'market', found {markets}")
    for table, column in ((taxonomy, "fs_industry_code"), (factor_etfs, "etf")):
        twice = sorted(table.loc[table[column].duplicated(), column])
        if twice:
            raise TaxonomyError(f"column {column}: listed more than once: {', '.join(twice)}")
    bad = [code for code in taxonomy["fs_industry_code"] if not (code.isdigit() and 1000 <= int(code) <= 9999)]
    if bad:
        raise TaxonomyError(f"taxonomy: industry codes have four digits and no leading zero, found {bad}")
    proxies = dict(zip(factor_etfs["etf"], factor_etfs["proxy"], strict=True))
    for etf in proxies:
        seen = [etf]
        while proxy := proxies.get(seen[-1], ""):
            if proxy in seen:
                raise TaxonomyError(
                    f"factor_etfs: the proxies of {etf} go round in a circle: {' -> '.join([*seen, proxy])}"
                )
            seen.append(proxy)


@dataclass(frozen=True)
class Configuration:
    """The taxonomy and factor ETFs in force, and all versions that there have been."""

    version: str
    taxonomy: pd.DataFrame
    factor_etfs: pd.DataFrame
    earlier: list[tuple[str, pd.DataFrame, pd.DataFrame]]


def configuration_of(
    tables: Mapping[str, pd.DataFrame], versions: Sequence[tuple[str, pd.DataFrame, pd.DataFrame]]
) -> Configuration:
    """The delivered tables, else those of the last version there has been, else the shipped ones.

    Raises TaxonomyError for tables that contradict themselves.
    """
    last = versions[-1] if versions else ("", None, None)
    taxonomy = _delivered(tables.get("taxonomy"), TAXONOMY_COLUMNS)
    factor_etfs = _delivered(tables.get("factor_etfs"), FACTOR_ETF_COLUMNS)
    if taxonomy is None:
        taxonomy = last[1] if last[1] is not None else _delivered(shipped("taxonomy"), TAXONOMY_COLUMNS)
    if factor_etfs is None:
        usual = _delivered(shipped("factor_etfs"), FACTOR_ETF_COLUMNS)
        factor_etfs = last[2] if last[2] is not None else usual
    assert taxonomy is not None
    assert factor_etfs is not None
    checked(taxonomy, factor_etfs)
    version = taxonomy_version(taxonomy, factor_etfs)
    earlier = [row for row in versions if row[0] != version]
    return Configuration(version, taxonomy, factor_etfs, earlier)


def _delivered(frame: pd.DataFrame | None, columns: Sequence[str]) -> pd.DataFrame | None:
    if frame is None or frame.empty:
        return None
    data: dict[str, list[str]] = {}
    for name in columns:
        if name not in frame.columns:
            data[name] = [""] * len(frame)
        elif name == "first_session":
            data[name] = [date_text(value) for value in frame[name]]
        else:
            data[name] = [str(value).strip() for value in frame[name].fillna("")]
    return pd.DataFrame(data, columns=list(columns), dtype=object)


def read_configurations(connection: sqlite3.Connection) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """(version, taxonomy, factor ETFs) of every version that an open master has, the one in force last."""
    versions = [row[0] for row in connection.execute("SELECT value FROM meta WHERE key LIKE 'taxonomy_%' ORDER BY key")]
    where = "WHERE taxonomy_version = ? ORDER BY position"
    return [
        (
            version,
            read_frame(connection, "taxonomy", TAXONOMY_COLUMNS, where, version),
            read_frame(connection, "factor_etf", FACTOR_ETF_COLUMNS, where, version),
        )
        for version in versions
    ]
