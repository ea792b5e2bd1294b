"""How the kernels are compiled and called: the cache, no allocation, read-only and odd inputs, empty ones."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import pytest

import pipeline.model
from pipeline.model import (
    Cascade,
    KernelParams,
    cascade,
    explained_risk,
    industry_aggregates,
    link_betas,
    reason_counts,
    shrink,
)
from pipeline.model.compiled import Floats, Floats1D, kernel
from tests.model.random_returns import assert_same_bits, assert_same_cascade, make_market, with_trouble

ROOM = Path(pipeline.model.__file__).parent


def run(code: str, *path: Path) -> str:
    """Output of a fresh interpreter."""
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(p) for p in path]!r}\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_second_process_compiles_nothing():
    misses = run(
        "import pipeline.model, importlib, pkgutil\n"
        "names = [m.name for m in pkgutil.iter_modules(pipeline.model.__path__, 'pipeline.model.')]\n"
        "rooms = [importlib.import_module(name) for name in names]\n"
        "kernels = {id(v): v for room in rooms for v in vars(room).values() if hasattr(v, 'overloads')}\n"
        "print(len(kernels), sum(sum(k.stats.cache_misses.values()) for k in kernels.values()))",
        ROOM.parent.parent,
    )
    kernels, compiled = map(int, misses.split())
    assert kernels > 25
    assert compiled == 0


@pytest.fixture
def room(tmp_path):
    """A small room of kernels, `outer` calling `inner`, that says how many of the two it compiled."""
    room = tmp_path / "room"
    room.mkdir()
    (room / "compiled.py").write_text((ROOM / "compiled.py").read_text())
    (room / "callee.py").write_text(
        "from room.compiled import kernel\n@kernel\ndef inner(x: float) -> float:\n    return x\n"
    )
    (room / "caller.py").write_text(
        "from room.compiled import kernel\nfrom room.callee import inner\n"
        "@kernel\ndef outer(x: float) -> float:\n    return inner(x)\n"
    )
    (room / "__init__.py").write_text(
        "from room.compiled import one_build\n"
        "with one_build():\n    from room.caller import inner, outer\n"
        "print(sum(sum(k.stats.cache_misses.values()) for k in (inner, outer)))\n"
    )
    return room


def compiled_by(room: Path) -> int:
    return int(run("import room", room.parent))


def test_of_processes_that_start_at_once_one_compiles_and_the_others_wait(room):
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(compiled_by, [room] * 4)) == [0, 0, 0, 2]
    assert compiled_by(room) == 0


def test_what_an_interrupted_process_left_is_compiled_anew(room):
    caller = (room / "caller.py").read_text()
    (room / "caller.py").write_text(caller + "raise KeyError\n")
    with pytest.raises(AssertionError, match="KeyError"):
        compiled_by(room)
    assert list(room.glob("__pycache__/*.nbc"))
    assert not list(room.glob("__pycache__/*.complete"))
    (room / "caller.py").write_text(caller)
    assert compiled_by(room) == 2


@pytest.mark.slow
def test_a_set_of_kernels_with_a_hole_is_compiled_anew_by_the_next_process(room):
    compiled_by(room)
    for file in room.glob("__pycache__/callee.*"):
        file.unlink()
    assert [compiled_by(room) for _ in range(3)] == [1, 2, 0]


@pytest.mark.slow
def test_two_processes_that_compile_at_once_and_one_that_loads_give_identical_bits(tmp_path, monkeypatch):
    """Without `one_build` the third process takes parts of both and gets other last bits."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    code = (
        "import hashlib\nfrom tests.model.test_determinism import ALL, everything\n"
        "from tests.model.random_returns import make_market, with_trouble\n"
        "market = with_trouble(make_market(12, 200, 30))\n"
        "print([hashlib.sha256(everything(market, p)[0].beta.tobytes()).hexdigest() for p in ALL])"
    )
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: run(code, ROOM.parent.parent), range(2))
    assert one == other == run(code, ROOM.parent.parent)


def test_an_edit_of_a_called_file_reaches_the_kernels_that_call_it(room):
    """Numba's own cache looks at the caller's file alone and would go on returning 1.

    The factors differ in length: Python takes an edit of one second and one length for none.
    """
    callee = (room / "callee.py").read_text()
    for factor in (1.0, 2.25):
        (room / "callee.py").write_text(callee.replace("return x", f"return x * {factor}"))
        assert float(run("from room.caller import outer; print(outer(1.0))", room.parent).split()[-1]) == factor


def test_a_kernel_that_allocates_does_not_compile():
    with pytest.raises(numba.core.errors.NumbaError):

        @kernel
        def allocates(n: int) -> float:
            return np.zeros(n).sum()


def test_an_array_without_dimensions_is_refused_in_the_signature_of_a_kernel():
    with pytest.raises(TypeError, match=r"arrays with their dimensions \(Floats1D.*found"):

        @kernel
        def any_array(x: Floats) -> float:
            return x.size


class Pair(NamedTuple):
    left: Floats1D
    right: Floats1D


