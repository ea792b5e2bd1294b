"""A small, complete directory of tables that single tests spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TABLES = {
    "securities": """
        vendor_code,ticker,name,type,exchange,currency,first_session,last_session,cik
        AAA,AAA,Alpha,common,NYSE,USD,2020-01-02,,0000000001
        BBB,BBB,Beta,common,NASDAQ,USD,2020-01-02,2020-01-08,0000000002
        NA,NA,Nacional,adr,NYSE,USD,2020-01-02,,0000000003
        """,
    "prices": """
        vendor_code,date,open,high,low,close,volume
        AAA,2020-01-02,10,11,9,10.5,1000
        AAA,2020-01-03,10.5,11,10,10.25,1100
        AAA,2020-01-06,5.1,5.2,5,5.125,2200
        BBB,2020-01-02,20,20,20,20,100
        BBB,2020-01-08,21,21,21,21,100
        NA,2020-01-02,,,,7,
        """,
    "splits": """
        vendor_code,ex_date,ratio_new,ratio_old
        AAA,2020-01-06,2,1
        """,
    "dividends": """
        vendor_code,ex_date,amount,currency,kind,basis
        AAA,2020-01-03,0.25,USD,,
        NA,2020-01-07,0.10,EUR,special,pre
        """,
    "spin_offs": """
        vendor_code,ex_date,child_code,child_ratio,value
        AAA,2020-01-07,NA,0.5,3.5
        """,
    "delistings": """
        vendor_code,last_session,reason,cash,successor_code,successor_ratio
        BBB,2020-01-08,merger,5.5,AAA,1.5
        """,
    "ticker_changes": """
        vendor_code,effective_date,old_ticker,new_ticker
        AAA,2020-01-07,ABC,AAA
        """,
    "shares": """
        vendor_code,period_end,filed_at,shares
        AAA,2019-12-31,2020-01-03,1000000
        BBB,2019-12-31,2020-01-03T22:31:00Z,2000000
        """,
    "classification": """
        vendor_code,valid_from,fs_industry_code,gics_sub_industry
        AAA,2020-01-02,2510,
        BBB,2020-01-02,,Semiconductors
        """,
    "fx_rates": """
        currency,date,usd_rate
        EUR,2020-01-07,1.1162
        """,
    "factor_etfs": """
        etf,role,first_session,proxy,note
        SPY,market,1993-01-29,,
        """,
}


def lines(table: str) -> list[str]:
    return [line.strip() for line in TABLES[table].strip().splitlines()]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Every table as CSV, without a fault."""
    for table in TABLES:
        (tmp_path / f"{table}.csv").write_text("\n".join(lines(table)) + "\n")
    return tmp_path


@pytest.fixture
def spoil(directory: Path) -> Callable[[str, str, str], Path]:
    """Replace `old` by `new` once in the CSV of a table; returns the directory."""

    def replace(table: str, old: str, new: str) -> Path:
        path = directory / f"{table}.csv"
        text = path.read_text()
        assert text.count(old) >= 1, f"{old!r} is not in {path.name}"
        path.write_text(text.replace(old, new, 1))
        return directory

    return replace
