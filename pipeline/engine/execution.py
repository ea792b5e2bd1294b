"""The engine: begin a run, stage and audit its stores, publish the family or nothing.

    with begin(settings, start, end) as run:             # takes the lease, checks the range against what is published
        stage_inputs(run)                                # source -> security master -> facts
        stage_stores(run, stores(settings))              # compute, write into the overlay, audit what was written
        publish(run)                                     # guards, then one switch for all stores and the manifest

`execute` does all of it; the Dagster assets call the same functions, one for each step.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from threading import Lock, Semaphore
from typing import Any

import numpy as np

from pipeline.audits import Check, audit, failures
from pipeline.calendar import xnys
from pipeline.datasets import DatasetSpec
from pipeline.engine import cluster, left_out, step_findings
from pipeline.engine.family import made_from, specs, stores, stores_until
from pipeline.engine.products import product_of
from pipeline.engine.run import Progress, RangeError, Run, silent
from pipeline.engine.views import staged_scope
from pipeline.market_data.delivery import Delivery, keep_word, save_facts
from pipeline.outside.machine import give_memory_back, share_freed_memory
from pipeline.settings import Settings, parameter_attributes
from pipeline.sources import Source, SourceTables
from pipeline.store.manifest import Publication
from pipeline.store.promote import promote
from pipeline.store.stage import Stage
from security_master import MASTER_FILE
from security_master.errors import ExplainedError, at_file

AT_A_TIME = 2
"""Stores that are computed or audited at the same time, since each has hundreds of megabytes in memory."""

SHOWN = 5
"""Worst cells of a failed check in its message."""


class AuditFailed(ExplainedError, RuntimeError):
    """Checks failed and nothing was published. `checks`: the failed ones; `staged_at`: where the data is kept."""

    def __init__(self, store: str, checks: Sequence[Check], staged_at: str) -> None:
        self.store, self.checks, self.staged_at = store, list(checks), staged_at
        lines = [
            f"  {c.name}: {c.explanation}: {c.value:.3g}, bound {c.bound:.3g}"
            + "".join("\n    " + ", ".join(f"{key} {cell[key]}" for key in cell) for cell in c.worst[:SHOWN])
            for c in checks
        ]
        super().__init__(
            f"{store}: {len(checks)} checks failed and nothing was published; the staged data is kept in {staged_at}\n"
            + "\n".join(lines)
        )


def step(run: Run, name: str) -> None:
    """Compute one store and write it into the overlay."""
    product_of(run.specs[name]).stage(run, name)


@dataclass(frozen=True)
class Outcome:
    """What `execute` did.

    publication: None when nothing differs. checks, notes: by store. seconds: by phase, the inputs, each store (some
    are computed at the same time), the audits that went on after the last one, and the publication. findings: what the
    rules found in the run.
    """

    publication: Publication | None
    checks: dict[str, list[Check]]
    notes: dict[str, dict[str, Any]]
    seconds: dict[str, float]
    findings: step_findings.Told


def execute(
    settings: Settings,
    start: object,
    end: object,
    until: str | None = None,
    progress: Progress = silent,
    source: Source | None = None,
    known_as_of: np.datetime64 | None = None,
) -> Outcome:
    """Compute, audit and publish every session in [start, end]; the family is published whole, or not at all.

    known_as_of: UTC instant of a delivery that came after the knowledge instants of these sessions; theirs moves to
    it, and the publication says so.
    """
    names, seconds = stores_until(settings, until), {}

    @contextmanager
    def timed(phase: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds[phase] = time.perf_counter() - began

    with begin(settings, start, end, names, restated_as_of=known_as_of, progress=progress) as run:
        with timed("inputs"):
            delivery = Delivery.of(settings, source, run.needs_bars_of)
            stage_inputs(run, delivery)
        checks = stage_stores(run, names, timed)
        notes = {name: run.stage.notes(name) for name in names}
        found = step_findings.told(run)
        with timed("publish"):
            delivery.remember(run.scratch / MASTER_FILE)
            publication = publish(run)
    give_memory_back()  # the next run begins with its inputs
    return Outcome(publication, checks, notes, seconds, found)


@contextmanager
def begin(
    settings: Settings,
    start: object,
    end: object,
    names: Sequence[str] | None = None,
    *,
    run_id: str | None = None,
    restated_as_of: np.datetime64 | None = None,
    reason: str | None = None,
    progress: Progress = silent,
) -> Iterator[Run]:
    """Start a run over the sessions in [start, end] that stages the stores `names` (all for None).

    The staged data is kept for a look when the block ends with an error. Raises RangeError when the range holds no
    session, or leaves a hole after what is published; LeaseHeld when another run is writing.
    """
    calendar = xnys()
    days = calendar.between(start, end)
    if not len(days):
        raise RangeError(f"there is no exchange session from {start} to {end}")
    first, last = calendar.ordinal(days[0]), calendar.ordinal(days[-1])
    info = {
        "first": first,
        "last": last,
        "restated_as_of": None if restated_as_of is None else str(restated_as_of),
        **({} if reason is None else {"from": str(days[0]), "to": str(days[-1]), "reason": reason}),
    }
    identifier = run_id or f"{days[0]}_{days[-1]}_{uuid.uuid4().hex[:8]}".replace("-", "")
    stage = Stage.begin(settings.root, identifier, "append" if reason is None else "restatement", info)
    with stage:
        yield _run(settings, stage, names, progress)


def attach(settings: Settings, run_id: str, progress: Progress = silent) -> Run:
    """Join a run that another process began. Call `run.stage.detach()` when this process is done."""
    return _run(settings, Stage.attach(settings.root, run_id), None, progress)


def _run(settings: Settings, stage: Stage, names: Sequence[str] | None, progress: Progress) -> Run:
    share_freed_memory()
    first, last = int(stage.info["first"]), int(stage.info["last"])
    restated = stage.info["restated_as_of"]
    return Run(
        settings=settings,
        specs=specs(settings),
        stage=stage,
        scratch=_scratch(settings, stage),
        first=first,
        last=last,
        published_first=_published_first(settings, stage, names or stores(settings), first),
        restated_as_of=None if restated is None else np.datetime64(restated),
        progress=progress,
        attributes=_attributes(settings),
    )


def _published_first(settings: Settings, stage: Stage, names: Sequence[str], first: int) -> int:
    """Ordinal of the first published session of these stores, `first` when none is published.

    Raises RangeError when a run from `first` on would not go on where each of them ends, or lie within it.
    """
    calendar, shapes, earliest = xnys(), specs(settings), first
    for name in names:
        if not stage.exists_live(name):
            continue
        teo = stage.create_or_open(shapes[name]).teo
        begins, reached = calendar.ordinal(teo[0]), calendar.ordinal(teo[-1])
        days = calendar.sessions
        if first < begins:
            raise RangeError(
                f"{name} is published from {days[begins]} on; {days[first]} lies before. Sessions are only added at "
                "the end: use a new root for an earlier start"
            )
        if first > reached + 1:
            raise RangeError(
                f"{name} is published through {days[reached]}; run {days[reached + 1]} to {days[first - 1]} before "
                f"{days[first]}, so that no session is skipped"
            )
        earliest = min(earliest, begins)
    return earliest


def _scratch(settings: Settings, stage: Stage) -> Path:
    """Where the steps of the run keep what is not published: in the staging area, or on this machine for a bucket."""
    if "://" in settings.root:
        base = Path(os.environ.get("ERM3_SCRATCH", tempfile.gettempdir())) / "erm3" / stage.run_id
    else:
        base = Path(settings.root) / stage.directory_key / "scratch"
    with at_file(base):
        base.mkdir(parents=True, exist_ok=True)
    return base


@cache
def code_version() -> str:
    """Version of this code: the package's, and the commit where the code runs from a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return version("erm3")
    return f"{version('erm3')}+g{commit}"


