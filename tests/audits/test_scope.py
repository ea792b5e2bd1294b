"""What audits share: the worst cells of an error, and variables at chosen sessions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.audits.scope import WORST_CELLS, Worst, at_sessions
from pipeline.datasets.spec import ROW_CHUNK


@pytest.mark.parametrize("bound", [0.5, np.linspace(0.2, 0.9, 12).reshape(4, 3)], ids=["one bound", "one a cell"])
def test_the_worst_cells_are_those_that_a_walk_over_all_cells_finds(bound: float | NDArray) -> None:
    error = np.array([[0.1, np.nan, 0.95], [0.5, np.inf, 0.6], [np.nan, np.nan, np.nan], [0.0, 0.8, 0.9]])
    days, names = np.arange("2020-01-01", "2020-01-05", dtype="datetime64[D]"), np.array(["a", "b", "c"])
    worst = Worst("name", "store", 0.5, "error")
    worst.add(error, bound, days, names, level="market")
    bounds = np.broadcast_to(bound, error.shape)
    broken = sorted(
        ((-error[i, j], i, j) for i in range(4) for j in range(3) if error[i, j] > bounds[i, j]),
        key=lambda cell: cell[0],
    )
    check = worst.check()
    assert (check.cells, check.value, check.counts["broken_cells"]) == (8, np.inf, len(broken))
    assert [(cell["teo"], cell["symbol"]) for cell in check.worst] == [(str(days[i]), names[j]) for _, i, j in broken]
    assert not check.passed


def test_nothing_to_check_is_no_cell_and_a_bound_that_is_met_is_no_fault() -> None:
    worst = Worst("name", "store", 0.5, "error")
    days, names = np.arange("2020-01-01", "2020-01-03", dtype="datetime64[D]"), np.array(["a"])
    worst.add(np.full((2, 1), np.nan), 0.5, days, names)
    assert (worst.check().cells, worst.check().passed) == (0, True)
    worst.add(np.array([[0.5], [np.nan]]), 0.5, days, names)
    assert (worst.check().cells, worst.check().passed, worst.check().value) == (1, True, 0.5)


def test_no_more_than_so_many_worst_cells_are_kept_the_worst_of_all_blocks() -> None:
    worst = Worst("name", "store", 0.5, "error")
    names = np.array([f"s{k}" for k in range(2 * WORST_CELLS)])
    for day, size in (("2020-01-01", 1.0), ("2020-01-02", 2.0)):
        worst.add(np.full((1, len(names)), size), 0.5, np.array([day], "datetime64[D]"), names)
    check = worst.check()
    assert check.counts["broken_cells"] == 4 * WORST_CELLS
    assert [cell["teo"] for cell in check.worst] == ["2020-01-02"] * WORST_CELLS


class Counted:
    """A store of `sessions` rows that counts how often it is read."""

    def __init__(self, sessions: int) -> None:
        self.values, self.reads = np.arange(sessions * 2.0).reshape(sessions, 2), 0

    def axis(self, dim: str) -> NDArray:
        return np.array(["a", "b"], object)

    def read(self, var: str, rows: slice, cols: slice | None) -> NDArray:
        self.reads += 1
        return self.values[rows, cols]


def test_sessions_that_share_a_block_are_read_at_once() -> None:
    view, sessions = Counted(2 * ROW_CHUNK), [0, 7, ROW_CHUNK - 1, ROW_CHUNK, 2 * ROW_CHUNK - 1]
    scope = SimpleNamespace(
        blocks=lambda: [(0, ROW_CHUNK - 1), (ROW_CHUNK, 2 * ROW_CHUNK - 1)],
        rows=lambda view, first, last: slice(first, last + 1),
    )
    assert (at_sessions(scope, view, "beta", sessions) == view.values[sessions]).all()
    assert view.reads == 2
