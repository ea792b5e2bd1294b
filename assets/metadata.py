"""What Dagster's pages show: of an asset (from its DatasetSpec) and of one materialisation (from the staged store)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from assets.checks import WORST_SHOWN
from assets.figures import by_session
from assets.plots import plots
from assets.tables import number, table
from pipeline.audits import Check
from pipeline.datasets import DatasetSpec
from pipeline.datasets.spec import ArraySpec
from pipeline.engine.execution import code_version
from pipeline.engine.figures import Series
from pipeline.engine.run import Run
from pipeline.outside.visible import in_markdown
from pipeline.settings import Settings
from pipeline.sources.tables import Notice
from pipeline.store.cloud_objects import CloudObjects
from pipeline.store.local_objects import LocalObjects
from pipeline.store.objects import Objects
from security_master import MASTER_FILE

SESSIONS_WITH_FIGURES = 60
"""At most so many sessions of a run carry figures of their own: Dagster takes 90 ms for each one of a long range."""

SHARE_OF_NAN = "share_of_nan:"


class Phases:
    """Seconds by phase of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = time.perf_counter() - began

    @property
    def metadata(self) -> dict[str, float]:
        return {f"seconds: {phase}": round(seconds, 3) for phase, seconds in self.seconds.items()}


# --- of an asset ------------------------------------------------------------------------------------------------


def description(spec: DatasetSpec, root: str) -> str:
    """The store's name, what it is, and the two lines that open it."""
    return (
        f"**{spec.name}**: {spec.title}. {spec.summary}\n\n"
        "A materialisation says that these sessions were computed, staged and passed their audit. Readers "
        "see them once `publication` of the same run is materialised.\n\n"
        f"```python\nfrom pipeline.read import open_dataset\nopen_dataset({spec.name!r}, {root!r})\n```"
    )


def of_asset(spec: DatasetSpec, root: str) -> dict[str, Any]:
    """The table schema with units, the dimensions and where the store is."""
    columns = [
        dg.TableColumn(
            array.name,
            f"{array.dtype} ({', '.join(array.dims)})",
            description=_column(array),
            constraints=dg.TableColumnConstraints(array.dtype == "float32", array.dims == (array.name,)),
        )
        for array in spec.arrays
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns),
        "store": location(root, f"{spec.name}.zarr"),
        "axes": ", ".join(spec.axes),
        "contract": dict(spec.attributes),
    }


def _column(array: ArraySpec) -> str:
    """What an array holds, its unit, and what else a reader must know."""
    unit = "" if array.dtype == "str" else f" [{array.units or '1'}]"
    sentences = [f"{array.long_name}{unit}.", f"{array.comment}." * bool(array.comment)]
    return " ".join(s[0].upper() + s[1:] for s in sentences if s)


def location(root: str, name: str) -> dg.MetadataValue:
    """Where something published is: a path, or the bucket's page."""
    if "://" not in root:
        return dg.MetadataValue.path(f"{root.rstrip('/')}/{name}")
    bucket = root.split("://", 1)[1].strip("/")
    return dg.MetadataValue.url(f"https://console.cloud.google.com/storage/browser/{bucket}/{name}")


# --- of a materialisation ---------------------------------------------------------------------------------------


def describe(context: dg.AssetExecutionContext, run: Run, name: str, checks: Sequence[Check], phases: Phases) -> None:
    """Attach the figures of each session to its partition, and tables and plots to the last one."""
    with phases("figures and plots"):
        series, pictures = by_session(run, name), plots(run, name)
    attach_series(context, run.days(run.first, run.last), series)
    context.add_asset_metadata(
        pictures | of_run(run, name, checks, phases), partition_key=str(run.calendar.sessions[run.last])
    )


def attach_series(context: dg.AssetExecutionContext, days: NDArray[np.datetime64], series: Series) -> None:
    """Numbers of each day for the page's trend lines, evenly spaced over a long run, the last day always included."""
    if not series:
        return
    picked = np.linspace(0, len(days) - 1, min(len(days), SESSIONS_WITH_FIGURES)).round().astype(int)
    for k in np.unique(picked):
        figures = {key: number(float(values[k])) for key, values in series.items()}
        context.add_asset_metadata(figures, partition_key=str(days[k]))