def _attributes(settings: Settings) -> dict[str, Any]:
    """Root attributes that say what the numbers are made with."""
    return {
        "institution": "ERM3",
        "source": settings.source,
        **parameter_attributes(settings.model, settings.rules),
        "code_version": code_version(),
    }


# --- steps ------------------------------------------------------------------------------------------------------


def stage_inputs(run: Run, source: Source | None = None) -> dict[str, Any]:
    """Source -> security master -> facts -> gate, landed in the run's scratch directory; what a person wants to know.

    Raises BatchFault when a delivery is wrong as a whole and nobody decided about it.
    """
    delivery = Delivery.of(run.settings, source, run.needs_bars_of)
    tables = delivery.tables
    _check_sessions(run, tables)
    previous = run.stage.published_path(MASTER_FILE, run.scratch / "master_before.sqlite")
    path = run.scratch / MASTER_FILE
    report = delivery.build_master(path, run.stage.run_id, previous)
    delivery.master = run.reopen_master(delivery.master)
    delivery.leave_word(run.scratch)
    facts = delivery.facts(
        report.build_id, run.master, run.calendar, run.settings.rules, run.restated_as_of, (run.first, run.last)
    )
    run.facts = step_findings.pass_gate(run, facts, delivery, report)
    save_facts(run.facts, run.scratch / "facts")
    run.stage.add_file(MASTER_FILE, path)
    origins = {name: {"file": o.file, "sha256": o.sha256, "rows": o.rows} for name, o in tables.origins.items()}
    missing = not_delivered(tables, run.specs.values())
    unused = left_out.of_inputs(run, tables, report, missing)
    run.remember_inputs({"origins": origins, "build_id": report.build_id, "not_delivered": missing, "left_out": unused})
    return {"origins": origins, "report": report, "notices": tables.notices, "left_out": unused}


