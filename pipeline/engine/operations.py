"""Work over many sessions: backfills in runs of whole chunks, restatements, and which sessions a change touches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.datasets.spec import ROW_CHUNK
from pipeline.engine import execution, family
from pipeline.engine.execution import Outcome
from pipeline.engine.products import product_of
from pipeline.engine.run import INPUT_STORES, Progress, RangeError, Run, silent
from pipeline.engine.step_findings import Told, told
from pipeline.engine.views import PublishedFamily
from pipeline.market_data.delivery import Delivery
from pipeline.settings import Settings
from pipeline.sources import Source, SourceTables
from pipeline.store.filesystem import open_publications
from pipeline.store.manifest import Publication
from pipeline.store.windows import WarmUp, positions, warm_up_file
from pipeline.vendors.layers import late_deliveries
from security_master.errors import ExplainedError


class ReasonMissing(ExplainedError, ValueError):
    """A restatement without a reason."""


def published_range(settings: Settings) -> tuple[Any, Any] | None:
    """First and last session through which the whole family is published; None when nothing is."""
    if open_publications(settings.root).manifest() is None:
        return None
    published, last = PublishedFamily(settings.root), family.stores(settings)[-1]
    if published.published.record["complete_through"] is None or last not in published.published.stores:
        return None
    teo = published.view(last).teo
    return (teo[0], teo[-1]) if len(teo) else None


def chunked(settings: Settings, start: object, end: object, rows: int = ROW_CHUNK) -> list[tuple[Any, Any]]:
    """The runs that a backfill of [start, end] still needs: (first, last) session of each.

    They end where the chunks of the stores do, so that a chunk is computed, compressed and audited once. rows: sessions
    of a chunk.
    """
    calendar = xnys()
    days = calendar.between(start, end)
    if not len(days):
        raise RangeError(f"there is no exchange session from {start} to {end}")
    begins, published = days[0], published_range(settings)
    if published is not None:
        begins = published[0]
        if days[0] < begins:
            raise RangeError(
                f"{settings.root} begins on {begins}; sessions are only added at its end. "
                f"Backfill from {days[0]} into a new root"
            )
        days = days[days > published[1]]
    chunk = (calendar.on_or_after(days) - calendar.ordinal(begins)) // rows
    return [(days[chunk == k][0], days[chunk == k][-1]) for k in np.unique(chunk)]


def backfill(
    settings: Settings,
    start: object,
    end: object,
    progress: Progress = silent,
    source: Source | None = None,
    rows: int = ROW_CHUNK,
) -> Iterator[Outcome]:
    """Publish [start, end] in runs of whole chunks, one outcome for each; what is published is not run again.

    Interrupted at any moment, the same call goes on after the last published chunk. rows: sessions of a run, whose cut
    changes no bit.
    """
    todo = spans(settings, chunked(settings, start, end, rows))
    if not todo:
        return
    source = Delivery.of(settings, source)
    for first, last, known_as_of in todo:
        yield execution.execute(settings, first, last, progress=progress, source=source, known_as_of=known_as_of)


def spans(settings: Settings, todo: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any, np.datetime64 | None]]:
    """The same runs, with each session by itself whose delivery was late: its knowledge instant is that of the receipt.

    (first, last, instant or None for the sessions' own ones).
    """
    found: list[tuple[Any, Any, np.datetime64 | None]] = []
    for first, last in todo:
        days = xnys().between(first, last)
        late = late_deliveries(settings, days)
        begins = 0
        for k, day in enumerate(days):
            if day in late:
                if begins < k:
                    found.append((days[begins], days[k - 1], None))
                found.append((day, day, late[day]))
                begins = k + 1
        if begins < len(days):
            found.append((days[begins], days[-1], None))
    return found


def warm_up_note(settings: Settings, start: object, tables: SourceTables) -> str | None:
    """What is missing when the source has no data for a whole window before `start`; None when it has."""
    calendar, model = xnys(), settings.model
    first = int(calendar.on_or_after(np.datetime64(str(start)[:10], "D")))
    begins = int(calendar.on_or_after(tables.prices["date"].min().to_datetime64()))
    if begins <= first - model.window:
        return None
    full, least = begins + model.window, begins + model.min_obs
    days = calendar.sessions
    return (
        f"The source begins on {days[begins]}, less than a window of {model.window} sessions before {days[first]}. "
        f"Betas need {model.min_obs} returns: the first ones come on {days[max(first, least)]}, and windows are whole "
        f"from {days[full]} on. Earlier sessions are published with NaN."
    )


def touched(settings: Settings, changed_first: object, changed_last: object) -> tuple[Any, Any]:
    """Published sessions that a change of inputs in [changed_first, changed_last] can touch.

    Their windows hold it, or their figures of the hedges that were made with it. Universes of past month ends are never
    taken again, so nothing reaches further.
    """
    published = published_range(settings)
    if published is None:
        raise RangeError(f"nothing is published in {settings.root}")
    calendar = xnys()
    changed = calendar.between(max(np.datetime64(str(changed_first)[:10], "D"), published[0]), changed_last)
    if not len(changed) or changed[0] > published[1]:
        raise RangeError(f"no published session lies in {changed_first} to {changed_last}")
    furthest = max(_reaches(settings).values())
    reach = calendar.ordinal(changed[-1]) + settings.model.window - 1 + furthest
    last = min(reach, calendar.ordinal(published[1]))
    return changed[0], calendar.sessions[last]


def _reaches(settings: Settings) -> dict[str, int]:
    """Store of the family -> sessions after the last changed beta that it still depends on."""
    return {name: product_of(spec).reaches for name, spec in family.specs(settings).items()}


@dataclass(frozen=True)
class Restatement:
    """What a restatement did. changes: one row per variable that changed, with cells, sessions and largest change.
    findings: what the rules found in the sessions that it computed."""

    publication: Publication | None
    first: Any
    last: Any
    changes: pd.DataFrame
    findings: Told


def restate(
    settings: Settings,
    start: object,
    reason: str,
    known_as_of: np.datetime64 | None = None,
    progress: Progress = silent,
    source: Source | None = None,
) -> Restatement:
    """Compute the published sessions from `start` on again with what is known at `known_as_of`; publish what differs.

    known_as_of: UTC instant; the knowledge instant of the last published session for None. Returns are made again from
    `start` on, and the warm-up where that is the first published session; the model only for the sessions whose windows
    hold a return, cap or class that changed.
    """
    if not reason.strip():
        raise ReasonMissing("a restatement needs a reason, for those who ask later why history changed")
    calendar = xnys()
    first, until = _published_from(settings, start)
    last = calendar.ordinal(until)
    own = np.datetime64(calendar.knowledge_instants([last], settings.rules.vendor_delay_minutes)[0])
    instant = own if known_as_of is None else known_as_of
    with execution.begin(settings, first, until, restated_as_of=instant, reason=reason, progress=progress) as run:
        execution.stage_inputs(run, source)
        execution.stage_stores(run, INPUT_STORES)
        found = [changes_of(run, name) for changes_of in (changed_cells, changed_warm_up) for name in INPUT_STORES]
        changes, findings = pd.concat(found, ignore_index=True), told(run)
        if changes.empty:
            run.stage.finish()
            return Restatement(None, first, until, changes, findings)
        begins = max(calendar.ordinal(changes["first"].min()), run.first)
        ends = max(begins, min(calendar.ordinal(changes["last"].max()) + settings.model.window - 1, last))
        runs = {
            name: replace(run, first=begins, last=min(ends + reaches, last))
            for name, reaches in _reaches(settings).items()
            if name not in INPUT_STORES
        }
        for name, model_run in runs.items():
            execution.stage_store(model_run, name)
        changes = pd.concat([changes, *(changed_cells(r, name) for name, r in runs.items())], ignore_index=True)
        run.stage.note("restatement", {"changes": changes.astype(str).to_dict("records")})
        days, furthest = calendar.sessions, max(model_run.last for model_run in runs.values())
        return Restatement(execution.publish(run), days[begins], days[furthest], changes, findings)


def _published_from(settings: Settings, start: object) -> tuple[Any, Any]:
    """The published sessions from `start` on, first and last. Raises RangeError when there are none."""
    published = published_range(settings)
    if published is None:
        raise RangeError(f"nothing is published in {settings.root}")
    first = max(np.datetime64(str(start)[:10], "D"), published[0])
    if first > published[1]:
        raise RangeError(f"{start} lies after the last published session, {published[1]}")
    return first, published[1]


NO_CELL_IS_ZERO = ("fs_industry_code",)
"""Variables of the warm-up that are zero where a security is not known."""

CHANGE_COLUMNS = ["store", "variable", "cells", "first", "last", "largest_change"]


def changed_cells(run: Run, name: str) -> pd.DataFrame:
    """How the staged rows of a store differ from the published ones: one row per variable that does."""
    staged, live, found = run.open(name), run.open_live(name), []
    assert live is not None
    for variable in staged.spec.variables:
        for first, last in run.blocks(staged):
            rows = run.rows(live, first, last)
            old = live.read(variable.name, rows)
            new = staged.read(variable.name, rows)[:, : old.shape[1]]
            same = (old == new) | ((old != old) & (new != new))
            if same.all():
                continue
            at = np.flatnonzero(~same.reshape(len(same), -1).all(axis=1))
            days = run.days(first, last)
            with np.errstate(invalid="ignore"):
                size = np.abs(new.astype(np.float64) - old.astype(np.float64))[~same]
            largest = float(np.nanmax(size)) if np.isfinite(size).any() else float("nan")
            found.append((name, variable.name, int((~same).sum()), days[at[0]], days[at[-1]], largest))
    frame = pd.DataFrame(found, columns=CHANGE_COLUMNS)
    return frame.groupby(["store", "variable"], as_index=False, sort=False).agg(
        {"cells": "sum", "first": "min", "last": "max", "largest_change": "max"}
    )


def changed_warm_up(run: Run, name: str) -> pd.DataFrame:
    """How the warm-up of a store differs from the published one, as `changed_cells`; nothing where it stays."""
    file = warm_up_file(name)
    before = run.stage.published_file(file, run.scratch / f"before_{file}") if run.restates_warm_up else None
    if before is None:
        return pd.DataFrame(columns=CHANGE_COLUMNS)
    old, new = WarmUp.load(before), WarmUp.load(run.scratch / file)
    days, cols = run.days(new.first, new.first + new.sessions - 1), positions(old.symbols, new.symbols)
    found = []
    for var, now in new.values.items():
        was = np.full(now.shape, 0 if var in NO_CELL_IS_ZERO else np.nan, np.float32)
        rows = min(old.sessions, new.sessions)  # both end before the first published session
        was[-rows:, cols >= 0] = old.values[var][-rows:, cols[cols >= 0]]
        differs = ~((was == now) | (np.isnan(was) & np.isnan(now)))
        if differs.any():
            at = np.flatnonzero(differs.any(axis=1))
            size = np.abs(now - was)[differs]
            largest = float(np.nanmax(size)) if np.isfinite(size).any() else float("nan")
            found.append((name, f"{var} of the warm-up", int(differs.sum()), days[at[0]], days[at[-1]], largest))
    return pd.DataFrame(found, columns=CHANGE_COLUMNS)
