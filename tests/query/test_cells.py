"""Chunks are read once, kept within a bound, and never taken for those of another publication."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from pipeline.query import open_family
from pipeline.query.cells import Cells
from pipeline.read import PublishedStore
from pipeline.store.chunks import ChunkedArray
from pipeline.store.unpacked import ChunkCache


def test_the_cache_keeps_to_its_size_and_forgets_what_was_used_longest_ago():
    cache, read = ChunkCache(size=3000), []

    def chunk(name):
        def make():
            read.append(name)
            return np.zeros(125)  # 1000 bytes

        return cache.get(name, make)

    for name in "abcab":
        chunk(name)
    assert read == list("abc")
    chunk("d")
    assert cache.used <= 3000
    for name in "abd":
        chunk(name)
    assert read == list("abcd")
    chunk("c")
    assert read[-1] == "c"


def test_a_chunk_that_is_not_stored_is_asked_for_once():
    cache, asked = ChunkCache(), []
    for _ in range(3):
        assert cache.get("k", lambda: asked.append(1)) is None
    assert len(asked) == 1


def test_the_next_publication_in_the_same_place_is_read_anew(family, monkeypatch):
    """As in a bucket, where all publications lie under the names of the stores."""
    store = replace(family.family.store("ds_daily"), prefix="")
    read, decode, where, cache = PublishedStore.read, ChunkedArray.decode, family.family.prefix, ChunkCache()
    monkeypatch.setattr(PublishedStore, "read", lambda self, key: read(replace(self, prefix=where), key))
    before = Cells(store, family.sessions, cache, "000001-a").day("close", 5)
    one_more = {"float32": 1}
    monkeypatch.setattr(ChunkedArray, "decode", lambda self, data: decode(self, data) + one_more.get(self.dtype, 0))
    same = Cells(store, family.sessions, cache, "000001-a").day("close", 5)
    after = Cells(store, family.sessions, cache, "000002-b").day("close", 5)
    np.testing.assert_array_equal(before, same)
    np.testing.assert_array_equal(before + 1, after)


def test_many_threads_get_what_one_gets(whole, family, stocks):
    shared = open_family(whole, cache=ChunkCache(size=2 << 20))  # so small that chunks come and go
    expected = {ticker: family.metrics(ticker, "2019-02-15") for ticker in stocks[:12]}
    with ThreadPoolExecutor(8) as pool:
        asked = list(stocks[:12]) * 10
        for ticker, found in zip(asked, pool.map(lambda t: shared.metrics(t, "2019-02-15"), asked), strict=True):
            assert found == expected[ticker]


def test_a_store_that_began_later_has_no_values_before(family):
    cells = family.cells("ds_erm3_hedge_weights")
    later = Cells(cells.store, np.concatenate([family.sessions[:3] - 400, family.sessions]), ChunkCache())
    column = later.column("L1_market_HR", 0, 0, 8)
    assert np.isnan(column[:3]).all()
    np.testing.assert_array_equal(column[3:], cells.column("L1_market_HR", 0, 0, 5))
    assert np.isnan(cells.column("L1_market_HR", 0, -5, 0)).all()
