"""How kernels are compiled: ahead of the first call, without the GIL, and cached on disk.

Numba's cache sees changes of the file that holds a kernel, not of the files it calls into. Here every kernel is stamped
with the sources of the whole room, so that no stale machine code survives an edit or an upgrade.

Kernels run without numba's reference counts: each count is an atomic operation and a slice costs two, which adds up to
a quarter of the time of a Huber fit. It also means that no kernel can allocate: who calls it brings the scratch.

A kernel's annotations are its signature: int, float, bool, an array with its dimensions (`Floats1D` ...), and tuples
and named tuples of these. Named tuples cost nothing: the compiled code is given their fields, one by one.

A plain `kernel` follows IEEE 754 to the letter, so one expression gives one result wherever it is compiled into a loop.
In a `reduction` the compiler may reorder sums (and nothing else: NaN and infinity keep their meaning); it gives one
result per call site, and the callers are written so that each number comes from one call site.

So one set of kernels has to come from one compilation. A kernel's machine code carries copies of the
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
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import numba
import numpy as np
from filelock import FileLock
from numba.core.registry import cpu_target
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Codes = NDArray[np.int16]
Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

# The same as kernels take them: C-contiguous, of so many dimensions.
Floats1D = Annotated[Floats, numba.float64[::1]]
Floats2D = Annotated[Floats, numba.float64[:, ::1]]
Floats3D = Annotated[Floats, numba.float64[:, :, ::1]]
Singles1D = Annotated[Singles, numba.float32[::1]]
Singles2D = Annotated[Singles, numba.float32[:, ::1]]
Singles3D = Annotated[Singles, numba.float32[:, :, ::1]]
Codes1D = Annotated[Codes, numba.int16[::1]]
Codes2D = Annotated[Codes, numba.int16[:, ::1]]
Codes3D = Annotated[Codes, numba.int16[:, :, ::1]]
Bools1D = Annotated[Bools, numba.boolean[::1]]
Bools2D = Annotated[Bools, numba.boolean[:, ::1]]
Bytes1D = Annotated[Bytes, numba.uint8[::1]]
Bytes2D = Annotated[Bytes, numba.uint8[:, ::1]]
Bytes3D = Annotated[Bytes, numba.uint8[:, :, ::1]]
Ints1D = Annotated[Ints, numba.int64[::1]]
Ints2D = Annotated[Ints, numba.int64[:, ::1]]
Ints3D = Annotated[Ints, numba.int64[:, :, ::1]]

Function = TypeVar("Function", bound=Callable[..., Any])
Scalar = TypeVar("Scalar", bound=np.generic)

_SCALARS = {int: numba.int64, float: numba.float64, bool: numba.boolean, type(None): numba.void}
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


def kernel(function: Function) -> Function:
    """Compile a function for exactly the types of its annotations, in IEEE arithmetic."""
    return _compile(function, fastmath=False)


def reduction(function: Function) -> Function:
    """The same for a function whose sums may be taken in any order."""
    return _compile(function, fastmath={"reassoc", "contract", "nsz"})


def inlined(function: Function) -> Function:
    """A paragraph of the kernels that call it, to be read apart and compiled within them.

    Each kernel's code is optimised once more inside every kernel that leads to it, so that layers cost compile time.
    """
    return cast(Function, numba.njit(inline="always")(function))


def _compile(function: Function, fastmath: bool | set[str]) -> Function:
    hints = get_type_hints(function, include_extras=True)
    result = _machine_type(hints.pop("return"))
    options: dict[str, Any] = {"fastmath": fastmath, "_nrt": False, "no_cfunc_wrapper": True}
    dispatcher: Any = numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
    dispatcher._cache._cache_file._source_stamp = _SOURCES
    if _compile_anew:
        dispatcher._cache.load_overload = lambda *_: None
    dispatcher.compile(result(*map(_machine_type, hints.values())))
    dispatcher.disable_compile()
    _kernels.append(dispatcher)
    return cast(Function, dispatcher)


def _machine_type(hint: Any) -> Any:
    """The numba type of an annotation."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    if get_origin(hint) is Annotated:
        return hint.__metadata__[0]
    if get_origin(hint) is tuple:
        return numba.types.BaseTuple.from_types([_machine_type(part) for part in get_args(hint)])
    if hasattr(hint, "_fields"):
        parts = get_type_hints(hint, include_extras=True)
        return numba.types.BaseTuple.from_types([_machine_type(parts[name]) for name in hint._fields], hint)
    raise TypeError(
        "a kernel takes int, float, bool, arrays with their dimensions (Floats1D, Codes2D, ...) and tuples of these; "
        f"found {hint}"
    )


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
