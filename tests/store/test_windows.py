"""Windows over published rows: where their columns lie."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.store.windows import positions


@pytest.mark.parametrize(
    ("axis", "wanted", "expected"),
    [
        ("ABC", "ABC", [0, 1, 2]),
        ("ABC", "AB", [0, 1]),  # an axis that has grown since
        ("AB", "ABC", [0, 1, -1]),
        ("AB", "ABAB", [0, 1, 0, 1]),  # cells of few stocks, several of each
        ("ABC", "CAX", [2, 0, -1]),
        ("ABC", "BC", [1, 2]),
        ("ABC", "AC", [0, 2]),
        ("", "A", [-1]),
        ("A", "", []),
    ],
)
def test_positions_are_where_the_labels_stand(axis: str, wanted: str, expected: list[int]) -> None:
    found = positions(np.array(list(axis), object), np.array(list(wanted), object))
    assert found.tolist() == expected
    assert found.dtype == np.int64
    assert positions(list(axis), list(wanted)).tolist() == expected