def test_the_fields_of_a_named_tuple_cannot_be_given_as_a_plain_tuple():
    """So that no two arrays are exchanged unseen."""

    @kernel
    def difference(pair: Pair) -> float:
        return pair.left[0] - pair.right[0]

    two, one = np.array([2.0]), np.array([1.0])
    assert difference(Pair(right=one, left=two)) == 1.0
    with pytest.raises(TypeError, match="No matching definition"):
        difference((two, one))


@pytest.mark.parametrize("estimator", ["ols", "huber"])
def test_arrays_from_another_process_are_read_only_and_welcome(estimator):
    params = KernelParams(estimator, 30, 12, 20.0)
    market = with_trouble(make_market(6, 20, 30))
    whole = market.cascade(params)
    shares, _ = market.explained_risk(whole.beta, params)
    for array in (market.r, market.etf, market.sector, market.subsector, market.wanted, whole.beta):
        array.flags.writeable = False
    assert_same_cascade(whole, market.cascade(params))
    assert_same_bits(shares, market.explained_risk(whole.beta, params)[0])


def test_layout_and_dtype_of_the_inputs_do_not_matter():
    params = KernelParams("huber", 30, 12, 20.0)
    market = make_market(6, 20, 30)
    whole = market.cascade(params)
    sideways = cascade(
        np.asfortranarray(market.r),
        np.asfortranarray(market.etf),
        0,
        market.sector.astype(np.int64),
        np.asfortranarray(market.subsector),
        np.asfortranarray(market.wanted),
        market.first,
        params,
    )
    assert_same_cascade(whole, sideways)


@pytest.mark.parametrize("estimator", ["ols", "huber"])
def test_arrays_that_are_used_again_hold_the_same_bits_as_fresh_ones(estimator):
    """Every cell is written, whatever an earlier tile left in it."""
    params = KernelParams(estimator, 30, 12, 20.0)
    market = with_trouble(make_market(6, 20, 30))
    whole = market.cascade(params)
    shares, variance = market.explained_risk(whole.beta, params)
    out = Cascade.empty(6, 20)
    for array in (out.beta, out.se, out.n_obs, out.reason, out.counts):
        array[:] = 7
    of_risk = np.full_like(shares, 7.0), np.full_like(variance, 7.0)
    arguments = (market.r, market.etf, 0, market.sector, market.subsector)
    again = cascade(*arguments, market.wanted, market.first, params, out)
    assert again is out
    assert_same_cascade(whole, again)
    again_risk = explained_risk(*arguments, whole.beta, market.wanted, market.first, params, of_risk)
    assert again_risk[0] is of_risk[0]
    assert_same_bits(shares, of_risk[0])
    assert_same_bits(variance, of_risk[1])


def test_arrays_of_another_shape_dtype_or_layout_are_refused():
    params = KernelParams("ols", 30, 12, None)
    market = make_market(6, 20, 30)
    arguments = (market.r, market.etf, 0, market.sector, market.subsector, market.wanted, market.first, params)
    with pytest.raises(ValueError, match=r"out is float64 \(3, 6, 20\).*found float64 \(3, 5, 20\)"):
        cascade(*arguments, Cascade.empty(5, 20))
    for wrong in (np.empty((3, 6, 20), np.float32), np.asfortranarray(np.empty((3, 6, 20)))):
        with pytest.raises(ValueError, match="C-contiguous and writeable"):
            cascade(*arguments, replace(Cascade.empty(6, 20), se=wrong))


def test_inputs_are_left_as_they_were():
    params = KernelParams("huber", 30, 12, 20.0)
    market = with_trouble(make_market(6, 20, 30))
    before = [a.copy() for a in (market.r, market.etf, market.sector, market.subsector, market.wanted)]
    market.explained_risk(market.cascade(params).beta, params)
    for kept, now in zip(before, (market.r, market.etf, market.sector, market.subsector, market.wanted), strict=True):
        assert kept.tobytes() == now.tobytes()


def test_no_stocks_and_nothing_wanted_give_empty_answers():
    params = KernelParams("huber", 30, 12, None)
    market = make_market(3, 5, 30)
    none = market.pick([])
    assert none.cascade(params).beta.shape == (3, 0, 5)
    assert none.explained_risk(np.empty((3, 0, 5)), params)[0].shape == (9, 0, 5)
    market.wanted[:] = False
    out = market.cascade(params)
    assert np.isnan(out.beta).all()
    assert out.counts.sum() == 0
    assert reason_counts(out.counts) == {"L1": {}, "L2": {}, "L3": {}}
    assert link_betas(market.etf, 0, np.empty((0, 2), np.int16), 0, params).sub_on_sector.shape == (0, 5)
    nobody = np.empty((0, 5))
    codes = np.empty((0, 5), np.int16)
    assert shrink(nobody, nobody, codes, codes, nobody, nobody > 0, 5)[0].shape == (0, 5)
    out = industry_aggregates(nobody, codes, codes, nobody, nobody > 0, np.array([1010], np.int16))
    assert out.n_companies.tolist() == [[0] * 5]
