"""A Dagster run and its staging run: the first step begins it, the others join it, the last one publishes it.

The staging run is named after the Dagster run. A step that fails gives it up, so that nothing of it can be published;
one that failed for the network leaves it open, because the step will be repeated.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import numpy as np

from assets.deployment import Deployment
from assets.forms import MOST_FORMS, decision_form
from assets.network import is_network_failure
from assets.partitions import asked
from assets.tables import table
from pipeline.calendar import xnys
from pipeline.engine import execution
from pipeline.engine.run import Progress, Run
from pipeline.outside import machine
from pipeline.outside.visible import visible
from pipeline.quality.decisions import WHOLE_SESSION
from pipeline.quality.session_rules import BatchFault
from pipeline.settings import Settings
from pipeline.store.objects import StoreError
from pipeline.vendors.layers import late_deliveries
from security_master import SecurityMaster

SECONDS_BETWEEN_REPORTS = 15.0
OURS = "dagster-"


def staging_run(context: dg.AssetExecutionContext) -> str:
    """Name of the staging run of a Dagster run."""
    return f"{OURS}{context.run.run_id}"


def dagster_run_of(staging_run: str) -> str | None:
    """The Dagster run of a staging run; None for one that another face began."""
    return staging_run.removeprefix(OURS) if staging_run.startswith(OURS) else None


def pool_of(root: str) -> str:
    """The pool of a root: with its limit of 1 (dagster.yaml), one run at a time writes there."""
    words = "".join(c if c.isalnum() else "_" for c in root).strip("_")
    return f"erm3_root_{words[-40:]}_{hashlib.sha256(root.encode()).hexdigest()[:6]}"


@contextmanager
def begun(context: dg.AssetExecutionContext, settings: Settings, deployment: Deployment) -> Iterator[Run]:
    """Begins the staging run over the sessions that were asked for."""
    first, last = asked(context)
    with (
        explained(context, deployment),
        execution.begin(
            settings,
            first,
            last,
            run_id=staging_run(context),
            progress=_reports(context),
            restated_as_of=_late(settings, first, last),
        ) as run,
    ):
        for notice in run.stage.notices:
            context.log.warning(visible(notice))
        yield run


def _late(settings: Settings, first: str, last: str) -> np.datetime64 | None:
    """The receipt that the knowledge instant of a session moves to, whose delivery came later than that."""
    late = late_deliveries(settings, xnys().between(first, last))
    if late and first != last:
        days = ", ".join(str(day) for day in sorted(late))
        raise dg.Failure(
            f"the deliveries of {days} came after the knowledge instants of these sessions, which move to the "
            "receipts: materialize each session by itself, in order",
            allow_retries=False,
        )
    return late.get(np.datetime64(first, "D"))


@contextmanager
def joined(context: dg.AssetExecutionContext, settings: Settings, deployment: Deployment) -> Iterator[Run]:
    """Joins the staging run that an earlier step began."""
    with explained(context, deployment):
        try:
            run = execution.attach(settings, staging_run(context), _reports(context))
        except StoreError as error:
            raise dg.Failure(
                f"{visible(str(error))}. Materialize all assets together, or re-execute all steps of this run: the "
                "steps after source_tables work on what it staged in the same run",
                allow_retries=False,
            ) from None
        _read_master_once(run)
        try:
            yield run
        except BaseException as error:
            if is_network_failure(error) and context.retry_number < deployment.network_retries:
                run.stage.detach()
            else:
                run.stage.abandon(f"{type(error).__name__}: {error}")
            raise
        run.stage.detach()


_last_read: SecurityMaster | None = None
"""The security master that the last step of this process read."""


def _read_master_once(run: Run) -> None:
    """What an earlier step has read of the same master is not read again."""
    global _last_read
    _last_read = run.reopen_master(_last_read)


@contextmanager
def explained(context: dg.OpExecutionContext | dg.AssetExecutionContext, deployment: Deployment) -> Iterator[None]:
    """Repeats after a failure of the network, a bounded number of times; every other failure is final.

    What a person can act on becomes a Failure with the message alone; a fault of the program keeps its traceback.
    """
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        if is_network_failure(error):
            pause = deployment.retry_seconds * 2**context.retry_number
            context.log.warning(f"the network failed ({type(error).__name__}: {error})")
            raise dg.RetryRequested(max_retries=deployment.network_retries, seconds_to_wait=pause) from error
        if said := machine.explained(error):
            kind, why = said
            told: dict[str, Any] = _faults(context.run, error) if isinstance(error, BatchFault) else {}
            told["error"] = kind
            raise dg.Failure(visible(f"{kind}: {why}"), metadata=told, allow_retries=False) from None
        raise


def _faults(run: dg.DagsterRun, error: BatchFault) -> dict[str, Any]:
    """What is wrong with a delivery, and the forms of the job `decide`, filled in, to take it as it is."""
    rows = [
        {
            "session": str(xnys().sessions[int(row["session"])]),
            "rule": str(row["rule"]),
            "security": str(row["sec_id"] or WHOLE_SESSION),
            "what": row["evidence"],
        }
        for row in error.findings.to_dict("records")
    ]
    forms = {
        f"accept {row['rule']} of {row['session']}" + f" for {row['security']}" * (row["security"] != WHOLE_SESSION):
        decision_form(run, "release", row["session"], row["security"], row["rule"])
        for row in rows[:MOST_FORMS]
    }  # fmt: skip
    return {**forms, "faults": table(rows)}


def _reports(context: dg.AssetExecutionContext) -> Progress:
    """Progress in the run's log, at most every quarter of a minute: each line is a row of the event log."""
    began = told = time.monotonic()

    def report(store: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if done < total and now - told >= SECONDS_BETWEEN_REPORTS:
            told = now
            left = (now - began) / done * (total - done)
            context.log.info(f"{store}: {done:,} of {total:,} sessions, about {left:,.0f} s left")

    return report
