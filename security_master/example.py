"""A tiny delivery, and its master, for the examples in docstrings: one company that was renamed, and an ETF."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from security_master.build import build_master
from security_master.lookup import SecurityMaster


def example_tables() -> dict[str, pd.DataFrame]:
    """Facebook, whose ticker FB became META on 2022-06-09, and SPY; with industry, share counts and a made-up split."""
    return {
        "securities": _table(
            vendor_code=["META", "SPY"],
            ticker=["META", "SPY"],
            name=["Meta Platforms Inc", "SPDR S&P 500 ETF Trust"],
            type=["common", "etf"],
            exchange=["NASDAQ", "ARCA"],
            first_session=_dates("2012-05-18", "1993-01-29"),
            known_from=_instants("2012-05-18T21:00", "1993-01-29T22:00"),
        ),
        "ticker_changes": _table(
            vendor_code=["META"],
            effective_date=_dates("2022-06-09"),
            old_ticker=["FB"],
            new_ticker=["META"],
            known_from=_instants("2022-05-31T21:00"),
        ),
        "classification": _table(
            vendor_code=["META"],
            valid_from=_dates("2012-05-18"),
            fs_industry_code=["5030"],
            known_from=_instants("2012-05-18T21:00"),
        ),
        "shares": _table(
            vendor_code=["META"],
            period_end=_dates("2022-03-31"),
            filed_at=_instants("2022-04-28T20:30"),
            shares=[2.7e9],
            known_from=_instants("2022-04-28T20:30"),
        ),
        "splits": _table(
            vendor_code=["META"],
            ex_date=_dates("2022-06-13"),
            ratio_new=[2],
            ratio_old=[1],
            known_from=_instants("2022-06-01T21:00"),
        ),
    }


def example_master() -> SecurityMaster:
    """The master of `example_tables`, open."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "example.sqlite"
        build_master(path, example_tables(), batch_id="example")
        return SecurityMaster.open(path)  # an open file outlives its name


def _table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(columns)


def _dates(*days: str) -> pd.Series:
    return pd.Series(days, dtype="datetime64[s]")


def _instants(*moments: str) -> pd.Series:
    return pd.Series(moments, dtype="datetime64[us]")
