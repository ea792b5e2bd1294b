"""The betas that come out against those that went into the simulated market."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.calendar import xnys
from pipeline.engine import execution
from pipeline.read import open_dataset
from pipeline.settings import AuditBounds, ModelParameters, Settings, SimulatedMarket
from pipeline.sources import SimulatedSource
from security_master import MASTER_FILE, SecurityMaster
from tests.engine.published_market import FACTOR_SET, Delivered

WINDOW = ModelParameters().window
FIRST = "2018-01-02"
ENDS = [str(xnys().sessions[xnys().ordinal(FIRST) + WINDOW * (k + 1) - 1]) for k in range(3)]
"""Last sessions of three windows that do not overlap."""
MARKET = SimulatedMarket(stocks=600, first_session=FIRST, last_session=ENDS[-1])
LEVELS = {"market": None, "sector": "sector_etf", "subsector": "subsector_etf"}


pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def errors(once: Callable) -> pd.DataFrame:
    """One row per window, stock and level: error of the beta, its standard error, observations.

    Left out are stocks whose truth no regression of daily returns can see: those with days without trading (their
    prices lag), those that changed their industry within the window, and levels at which a proxy stands in for an ETF.
    """

    def make(place: Path) -> None:
        source = SimulatedSource(MARKET)
        tables = Delivered(source.load())
        frames = []
        for end in ENDS:
            root = place / end
            settings = Settings(root=str(root), simulated=MARKET, audit=AuditBounds(recomputed_cells=0))
            execution.execute(settings, end, end, until="ds_erm3_betas", source=tables)
            frames.append(errors_of(root, end, source))
        pd.concat(frames, ignore_index=True).to_parquet(place / "errors.parquet")

    return pd.read_parquet(once("recovery", make) / "errors.parquet")


def errors_of(root: Path, end: str, source: SimulatedSource) -> pd.DataFrame:
    truth, calendar = source.truth, xnys()
    begin = pd.Timestamp(calendar.sessions[calendar.ordinal(end) - WINDOW + 1])
    betas = truth.betas.sort_values("valid_from")
    moved = set(betas.loc[betas.duplicated("key") & (betas["valid_from"] > begin), "key"])
    lagging = {key for key in betas["key"].unique() if not truth.traded(key)[begin:end].mean() > 0.99}
    known = betas[betas["valid_from"] <= end].drop_duplicates("key", keep="last").set_index("key")
    known = known[~known.index.isin(moved | lagging)]
    names = truth.identities.set_index("key").loc[known.index]
    with SecurityMaster.open(root / MASTER_FILE) as master:
        sec_ids = master.assign(names["vendor_code"].to_numpy(object), names["first_session"].to_numpy("datetime64[D]"))
    with open_dataset(f"ds_erm3_betas_{FACTOR_SET}", root) as dataset:
        found = dataset.isel(teo=0).load()
    etf = dict(zip(found.fact.attrs["flag_values"], found.fact.attrs["flag_meanings"].split(), strict=True))
    rows = []
    for key, sec_id, true in zip(known.index, sec_ids, known.to_dict("records"), strict=True):
        if sec_id not in found.symbol.values:
            continue
        cell = found.sel(symbol=sec_id)
        for k, (level, column) in enumerate(LEVELS.items()):
            used = etf[int(cell.fact[k])]
            if used == (true[column] if column else "SPY"):
                error = float(cell.factor_beta[k]) - true[level]
                rows.append((key, level, error, float(cell.beta_se[k]), int(cell.n_obs[k])))
    return pd.DataFrame(rows, columns=["key", "level", "error", "se", "n_obs"]).dropna()


@pytest.mark.parametrize("level", LEVELS)
def test_betas_have_no_bias_over_a_thousand_stock_windows_that_do_not_overlap(errors: pd.DataFrame, level: str):
    found = errors[errors["level"] == level]
    assert len(found) >= 1000
    assert abs(found["error"].mean()) < 0.03


@pytest.mark.parametrize("level", LEVELS)
def test_standard_errors_are_as_large_as_the_errors(errors: pd.DataFrame, level: str):
    found = errors[errors["level"] == level]
    assert 0.9 < (found["error"] / found["se"]).std() < 1.4


def test_full_windows_are_full(errors: pd.DataFrame):
    """Most stocks were listed throughout: the first session of a listing has no return."""
    assert (errors["n_obs"] >= WINDOW - 1).mean() > 0.8
    assert np.isfinite(errors[["error", "se"]].to_numpy()).all()
