"""One `erm3` command in this process, and where its processor seconds went.

    python -m tests.bench.measured FILE COMMAND...

Runs `erm3 COMMAND...` and writes to FILE (JSON): `phases`, processor seconds by phase; `kernels`, those of the public
functions of `pipeline.model`, which are part of the phases; `processor` and `wall`, of the whole process, its start
included; `peak`, bytes of memory. A store is audited while others are computed, so what their threads spend is counted
thread by thread, for the phase that gave them the work; other phases have the process to themselves.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import wraps
from pathlib import Path
from types import FunctionType
from typing import Any

from pipeline.outside.machine import importing, tune_libraries

PHASE: ContextVar[str] = ContextVar("phase")
"""The step or audit that the work of a thread belongs to."""
START = "start of the program"
READ = "read, type and clean the tables"


def main() -> None:
    began = time.time() - time.process_time()
    file, arguments = Path(sys.argv[1]), sys.argv[2:]
    phases: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    tune_libraries()
    with importing():
        from pipeline import model
        from pipeline.cli.runs import app
        from pipeline.engine import execution
        from pipeline.market_data.delivery import Delivery

    phases[START] = time.process_time()
    lock = threading.Lock()
    of_process, of_thread = time.process_time, time.thread_time

    def spend(spent: Counter[str], phase: str, clock: Callable[[], float], work: Callable[[], Any]) -> Any:
        since = clock()
        try:
            return work()
        finally:
            with lock:
                spent[phase] += clock() - since

    def timed(
        owner: Any, name: str, spent: Counter[str], phase: Callable[..., str], clock: Callable[[], float]
    ) -> None:
        inner = getattr(owner, name)

        @wraps(inner)
        def run(*given: Any, **named: Any) -> Any:
            own = phase(*given, **named)
            within = copy_context()
            if spent is phases and clock is of_thread:
                within.run(PHASE.set, own)
            return spend(spent, own, clock, lambda: within.run(inner, *given, **named))

        setattr(owner, name, run)

    submit = ThreadPoolExecutor.submit

    def submitted(pool: ThreadPoolExecutor, task: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        phase, within = PHASE.get(None), copy_context()
        if phase is None:
            return submit(pool, task, *given, **named)
        return submit(pool, lambda: spend(phases, phase, of_thread, lambda: within.run(task, *given, **named)))

    timed(Delivery, "of", phases, lambda *_, **__: READ, of_process)
    timed(execution, "stage_inputs", phases, lambda *_, **__: "identities, facts and the gate", of_process)
    timed(execution, "step", phases, lambda run, store: f"compute {_kind(store)}", of_thread)
    timed(execution, "audit_store", phases, lambda run, store: f"audit {_kind(store)}", of_thread)
    timed(execution, "publish", phases, lambda *_: "guards and publication", of_process)
    for name, function in vars(model).items():
        if isinstance(function, FunctionType) and not name.startswith("_"):
            timed(model, name, kernels, lambda *_, name=name, **__: name, of_thread)
    ThreadPoolExecutor.submit = submitted  # type: ignore[method-assign,assignment]
    app(arguments, standalone_mode=False)
    used = resource.getrusage(resource.RUSAGE_SELF)
    processor = used.ru_utime + used.ru_stime
    phases["else"] = max(processor - sum(phases.values()), 0.0)
    figures = {
        "phases": dict(phases),
        "kernels": dict(kernels),
        "processor": processor,
        "wall": time.time() - began,
        "peak": peak(),
    }
    file.write_text(json.dumps(figures))


def peak() -> int:
    """Bytes of memory that this process has had at most. `ru_maxrss` would begin with what its parent had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _kind(store: str) -> str:
    """A store without its factor set."""
    return store.split("_SPY")[0]


if __name__ == "__main__":
    main()
