"""What `erm3 show` prints is what readers see."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from pipeline.read import open_dataset, open_family, published_master
from pipeline.reports.show import NotPublished, example, industries, stock
from tests.engine.conftest import EVE, published_eve, tables  # noqa: F401 (fixtures)
from tests.engine.published_market import settings_for


@pytest.mark.parametrize("name", ["ds_daily", "ds_masks"])
def test_values_without_xarray_are_those_of_the_dataset(name, published_eve):  # noqa: F811
    store, dataset = open_family(published_eve).store(name), open_dataset(name, published_eve)
    for variable in dataset.data_vars:
        np.testing.assert_array_equal(store.values(variable), dataset[variable].values)
        np.testing.assert_array_equal(store.values(variable, teo=3), dataset[variable].values[3])


def test_a_security_that_is_no_stock_is_said_to_be_none(published_eve):  # noqa: F811
    with published_master(published_eve) as master:
        etf = str(master.factor_etfs().sec_ids[0])
    with pytest.raises(NotPublished, match="no stock"):
        stock(settings_for(published_eve), etf, date.fromisoformat(EVE))


def test_a_stock_is_shown_with_its_published_values(published_eve):  # noqa: F811
    on, settings = date.fromisoformat(EVE), settings_for(published_eve)
    symbol, _ = example(settings, on)
    shown, fs = stock(settings, symbol, on), settings.factor_sets[0]
    at = {"symbol": symbol, "teo": EVE}
    beta = open_dataset(f"ds_erm3_betas_{fs}", published_eve).factor_beta.sel(at).values
    np.testing.assert_array_equal(shown["betas"]["beta"], beta)
    hedges = open_dataset(f"ds_erm3_hedge_weights_{fs}", published_eve).sel(at)
    assert shown["hedge"]["HR sector"].tolist()[1:] == [hedges.L2_sector_HR, hedges.L3_sector_HR]
    assert np.isnan(shown["hedge"]["HR sector"][0])
    close = open_dataset("ds_daily", published_eve)["close"].sel(at)
    assert dict(zip(*shown["day"].columns.values(), strict=True))["close"] == float(str(close.values[()]))


def test_industries_are_shown_widest_first_from_a_number_of_companies_on(published_eve):  # noqa: F811
    table = industries(settings_for(published_eve), date.fromisoformat(EVE), "market", 2)
    assert len(table)
    assert (table["n_companies"] >= 2).all()
    spread = table["beta_sd"][np.isfinite(table["beta_sd"])]
    assert (np.diff(spread) <= 0).all()
