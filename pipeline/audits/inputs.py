"""Checks of every store's axes and values, of returns, universes and validity."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.audits.emptiness import not_delivered, withheld
from pipeline.audits.scope import WORST_CELLS, Check, Scope, Worst, axis_of, means
from pipeline.settings import UNIVERSES
from pipeline.store.windows import positions


@means(
    axes_are_whole=(
        "Every exchange session once, none skipped, up to the last one asked for; no published session or "
        "symbol is lost."
    )
)
def axes_are_whole(store: str, scope: Scope) -> Check:
    """`teo` increasing, exchange sessions only, none skipped, up to `last`; no symbol lost against the live store."""
    view, before = scope.family.view(store), scope.family.before(store)
    explanation = "teo increases by exactly one session; no published session or symbol is lost"
    problems: list[dict[str, Any]] = []
    start = scope.calendar.ordinal(view.teo[0])
    expected = scope.calendar.sessions[start : start + len(view.teo)]
    for row in np.flatnonzero(view.teo != expected)[:WORST_CELLS]:
        problems.append({"teo": str(view.teo[row]), "expected": str(expected[row])})
    reached = start + len(view.teo) - 1
    if reached < scope.last:
        days = scope.calendar.sessions
        problems.append({"last session": str(days[reached]), "expected": str(days[scope.last])})
    labels = axis_of(view)
    if len(set(labels)) != len(labels):
        problems.append({"symbol axis": "duplicate labels"})
    if before is not None:
        if len(before.teo) > len(view.teo) or np.any(before.teo != view.teo[: len(before.teo)]):
            problems.append({"published sessions": len(before.teo), "staged": len(view.teo)})
        old = axis_of(before)
        if len(old) > len(labels) or np.any(old != labels[: len(old)]):
            problems.append({"published symbols": len(old), "staged": len(labels)})
    return Check("axes_are_whole", store, not problems, len(problems), 0, len(view.teo), explanation, tuple(problems))


@means(no_variable_is_empty="Every variable has values in the run's sessions, and none is infinite.")
def no_variable_is_empty(store: str, scope: Scope) -> Check:
    """No floating variable is NaN throughout the run's sessions, and none holds an infinity.

    But those that no input or no history of these sessions could fill, or whose prices people withheld.
    """
    view = scope.family.view(store)
    suspect: list[dict[str, Any]] = []
    cells, shares = 0, {}
    for var in view.variables:
        seen = total = infinite = 0
        for first, last in scope.blocks():
            values = view.read(var, scope.rows(view, first, last), None)
            if values.dtype.kind != "f":
                break
            finite = int(np.count_nonzero(np.isfinite(values)))
            seen += finite
            infinite += values.size - finite - int(np.count_nonzero(np.isnan(values)))
            total += values.size
        if total:
            shares[f"share_of_nan:{var}"] = 1 - seen / total
            cells += total
            if infinite or seen == 0:
                suspect.append({"variable": var, "values": seen, "infinite": infinite, "cells": total})
    excuses = (not_delivered, withheld, scope.may_be_empty)
    optional = set().union(*(excuse(store, scope) for excuse in excuses)) if suspect else set()
    empty = [one for one in suspect if one["infinite"] or one["variable"] not in optional]
    for one in empty:
        if needs := scope.needs.get(one["variable"]):
            one["made from"] = ", ".join(needs)
    explanation = "every variable has values in the run's sessions, and no infinity"
    return Check("no_variable_is_empty", store, not empty, len(empty), 0, cells, explanation, tuple(empty), shares)


@means(returns_are_numbers="No return below -100 % or above 10,000 %.")
def returns_are_numbers(store: str, scope: Scope) -> Check:
    """No return at or below -100 % without a delisting, none above 10,000 %: such values are faults, not returns."""
    view = scope.family.view(store)
    worst = Worst("returns_are_numbers", store, 100.0, "-1 <= return <= 100")
    columns = slice(0, len(view.symbol))
    for first, last in scope.blocks():
        rows = scope.rows(view, first, last)
        values = view.read("return", rows, columns).astype(np.float64)
        error = np.where(values < -1, np.inf, np.abs(values))
        worst.add(error, 100.0, view.teo[rows], view.symbol)
    return worst.check()


@means(masks_are_within_size="No universe has more members than its size.")
def masks_are_within_size(store: str, scope: Scope) -> Check:
    """A universe never holds more names than its size."""
    view = scope.family.view(store)
    columns, problems, counts = slice(0, len(view.symbol)), [], {}
    most = 0.0
    for var in view.variables:
        members = np.concatenate(
            [view.read(var, scope.rows(view, a, b), columns).sum(axis=1, dtype=np.int64) for a, b in scope.blocks()]
        )
        counts[f"last:{var}"] = float(members[-1])
        if var == "validity":
            continue
        size = int(var.rsplit("_", 1)[1])
        most = max(most, float(members.max() / size))
        for k in np.flatnonzero(members > size)[:WORST_CELLS]:
            problems.append(
                {"universe": var, "teo": str(scope.calendar.sessions[scope.first + k]), "members": int(members[k])}
            )
    return Check(
        "masks_are_within_size", store, not problems, most, 1.0, scope.last - scope.first + 1,
        "members of each universe over its size", tuple(problems), counts,
    )  # fmt: skip


@means(masks_are_as_recorded="The universes are those of the snapshots that the security master has recorded.")
def masks_are_as_recorded(store: str, scope: Scope) -> Check:
    """Members are those of the recorded snapshot in force, by name; a valid stock has a close at the session."""
    view, daily = scope.family.view(store), scope.family.view("ds_daily")
    columns, everything = slice(0, len(view.symbol)), slice(0, len(daily.symbol))
    at = positions(daily.symbol, view.symbol)
    worst = Worst("masks_are_as_recorded", store, 0.0, "1 where the mask is not that of the recorded snapshot")
    begin = scope.calendar.sessions[scope.first]
    recorded = {universe: scope.master.snapshots(universe, since=begin) for universe in UNIVERSES}
    for first, last in scope.blocks():
        rows = scope.rows(view, first, last)
        months = scope.calendar.sessions[first : last + 1].astype("datetime64[M]")
        for universe in UNIVERSES:
            mask = view.read(universe, rows, columns)
            expected = np.zeros_like(mask)
            for month in np.unique(months):
                before = [s for s in recorded[universe] if s.mask_as_of.astype("datetime64[M]") < month]
                if before:
                    held = positions(view.symbol, before[-1].members)
                    expected[np.ix_(months == month, held[held >= 0])] = True
            worst.add((mask != expected).astype(np.float64), 0.0, view.teo[rows], view.symbol, variable=universe)
        valid = view.read("validity", rows, columns)
        close = daily.read("close", scope.rows(daily, first, last), everything)[:, at]
        unpriced = (valid & ~np.isfinite(close)).astype(np.float64)
        worst.add(unpriced, 0.0, view.teo[rows], view.symbol, variable="validity")
    return worst.check()
