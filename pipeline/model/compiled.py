"""How kernels are compiled: ahead of the first call, without the GIL, and cached on disk.

Numba's cache sees changes of the file that holds a kernel, not of the files it calls into. Here every kernel is stamped
with the sources of the whole room, so that no stale machine code survives an edit or an upgrade.

Kernels run without numba's reference counts: each count is an atomic operation and a slice costs two, which adds up to
a quarter of the time of a Huber fit. It also means that no kernel can allocate: who calls it brings the scratch.

Plain kernels follow IEEE 754 to the letter, so one expression gives one result wherever it is compiled into a loop.
`REDUCTION` lets the compiler reorder sums (and nothing else: NaN and infinity keep their meaning); such a kernel gives
one result per call site, and the callers are written so that each number comes from one call site.

It also means that one set of kernels has to come from one compilation. A kernel's machine code carries copies of the
kernels it calls, each reordered anew, under names that count what its process had compiled before. From a cache that
two processes filled at the same time, a third takes other copies than both had used, and gets other last bits.
`one_build` sees to it that one process compiles everything and the others take that.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from filelock import FileLock
from numba.core.registry import cpu_target
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int16]
Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

Function = TypeVar("Function", bound=Callable[..., Any])
Scalar = TypeVar("Scalar", bound=np.generic)

REDUCTION = {"reassoc", "contract", "nsz"}

_SOURCES = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()
_kernels: list[Any] = []
_compile_anew = False


@contextmanager
def one_build() -> Iterator[None]:
    """Define all kernels of this room in this context, once a process.

    Who finds no complete set on disk compiles all of it, whatever single files are there; others wait for him, then
    load. A kernel that is missing from a complete set is compiled here, and the next process starts anew.
    """
    global _compile_anew
    where: Any = numba.njit(cache=True)(_nothing)
    folder = Path(where._cache.cache_path)
    machine = hashlib.sha256(repr(cpu_target.target_context.codegen().magic_tuple()).encode()).hexdigest()[:16]
    complete = folder / f"kernels-{sys.implementation.cache_tag}-{machine}.complete"
    build = f"{_SOURCES} numba {numba.__version__}"

    def is_complete() -> bool:
        return complete.exists() and complete.read_text() == build

    if not is_complete():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(complete.with_suffix(".lock")):
            if not is_complete():
                _compile_anew = True
                try:
                    yield
                finally:
                    _compile_anew = False
                complete.write_text(build)
                return
    yield
    if any(dispatcher.stats.cache_misses for dispatcher in _kernels):
        complete.unlink(missing_ok=True)


def _nothing() -> None:
    """Tells where numba keeps what it compiles from this folder."""


def kernel(signature: str | list[str], *, reorder: bool = False) -> Callable[[Function], Function]:
    """Compile a function for exactly these argument types; `reorder` allows sums in any order."""

    def compile_it(function: Function) -> Function:
        options: dict[str, Any] = {"fastmath": REDUCTION if reorder else False, "_nrt": False}
        dispatcher: Any = numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        dispatcher._cache._cache_file._source_stamp = _SOURCES
        if _compile_anew:
            dispatcher._cache.load_overload = lambda *_: None
        for one in [signature] if isinstance(signature, str) else signature:
            dispatcher.compile(one)
        dispatcher.disable_compile()
        _kernels.append(dispatcher)
        return cast(Function, dispatcher)

    return compile_it


def as_input(array: ArrayLike, dtype: type[Scalar]) -> NDArray[Scalar]:
    """The array as kernels take it: this dtype, C-contiguous, writeable; copied only if it is not.

    Arrays that come from another process are read-only, which is another type to a compiled function.
    """
    return np.require(array, dtype, ["C", "W"])


def check_out(array: NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Whether a kernel may write into an array that a caller brought. Raises ValueError."""
    if array.shape != shape or array.dtype != dtype or not (array.flags.c_contiguous and array.flags.writeable):
        found = f"{array.dtype} {array.shape}"
        raise ValueError(f"out is {np.dtype(dtype)} {shape}, C-contiguous and writeable; found {found}")
