"""One `erm3` command in this process, and where its processor seconds went.

    python -m tests.bench.measured FILE COMMAND...

Runs `erm3 COMMAND...` and writes to FILE (JSON): `phases`, processor seconds by phase; `kernels`, those of the public
functions of `pipeline.model`, which are part of the phases; `processor` and `wall`, of the whole process, its start
included; `peak`, bytes of memory.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import FunctionType
from typing import Any

START = "start of the program"
READ = "read, type and clean the tables"


def main() -> None:
    began = time.time() - time.process_time()
    file, arguments = Path(sys.argv[1]), sys.argv[2:]
    phases: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    from pipeline import model
    from pipeline.cli.runs import app
    from pipeline.engine import execution
    from pipeline.market_data.delivery import Delivery

    phases[START] = time.process_time()
    lock = threading.Lock()

    def timed(
        owner: Any, name: str, spent: Counter[str], phase: Callable[..., str], clock: Callable[[], float]
    ) -> None:
        inner = getattr(owner, name)

        @wraps(inner)
        def run(*given: Any, **named: Any) -> Any:
            since = clock()
            try:
                return inner(*given, **named)
            finally:
                with lock:
                    spent[phase(*given, **named)] += clock() - since

        setattr(owner, name, run)

    of_process, of_thread = time.process_time, time.thread_time
    timed(Delivery, "of", phases, lambda *_, **__: READ, of_process)
    timed(execution, "stage_inputs", phases, lambda *_, **__: "identities, facts and the gate", of_process)
    timed(execution, "step", phases, lambda run, store: f"compute {_kind(store)}", of_process)
    timed(execution, "audit_store", phases, lambda run, store: f"audit {_kind(store)}", of_process)
    timed(execution, "publish", phases, lambda *_: "guards and publication", of_process)
    for name, function in vars(model).items():
        if isinstance(function, FunctionType) and not name.startswith("_"):
            timed(model, name, kernels, lambda *_, name=name, **__: name, of_thread)
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