def not_delivered(tables: SourceTables, shapes: Iterable[DatasetSpec]) -> list[str]:
    """The tables (or `table.column`) that declared variables need and of which the source has no value."""
    needs = {need for spec in shapes for variable in spec.variables for need in variable.needs}
    missing = []
    for need in sorted(needs):
        table, _, column = need.partition(".")
        frame = tables.frames[table]
        before = tables.earlier.has if tables.earlier is not None and table == "prices" else ()
        if column not in before and (frame[column].isna().all() if column else frame.empty):
            missing.append(need)
    return missing


def _check_sessions(run: Run, tables: SourceTables) -> None:
    """The market ETF must have a price on each session of the run, or the source does not have these days."""
    codes = tables.securities.loc[
        (tables.securities["ticker"] == run.settings.market) & (tables.securities["type"] == "etf"), "vendor_code"
    ]
    dates = tables.prices.loc[tables.prices["vendor_code"].isin(codes), "date"].to_numpy("datetime64[D]")
    missing = np.setdiff1d(run.days(run.first, run.last), dates)
    if len(missing):
        raise RangeError(
            f"the source {run.settings.source} has no price of {run.settings.market} on {len(missing)} of the "
            f"{run.sessions} sessions, from {missing[0]} to {missing[-1]}; nothing was computed. Have it delivered, "
            "and run again"
        )


def stage_stores(
    run: Run, names: Iterable[str], timed: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()
) -> dict[str, list[Check]]:
    """Compute stores, write them into the overlay, audit what was written; their checks.

    names: each after those that it is made from. A store is begun once these are staged, and audited while others are
    computed, since nobody writes to it again; AT_A_TIME are computed or audited. Those of a factor set are computed one
    after the other: their tiles keep all threads busy. timed: told of each phase.
    Raises AuditFailed for the first store that fails; none is begun after that.
    """
    places, of_tiles = Semaphore(AT_A_TIME), Lock()
    steps: dict[str, Future[None]] = {}
    audits: dict[str, Future[list[Check]]] = {}

    def compute(name: str) -> None:
        for other in made_from(run.specs, name):
            if other in steps:
                steps[other].result()
        with of_tiles if run.specs[name].factor_set else nullcontext(), places:
            if any(each.done() and each.exception() for each in list(audits.values())):
                return
            with timed(name):
                step(run, name)
            give_memory_back()  # what is free lies between what others hold, and the next store needs other sizes
        audits[name] = beside.submit(audit_of, name)

    def audit_of(name: str) -> list[Check]:
        with places:
            return _audited(run, name)

    with ThreadPoolExecutor(AT_A_TIME, "audit") as beside, ThreadPoolExecutor(AT_A_TIME, "step") as ahead:
        try:
            for name in names:
                steps[name] = ahead.submit(compute, name)
            for each in steps.values():
                each.result()
        finally:
            ahead.shutdown(cancel_futures=True)
            with timed("audits"):
                checks = {name: audits[name].result() for name in steps if name in audits}
    return checks


def stage_store(run: Run, name: str) -> list[Check]:
    """Compute one store, write it into the overlay, audit what was written. Raises AuditFailed."""
    return stage_stores(run, [name])[name]


def _audited(run: Run, name: str) -> list[Check]:
    """The checks of a staged store that passed. Raises AuditFailed."""
    checks = audit_store(run, name)
    if broken := failures(checks):
        raise AuditFailed(name, broken, run.stage.directory)
    return checks


def audit_store(run: Run, name: str) -> list[Check]:
    """Run the checks of one staged store and keep their results beside the staged data."""
    settings, product = run.settings, product_of(run.specs[name])
    looks = None if settings.dask_address is None else partial(cluster.audited, run, name)
    checks = audit(name, staged_scope(run, name, product), product.audits, looks)
    hashes = {other: run.stage.digest(other) for other in stores_until(settings, name) if other != name}
    hashes["security_master"] = run.inputs["build_id"]
    hashes |= {f"source:{table}": origin["sha256"] for table, origin in run.inputs["origins"].items()}
    run.stage.record_audit(name, not failures(checks), hashes, [check.as_dict() for check in checks])
    return checks


def publish(run: Run) -> Publication | None:
    """Make all staged stores live with one switch; None when nothing differs from what is published."""
    step_findings.add_findings(run)
    keep_word(run.settings, run.scratch, run.scratch / MASTER_FILE)
    return promote(run.stage, stores(run.settings), run.calendar.sessions)
