"""A nightly run, a backfill and everything between give the same bits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest

from pipeline.calendar import xnys
from pipeline.datasets.spec import ROW_CHUNK as ROWS
from pipeline.engine import execution, family
from pipeline.read import open_dataset, read_manifest
from pipeline.settings import ModelParameters, SimulatedMarket
from pipeline.sources import SourceTables
from tests.engine.conftest import EVE
from tests.engine.published_market import (
    FACTOR_SET,
    FIRST,
    LAST,
    Delivered,
    differences,
    known_at,
    lasting_attributes,
    published,
    seen_by_readers,
    sessions,
    settings_for,
    stored_values,
    tables_of,
)

NIGHTS = {"three": sessions("2019-01-14", "2019-01-16"), "ten": sessions("2019-01-14", "2019-01-28")}
"""Two companies list on the second one (an heir of a dead ticker, a spin-off), and windows reach into the warm-up."""


def cut_to_the_symbols_of(arrays: dict, smaller: dict) -> dict:
    """The stores of one root without the symbols at the end of their axes that another root does not have."""
    cut = {}
    for store, values in arrays.items():
        if "symbol" not in values:
            cut[store] = values
            continue
        all_symbols, kept = len(values["symbol"]), len(smaller[store]["symbol"])
        cut[store] = {
            name: array[:kept] if array.shape == (all_symbols,) else array[:, :kept] if along_symbols else array
            for name, array in values.items()
            for along_symbols in [array.ndim > 1 and array.shape[1] == all_symbols]
        }
    return cut


@pytest.mark.parametrize("count", ["three", pytest.param("ten", marks=pytest.mark.slow)])
def test_nights_and_a_catch_up_give_the_bytes_of_one_run(tables, whole, eve, count):
    """Each night sees what was known that night; the one run sees everything that is known months later."""
    before = {store: values["symbol"] for store, values in published(eve).items() if "symbol" in values}
    nights = NIGHTS[count]
    for night in nights:
        execution.execute(settings_for(eve), night, night, source=known_at(tables, night))
    by_night, at_once = published(eve), published(whole, through=nights[-1])
    grown = [store for store, symbols in before.items() if len(by_night[store]["symbol"]) > len(symbols)]
    assert {"ds_daily", "ds_masks"} <= set(grown)
    for store, symbols in before.items():
        assert list(by_night[store]["symbol"][: len(symbols)]) == list(symbols)
    # The tickers are those of the last session of each store, and are compared when both have the same.
    assert differences(by_night, cut_to_the_symbols_of(at_once, by_night), ignore=("ticker", "unique_ticker")) == []

    execution.execute(settings_for(eve), sessions(nights[-1], LAST)[1], LAST, source=Delivered(tables))
    assert stored_values(eve) == stored_values(whole)
    assert lasting_attributes(eve) == lasting_attributes(whole)
    after = published(eve)
    assert all(len(after[store]["symbol"]) > len(symbols) for store, symbols in before.items())


def test_running_the_same_range_again_changes_nothing(tables, eve):
    before = seen_by_readers(eve)
    outcome = execution.execute(settings_for(eve), FIRST, EVE, source=known_at(tables, EVE))
    assert outcome.publication is None
    assert seen_by_readers(eve) == before

    values = stored_values(eve)
    execution.execute(settings_for(eve), "2019-01-10", EVE, source=Delivered(tables))  # months later
    assert stored_values(eve) == values
    assert read_manifest(eve)["complete_through"] == EVE


def test_neither_threads_nor_the_order_of_the_source_rows_change_a_byte(tables, whole, tmp_path):
    execution.execute(settings_for(tmp_path, threads=1), FIRST, LAST, source=Delivered(shuffled(tables)))
    assert stored_values(tmp_path) == stored_values(whole)


def shuffled(tables: SourceTables) -> SourceTables:
    frames = {
        name: frame.sample(frac=1.0, random_state=20060103 + k).reset_index(drop=True)
        for k, (name, frame) in enumerate(tables.frames.items())
        if name not in ("taxonomy", "factor_etfs")
    }
    return replace(tables, **frames)


@pytest.mark.slow
def test_until_stops_after_a_store_and_what_it_needs_and_a_full_run_adds_the_rest(tables, published_eve, tmp_path):
    source = known_at(tables, EVE)
    outcome = execution.execute(settings_for(tmp_path), FIRST, EVE, until="ds_masks", source=source)
    assert outcome.publication is not None
    assert list(read_manifest(tmp_path)["stores"]) == ["ds_daily", "ds_masks"]
    assert outcome.publication.complete_through is None
    outcome = execution.execute(settings_for(tmp_path), FIRST, EVE, source=source)
    assert outcome.publication is not None
    assert outcome.publication.complete_through == EVE
    assert stored_values(tmp_path) == stored_values(published_eve)


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        ("2019-01-15", "2019-01-15", "run 2019-01-14 to 2019-01-14 before 2019-01-15"),
        ("2018-11-30", "2019-01-14", "published from 2018-12-03 on"),
        ("2019-01-12", "2019-01-13", "no exchange session"),
        ("2019-01-14", "2019-05-01", "has no price of SPY on 1 of"),
    ],
)
def test_a_range_that_does_not_fit_is_refused_before_anything_is_computed(tables, eve, first, last, says):
    before = seen_by_readers(eve)
    with pytest.raises(family.RangeError, match=says):
        execution.execute(settings_for(eve), first, last, source=Delivered(tables))
    assert seen_by_readers(eve) == before


BORDER_MARKET = SimulatedMarket(stocks=12, first_session="2018-01-02", last_session="2020-03-31")
BORDER_MODEL = ModelParameters(window=21, min_obs=11, half_life=10.0, min_peers=2)


@pytest.mark.slow
def test_runs_cut_at_and_around_the_border_of_a_chunk_give_the_bytes_of_one_run(tmp_path):
    tables, days = tables_of(BORDER_MARKET), sessions("2018-02-07", "2020-03-31")
    last = ROWS + 5
    cuts = [0, ROWS - 1, ROWS, ROWS + 1, last + 1]  # the last row of a chunk and the first row of the next, alone
    roots = {}
    for name, ends in (("whole", [0, last + 1]), ("cut", cuts)):
        roots[name] = tmp_path / name
        settings = settings_for(roots[name], simulated=BORDER_MARKET, model=BORDER_MODEL)
        for a, b in pairwise(ends):
            execution.execute(settings, days[a], days[b - 1], source=known_at(tables, days[b - 1]))
    assert stored_values(roots["cut"]) == stored_values(roots["whole"])
    with open_dataset(f"ds_erm3_betas_{FACTOR_SET}", roots["whole"]) as betas:
        across = betas.factor_beta.isel(teo=slice(ROWS - 2, ROWS + 2), level=2)
        assert int(across.notnull().sum()) > 20


def test_the_window_of_the_first_published_session_is_full(tables, whole):
    """Inputs in front of the first published session are read: its betas have as many observations as later ones."""
    with open_dataset(f"ds_erm3_betas_{FACTOR_SET}", whole) as betas, open_dataset("ds_daily", whole) as daily:
        n_obs = betas.n_obs.isel(teo=0).sel(level="market").to_pandas()
        first_price = tables.prices.groupby("vendor_code", observed=True)["date"].min()
        old = pd.Index(daily.ticker.values).isin(first_price.index[first_price == "2018-01-02"])
        old_symbols = [s for s in daily.symbol.values[old] if s in n_obs.index]
        calendar = xnys()
        returns_so_far = calendar.ordinal(FIRST) - calendar.ordinal("2018-01-02")
    assert len(old_symbols) > 40
    assert int((n_obs[old_symbols] == returns_so_far).sum()) > 40
