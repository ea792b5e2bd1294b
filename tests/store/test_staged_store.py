"""A store in the overlay of a run: axes, blocks, codes, threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets import DatasetSpec, VariableSpec
from pipeline.datasets.shared import SYMBOL, TEO, TICKER
from pipeline.store.checked import WrongShape
from pipeline.store.chunks import ChunkedArray
from pipeline.store.objects import StoreError
from pipeline.store.stage import Stage
from pipeline.store.unpacked import ChunkCache
from tests.store.family import (
    BETAS,
    PRICES,
    clock,
    expected,
    live_bytes,
    publish,
    sessions,
    stage_store,
    symbols,
)

THREE = DatasetSpec(
    "ds_three",
    "ds_three",
    "Three",
    "Three variables of one kind.",
    (TEO, SYMBOL, TICKER),
    tuple(VariableSpec(name, ("teo", "symbol"), "float32", name, "1") for name in "abc"),
    (("dataset_id", "ds_three"), ("schema_version", "1.0")),
)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage.begin(tmp_path, "run", clock=clock) as stage:
        yield stage


def prices(stage: Stage, rows: int, cols: int):
    store = stage.create_or_open(PRICES)
    store.extend(teo=sessions(rows), symbol=symbols(cols))
    store.set_coord("ticker", symbols(cols))
    return store


@pytest.mark.parametrize("columns", [300, 600], ids=["as few as one thread does", "more, on threads"])
def test_a_block_over_many_chunks_comes_back(stage: Stage, columns: int) -> None:
    store = prices(stage, 600, columns)
    values = expected("return", "float32", slice(0, 600), slice(0, columns))
    store.write("return", slice(0, 600), slice(0, columns), values)
    assert np.array_equal(store.read("return"), values, equal_nan=True)
    assert np.array_equal(
        store.read("return", slice(500, 510), slice(250, 260)), values[500:510, 250:260], equal_nan=True
    )


def test_a_level_is_written_and_read_by_its_name(stage: Stage) -> None:
    store = stage_store(stage, BETAS, 5, symbols(3))
    both = store.read("beta")
    assert both.shape == (5, 3, 2)
    assert np.array_equal(store.read("beta", level="sector"), both[..., 1], equal_nan=True)
    with pytest.raises(WrongShape, match="no level 'subsector'"):
        store.read("beta", level="subsector")


def test_cells_that_nobody_wrote_hold_no_value(stage: Stage) -> None:
    store = prices(stage, 3, 2)
    store.close()
    assert np.isnan(store.read("return")).all()
    assert (store.read("flag") == 0).all()
    assert store.overlay.exists("flag/0.0")
    assert not store.overlay.exists("return/0.0")


def test_codes_stay_integers_and_masks_bools_when_xarray_opens_the_overlay(stage: Stage) -> None:
    store = stage_store(stage, BETAS, 5, symbols(3))
    dataset = store.dataset()
    assert dataset.member.dtype == bool
    assert dataset.n.dtype == np.int16
    assert dataset.fs_industry_code.dtype == np.int16
    assert np.array_equal(dataset.beta.values, store.read("beta"), equal_nan=True)
    assert dataset.teo.values.astype("M8[D]").tolist() == sessions(5).tolist()


def test_threads_that_write_into_the_same_chunks_lose_nothing(stage: Stage) -> None:
    store = prices(stage, 40, 64)
    values = expected("return", "float32", slice(0, 40), slice(0, 64))

    def write_row(row: int) -> None:
        store.write("return", slice(row, row + 1), slice(0, 64), values[row : row + 1])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write_row, range(40)))
    assert np.array_equal(store.read("return"), values, equal_nan=True)


def test_any_order_of_blocks_gives_the_same_bytes(tmp_path: Path) -> None:
    values = expected("return", "float32", slice(0, 520), slice(0, 260))
    orders = [[(0, 520)], [(510, 520), (0, 300), (300, 510)]]
    for k, blocks in enumerate(orders):
        with Stage.begin(tmp_path / str(k), "run", clock=clock) as stage:
            store = prices(stage, 520, 260)
            for lo, hi in blocks:
                store.write("return", slice(lo, hi), slice(0, 260), values[lo:hi])
            store.close()
    one, other = (Path(tmp_path, str(k), ".staging/run/stores/ds_prices.zarr") for k in range(2))
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    assert all((one / f).read_bytes() == (other / f).read_bytes() for f in files)


def test_what_is_written_alike_has_the_bytes_of_each_written_by_itself(tmp_path: Path) -> None:
    """Over cells that were the same before, and over such that were not; each of two blocks covers a chunk in part."""
    before, values = (rng.standard_normal((8, 300)).astype(np.float32) for rng in map(np.random.default_rng, (1, 2)))
    names = ("a", "b", "c")
    for together in (True, False):
        with Stage.begin(tmp_path / str(together), "run", clock=clock) as stage:
            store = stage.create_or_open(THREE)
            store.extend(teo=sessions(8), symbol=symbols(300))
            store.set_coord("ticker", symbols(300))
            store.write("b", slice(0, 4), slice(0, 300), before[:4])
            for rows in (slice(0, 2), slice(2, 6)):
                if together:
                    store.write_alike(names, rows, slice(0, 280), values[rows, :280])
                else:
                    for name in names:
                        store.write(name, rows, slice(0, 280), values[rows, :280])
            store.close()
            assert np.array_equal(store.read("c", slice(0, 6), slice(0, 280)), values[:6, :280])
            assert np.array_equal(store.read("b", slice(0, 4), slice(280, 300)), before[:4, 280:])
            assert np.isnan(store.read("a", slice(0, 8), slice(280, 300))).all()
    one, other = (Path(tmp_path, str(k), ".staging/run/stores/ds_three.zarr") for k in (True, False))
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    assert all((one / f).read_bytes() == (other / f).read_bytes() for f in files)


def test_chunks_that_become_the_same_are_compressed_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, encode = [], ChunkedArray.encode
    monkeypatch.setattr(ChunkedArray, "encode", lambda array, chunk: packed.append(array.name) or encode(array, chunk))
    store = stage.create_or_open(THREE)
    store.extend(teo=sessions(3), symbol=symbols(2))
    for row in range(3):
        store.write_alike(("a", "b", "c"), slice(row, row + 1), slice(0, 2), np.full((1, 2), row))
    assert packed == ["a"] * 3
    assert (store.read("c") == np.arange(3)[:, None]).all()


def test_stretches_are_cut_where_chunks_begin(stage: Stage) -> None:
    store = prices(stage, 1200, 2)
    assert store.stretches("return", slice(3, 1100)) == [slice(3, 504), slice(504, 1008), slice(1008, 1100)]
    assert store.stretches("return", slice(504, 505)) == [slice(504, 505)]
    assert store.stretches("return", slice(7, 7)) == []


def test_a_chunk_is_unpacked_once_while_its_bytes_stay(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    store, everything = prices(stage, 504, 2), (slice(0, 504), slice(0, 2))
    store.chunks.unpacked = ChunkCache(size=504 * 256 * 4)
    unpacked, decode = [], ChunkedArray.decode
    monkeypatch.setattr(ChunkedArray, "decode", lambda array, data: unpacked.append(array.name) or decode(array, data))
    store.write("return", *everything, np.ones((504, 2)))
    for end in (300, 400, 504):
        assert (store.read("return", slice(0, end)) == 1).all()
    assert unpacked == ["return"]
    store.write("return", *everything, np.full((504, 2), 2.0))
    assert (store.read("return") == 2).all(), "what is kept may not stand in for what was written since"
    store.write("flag", *everything, np.ones((504, 2), np.int16))
    unpacked.clear()
    for name in ("return", "flag", "return"):
        store.read(name)
    assert unpacked == ["flag", "return"], "one chunk of prices and one of flags are more than it may keep"


def test_a_few_rows_are_read_and_added_without_unpacking_the_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, "first", 500, symbols(256))
    row, everything = slice(500, 501), slice(0, 256)
    with Stage.begin(tmp_path, "second", clock=clock) as stage:
        store = stage.create_or_open(PRICES)
        store.extend(teo=sessions(501)[500:])
        with monkeypatch.context() as watched:
            watched.setattr(ChunkedArray, "decode", lambda array, data: pytest.fail(f"unpacked all of {array.name}"))
            watched.setattr(ChunkedArray, "encode", lambda array, chunk: pytest.fail(f"packed all of {array.name}"))
            store.write("return", row, everything, np.ones((1, 256)))
            assert (store.read("return", row) == 1).all()
        before = expected("return", "float32", slice(0, 500), everything)
        assert np.array_equal(store.read("return", slice(0, 500)), before, equal_nan=True)


def test_rows_and_columns_are_looked_up_by_name_and_unknown_ones_refused(stage: Stage) -> None:
    store = prices(stage, 10, 4)
    assert store.rows_of(sessions(10)[3:6]) == slice(3, 6)
    assert store.rows_of([]) == slice(0, 0)
    assert store.cols_of(["S0002", "S0000"]).tolist() == [2, 0]
    with pytest.raises(WrongShape, match="does not have 2023-01-01"):
        store.rows_of(["2023-01-01"])
    with pytest.raises(WrongShape, match="other sessions between"):
        store.rows_of(sessions(10)[[2, 4]])
    with pytest.raises(WrongShape, match="S0009 is not on the axis symbol"):
        store.cols_of(["S0009"])


@pytest.mark.parametrize(
    ("axis", "values", "problem"),
    [
        ("teo", sessions(5), "must increase after 2023-01-09"),
        ("teo", sessions(8)[[6, 5]], "must increase"),
        ("symbol", ["S0009", "S0009"], "S0009 would stand twice"),
        ("symbol", ["S0001"], "S0001 would stand twice"),
        ("symbol", [""], "empty text"),
        ("symbol", ["S0008", None], "expected a text at position 1, found None"),
        ("symbol", [1.5], "expected a text at position 0, found 1.5"),
        ("level", ["new"], "no axis 'level'"),
        ("color", ["red"], "no axis 'color'"),
    ],
)
def test_an_axis_grows_only_by_new_values_at_its_end(stage: Stage, axis: str, values, problem: str) -> None:
    store = prices(stage, 5, 4)
    with pytest.raises(WrongShape, match=problem):
        store.extend(**{axis: values})
    assert store.sizes == {"teo": 5, "symbol": 4}


@pytest.mark.parametrize(
    ("var", "values", "problem"),
    [
        ("return", np.zeros((2, 3)), r"expected values of shape \(2, 2\), found \(2, 3\)"),
        ("return", np.array([[1, np.inf], [0, 0]]), r"infinite value at \(0, 1\)"),
        ("return", np.full((2, 2), 1e300), "infinite"),
        ("return", np.array([["a", "b"], ["c", "d"]]), "expected numbers"),
        ("flag", np.zeros((2, 2)), "expected int16, found float64"),
        ("flag", np.full((2, 2), 40_000), "do not fit int16"),
        ("ticker", np.zeros((2, 2)), "is a coordinate"),
    ],
)
def test_values_that_do_not_fit_are_refused(stage: Stage, var: str, values: np.ndarray, problem: str) -> None:
    store = prices(stage, 2, 2)
    with pytest.raises(WrongShape, match=problem):
        store.write(var, slice(0, 2), slice(0, 2), values)


def test_a_block_beyond_the_axis_is_refused_instead_of_cut(stage: Stage) -> None:
    store = prices(stage, 2, 2)
    with pytest.raises(WrongShape, match="does not lie within the 2 values of teo"):
        store.write("return", slice(0, 3), slice(0, 2), np.zeros((3, 2)))


def test_tickers_are_complete_before_a_store_is_closed(stage: Stage) -> None:
    store = stage.create_or_open(PRICES)
    store.extend(teo=sessions(2), symbol=symbols(2))
    with pytest.raises(WrongShape, match=r"symbol has 2 values, but ticker 0; set_coord\('ticker'"):
        store.close()


def test_a_code_never_changes_its_meaning(tmp_path: Path) -> None:
    with Stage.begin(tmp_path, "run", clock=clock) as stage:
        store = stage.create_or_open(BETAS, flags={"fs_industry_code": [(1110, "Oil & gas exploration")]})
        store.extend(symbol=[], teo=[])
        store.close()
        assert store.flags("fs_industry_code") == {1110: "Oil_gas_exploration"}
        again = stage.create_or_open(BETAS, flags={"fs_industry_code": [(1120, "Integrated oil")]})
        assert list(again.flags("fs_industry_code")) == [1110, 1120]
        with pytest.raises(WrongShape, match="code 1110 means 'Oil_gas_exploration' and cannot become 'Coal'"):
            stage.create_or_open(BETAS, flags={"fs_industry_code": [(1110, "Coal")]})
        with pytest.raises(WrongShape, match="declare no open_flags"):
            stage.create_or_open(BETAS, flags={"member": [(1, "yes")]})


def test_writing_what_is_published_stages_nothing(tmp_path: Path) -> None:
    publish(tmp_path, "first", 5, symbols(3))
    before = live_bytes(tmp_path)
    with Stage.begin(tmp_path, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 5, symbols(3), rewrite_from=0)
        assert stage.staged_stores == []
    assert live_bytes(tmp_path) == before


def test_a_published_chunk_can_be_emptied_in_the_overlay(tmp_path: Path) -> None:
    publish(tmp_path, "first", 5, symbols(3))
    with Stage.begin(tmp_path, "second", clock=clock) as stage:
        store = stage.create_or_open(PRICES)
        store.write("return", slice(0, 5), slice(0, 3), np.full((5, 3), np.nan))
        assert np.isnan(store.read("return")).all()
        assert not np.isnan(stage.open_live(PRICES).read("return")).all()


def test_a_published_chunk_of_codes_that_is_gone_is_an_error_and_not_zero(tmp_path: Path) -> None:
    publish(tmp_path, "first", 5, symbols(3))
    (tmp_path / "ds_prices.zarr/flag/0.0").unlink()
    with pytest.raises(StoreError, match=r"flag/0.0 is missing"):
        Stage.begin(tmp_path, "second", clock=clock)


def test_a_chunk_that_is_lost_while_a_run_reads_is_an_error_and_not_missing_values(tmp_path: Path) -> None:
    publish(tmp_path, "first", 5, symbols(3))
    with Stage.begin(tmp_path, "second", clock=clock) as stage:
        (tmp_path / "ds_prices.zarr/return/0.0").unlink()
        with pytest.raises(StoreError, match=r"return/0.0 is missing"):
            stage.create_or_open(PRICES).read("return")


def test_a_damaged_chunk_is_an_error_that_names_it(tmp_path: Path) -> None:
    publish(tmp_path, "first", 5, symbols(3))
    chunk = tmp_path / "ds_prices.zarr/return/0.0"
    chunk.write_bytes(chunk.read_bytes()[:-7])
    with (
        Stage.begin(tmp_path, "second", clock=clock) as stage,
        pytest.raises(StoreError, match=r"return/0.0 .*damaged"),
    ):
        stage.create_or_open(PRICES).read("return")


def test_another_process_of_the_run_sees_what_was_closed(tmp_path: Path) -> None:
    with Stage.begin(tmp_path, "run", clock=clock) as stage:
        stage_store(stage, PRICES, 5, symbols(3))
    with Stage.attach(tmp_path, "run", clock=clock) as later:
        assert later.create_or_open(PRICES).teo.tolist() == sessions(5).tolist()
        assert later.staged_stores == ["ds_prices"]
