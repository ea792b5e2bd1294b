"""What `erm3 show` prints is what readers see."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from pipeline.read import open_dataset, open_family, published_master
from pipeline.reports.show import NotPublished, stock
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
