"""What was published, opened as any reader opens it, and computed again with pandas alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline import engine
from pipeline.settings import ModelParameters
from tests.engine.market import FACTOR_SET, FIRST, MODEL, Delivered, settings_for

READER = """
import json, sys
import xarray as xr
found = {}
for name in sys.argv[2:]:
    with xr.open_zarr(f"{sys.argv[1]}/{name}.zarr", consolidated=True) as dataset:
        dataset = dataset.load()
        found[name] = {
            "teo": [str(dataset.teo.values[k])[:10] for k in (0, -1)],
            "variables": {str(v): [str(dataset[v].dtype), list(dataset[v].dims)] for v in dataset.data_vars},
            "values": int(sum(dataset[v].notnull().sum() for v in dataset.data_vars)),
        }
assert not {name.partition(".")[0] for name in sys.modules} & {"pipeline", "security_master", "assets"}
print(json.dumps(found))
"""


def test_every_store_opens_with_xarray_in_a_new_process(whole: Path, tmp_path: Path):
    names = list(engine.stores(settings_for(whole)))
    done = subprocess.run(
        [sys.executable, "-c", READER, str(whole), *names], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == names
    for name, store in found.items():
        assert store["teo"] == [FIRST, "2019-04-30"], name
        assert store["values"] > 0, name
        for var, (dtype, dims) in store["variables"].items():
            assert dtype in ("float32", "int16", "bool", "uint8"), f"{name}/{var}"
            assert dims[0] == "teo", f"{name}/{var}"
            assert dims[1] in ("symbol", "fs_industry_code", "link"), f"{name}/{var}"


# --- recomputed with pandas -------------------------------------------------------------------------------------


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


@pytest.fixture(scope="module")
def published(whole: Path) -> Published:
    return Published(whole)


@pytest.fixture(scope="module")
def table(published: Published) -> pd.DataFrame:
    return published.table()


RATIOS = {
    1: {"market": "L1_market_HR"},
    2: {"market": "L2_market_HR", "sector": "L2_sector_HR"},
    3: {"market": "L3_market_HR", "sector": "L3_sector_HR", "subsector": "L3_subsector_HR"},
}
LEVELS = ("market", "sector", "subsector")


def close(a: pd.Series, b: pd.Series, tolerance: float = 1e-6) -> None:
    np.testing.assert_array_equal(a.isna(), b.isna())
    np.testing.assert_allclose(a.dropna(), b.dropna(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("depth", RATIOS)
def test_raw_etf_returns_and_the_residual_replicate_the_return(table: pd.DataFrame, depth: int):
    hedged = sum(-table[ratio] * table[f"leg_{level}"] for level, ratio in RATIOS[depth].items())
    residual = table[f"residual_{LEVELS[depth - 1]}"]
    have = hedged.notna() & table["return"].notna()
    assert have.sum() > 3000
    close(table["return"][have], (hedged + residual)[have])
    close(table[f"combined_{LEVELS[depth - 1]}"][have], hedged[have])
    assert residual[~have].isna().all()


def test_hedge_ratios_follow_from_betas_and_link_betas(table: pd.DataFrame):
    m, s, u = (table[f"beta_{level}"] for level in LEVELS)
    close(table["L1_market_HR"], -m)
    close(table["L2_sector_HR"], -s)
    close(table["L2_market_HR"], -(m - s * table["sm"]))
    close(table["L3_subsector_HR"], -u)
    close(table["L3_sector_HR"], -(s - u * table["us"]))
    close(table["L3_market_HR"], -(m - s * table["sm"] - u * (table["um"] - table["us"] * table["sm"])), 2e-6)


def test_factor_returns_are_betas_times_cleaned_factors(table: pd.DataFrame):
    m, s, u = (table[f"leg_{level}"] for level in LEVELS)
    cleaned = {"market": m, "sector": s - table["sm"] * m}
    cleaned["subsector"] = u - table["um"] * m - table["us"] * cleaned["sector"]
    for level in LEVELS:
        expected = (table[f"beta_{level}"] * cleaned[level]).where(table["return"].notna())
        close(table[f"factor_{level}"].where(table["return"].notna()), expected)


@pytest.mark.parametrize("depth", RATIOS)
def test_shares_add_to_one(table: pd.DataFrame, depth: int):
    shares = table[[f"L{depth}_{level}_ER" for level in (*LEVELS[:depth], "residual")]]
    total = shares.sum(axis=1, skipna=False)
    assert total.notna().sum() > 3000
    np.testing.assert_allclose(total.dropna(), 1, atol=1e-6)
    assert (shares.isna().sum(axis=1).isin([0, depth + 1])).all()


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


def test_betas_shrink_towards_the_mean_of_their_industry_and_etf(table: pd.DataFrame):
    close(table["beta_market"], table["raw_market"], 0)
    assert (table["weight_market"] == 0).all()
    for level in LEVELS[1:]:
        rows, cells = peers_of(table, level)
        own = cells.reindex(pd.MultiIndex.from_frame(rows[CELL])).reset_index(drop=True)
        enough = rows["peer"] & (own["n"] >= MODEL.min_peers)
        noise = table[f"se_{level}"] ** 2
        alpha = (noise / (noise + own["tau2"])).where(enough, 0.0).where(rows["beta"].notna())
        assert enough.sum() > 1000
        close(table[f"weight_{level}"], alpha)
        close(table[f"beta_{level}"], (1 - alpha) * rows["beta"] + alpha * own["mu"].where(enough, 0.0))


def test_industries_aggregate_the_raw_betas(published: Published, table: pd.DataFrame):
    """Means and variances by (industry, ETF) first, then over the ETFs of an industry by their companies."""
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


def test_the_hedge_depth_is_the_deepest_level_that_explains_a_percent(published: Published, table: pd.DataFrame):
    depth = published.returns["lstar_level"].to_series()
    depth = depth.reindex(pd.MultiIndex.from_frame(table[["teo", "symbol"]])).to_numpy()
    threshold = published.returns.attrs["Lstar_threshold"]
    deep, middle = table["L3_subsector_ER"] >= threshold, table["L2_sector_ER"] >= threshold
    none = table["L3_subsector_ER"].isna() & table["L2_sector_ER"].isna()
    expected = np.select([none, deep, middle], [0, 3, 2], 1)
    np.testing.assert_array_equal(depth, expected)
    assert set(depth) >= {1, 2, 3}


NARROW = ModelParameters(estimator="ols", window=42, min_obs=21, half_life=30.0, min_peers=1000)
"""Windows that lie within the published sessions, least squares, and nothing shrunk."""


@pytest.fixture(scope="session")
def narrow(once: Callable, tables) -> Path:
    def make(place: Path) -> None:
        settings = settings_for(place / "root", model=NARROW)
        engine.execute(settings, FIRST, "2019-03-29", source=Delivered(tables))

    return once("engine-narrow", make) / "root"


@pytest.fixture(scope="module")
def windows(narrow: Path) -> list[tuple[pd.Series, pd.DataFrame]]:
    """Cells with three levels and a window without gaps: the row of the table, the returns of stock and legs."""
    published = Published(narrow)
    table = published.table()
    daily, etf = (data["return"].to_pandas() for data in (published.daily, published.etf))
    etf.columns = published.etf.ticker.values
    found = []
    for _, row in table[table["raw_subsector"].notna()].iloc[::40].iterrows():
        last = daily.index.get_loc(row["teo"])
        if last + 1 < NARROW.window:
            continue
        part = slice(last + 1 - NARROW.window, last + 1)
        frame = pd.DataFrame({"r": daily[row["symbol"]].iloc[part]})
        for level in LEVELS:
            frame[level] = etf[row[f"etf_{level}"]].iloc[part]
        if frame.notna().all(axis=None):
            found.append((row, frame.astype(float)))
    assert len(found) > 30
    return found


WEIGHTS = 0.5 ** (np.arange(NARROW.window)[::-1] / NARROW.half_life)  # type: ignore[operator]


def test_hedge_ratios_are_the_joint_regression_on_raw_etfs(windows):
    """With least squares, no gaps and nothing shrunk (Frisch and Waugh)."""
    root = np.sqrt(WEIGHTS)[:, None]
    for row, frame in windows:
        joint = np.linalg.lstsq(root * frame[list(LEVELS)].to_numpy(), root[:, 0] * frame["r"].to_numpy(), rcond=None)
        ratios = [-row[RATIOS[3][level]] for level in LEVELS]
        np.testing.assert_allclose(ratios, joint[0], rtol=2e-6, atol=2e-6)


def test_shares_are_what_each_level_takes_from_the_variance(windows):
    def variance(x: pd.Series) -> float:
        return float(np.cov(x, aweights=WEIGHTS, bias=True))

    for row, frame in windows:
        m, s, u = (frame[level] for level in LEVELS)
        clean_s = s - row["sm"] * m
        clean_u = u - row["um"] * m - row["us"] * clean_s
        steps = [frame["r"]]
        for level, factor in zip(LEVELS, (m, clean_s, clean_u), strict=True):
            steps.append(steps[-1] - row[f"beta_{level}"] * factor)
        v = [variance(step) for step in steps]
        for depth in (1, 2, 3):
            for k, level in enumerate(LEVELS[:depth]):
                assert row[f"L{depth}_{level}_ER"] == pytest.approx((v[k] - v[k + 1]) / v[0], abs=2e-6)
            assert row[f"L{depth}_residual_ER"] == pytest.approx(v[depth] / v[0], abs=2e-6)
        assert row["_stock_var"] == pytest.approx(v[0], rel=2e-6)
