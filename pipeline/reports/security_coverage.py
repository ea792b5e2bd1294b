"""Coverage by year of what is published: prices of `ds_daily` against the master's listings, classes and filings."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.datasets.spec import ROW_CHUNK
from pipeline.read import open_family
from security_master import coverage_by_year


def coverage_report(root: str) -> pd.DataFrame:
    """`security_master.coverage_by_year` of a published family. Raises StoreError when nothing is published."""
    family = open_family(root)
    daily = family.dataset("ds_daily", as_of_manifest=True)
    years = daily["teo"].values.astype("datetime64[Y]").astype(int) + 1970
    symbol = daily["symbol"].values.astype(object)
    priced = {year: np.zeros(len(symbol), bool) for year in np.unique(years).tolist()}
    returned, grown = {year: have.copy() for year, have in priced.items()}, dict.fromkeys(priced, np.ones(len(symbol)))
    for begin in range(0, len(years), ROW_CHUNK):  # of the store, so that each chunk is unpacked once
        block = daily.isel(teo=slice(begin, begin + ROW_CHUNK))
        close, returns = np.isfinite(block["close"].values), block["return"].values.astype(float)
        have = np.isfinite(returns)
        growth, of = np.where(have, 1 + returns, 1.0), years[begin : begin + ROW_CHUNK]
        for year in np.unique(of).tolist():
            priced[year] |= close[of == year].any(axis=0)
            returned[year] |= have[of == year].any(axis=0)
            grown[year] = grown[year] * growth[of == year].prod(axis=0)
    rows = [
        pd.DataFrame(
            {
                "year": year,
                "sec_id": symbol[have].astype("U9"),
                "total_return": np.where(returned[year], grown[year] - 1, np.nan)[have],
            }
        )
        for year, have in priced.items()
    ]
    by_year = pd.concat(rows, ignore_index=True)
    with family.master() as master:
        return coverage_by_year(master, by_year[["year", "sec_id"]], returns=by_year)
