"""Chunks to bytes and back, against zarr-python as the second reader and writer."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.metadata import array_metadata, to_json
from pipeline.datasets.spec import VariableSpec
from pipeline.store.chunks import ChunkedArray, same

DTYPES = ("float32", "int16", "uint8", "bool")


def array(dtype: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> ChunkedArray:
    return ChunkedArray("x", ("teo", "symbol")[: len(shape)], dtype, shape, chunks)


def random_values(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        values = rng.standard_normal(shape).astype(np.float32)
        values[rng.random(shape) < 0.3] = np.nan
        return values
    return rng.integers(0, 2 if dtype == "bool" else 200, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zarr_python_reads_what_is_written_here(dtype: str, tmp_path: Path) -> None:
    spec = VariableSpec("x", ("teo", "symbol"), dtype, "x")  # type: ignore[arg-type]
    values = random_values(dtype, (700, 300), 1)
    ours = ChunkedArray.declared(spec, values.shape)
    (tmp_path / ".zarray").write_bytes(to_json(array_metadata(spec, values.shape)))
    for index, inside, outside in ours.blocks(ours.whole()):
        chunk = ours.empty()
        chunk[inside] = values[outside]
        data = ours.encode(chunk)
        assert data is not None
        (tmp_path / ".".join(map(str, index))).write_bytes(data)
    assert np.array_equal(zarr.open_array(tmp_path, mode="r")[:], values, equal_nan=dtype == "float32")


def test_texts_of_any_length_are_read_by_zarr_python(tmp_path: Path) -> None:
    ours = array("str", (3,), (8,))
    chunk = ours.empty()
    chunk[:3] = ["A", "Ünïcode £", "X" * 400]
    metadata = {"zarr_format": 2, "shape": [3], "chunks": [8], "dtype": "|O", "fill_value": None, "order": "C",
                "compressor": {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 1, "blocksize": 0},
                "filters": [{"id": "vlen-utf8"}]}  # fmt: skip
    (tmp_path / ".zarray").write_text(json.dumps(metadata))
    data = ours.encode(chunk)
    assert data is not None
    (tmp_path / "0").write_bytes(data)
    assert zarr.open_array(tmp_path, mode="r")[:].tolist() == ["A", "Ünïcode £", "X" * 400]
    assert ours.decode(data)[:3].tolist() == ["A", "Ünïcode £", "X" * 400]


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    chunks=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    data=st.data(),
)
def test_any_region_written_in_blocks_is_read_back_and_nothing_beside_it(dtype, shape, chunks, data) -> None:
    ours = array(dtype, shape, chunks)
    bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    region = tuple(slice(lo, hi) for lo, hi in bounds)
    values = random_values(dtype, tuple(hi - lo for lo, hi in bounds), 2)
    stored: dict[tuple[int, ...], np.ndarray] = {}
    for index, inside, outside in ours.blocks(region):
        chunk = stored.setdefault(index, ours.empty())
        chunk[inside] = values[outside]
        assert ours.covers(index, inside) == (
            chunk[tuple(slice(0, min(c, n - k * c)) for c, n, k in zip(chunks, shape, index, strict=True))].size
            == values[outside].size
        )
    whole = ours.empty(shape)
    for index, inside, outside in ours.blocks(ours.whole()):
        if index in stored:
            encoded = ours.encode(stored[index])
            whole[outside] = (ours.empty() if encoded is None else ours.decode(encoded))[inside]
    wanted = ours.empty(shape)
    wanted[region] = values
    assert same(whole, wanted).all()


def test_the_same_values_are_the_same_bytes_from_any_number_of_threads() -> None:
    ours = array("float32", (504, 256), (504, 256))
    values = random_values("float32", (504, 256), 3)
    with ThreadPoolExecutor(4) as pool:
        from_threads = {*pool.map(lambda _: ours.encode(values), range(40))}
    assert from_threads == {ours.encode(values) for _ in range(20)}


def test_every_nan_is_the_same_bytes() -> None:
    ours = array("float32", (2, 2), (2, 2))
    strange = np.array([[1.0, np.nan], [2.0, 3.0]], np.float32)
    strange.view(np.uint32)[0, 1] = 0xFFC00001
    plain = np.array([[1.0, np.nan], [2.0, 3.0]], np.float32)
    assert ours.encode(strange) == ours.encode(plain)
    assert same(strange, plain).all()


def test_only_a_float_chunk_of_nothing_but_nan_is_left_out() -> None:
    floats, codes = array("float32", (2, 2), (2, 2)), array("int16", (2, 2), (2, 2))
    assert floats.encode(floats.empty()) is None
    assert codes.encode(codes.empty()) is not None
    assert np.isnan(floats.decode(floats.encode_empty())).all()


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:8], lambda d: b"", lambda d: d + b"x"])
def test_a_chunk_of_the_wrong_length_is_an_error_and_not_values(damage) -> None:
    ours = array("float32", (4, 4), (4, 4))
    data = ours.encode(random_values("float32", (4, 4), 4))
    assert data is not None
    with pytest.raises(ValueError, match="damaged"):
        ours.decode(damage(data))


def test_zero_and_minus_zero_differ_bit_for_bit() -> None:
    assert not same(np.array([0.0], np.float32), np.array([-0.0], np.float32)).any()
