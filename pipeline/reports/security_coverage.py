"""Coverage by year of what is published: prices of `ds_daily` against the master's listings, classes and filings."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.read import open_family
from security_master import coverage_by_year


def coverage_report(root: str) -> pd.DataFrame:
    """`security_master.coverage_by_year` of a published family. Raises StoreError when nothing is published."""
    family = open_family(root)
    daily = family.dataset("ds_daily", as_of_manifest=True)
    years = daily["teo"].values.astype("datetime64[Y]").astype(int) + 1970
    symbol = daily["symbol"].values.astype(object)
    rows = []
    for year in np.unique(years).tolist():
        of_year = daily.isel(teo=np.flatnonzero(years == year))
        priced = np.isfinite(of_year["close"].values).any(axis=0)
        returns = of_year["return"].values.astype(float)
        total = np.prod(1 + np.nan_to_num(returns), axis=0) - 1
        total[~np.isfinite(returns).any(axis=0)] = np.nan
        rows.append(pd.DataFrame({"year": year, "sec_id": symbol[priced].astype("U9"), "total_return": total[priced]}))
    by_year = pd.concat(rows, ignore_index=True)
    with family.master() as master:
        return coverage_by_year(master, by_year[["year", "sec_id"]], returns=by_year)
