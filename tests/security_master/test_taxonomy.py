"""The shipped table of GICS sub-industries: complete, dated, and every name in an industry of its sector."""

from __future__ import annotations

import pytest

from pipeline.sources import shipped as of_sources
from security_master.taxonomy import industry_of_gics, shipped

IN_FORCE = {
    "Energy": 7, "Materials": 17, "Industrials": 27, "Consumer Discretionary": 27, "Consumer Staples": 12,
    "Health Care": 10, "Financials": 18, "Information Technology": 12, "Communication Services": 10, "Utilities": 6,
    "Real Estate": 17,
}  # fmt: skip
"""Sub-industries of the structure in force since 2023-03-20, by sector (MSCI and S&P Dow Jones Indices)."""

ELSEWHERE = {"Mortgage REITs": "Financials", "Drug Retail": "Consumer Staples"}
"""Sub-industries whose sector in GICS is not that of our industry, with the sector of GICS."""


def test_the_table_has_the_163_sub_industries_in_force_sector_by_sector() -> None:
    table, taxonomy = shipped("gics_to_industry"), shipped("taxonomy")
    sector = taxonomy.set_index("fs_industry_code")["sector"]
    now = table[table["until"] == ""]
    assert len(now) == sum(IN_FORCE.values()) == 163
    found = now["gics_sub_industry"].map(ELSEWHERE).fillna(now["fs_industry_code"].map(sector))
    assert found.value_counts().to_dict() == IN_FORCE


def test_names_are_unique_and_dates_are_those_of_the_revisions() -> None:
    table = shipped("gics_to_industry")
    assert not table["gics_sub_industry"].duplicated().any()
    revisions = {"", "2008-09-02", "2014-03-03", "2016-09-01", "2018-10-01", "2023-03-20"}
    assert set(table["since"]) | set(table["until"]) <= revisions
    both = table[(table["since"] != "") & (table["until"] != "")]
    assert (both["since"] < both["until"]).all()


@pytest.mark.parametrize(
    ("name", "industry"),
    [
        ("Internet & Direct Marketing Retail", "3520"), ("Airlines", "2075"), ("Railroads", "2070"),
        ("Soft Drinks", "4020"), ("Industrial Machinery", "2040"), ("Drug Retail", "4050"),
        ("Mortgage REITs", "6030"), ("Aluminum", "1520"), ("Semiconductors", "3210"),
        ("Internet Software & Services", "5030"), ("Thrifts & Mortgage Finance", "4820"),
    ],
)  # fmt: skip
def test_names_of_their_time_are_known(name: str, industry: str) -> None:
    assert industry_of_gics()[name] == industry
    assert of_sources.industry_of_gics()[name] == industry
