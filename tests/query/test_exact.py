"""Every number is the stores' own: all fields of all stocks on five days, against what plain zarr reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.datasets.rankings import rankings
from pipeline.query import FIELDS, QueryFamily
from pipeline.query.snapshot import session_of

DAYS = ("2018-12-03", "2018-12-31", "2019-01-22", "2019-03-15", "2019-04-30")


class Plain:
    """The stores of a root as plain zarr gives them, whole."""

    def __init__(self, root: Path, factor_set: str) -> None:
        self.root, self.factor_set = root, factor_set
        self._arrays: dict[tuple[str, str], np.ndarray] = {}

    def array(self, store: str, name: str) -> np.ndarray:
        if (store, name) not in self._arrays:
            path = self.root / f"{store}.zarr"
            path = path if path.exists() else self.root / f"{store}_{self.factor_set}.zarr"
            self._arrays[store, name] = zarr.open_group(path, mode="r", zarr_format=2)[name][...]
        return self._arrays[store, name]

    def cell(self, store: str, name: str, symbol: str, day: str, level: str) -> np.generic:
        days = self.array(store, "teo").astype("datetime64[D]")
        symbols = self.array(store, "symbol").tolist()
        at = [int(np.flatnonzero(days == np.datetime64(day))[0]), symbols.index(symbol)]
        if level:
            at.append(self.array(store, "level").tolist().index(level))
        return self.array(store, name)[tuple(at)]


@pytest.fixture(scope="module")
def plain(whole: Path, family: QueryFamily) -> Plain:
    return Plain(whole, family.factor_set_id)


@pytest.mark.parametrize("day", DAYS)
def test_all_fields_of_all_stocks_are_what_plain_zarr_reads(day, plain, family):
    compared = 0
    for symbol in plain.array("ds_erm3_hedge_weights", "symbol").tolist():
        if not np.isfinite(plain.cell("ds_erm3_hedge_weights", "L1_market_HR", symbol, day, "")):
            continue
        found = family.metrics(symbol, day)
        assert found["teo"] == day
        for field in FIELDS:
            if field.computed:
                continue
            stored = plain.cell(field.store, field.variable, symbol, day, field.level)
            given = found["metrics"][field.wire]
            assert (given is None) == bool(np.isnan(stored)), f"{symbol} {field.wire}"
            assert given is None or (given == stored and given.dtype == np.float32), f"{symbol} {field.wire}"
            compared += 1
    assert compared > 30 * 40


def test_computed_fields_are_their_definitions(plain, family, stocks):
    day = DAYS[-1]
    for ticker in stocks[:10]:
        symbol, found = family.who(ticker).symbol, family.metrics(ticker, day)["metrics"]
        variance = float(plain.cell("ds_erm3_hedge_weights", "_stock_var", symbol, day, ""))
        assert found["vol_23d"] == np.sqrt(252 * variance)
        assert found["lstar_level"] == int(plain.cell("ds_erm3_returns", "lstar_level", symbol, day, ""))
        assert found["vol_252d_ann"] is None  # 103 sessions are published, 126 are needed


def test_a_field_of_all_stocks_is_that_of_each(family, stocks):
    cube = family.cube(stocks, DAYS[-1], DAYS[-1])
    for field in FIELDS:
        position = family.cells(field.store).position
        day = family.values(field, len(family.sessions) - 1)
        for k, symbol in enumerate(cube.symbol.values.tolist()):
            np.testing.assert_array_equal(cube[field.sdk].values[k, 0], day[position[symbol]], field.wire)


def test_histories_and_the_cube_agree_with_the_snapshot(family, stocks):
    ticker = stocks[3]
    found = family.metrics(ticker)
    table = family.ticker_returns(ticker).rows()[-1]
    assert table["date"] == found["teo"]
    assert all(table[name] == found["metrics"][name] for name in table if name in found["metrics"])
    cube = family.cube([ticker]).isel(ticker=0, date=-1)
    decomposed = family.returns_decomposition(ticker, include_lstar=True).rows()[-1]
    assert decomposed["l3_factor_return"] == found["metrics"]["l3_fr"] == cube["l3_fr"].item()
    assert decomposed["lstar"] == found["hedge_levels"]["statistical_lstar"]


def test_the_published_depth_is_that_of_the_published_threshold(family, stocks):
    for ticker in stocks[:15]:
        stored = family.lstar(ticker)
        again = family.lstar(ticker, threshold=stored.attrs["threshold_used"])
        assert stored["lstar"].tolist() == again["lstar"].tolist()
        np.testing.assert_array_equal(stored["residual_return"], again["residual_return"])


def test_an_industry_panel_is_the_store_at_that_session(plain, family):
    panel = family.industry_panel("2019-03-17", min_peers=1)  # a Sunday
    assert panel.attrs["teo"] == "2019-03-15"
    codes = plain.array("ds_erm3_industry", "fs_industry_code").tolist()
    days = plain.array("ds_erm3_industry", "teo").astype("datetime64[D]")
    row = int(np.flatnonzero(days == np.datetime64("2019-03-15"))[0])
    levels = ["market", "sector", "subsector"]
    shown = list(zip(panel["level"].tolist(), panel["industry_code"].tolist(), strict=True))
    assert shown == sorted(shown, key=lambda pair: (levels.index(pair[0]), pair[1]))
    for k, (level, code) in enumerate(shown):
        for name in ("beta_mean", "beta_variance", "n_companies", "n_facts", "total_log_mcap_weight"):
            stored = plain.array("ds_erm3_industry", name)[row, codes.index(code), levels.index(level)]
            np.testing.assert_array_equal(panel[name][k], stored)


def test_the_last_session_in_memory_gives_what_the_chunks_give(whole, family, stocks):
    from pipeline.query import open_family

    warm = open_family(whole)
    warm.warm()
    for ticker in stocks[:8]:
        assert warm.metrics(ticker) == family.metrics(ticker)


def test_a_snapshot_looks_back_for_the_last_hedge_ratio_and_never_ahead(family):
    cells = family.cells("ds_erm3_hedge_weights")
    all_days = cells.block("L1_market_HR", 0, len(family.sessions), 0, len(cells.symbols))
    for k, symbol in enumerate(cells.symbols):
        have = np.flatnonzero(np.isfinite(all_days[:, k]))
        for session in (0, 40, len(family.sessions) - 1):
            before = have[have <= session]
            if len(before):
                assert session_of(family, symbol, session) == before[-1]
            else:
                with pytest.raises(LookupError):
                    session_of(family, symbol, session)


@pytest.mark.parametrize("day", DAYS[1::3])
def test_ranks_of_all_members_are_what_plain_zarr_reads(day, plain, family):
    store = "ds_rankings"
    row = plain.array(store, "teo").astype("datetime64[D]").tolist().index(np.datetime64(day).item())
    symbols, compared = plain.array(store, "symbol").tolist(), 0
    for ranking in rankings():
        rank, size = (plain.array(store, name)[row] for name in (ranking.rank, ranking.size))
        found = family.screen(ranking.metric, ranking.cohort, ranking.window, day, limit=500)
        at = [symbols.index(symbol) for symbol in found["symbol"].tolist()]
        assert sorted(at) == np.flatnonzero(np.isfinite(rank)).tolist(), ranking.rank
        np.testing.assert_array_equal(found["rank_ordinal"], rank[at], ranking.rank)
        np.testing.assert_array_equal(found["cohort_size"], size[at], ranking.size)
        assert np.isfinite(found["metric_value"]).all()
        compared += len(at)
    assert compared > 10 * 40


def test_a_stocks_ranks_are_those_of_the_screens(family, stocks):
    table = family.ranks(stocks[0])
    for k in range(len(table["metric"])):
        screened = family.screen(*(str(table[name][k]) for name in ("metric", "cohort", "window")), limit=500)
        at = screened["ticker"].tolist().index(stocks[0])
        for name in ("rank_ordinal", "cohort_size", "rank_percentile", "metric_value"):
            assert table[name][k] == screened[name][at]
