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

from pipeline.engine import execution, family
from pipeline.settings import ModelParameters
from tests.engine.published_market import FIRST, MODEL, Delivered, settings_for
from tests.engine.recomputed import LEVELS, RATIOS, Published, check_aggregates, check_shrinkage, close

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
    names = list(family.stores(settings_for(whole)))
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


@pytest.fixture(scope="module")
def published(whole: Path) -> Published:
    return Published(whole)


@pytest.fixture(scope="module")
def table(published: Published) -> pd.DataFrame:
    return published.table()


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


def test_betas_shrink_towards_the_mean_of_their_industry_and_etf(table: pd.DataFrame):
    assert check_shrinkage(table, MODEL.min_peers) > 2000


def test_industries_aggregate_the_raw_betas(published: Published, table: pd.DataFrame):
    check_aggregates(published, table)


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
        execution.execute(settings, FIRST, "2019-03-29", source=Delivered(tables))

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
