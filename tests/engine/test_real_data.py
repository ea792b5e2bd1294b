"""The model on real prices against independent oracles: statsmodels, scikit-learn, pandas."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm
from scipy.optimize import brentq
from sklearn.linear_model import HuberRegressor

from pipeline import model
from pipeline.engine import execution
from pipeline.model import KernelParams
from pipeline.settings import ModelParameters, Settings
from tests.engine.recomputed import LEVELS, Published, check_aggregates, check_shrinkage, close

pytestmark = pytest.mark.real_data

FIRST, LAST = "2023-05-01", "2024-06-28"
"""A year of windows is behind the last sessions, so that windows can be read from what is published."""
WINDOW = ModelParameters().window
EPSILON = ModelParameters().huber_epsilon


BEGINS = datetime.date(2022, 1, 3)
"""Bars before this session are in no window of a published one: two decades of them are not read here."""


@pytest.fixture(scope="session")
def root(once: Callable, real_data: Path) -> Path:
    def make(place: Path) -> None:
        delivery = place / "delivery"
        delivery.mkdir()
        for path in real_data.iterdir():
            (delivery / path.name).symlink_to(path)
        (delivery / "prices.parquet").unlink()
        prices = pq.read_table(real_data / "prices.parquet", filters=[("date", ">=", BEGINS)])
        pq.write_table(prices, delivery / "prices.parquet")
        settings = Settings(root=str(place / "root"), source="files", source_path=str(delivery))
        execution.execute(settings, FIRST, LAST)

    return once("real", make) / "root"


@pytest.fixture(scope="module")
def published(root: Path) -> Published:
    return Published(root)


@pytest.fixture(scope="module")
def table(published: Published) -> pd.DataFrame:
    return published.table()


class Panel:
    """Published returns of some stocks and of all ETFs, as the kernels take them."""

    def __init__(self, published: Published, symbols: list[str], sessions: int) -> None:
        self.published, self.symbols, self.sessions = published, symbols, sessions
        length = WINDOW - 1 + sessions
        codes = sorted(code for code in published.ticker if code)
        self.tickers = [published.ticker[code] for code in codes]
        daily, etf = (data["return"].to_pandas().iloc[-length:] for data in (published.daily, published.etf))
        etf.columns = published.etf.ticker.values
        self.r = np.ascontiguousarray(daily[symbols].to_numpy(float).T)
        self.etf = np.ascontiguousarray(etf.reindex(columns=self.tickers).to_numpy(float).T)
        fact = published.raw["fact"].sel(symbol=symbols).isel(teo=slice(-sessions, None))
        legs = np.where(fact.values > 0, np.searchsorted(codes, fact.values), -1).astype(np.int16)
        self.market = self.tickers.index("SPY")
        self.sector, self.subsector = (np.ascontiguousarray(legs[..., k].T) for k in (1, 2))

    def cascade(self, **parameters) -> model.Cascade:
        wanted = np.ones(self.sector.shape, bool)
        return model.cascade(
            self.r, self.etf, self.market, self.sector, self.subsector, wanted, 0, KernelParams(**parameters)
        )

    def links(self, **parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Link betas of each stock's ETFs at each session."""
        pairs = np.unique(np.stack([self.subsector.ravel(), self.sector.ravel()], axis=1), axis=0)
        pairs = np.ascontiguousarray(pairs[(pairs >= 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])])
        links = model.link_betas(self.etf, self.market, pairs, 0, KernelParams(**parameters))
        return model.links_of_stocks(links, pairs, self.sector, self.subsector)

    def window(self, stock: int, session: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Returns of a stock and of its three ETFs in one window."""
        part = slice(session, session + WINDOW)
        rows = (self.market, self.sector[stock, session], self.subsector[stock, session])
        return self.r[stock, part], [self.etf[row, part] for row in rows]


@pytest.fixture(scope="module")
def whole_panel(published: Published, table: pd.DataFrame) -> Panel:
    """20 stocks with three levels of their own and no gap in the windows of the last 20 sessions."""
    days = published.raw.teo.values[-20:]
    deep = table[table["teo"].isin(days) & table["raw_subsector"].notna()].groupby("symbol").size()
    gapless = published.daily["return"].to_pandas().iloc[-(WINDOW + 19) :].notna().all()
    symbols = [symbol for symbol in deep.index[deep == 20] if gapless[symbol]]
    assert len(symbols) > 200
    return Panel(published, symbols[:: len(symbols) // 20][:20], 20)


def weights(half_life: float | None) -> np.ndarray:
    ages = np.arange(WINDOW)[::-1]
    return np.ones(WINDOW) if half_life is None else 0.5 ** (ages / half_life)


@pytest.mark.parametrize("half_life", [None, 126.0])
def test_ols_betas_of_l1_are_those_of_statsmodels(whole_panel: Panel, half_life: float | None):
    found = whole_panel.cascade(estimator="ols", half_life=half_life)
    for stock in range(20):
        for session in range(20):
            r, (m, _, _) = whole_panel.window(stock, session)
            fit = sm.WLS(r, m[:, None], weights=weights(half_life)).fit()
            assert abs(found.beta[0, stock, session] - fit.params[0]) < 1e-9
            if half_life is None:
                assert found.se[0, stock, session] == pytest.approx(fit.bse[0], rel=1e-9)


@pytest.mark.parametrize("half_life", [None, 126.0])
def test_l3_hedge_ratios_are_the_joint_regression_of_statsmodels(whole_panel: Panel, half_life: float | None):
    found = whole_panel.cascade(estimator="ols", half_life=half_life)
    ratios = model.hedge_ratios(found.beta, *whole_panel.links(estimator="ols", half_life=half_life))
    for stock in range(20):
        for session in (0, 10, 19):
            r, legs = whole_panel.window(stock, session)
            fit = sm.WLS(r, np.stack(legs, axis=1), weights=weights(half_life)).fit()
            np.testing.assert_allclose(-ratios[3:, stock, session], fit.params, atol=1e-8)


def test_huber_betas_are_optimal_and_no_worse_than_those_of_scikit_learn(whole_panel: Panel):
    found, links = whole_panel.cascade(), whole_panel.links()
    assert found.unconverged == 0
    w = weights(126.0)
    for stock in range(20):
        for session in (0, 19):
            y, (m, s, u) = whole_panel.window(stock, session)
            sm_, um, us = (link[stock, session] for link in links)
            clean_s = s - sm_ * m
            for level, x in enumerate((m, clean_s, u - um * m - us * clean_s)):
                beta = found.beta[level, stock, session]
                scale = scale_of(x, y, w, beta)
                z = np.clip((y - beta * x) / scale, -EPSILON, EPSILON)
                assert abs((w * x * z).sum()) <= 1e-10 * EPSILON * (w * np.abs(x)).sum()
                if session == 0:
                    unit_x, unit_y = x.std(), y.std()
                    theirs = HuberRegressor(epsilon=EPSILON, alpha=0, fit_intercept=False, tol=1e-8, max_iter=1000)
                    theirs.fit((x / unit_x)[:, None], y / unit_y, sample_weight=w)
                    their_beta, their_scale = theirs.coef_[0] * unit_y / unit_x, theirs.scale_ * unit_y
                    ours = objective(x, y, w, beta, scale)
                    assert ours <= objective(x, y, w, their_beta, their_scale) * (1 + 1e-12)
                y = y - beta * x


def scale_of(x: np.ndarray, y: np.ndarray, w: np.ndarray, beta: float) -> float:
    """The scale at which the derivative of the objective in the scale is zero, for a slope."""
    residual = np.abs(y - beta * x)

    def gradient(scale: float) -> float:
        return float((w * (1 - np.minimum(residual / scale, EPSILON) ** 2)).sum())

    top = float(np.sqrt((w * residual**2).sum() / w.sum()))
    return float(brentq(gradient, 0.01 * top, 2 * top, xtol=1e-18, rtol=1e-15))


def objective(x: np.ndarray, y: np.ndarray, w: np.ndarray, beta: float, scale: float) -> float:
    z = np.abs(y - beta * x) / scale
    loss = np.where(z <= EPSILON, z * z, 2 * EPSILON * z - EPSILON**2)
    return float((w * (scale + loss * scale)).sum())


def test_published_betas_are_those_of_the_kernel_on_published_returns(whole_panel: Panel, published: Published):
    found = whole_panel.cascade()
    stored = published.raw["factor_beta"].sel(symbol=whole_panel.symbols).isel(teo=slice(-20, None)).values
    np.testing.assert_allclose(stored, found.beta.transpose(2, 1, 0), rtol=1e-6, atol=1e-7)


def test_betas_shrink_towards_the_mean_of_their_industry_and_etf(table: pd.DataFrame):
    assert check_shrinkage(table, ModelParameters().min_peers) > 10_000


def test_industries_aggregate_the_raw_betas(published: Published, table: pd.DataFrame):
    check_aggregates(published, table)


def test_shares_are_what_each_level_takes_from_the_variance(published: Published, table: pd.DataFrame):
    """From published returns, adjusted betas and link betas of one session, for stocks without a gap in the window."""
    today = table[(table["teo"] == table["teo"].max()) & table["raw_subsector"].notna()]
    daily, etf = (data["return"].to_pandas().iloc[-WINDOW:] for data in (published.daily, published.etf))
    etf.columns = published.etf.ticker.values
    rows = today[daily[today["symbol"]].notna().all().to_numpy()]
    assert len(rows) > 200
    r = daily[rows["symbol"]].to_numpy(float)
    m, s, u = (etf[rows[f"etf_{level}"]].to_numpy(float) for level in LEVELS)
    sm_, um, us = (rows[name].to_numpy() for name in ("sm", "um", "us"))
    clean_s = s - sm_ * m
    steps = [r]
    for level, factor in zip(LEVELS, (m, clean_s, u - um * m - us * clean_s), strict=True):
        steps.append(steps[-1] - rows[f"beta_{level}"].to_numpy() * factor)
    w = weights(126.0)[:, None]
    v = [((w * (x - (w * x).sum(0) / w.sum()) ** 2).sum(0)) / w.sum() for x in steps]
    for depth in (1, 2, 3):
        for k, level in enumerate(LEVELS[:depth]):
            close(rows[f"L{depth}_{level}_ER"], pd.Series((v[k] - v[k + 1]) / v[0], rows.index), 2e-6)
        close(rows[f"L{depth}_residual_ER"], pd.Series(v[depth] / v[0], rows.index), 2e-6)
    np.testing.assert_allclose(rows["_stock_var"], v[0], rtol=2e-6)


def test_the_return_of_every_cell_is_replicated(table: pd.DataFrame):
    ratios = ("L3_market_HR", "L3_sector_HR", "L3_subsector_HR")
    hedged = sum(-table[ratio] * table[f"leg_{level}"] for ratio, level in zip(ratios, LEVELS, strict=True))
    have = hedged.notna() & table["return"].notna()
    assert have.sum() > 80_000
    assert np.abs(table["return"] - hedged - table["residual_subsector"])[have].max() < 1e-6


def test_realised_effectiveness_is_that_of_plain_numpy_on_published_returns_and_ratios(published: Published):
    found = published.open("ds_erm3_effectiveness_SPY_uni_mc_3000")
    hedge, adjusted = published.hedge, published.adjusted
    assert (found.symbol.values == hedge.symbol.values).all()
    r = published.daily["return"].sel(symbol=found.symbol).values.astype(float)
    etf = published.etf["return"].to_pandas()
    etf.columns = published.etf.ticker.values
    by_code = np.full((len(found.teo), max(published.ticker) + 1), np.nan)
    for code, ticker in published.ticker.items():
        if code and ticker in etf.columns:
            by_code[:, code] = etf[ticker].to_numpy(float)
    fact = adjusted["fact"].values[:-1]
    legs = [np.take_along_axis(by_code[1:], fact[..., k], axis=1) for k in range(3)]
    market = etf["SPY"].to_numpy(float)
    worst, compared = 0.0, 0
    for depth in (1, 2, 3):
        hedged = np.full_like(r, np.nan)
        names = [f"L{depth}_{level}_HR" for level in LEVELS[:depth]]
        hedged[1:] = r[1:] + sum(hedge[n].values[:-1].astype(float) * leg for n, leg in zip(names, legs, strict=False))
        stored = found["hedged_return"].values[..., depth - 1]
        np.testing.assert_array_equal(np.isnan(stored), np.isnan(hedged))
        assert np.nanmax(np.abs(stored - hedged)) < 1e-6
        for window in (63, 252):
            part = slice(len(r) - window, None)
            have = np.isfinite(hedged[part]) & np.isfinite(market[part])[:, None]
            h, own = np.where(have, hedged[part], np.nan), np.where(have, r[part], np.nan)
            enough = (have.sum(axis=0) * 2 >= window) & have[-1]
            m = np.where(have, market[part][:, None], 0.0)[:, enough]
            share = np.nanvar(h[:, enough], axis=0) / np.nanvar(own[:, enough], axis=0)
            left = (np.nan_to_num(h[:, enough]) * m).sum(axis=0) / (m * m).sum(axis=0)
            for var, wanted in ((f"variance_share_{window}", share), (f"market_beta_left_{window}", left)):
                have_now = found[var].values[-1, :, depth - 1]
                np.testing.assert_array_equal(np.isfinite(have_now), enough)
                worst = max(worst, float(np.abs(have_now[enough] - wanted).max()))
                compared += len(wanted)
            promised = hedge[f"L{depth}_residual_ER"].values[-1 - window]
            stored = found[f"promised_share_{window}"].values[-1, :, depth - 1]
            assert (stored == promised)[np.isfinite(stored)].all()
    assert compared > 4000
    assert worst < 1e-6