def of_sessions(run: Run) -> dict[str, Any]:
    """Which sessions a run is about, and the code that computed them."""
    return {
        "sessions": run.sessions,
        "first session": str(run.calendar.sessions[run.first]),
        "last session": str(run.calendar.sessions[run.last]),
        "staging run": run.stage.run_id,
        "code version": code_version(),
    }


def of_run(run: Run, name: str, checks: Sequence[Check], phases: Phases) -> dict[str, Any]:
    """What the run did to a store, in tables of a few lines."""
    store, overlay = run.open(name), run.stage.overlay(name)
    audit = run.stage.audit(name) or {"inputs": {}}
    size = stored_bytes(run.stage.objects, overlay.staged)
    columns = [axis for axis in store.spec.axes if axis not in ("teo", "level")]
    notes = run.stage.notes(name)
    return {
        **of_sessions(run),
        **{f"size of {axis}": len(store.axis(axis)) for axis in columns},
        "bytes staged": size,
        "objects staged": len(overlay.staged_keys()),
        **phases.metadata,
        "share of NaN by variable": table(
            [
                {"variable": key.removeprefix(SHARE_OF_NAN), "share of NaN": value}
                for check in checks
                for key, value in check.counts.items()
                if key.startswith(SHARE_OF_NAN)
            ],
            ("variable", "share of NaN"),
        ),
        "worst errors": table(
            [{"check": c.name, "worst": c.value, "bound": c.bound, "cells": c.cells} for c in checks]
        ),
        "made from": table([{"input": k, "build": v[:16]} for k, v in sorted(audit["inputs"].items())]),
        "store": location(run.settings.root, f"{name}.zarr"),
        **({"notes": dg.MetadataValue.json(notes)} if notes else {}),
    }


def stored_bytes(objects: Objects, prefix: str) -> int:
    """Bytes of all objects below a prefix."""
    if isinstance(objects, CloudObjects):
        return int(objects.filesystem.du(f"{objects.path}/{prefix}")) if objects.keys(prefix) else 0
    assert isinstance(objects, LocalObjects)
    return sum((objects.path / prefix / key).stat().st_size for key in objects.keys(prefix))


def of_inputs(run: Run, landed: Mapping[str, Any], phases: Phases) -> dict[str, Any]:
    """What the source delivered and what the security master made of it."""
    report = landed["report"]
    questions = [
        {"question": q.question_id, "kind": q.kind, "detail": q.detail, "candidates": ", ".join(q.candidates)}
        for q in report.open_questions[:WORST_SHOWN]
    ]
    return {
        **of_sessions(run),
        "reads from": str(run.calendar.sessions[run.reads_from]),
        "source": run.settings.source,
        "tables": table(
            [
                {"table": name, "rows": o["rows"], "file": o["file"], "sha256": o["sha256"][:16]}
                for name, o in landed["origins"].items()
            ]
        ),
        "rows read": sum(o["rows"] for o in landed["origins"].values()),
        "bytes landed": sum(path.stat().st_size for path in run.scratch.rglob("*") if path.is_file()),
        "left out": dg.MetadataValue.md(
            "\n".join(f"* {in_markdown(text)}" for text in landed["left_out"]) or "nothing"
        ),
        "notices": dg.MetadataValue.md("\n".join(_notice(one) for one in landed["notices"][:20]) or "none"),
        "security master build": report.build_id,
        "security master": location(run.settings.root, MASTER_FILE),
        "new securities": len(report.minted),
        "open questions of identity": len(report.open_questions),
        **({"first open questions": table(questions)} if questions else {}),
        "unclassified rows": report.unclassified,
        **phases.metadata,
    }


def _notice(one: Notice) -> str:
    return "- " + in_markdown(f"{one.table}: {one.what}: {one.rows:,} rows, the first in row {one.first_row}")


def of_settings(settings: Settings) -> dict[str, Any]:
    """The parameters that change published numbers."""
    return {"model": settings.model.model_dump(), "rules": settings.rules.model_dump()}
