"""What the machine refuses, in words: files, memory, address space, and time (a signal that ends the process)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ADDRESS_SPACE = 3 << 30
"""Bytes that a process needs; with less, libraries end in an abort or wait for threads that never start."""

ARENAS = -8
"""What mallopt calls M_ARENA_MAX."""

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal ends the process; what is open is given back on the way out. `signal`: which one."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(f"ended by {self.signal.name}")

    @property
    def status(self) -> int:
        """Exit status by the custom of shells."""
        return 128 + self.signal


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Each signal of ENDINGS raises Ended in the block, once; meanwhile only another SIGINT ends the process at once.

    A signal that was ignored before (`nohup`) stays ignored.
    """

    def end(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL if each == signal.SIGINT else signal.SIG_IGN)
        raise Ended(number)

    before = {each: handler for each in ENDINGS if (handler := signal.getsignal(each)) != signal.SIG_IGN}
    for each in before:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def tune_libraries() -> None:
    """To be called before numpy and pyarrow are imported; what the environment says has precedence.

    Systems have two or three unknowns here, and tiles keep the processors busy: OpenBLAS's own threads would only wait
    for each other, in loops. Arrow's own pool keeps what threads have freed that may not come again: a gigabyte of a
    delivery.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


@contextmanager
def importing() -> Iterator[None]:
    """What is imported in the block stays: no garbage is searched for meanwhile, and none in it later. That takes a
    tenth of the start of a program, and its part of every later search.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def share_freed_memory() -> None:
    """What one thread has freed, the others may use again. glibc keeps it for each thread by itself, unless told not
    to: with arrays of tens of megabytes that is a gigabyte in a backfill. Elsewhere nothing happens.
    """
    _glibc("mallopt", ARENAS, 1)


def give_memory_back() -> None:
    """What is freed goes back to the system, which takes as long as getting it again: for what is not needed soon."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    """A call of a function that other C libraries lack."""
    with contextlib.suppress(OSError, AttributeError):
        getattr(ctypes.CDLL(None), function)(*arguments)


def too_little_address_space() -> str | None:
    """A sentence where the process may not have the address space that it needs, None where it may."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit >= ADDRESS_SPACE:
        return None
    return (
        f"this process may use {limit / 2**20:,.0f} MiB of address space, and needs {ADDRESS_SPACE / 2**20:,.0f}; "
        f"raise the limit (`ulimit -v {ADDRESS_SPACE // 1024}`, or what starts the process) and run it again"
    )


def explained(error: Exception) -> tuple[str, str] | None:
    """(kind, message) of an error that a person can act on; None for a fault of the program."""
    base = sys.modules.get("security_master.errors")  # not imported: then it cannot be one of them
    kind = type(error).__name__
    if base is not None and isinstance(error, base.ExplainedError):
        return kind, str(error)
    if isinstance(error, MemoryError):
        return "MemoryError", (
            f"the memory that this process may use is full ({str(error) or 'no more could be had'}). Give it more, or "
            "ask for fewer sessions at a time (erm3 backfill goes by years); readers see a whole publication"
        )
    if isinstance(error, OSError) and error.errno is not None and error.errno != errno.EPIPE:
        from security_master.errors import refusal

        return kind, refusal(error)
    return None
