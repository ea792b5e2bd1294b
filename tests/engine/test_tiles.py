"""Tiles give the same bits on one thread and on two; `test_cluster.py` has the workers of a cluster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import model
from pipeline.datasets.spec import tiles
from pipeline.engine.tiles import map_tiles, reused, written
from pipeline.model import KernelParams
from pipeline.settings import Settings

WINDOW, SESSIONS, STOCKS, MARKET = 60, 40, 70, 0


@pytest.fixture(scope="module")
def arguments() -> list[tuple[Any, ...]]:
    random = np.random.default_rng(7)
    etf = random.normal(0, 0.01, (3, WINDOW + SESSIONS - 1))
    returns = random.normal(0, 0.02, (STOCKS, etf.shape[1])) + random.normal(1, 0.3, (STOCKS, 1)) * etf[0]
    returns[random.random(returns.shape) < 0.05] = np.nan
    cells = (STOCKS, SESSIONS)
    sector, subsector = np.full(cells, 1, np.int16), np.full(cells, 2, np.int16)
    wanted = np.ones(cells, dtype=bool)
    params = KernelParams(window=WINDOW, min_obs=30)
    return [
        (returns[k], etf, MARKET, sector[k], subsector[k], wanted[k], 1_000, params) for k in tiles(STOCKS, size=16)
    ]


def betas(arguments: list[tuple[Any, ...]], **settings: Any) -> bytes:
    done = map_tiles(model.cascade, arguments, Settings(**settings))
    return np.concatenate([tile.beta for tile in done], axis=1).tobytes()


def test_threads_change_no_bit(arguments: list[tuple[Any, ...]]) -> None:
    one = betas(arguments, threads=1)
    assert np.isfinite(np.frombuffer(one)).all()
    assert betas(arguments, threads=2) == one


def test_tiles_cover_all_symbols_once() -> None:
    assert [s for k in tiles(600) for s in range(600)[k]] == list(range(600))
    assert tiles(0) == []


def blank(*shape: int) -> np.ndarray:
    return np.zeros(shape)


def test_a_thread_uses_its_arrays_again_and_shares_them_with_no_other() -> None:
    mine = reused(blank, 2, 3)
    assert reused(blank, 2, 3) is mine
    with ThreadPoolExecutor(1) as other:
        assert other.submit(reused, blank, 2, 3).result() is not mine
    assert reused(blank, 4, 3).shape == (4, 3)
    assert reused(blank, 2, 3) is not mine, "only the last one is kept"


def test_a_tile_is_written_before_the_next_one_is_computed() -> None:
    """Else all tiles of a block would lie in memory, and one thread would pack what several have computed."""
    done: list[tuple[str, int]] = []

    def compute(k: int) -> tuple[dict[str, np.ndarray], int]:
        done.append(("computed", k))
        return {"x": np.full((2, 256), k)}, k

    def write(var: str, rows: slice, cols: slice, values: np.ndarray) -> None:
        assert (values == cols.start // 256).all()
        done.append((f"wrote {var}", cols.start // 256))

    run: Any = SimpleNamespace(settings=Settings(threads=1), rows=lambda store, first, last: slice(first, last + 1))
    store: Any = SimpleNamespace(name="ds", symbol=np.arange(600), write=write)
    assert written(run, store, lambda *_: [(k,) for k in range(3)], compute, 0, 1) == [0, 1, 2]
    assert done == [(what, k) for k in range(3) for what in ("computed", "wrote x")]
