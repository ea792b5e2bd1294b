"""Published stores as a table of cells, and their values computed again with pandas alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.datasets import LEVELS
from tests.engine.published_market import FACTOR_SET

RATIOS = {
    1: {"market": "L1_market_HR"},
    2: {"market": "L2_market_HR", "sector": "L2_sector_HR"},
    3: {"market": "L3_market_HR", "sector": "L3_sector_HR", "subsector": "L3_subsector_HR"},
}


def close(a: pd.Series, b: pd.Series, tolerance: float = 1e-6) -> None:
    np.testing.assert_array_equal(a.isna(), b.isna())
    np.testing.assert_allclose(a.dropna(), b.dropna(), rtol=tolerance, atol=tolerance)


class Published:
    """The stores of a root as data frames: one row per cell that has an L1 beta, one column per value."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.daily = self.open("ds_daily")
        self.etf = self.open("ds_etf")
        self.links = self.open("ds_erm3_link_betas_SPY")
        self.raw = self.open(f"ds_erm3_betas_{FACTOR_SET}")
        self.adjusted = self.open(f"ds_erm3_betas_adjusted_{FACTOR_SET}")
        self.hedge = self.open(f"ds_erm3_hedge_weights_{FACTOR_SET}")
        self.returns = self.open(f"ds_erm3_returns_{FACTOR_SET}")
        self.industry = self.open(f"ds_erm3_industry_{FACTOR_SET}")
        flags = self.raw.fact.attrs
        self.ticker = dict(zip(flags["flag_values"], flags["flag_meanings"].split(), strict=True))

    def open(self, name: str) -> xr.Dataset:
        return xr.open_zarr(f"{self.root}/{name}.zarr", consolidated=True, chunks=None).load()

    @staticmethod
    def cells(array: xr.DataArray, name: str, **where: str) -> pd.Series:
        """Values by (teo, symbol)."""
        return array.sel(**where).to_series().rename(name).astype(float)

    def table(self) -> pd.DataFrame:
        """Cells with an L1 beta: raw and adjusted betas, s.e., facts, weight, industry, return, ratios, parts."""
        columns = [self.cells(self.daily[v], v) for v in ("return", "market_cap", "fs_industry_code")]
        for level in ("market", "sector", "subsector"):
            columns += [
                self.cells(self.raw["factor_beta"], f"raw_{level}", level=level),
                self.cells(self.raw["beta_se"], f"se_{level}", level=level),
                self.cells(self.raw["fact"], f"fact_{level}", level=level),
                self.cells(self.adjusted["factor_beta"], f"beta_{level}", level=level),
                self.cells(self.adjusted["shrinkage_weight"], f"weight_{level}", level=level),
                self.cells(self.returns["residual_return"], f"residual_{level}", level=level),
                self.cells(self.returns["factor_return"], f"factor_{level}", level=level),
                self.cells(self.returns["combined_factor_return"], f"combined_{level}", level=level),
            ]
        columns += [self.cells(self.hedge[v], str(v)) for v in self.hedge.data_vars]
        table = pd.concat(columns, axis=1)
        table = table[table["raw_market"].notna()].reset_index()
        etf = self.cells(self.etf["return"], "value")
        etf.index = etf.index.set_levels(self.etf.ticker.values, level="symbol")
        for level in ("market", "sector", "subsector"):
            table[f"etf_{level}"] = table[f"fact_{level}"].map(self.ticker)
            keys = pd.MultiIndex.from_frame(table[["teo", f"etf_{level}"]])
            table[f"leg_{level}"] = etf.reindex(keys).to_numpy()
        link = {
            v: self.cells(self.links[v], v).rename_axis(["teo", "symbol"])
            for v in ("L2_link_sec_mkt_BF", "L3_link_sub_mkt_BF")
        }
        for name, var, level in (("sm", "L2_link_sec_mkt_BF", "sector"), ("um", "L3_link_sub_mkt_BF", "subsector")):
            values = link[var]
            values.index = values.index.set_levels(self.links.ticker.values, level="symbol")
            table[name] = values.reindex(pd.MultiIndex.from_frame(table[["teo", f"etf_{level}"]])).to_numpy()
        pair = self.links["L3_link_sub_sec_pair_BF"].to_series()
        wanted = table["etf_subsector"].astype(str) + ":" + table["etf_sector"].astype(str)
        table["us"] = pair.reindex(pd.MultiIndex.from_arrays([table["teo"], wanted])).to_numpy()
        return table


CELL = ["teo", "fs_industry_code", "fact"]


def peers_of(table: pd.DataFrame, level: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table with `beta`, `omega`, `fact` and `peer` of a level; n, omega, mu and tau2 of each (industry, ETF)."""
    rows = table.assign(omega=np.log1p(table["market_cap"]), beta=table[f"raw_{level}"], fact=table[f"fact_{level}"])
    rows["peer"] = rows["beta"].notna() & rows["omega"].notna() & (rows["fs_industry_code"] > 0)
    peers = rows[rows["peer"]].copy()
    cells = peers.groupby(CELL)["omega"].agg(n="size", omega="sum")
    peers["part"] = peers["omega"] * peers["beta"]
    cells["mu"] = peers.groupby(CELL)["part"].sum() / cells["omega"]
    mu = cells["mu"].reindex(pd.MultiIndex.from_frame(peers[CELL])).to_numpy()
    peers["part"] = peers["omega"] * (peers["beta"] - mu) ** 2
    cells["tau2"] = (peers.groupby(CELL)["part"].sum() / cells["omega"]).clip(lower=1e-8)
    return rows, cells


def check_shrinkage(table: pd.DataFrame, min_peers: int) -> int:
    """Adjusted betas and weights follow methodology section 4; how many cells were shrunk."""
    shrunk = 0
    close(table["beta_market"], table["raw_market"], 0)
    assert (table["weight_market"] == 0).all()
    for level in LEVELS[1:]:
        rows, cells = peers_of(table, level)
        own = cells.reindex(pd.MultiIndex.from_frame(rows[CELL])).reset_index(drop=True)
        enough = rows["peer"] & (own["n"] >= min_peers)
        noise = table[f"se_{level}"] ** 2
        alpha = (noise / (noise + own["tau2"])).where(enough, 0.0).where(rows["beta"].notna())
        shrunk += int(enough.sum())
        close(table[f"weight_{level}"], alpha)
        close(table[f"beta_{level}"], (1 - alpha) * rows["beta"] + alpha * own["mu"].where(enough, 0.0))
    return shrunk


def check_aggregates(published: Published, table: pd.DataFrame) -> None:
    """Methodology section 5: means and variances by (industry, ETF), then over its ETFs by their companies."""
    industry = CELL[:2]
    for level in LEVELS:
        _, cells = peers_of(table, level)
        over = cells.groupby(industry)
        n = over["n"].sum()
        mean = (cells["n"] * cells["mu"]).groupby(industry).sum() / n
        second = (cells["n"] * (cells["tau2"] + cells["mu"] ** 2)).groupby(industry).sum() / n
        expected = {
            "n_companies": n,
            "n_facts": over.size(),
            "total_log_mcap_weight": over["omega"].sum(),
            "beta_mean": mean,
            "beta_variance": second - mean**2,
        }
        for name, values in expected.items():
            stored = published.industry[name].sel(level=level).to_series().astype(float)
            wanted = values.reindex(stored.index).astype(float)
            close(stored, wanted.fillna(0) if name.startswith("n_") else wanted, 2e-6)
