"""What the rules find in a simulated market with planted vendor errors."""

from __future__ import annotations

import pandas as pd
import pytest

from pipeline.reports.dry_run import dry_run
from pipeline.reports.quality_score import CAUGHT_BY, Score, score_faults
from pipeline.settings import DataRules, Settings, SimulatedMarket
from pipeline.sources.planted_faults.plant import FULL_COUNTS, plant_faults, scaled_counts
from pipeline.vendors.layers import open_source


def score(stocks: int, scale: float, seed: int, market_seed: int = 20060103) -> Score:
    settings = Settings(source="simulated", simulated=SimulatedMarket(stocks=stocks, seed=market_seed))
    clean = open_source(settings).load()
    planted, ledger = plant_faults(clean, seed=seed, counts=scaled_counts(scale))
    return score_faults(clean, planted, ledger, DataRules())


def test_every_kind_of_planted_error_has_the_rules_that_are_meant_for_it():
    assert set(CAUGHT_BY) == set(FULL_COUNTS)


def test_in_a_small_market_nearly_every_error_is_found_and_clean_cells_stay():
    result = score(80, 0.1, seed=1)
    assert result.recall >= 0.95
    assert result.taken_away <= 1e-4
    harmless = result.kinds[result.kinds["kind"].isin(["price_x100", "price_sentinel", "price_impossible"])]
    assert harmless["planted"].sum() >= 5
    assert (harmless["recall"] == 1).all()
    assert harmless["harm"].max() < 0.1
    newer = result.kinds[
        result.kinds["kind"].isin(["shared_test_price", "placeholder_count", "count_of_another_class"])
    ]
    assert len(newer) == 3
    assert (newer["recall"] == 1).all()


def test_in_a_clean_market_nearly_nothing_is_said_of_counts_and_nothing_of_test_prices():
    """Classes of one company with counts of their own, companies with few trades, splits between quarters and filings:
    only two codes of one company that overlap for a while have one count."""
    market = SimulatedMarket(stocks=60, first_session="2018-01-02", last_session="2019-12-31")
    found = dry_run(open_source(Settings(source="simulated", simulated=market)).load(), DataRules(), caps=True)
    rules = pd.concat([found.panel.quarantine, found.facts.findings])["rule"]
    assert not rules.isin(["shared_price", "share_count_below_volume", "share_count_restated"]).any()
    assert (rules == "share_count_contradicted").sum() <= 2


def test_a_missing_stock_dividend_leaves_no_trace_and_other_splits_do():
    market = SimulatedMarket(stocks=40, first_session="2018-01-02", last_session="2019-12-31")
    clean = open_source(Settings(source="simulated", simulated=market)).load()
    ledger = plant_faults(clean, seed=1, counts={"missing_split": 100})[1]
    shows = ledger.set_index("true_value")["detectable_from_single_source"]
    assert not shows[["21:20"]].any()
    assert shows[[ratio for ratio in shows.index if ratio in ("2:1", "3:1", "4:1", "1:8", "1:10", "1:20")]].all()
    assert shows.any()


@pytest.mark.slow
@pytest.mark.parametrize("market_seed", [20060103, 7, 99])
def test_in_a_larger_market_recall_and_genuine_jumps_are_kept(market_seed):
    result = score(600, 1.0, seed=market_seed, market_seed=market_seed)
    assert result.recall >= 0.95
    many = result.kinds[result.kinds["detectable"] >= 20]
    assert len(many) >= 10
    assert (many["recall"] >= 0.95).all()
    assert result.taken_away <= 1e-4
    assert result.jumps >= 30
    assert result.kept >= 0.99
