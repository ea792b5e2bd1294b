"""The publication that a server answers from, while publications come and go below it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.engine import execution
from pipeline.query import NothingThere, QueryFamily
from pipeline.read import PublicationRetired
from pipeline.serve.live import Live
from pipeline.store.objects import StoreError
from pipeline.store.unpacked import ChunkCache
from tests.engine.conftest import STAGED_RUN, published_eve, staged, staged_run, tables  # noqa: F401 (fixtures)
from tests.engine.published_market import settings_for


def ratios(family: QueryFamily) -> np.ndarray:
    """(2, stocks) hedge ratios of the last session on the market, at L1 and at L2."""
    cells, last = family.cells("ds_erm3_hedge_weights"), len(family.sessions) - 1
    return np.stack([cells.day(name, last) for name in ("L1_market_HR", "L2_market_HR")])


@pytest.fixture
def two(staged: Path) -> tuple[Live, str, str]:  # noqa: F811
    """A server of a root, its earlier publication and its live one."""
    live = Live(str(staged))
    live._cache = ChunkCache(1)  # keeps the last chunk only
    earlier = live.family().publication
    execution.publish(execution.attach(settings_for(staged), STAGED_RUN))
    return live, earlier, live.family().publication


def test_an_earlier_publication_is_answered_while_it_is_kept_and_after_it_was_retired(two):
    live, earlier, current = two
    first = live.answered(earlier, ratios)
    assert np.isfinite(first).any()
    assert not np.array_equal(first, live.answered(None, ratios)[:, : first.shape[1]], equal_nan=True)
    asked: list[str] = []

    def told(family: QueryFamily) -> np.ndarray:
        asked.append(family.family.prefix)
        return ratios(family)

    shutil.rmtree(Path(live.root) / ".publications" / earlier)
    np.testing.assert_array_equal(live.answered(earlier, told), first)
    assert asked == [f".publications/{earlier}", f".publications/{current}"], "the rows lie in the live one as well"


def test_one_that_nothing_has_the_rows_of_any_more_is_nobody(two):
    live, earlier, _ = two
    with pytest.raises(NothingThere, match="there is no publication 000099-never"):
        live.answered("000099-never", ratios)

    def retired(_: QueryFamily) -> np.ndarray:
        raise PublicationRetired(f"{earlier} was removed while it was read")

    asked = live.answered(earlier, lambda family: family)
    with pytest.raises(StoreError, match="changes faster than it can be read"):
        live.answered(earlier, retired)
    assert live.answered(earlier, lambda family: family) is not asked, "the handle is opened anew"
