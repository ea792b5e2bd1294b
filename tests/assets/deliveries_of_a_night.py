"""Tables as a vendor lays them into a directory, and what can be wrong with those of one night."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd

import security_master
from pipeline.sources import SourceTables
from tests.laid import delivered_rows

CLOSES = ["open", "high", "low", "close"]


def lay(tables: SourceTables, directory: Path) -> None:
    """A directory of the `files` source with these tables, in place of what is there."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, frame in tables.frames.items():
        if len(frame):
            delivered_rows(name, frame).to_parquet(directory / f"{name}.parquet", index=False)


def at(tables: SourceTables, night: str, *tickers: str) -> pd.Series:
    """Which rows of the prices are of a night, and of these tickers."""
    names = tables.securities[tables.securities["ticker"].isin(tickers)]["vendor_code"]
    return (tables.prices["date"] == night) & tables.prices["vendor_code"].isin(names)


def without(tables: SourceTables, night: str, *tickers: str) -> SourceTables:
    """No bar of these tickers on that night."""
    return replace(tables, prices=tables.prices[~at(tables, night, *tickers)].reset_index(drop=True))


def times(tables: SourceTables, night: str, ticker: str, factor: float) -> SourceTables:
    """A night's bar of a ticker in another unit."""
    prices = tables.prices.copy()
    prices.loc[at(tables, night, ticker), CLOSES] *= factor
    return replace(tables, prices=prices)


def with_a_map(tables: SourceTables) -> SourceTables:
    """With the taxonomy that is used where none is delivered."""
    shipped = Path(security_master.__file__).parent / "data" / "taxonomy.csv"
    rows = pd.read_csv(shipped, dtype=str, comment="#")[list(tables.taxonomy.columns)].fillna("")
    return replace(tables, taxonomy=rows)


def with_another_map(tables: SourceTables, night: str) -> SourceTables:
    """With a taxonomy that names an ETF that nobody delivers, for industries that stocks are in on that night."""
    rows = tables.taxonomy.copy()
    classes = tables.classification[tables.classification["known_from"] <= f"{night}T21:15"]
    used = rows["fs_industry_code"].isin(classes["fs_industry_code"]) & (rows["sector_etf"] != "XLK")
    rows.loc[used, "sector_etf"] = "PAVE"
    return replace(tables, taxonomy=rows)


def spoil(directory: Path, night: str, ticker: str, tables: SourceTables, text: str) -> int:
    """Prices as CSV, with a text in place of a close; its row in the file."""
    rows = tables.prices[["vendor_code", "date", *CLOSES, "volume"]].reset_index(drop=True)
    rows = rows.assign(date=rows["date"].dt.strftime("%Y-%m-%d"), close=rows["close"].map(repr))
    place = int(at(tables, night, ticker).to_numpy().argmax())
    rows.loc[place, "close"] = text
    (directory / "prices.parquet").unlink(missing_ok=True)
    rows.to_csv(directory / "prices.csv", index=False)
    return place + 2
