"""Published ranks are those that the reading side counts, ties and cohorts included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.rankings import rankings
from pipeline.query import open_family
from pipeline.read import open_family as published
from tests.engine.published_market import FACTOR_SET


@pytest.fixture(scope="module")
def store(whole: Path):
    return published(str(whole)).dataset(f"ds_rankings_{FACTOR_SET}")


def test_published_ranks_are_those_of_a_screen(whole: Path, store):
    family = open_family(whole)
    compared = 0
    for session in (len(family.sessions) - 1, len(family.sessions) // 2):
        day = store.isel(teo=session)
        for ranking in rankings():
            answer = family.screen(
                ranking.metric, ranking.cohort, ranking.window, str(family.sessions[session]), limit=500
            )
            ours = {
                symbol: (rank, size)
                for symbol, rank, size in zip(
                    day.symbol.values, day[ranking.rank].values, day[ranking.size].values, strict=True
                )
                if np.isfinite(rank) or np.isfinite(size)
            }
            asked = zip(answer["symbol"], answer["rank_ordinal"], answer["cohort_size"], strict=True)
            assert ours == {symbol: (rank, size) for symbol, rank, size in asked}, ranking
            compared += len(ours)
    assert compared > 2000


def test_a_chunk_holds_the_whole_cross_section(store):
    for ranking in rankings():
        assert store[ranking.rank].encoding["chunks"] == (504, 512)
        assert store[ranking.rank].dtype == np.float32
