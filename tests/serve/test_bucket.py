"""A server of a bucket, where the next publication lies where the one before did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.query import NothingThere, QueryFamily, open_family
from pipeline.serve.live import Live
from pipeline.store.filesystem import open_objects, open_publications
from pipeline.store.objects import Objects
from pipeline.store.publish_cloud import CloudPublications
from pipeline.store.unpacked import ChunkCache
from tests.engine.conftest import whole  # noqa: F401 (fixture)
from tests.query.conftest import stocks  # noqa: F401 (fixture)
from tests.store.conftest import emulator, new_root, started_emulator  # noqa: F401 (fixtures)

CHUNK = "ds_erm3_hedge_weights_SPY_uni_mc_3000.zarr/L1_market_HR/0.0"


@pytest.fixture
def bucket(whole: Path, new_root: Callable[[], str]) -> str:  # noqa: F811
    """The published market, as it lies in a bucket."""
    root, live = new_root(), whole / ".publications" / "current"
    files = [path for path in live.rglob("*") if path.is_file()]
    objects = open_objects(root)
    objects.map(lambda path: objects.write(str(path.relative_to(live)), path.read_bytes()), files)
    return root


def ratio(who: str) -> Callable[[QueryFamily], np.ndarray]:
    return lambda family: family.l3_decomposition(who)["l3_market_hr"]


def first_ratio(who: str) -> Callable[[QueryFamily], np.ndarray]:
    return lambda family: family.cube([who], fields=["l1_mkt_hr"]).l1_market_hr.values[0]


def restate_half(objects: Objects, publication: str) -> None:
    """As far as a restatement has come when it is in the middle: what was is kept aside, a chunk is new."""
    publications = open_publications(objects)
    assert isinstance(publications, CloudPublications)
    publications._keep_aside(publication)
    other = CHUNK.replace("L1_market_HR", "L1_market_ER")
    objects.write(CHUNK, objects.read(other) or b"")


def test_what_a_restatement_overwrites_is_answered_from_the_copy(bucket, whole, stocks):  # noqa: F811
    live = Live(bucket)
    live._cache = ChunkCache(1)  # keeps the last chunk only
    was = first_ratio(stocks[0])(open_family(whole))
    np.testing.assert_array_equal(live.answered(None, first_ratio(stocks[0])), was)
    before = live.family()
    assert before.family.prefix == ""
    ratio(stocks[0])(before)
    restate_half(open_objects(bucket), before.publication)
    assert not np.array_equal(first_ratio(stocks[0])(before), was, equal_nan=True), "the handle alone reads new rows"
    ratio(stocks[0])(before)
    np.testing.assert_array_equal(live.answered(None, first_ratio(stocks[0])), was)
    assert live.family().family.prefix == f".publications/{before.publication}"


@pytest.mark.slow
def test_what_was_read_before_a_restatement_is_not_looked_for_again(bucket, stocks, emulator):  # noqa: F811
    live = Live(bucket)
    live._patience = 1e9
    first = live.answered(None, ratio(stocks[0]))
    asked = emulator.requests
    np.testing.assert_array_equal(live.answered(None, ratio(stocks[0])), first)
    assert emulator.requests == asked


@pytest.mark.slow
def test_a_refusal_is_not_made_from_rows_of_two_minds(bucket, stocks):  # noqa: F811
    live = Live(bucket)
    publication = live.family().publication
    restate_half(open_objects(bucket), publication)
    asked: list[str] = []

    def refuse(family: QueryFamily) -> None:
        asked.append(family.family.prefix)
        raise NothingThere("nobody")

    live._cache.reads += 1
    with pytest.raises(NothingThere):
        live.answered(None, refuse)
    assert asked == ["", f".publications/{publication}"]
