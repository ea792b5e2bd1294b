"""Ranks against a count of the larger values of each cohort, whatever bits the values have."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.rankings import ranks, spread

SPREADS = {
    "returns": lambda rng, shape: rng.normal(0, 0.02, shape),
    "stored in single precision": lambda rng, shape: rng.normal(0, 0.02, shape).astype(np.float32),
    "of every size": lambda rng, shape: rng.normal(size=shape) * 10.0 ** rng.integers(-300, 300, shape),
    "ties, and two zeros": lambda rng, shape: rng.integers(-2, 3, shape) * rng.choice([1.0, -1.0], shape),
    "that differ in their last bits alone": lambda rng, shape: 1 + rng.integers(0, 200, shape) * 2.0**-50,
    "a few that differ in their last bits": lambda rng, shape: np.where(
        rng.random(shape) < 0.9, rng.normal(size=shape), 1 + rng.integers(0, 9, shape) * 2.0**-52
    ),
    "one value": lambda rng, shape: np.full(shape, -3.0),
    "at the ends": lambda rng, shape: rng.choice([np.inf, -np.inf, 5e-324, -5e-324, 1.7e308, 0.0, -0.0], shape),
}


def counted(values: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank and size of one session, (n,) each."""
    rank, size = np.full((2, len(values)), np.nan, np.float32)
    for code in np.unique(codes[codes > 0]):
        at = np.flatnonzero((codes == code) & ~np.isnan(values))
        rank[at] = 1 + (values[at] > values[at, None]).sum(axis=1)
        size[at] = len(at)
    return rank, size


@pytest.mark.parametrize("kind_of_values", SPREADS)
@pytest.mark.parametrize("n", [0, 1, 2, 150])
def test_a_rank_is_one_more_than_the_larger_values_of_the_cohort(kind_of_values: str, n: int):
    rng = np.random.default_rng(n)
    values = np.asarray(SPREADS[kind_of_values](rng, (6, n)), np.float64)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[3] = np.nan
    cohorts = np.stack([np.ones((6, n)), rng.integers(0, 4, (6, n)), rng.integers(0, 40, (6, n))]).astype(np.int16)
    rank, size = ranks(values, cohorts)
    for kind in range(3):
        for session in range(6):
            wanted = counted(values[session], cohorts[kind, session])
            np.testing.assert_array_equal(rank[kind, session], wanted[0])
            np.testing.assert_array_equal(size[kind, session], wanted[1])


def test_cohorts_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"the \(T, n\) of values, \(2, 3\); found \(1, 2, 4\)"):
        ranks(np.zeros((2, 3)), np.zeros((1, 2, 4), np.int16))


def test_ranks_go_to_their_columns_and_nothing_else_has_one():
    values, out = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((2, 5), np.float32)
    assert spread(values, np.array([4, 0, 1]), out) is out
    np.testing.assert_array_equal(out, [[1, 2, np.nan, np.nan, 0], [4, 5, np.nan, np.nan, 3]])
    np.testing.assert_array_equal(spread(values[:, :0], np.array([], int), out), np.full((2, 5), np.nan))


@pytest.mark.parametrize("columns", [[0, 5, 1], [0, -1, 1], [0, 1]])
def test_columns_that_are_not_there_are_refused(columns: list[int]):
    with pytest.raises(ValueError, match=r"positions on out, \(2, 5\), for values \(2, 3\)"):
        spread(np.zeros((2, 3), np.float32), np.array(columns), np.zeros((2, 5), np.float32))
