"""A small complete directory of the `files` source, from the simulated market: a form to fill with one's own data."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipeline.settings import SimulatedMarket
from pipeline.sources.cells import SourceError
from pipeline.sources.simulated import SimulatedSource
from pipeline.sources.specs import KNOWN_FROM, TABLES
from security_master.errors import at_file

MARKET = SimulatedMarket(stocks=32, last_session="2019-06-28")
"""As small as a market can be that has splits, dividends of two currencies, a spin-off, mergers and new tickers."""

CONFIG = """\
# What `erm3` reads in the directory where it is called. docs/settings.md lists all settings with their defaults.
source = "files"
source_path = "tables"         # one CSV or Parquet file for each table; `erm3 check tables` looks at them
root = "published"             # where the stores are published; a gs:// address is one too
factor_sets = ["SPY_uni_mc_3000"]

[model]
estimator = "huber"            # or ols, ridge
min_peers = 3                  # fewest companies of an industry towards which a beta is shrunk; this market is small
"""


def write_example(directory: Path) -> list[Path]:
    """`erm3.toml` and `tables/*.csv`; the files. Raises SourceError where the directory has something in it."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise SourceError("there is something already; name a directory that is new or empty", str(directory))
    tables, written = directory / "tables", [directory / "erm3.toml"]
    with at_file(directory):
        tables.mkdir(parents=True)
        written[0].write_text(CONFIG)
        for name, frame in SimulatedSource(MARKET).load().frames.items():
            if len(frame):
                written.append(tables / f"{name}.csv")
                _delivered(name, frame).to_csv(written[-1], index=False, lineterminator="\n")
    return written


def _delivered(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A typed table as a vendor would deliver it: no column without a value, and no instant that is a default."""
    columns = {column.name: column.kind for column in TABLES[name].columns}
    if TABLES[name].dated:
        frame = frame.assign(known_from=frame["known_from"].mask(frame["known_assumed"]))
        columns[KNOWN_FROM.name] = KNOWN_FROM.kind
    told = {column: frame[column] for column in columns if not (frame[column].isna() | (frame[column] == "")).all()}
    written = {"date": "%Y-%m-%d", "instant": "%Y-%m-%dT%H:%M:%SZ", "date_or_instant": "%Y-%m-%dT%H:%M:%SZ"}
    for column in told:
        if columns[column] in written:
            told[column] = told[column].dt.strftime(written[columns[column]])
    return pd.DataFrame(told)
