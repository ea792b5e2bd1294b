"""The existing Python client, unchanged, against our server: every method that section of the API serves.

make test-client        makes .venv-client (it needs pandas before 3) and runs this
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serve.conftest import KEY, serving

pytestmark = pytest.mark.client
PYTHON = Path(os.environ.get("CLIENT_PYTHON", Path(__file__).parents[2] / ".venv-client/bin/python"))
CALLS = Path(__file__).with_name("client_calls.py")


@pytest.fixture(scope="module")
def found(whole, stocks, tmp_path_factory) -> dict[str, Any]:
    assert PYTHON.exists(), "run `make test-client`, which makes the environment of the client"
    with serving(whole, key=KEY) as server:
        words = [str(PYTHON), str(CALLS), server.address, KEY, *stocks[:3]]
        done = subprocess.run(words, cwd=tmp_path_factory.mktemp("client"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_snapshot_has_the_clients_names_and_our_numbers(found, family, stocks):
    expected = family.metrics(stocks[0])
    for name, wire in (
        ("l3_market_hr", "l3_mkt_hr"),
        ("l3_residual_er", "l3_res_er"),
        ("l1_market_beta", "l1_mkt_beta"),
    ):
        assert np.float32(found["metrics"][name]) == expected["metrics"][wire]
    assert found["metrics"]["volatility"] == found["metrics"]["vol_23d"] == expected["metrics"]["vol_23d"]
    assert found["metrics_frame"][0]["teo"] == expected["teo"]
    assert found["hedge_levels"]["statistical_lstar"] == expected["hedge_levels"]["statistical_lstar"]
    assert found["lineage"]["data_as_of"] == family.complete_through
    assert found["lineage"]["factor_set_id"] == family.factor_set_id


def test_a_decomposition_has_four_layers_and_its_sign(found):
    layers = {row["layer"]: row for row in found["decompose"]}
    assert list(layers) == ["market", "sector", "subsector", "residual"]
    for layer, row in layers.items():
        if row["hedge_etf"]:
            assert found["decompose_raw"]["hedge"][row["hedge_etf"]] == row["hr"], layer


def test_histories_are_the_same_in_the_clients_three_forms(found, family, stocks):
    table = family.ticker_returns(stocks[0], 2)
    for form in ("json", "csv", "parquet"):
        assert "l1_combined_factor_return" in found[f"returns_{form}"]["columns"]
        rows = found[f"returns_{form}"]["rows"]
        assert [row["date"] for row in rows] == table["date"].tolist()
        given = np.array([np.nan if row["l3_sector_hr"] is None else row["l3_sector_hr"] for row in rows])
        np.testing.assert_allclose(given, table["l3_sec_hr"].astype(float), rtol=1e-6)
    assert found["returns_limit"] == 5
    assert found["etf"]["type"] == "etf"
    assert [row["lstar"] for row in found["lstar"]] == family.lstar(stocks[0])["lstar"].tolist()
    assert found["lstar_threshold"] == 0
    assert len(found["l3"]) == len(found["decomposition"]) == len(table)
    assert found["l3_as_of"][-1]["date"] == "2019-03-01"


def test_cross_sections_reach_the_client(found, family):
    assert [row["rank_ordinal"] for row in found["top"]] == [1, 2, 3, 4, 5]
    assert all(row["rank_percentile"] > 90 for row in found["screen"])
    assert found["rankings_one"][0]["ranking_key"] == "21d_universe_gross_return"
    assert len(found["rankings"]) > 20
    assert found["members"]["in_universe_mask"] == 50
    assert found["panel"]["by"] == found["panel"]["key"] == "level"
    assert found["panel"]["teo"] == family.complete_through
    assert found["panel_fact"] == [409, "industry_panel_fact_axis_unavailable"]
    assert found["etfs"]
    assert found["tickers"][0] == family.metadata["universe_size"]


def test_batches_and_portfolios_are_the_clients_own(found, family, stocks):
    assert found["batch"] == {"total": 3, "success": 2, "errors": 1}
    assert found["batch_lstar"] == {"total": 3, "success": 2, "errors": 0, "not_found": 1}
    assert found["batch_csv"] == found["batch_parquet"]
    assert found["batch_lstar_csv"] == found["batch_lstar_parquet"]
    weights = dict(zip(stocks[:3], (0.5, 0.3, 0.2), strict=True))
    assert found["portfolio"]["hedge_ratios"] == pytest.approx(family.portfolio_hedge_ratios(weights))
    assert found["portfolio"]["errors"] == {}
    assert found["portfolio"]["panel"]["ticker"] == 3
    assert found["dataset"]["sizes"]["ticker"] == 2


def test_the_clients_local_reader_finds_every_rank_that_is_published(whole, family, stocks):
    tickers = dict(zip((family.stock(ticker).symbol for ticker in stocks[:3]), stocks[:3], strict=True))
    words = [str(PYTHON), str(CALLS.with_name("client_reads.py")), str(whole), family.factor_set_id, *tickers]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for symbol, read in json.loads(done.stdout).items():
        ours = family.ranks(tickers[symbol], None)
        asked = {f"{row['window']}_{row['cohort']}_{row['metric']}": row for row in ours.rows()}
        given = {key: row for key, row in read.items() if row["rank_ordinal"] is not None}
        assert given.keys() == asked.keys()
        for key, row in given.items():
            assert row["rank_ordinal"] == asked[key]["rank_ordinal"], key
            assert row["cohort_size"] == asked[key]["cohort_size"], key
            assert row["rank_percentile"] == pytest.approx(asked[key]["rank_percentile"])


def test_what_is_refused_is_the_clients_error(found):
    assert found["nobody"] == 404
    assert found["refused"] == 401
