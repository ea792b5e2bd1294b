"""Rows of packed chunks: read and replaced block by block, they are what the whole chunk gives, bit for bit."""

import numpy as np
import pytest

from pipeline.store.chunks import ChunkedArray
from pipeline.store.frames import Frame

SHAPES = [(504, 256), (504, 256, 1), (63, 4096), (31, 8192), (3, 65536), (504, 7)]


def array_of(dtype, shape):
    return ChunkedArray("x", ("teo", "symbol", "level")[: len(shape)], dtype, shape, shape)


def values_of(dtype, shape, rng, kind):
    values = np.round(10 * rng.normal(size=shape), 2 if kind == "prices" else 0)
    if kind == "half empty":
        values[rng.integers(1, shape[0]) :] = np.nan
    if kind == "ranks":
        values = values.argsort(axis=1)
    return values.astype(dtype) if dtype == "float32" else np.abs(np.nan_to_num(values)).astype(dtype)


@pytest.mark.parametrize("kind", ["prices", "half empty", "ranks"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8", "bool"])
def test_rows_are_read_and_replaced_as_in_the_whole_chunk(dtype, shape, kind):
    rng, array = np.random.default_rng(len(kind)), array_of(dtype, shape)
    before = values_of(dtype, shape, rng, kind)
    packed = array.encode(before)
    for _ in range(4):
        first = int(rng.integers(0, shape[0]))
        rows = slice(first, min(first + int(rng.integers(1, 4)), shape[0]))
        assert array.decode_rows(packed, rows).tobytes() == before[rows].tobytes()
        inside = (rows, slice(int(rng.integers(0, shape[1])), shape[1]), *(slice(0, 1) for _ in shape[2:]))
        after = before.copy()
        new = values_of(dtype, after[inside].shape, rng, "prices")
        if dtype == "float32":
            new.ravel()[::3] = np.uint32(0xFFC00001).view(np.float32)  # another NaN than the stored one
        after[inside] = new
        replaced = array.replace_rows(packed, inside, new)
        assert replaced is None or replaced == array.encode(after)
        if replaced is not None:
            unlike = array.unlike_rows(packed, replaced)
            outside = np.ones(shape[0], bool)
            outside[unlike] = False
            assert before[outside].tobytes() == after[outside].tobytes()


def test_a_row_of_a_usual_chunk_is_replaced_without_packing_all_of_it():
    array, rng = array_of("float32", (504, 256)), np.random.default_rng(0)
    packed = array.encode(rng.normal(size=(504, 256)).round(2).astype(np.float32))
    replaced = array.replace_rows(packed, (slice(500, 501), slice(0, 256)), np.ones((1, 256), np.float32))
    assert replaced is not None
    assert array.unlike_rows(packed, replaced) == slice(384, 504)
    assert array.unlike_rows(packed, packed) == slice(0, 0)


@pytest.mark.parametrize("harm", ["cut", "longer", "a flipped table", "a flipped length", "another codec"])
def test_a_frame_that_is_not_as_we_write_it_is_left_to_who_unpacks_it_whole(harm):
    array, rng = array_of("float32", (504, 256)), np.random.default_rng(0)
    values = rng.normal(size=(504, 256)).round(2).astype(np.float32)
    data = bytearray(array.encode(values))
    assert Frame.of(bytes(data)) is not None
    if harm == "cut":
        del data[-1]
    elif harm == "longer":
        data += b"\0"
    elif harm == "a flipped table":
        data[20] ^= 1
    elif harm == "a flipped length":
        data[Frame.of(bytes(data)).begins[1]] ^= 1
    else:
        data[2] ^= 0x10
    assert Frame.of(bytes(data)) is None
    assert array.unlike_rows(bytes(data), array.encode(values)) == slice(0, 504)
    assert array.replace_rows(bytes(data), (slice(0, 1), slice(0, 256)), values[:1]) is None


def test_damage_within_a_block_is_an_error_and_no_values():
    array, rng = array_of("float32", (504, 256)), np.random.default_rng(0)
    data = bytearray(array.encode(rng.normal(size=(504, 256)).round(2).astype(np.float32)))
    begins = Frame.of(bytes(data)).begins
    data[begins[3] + 4 : begins[3] + 40] = bytes(36)
    assert array.decode_rows(bytes(data), slice(0, 1)).shape == (1, 256)  # another block
    with pytest.raises((ValueError, RuntimeError)):
        array.decode_rows(bytes(data), slice(503, 504))
