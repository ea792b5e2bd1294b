"""Stores side by side: their own values, under labels that mean one security each."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.query import NothingThere
from pipeline.query.names import Names
from tests.engine.conftest import EVE

RAW, ADJUSTED = "ds_erm3_betas", "ds_erm3_betas_adjusted"


def test_raw_and_adjusted_betas_lie_side_by_side_as_they_are_stored(family):
    both = family.dataset(RAW, ADJUSTED, chunks={})
    for store, own in ((RAW, "betas_factor_beta"), (ADJUSTED, "betas_adjusted_factor_beta")):
        stored = family.family.dataset(family.store_name(store), as_of_manifest=True).factor_beta
        np.testing.assert_array_equal(both[own].sel(symbol=stored.symbol.values).values, stored.values)
    assert not np.array_equal(both.betas_factor_beta, both.betas_adjusted_factor_beta, equal_nan=True)
    assert "factor_beta" not in both


def test_a_ticker_selects_one_security_and_nothing_dated_later(family, stocks):
    daily = family.dataset("ds_daily", ADJUSTED, as_of="2019-03-16")
    assert str(daily.teo.values[-1])[:10] == "2019-03-15"
    one = daily.sel(ticker=stocks[0])
    assert str(one.symbol.item()) == family.who(stocks[0], "2019-03-15").symbol
    assert one.factor_beta.sel(level="sector", teo=EVE, method="ffill").ndim == 0
    with pytest.raises(KeyError):
        daily.sel(ticker="NOBODY")


def test_two_holders_of_a_ticker_have_two_labels(family, stocks, monkeypatch):
    first, second = (family.who(ticker).symbol for ticker in stocks[:2])
    names = family.names
    spans = {k: v for k, v in names._of_id.items() if k not in (first, second)}
    of_first, of_second = names._of_id[first][-1], names._of_id[second][-1]
    recycled = [
        of_first._replace(valid_to="2019-01-15"),
        of_second._replace(text=of_first.text, valid_from="2019-02-01"),
    ]
    again = Names.__new__(Names)
    again.__dict__ |= names.__dict__ | {
        "_of_id": spans | {first: recycled[:1], second: recycled[1:]},
        "_of_ticker": {**names._of_ticker, of_first.text: recycled},
    }
    monkeypatch.setitem(family.__dict__, "names", again)
    daily = family.dataset("ds_daily")
    assert daily.sel(ticker=of_first.text).symbol.item() == second
    assert daily.sel(ticker=f"{of_first.text}#1").symbol.item() == first
    then = family.dataset("ds_daily", as_of="2019-01-10")
    assert then.sel(ticker=of_first.text).symbol.item() == first
    assert second not in then.symbol.values, "nobody knew it then"


def test_an_industry_is_selected_by_its_name(family):
    panel = family.industry_history("market")
    name = str(panel.name.values[0])
    np.testing.assert_array_equal(panel.beta_mean.sel(name=name).values, panel.beta_mean.values[:, 0])


def test_a_store_that_is_not_there_is_told_with_those_that_are(family):
    with pytest.raises(NothingThere, match="ds_daily"):
        family.dataset("ds_dayly")
