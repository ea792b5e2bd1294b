"""Checks on staged and on published data (docs/methodology.md, section 10).

Each check reads back what was stored, in its stored precision, and returns a plain `Check`: whether it passed, the
worst value against its bound, how many cells it saw, and the worst cells, so that a person sees why. Nothing here knows
Dagster, and nothing here decides what happens after a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.audits import inputs
from pipeline.audits.scope import Audit, Check, Family, Scope, StoreView, Worst, failures, means
from security_master import SecurityMaster

__all__ = [
    "EVERY_STORE",
    "Audit",
    "Check",
    "Family",
    "Scope",
    "StoreView",
    "Worst",
    "after_axes",
    "audit",
    "failures",
    "means",
]

Looks = Callable[[Sequence[Audit]], Sequence[list[Check]]]

EVERY_STORE: tuple[Audit, ...] = (inputs.axes_are_whole, inputs.no_variable_is_empty)
"""What is checked of every store, before the checks of its own."""


def after_axes(audits: Sequence[Audit]) -> tuple[Audit, ...]:
    """What is checked of a store whose axes are whole: the other checks of every store, and `audits`, its own."""
    return (*EVERY_STORE[1:], *audits)


def audit(store: str, scope: Scope, audits: Sequence[Audit], looks: Looks | None = None) -> list[Check]:
    """The checks of every store and `audits`, those of this one.

    looks: what each of the `after_axes` finds, in order, where that is not to be looked for here.
    """
    whole = inputs.axes_are_whole(store, scope)
    checks = whole
    if not failures(whole):  # the others would read other rows than they mean
        rest = after_axes(audits)
        found = looks(rest) if looks else [each(store, scope) for each in rest]
        checks = [*whole, *(check for each in found for check in each)]
    return [_with_tickers(check, scope.master) for check in checks]


def _with_tickers(check: Check, master: SecurityMaster) -> Check:
    """The worst cells with the ticker that each security had on the day, beside its permanent id."""
    cells = []
    for cell in check.worst:
        ticker = master.labels([cell["symbol"]], cell["teo"])[0][0] if {"symbol", "teo"} <= cell.keys() else ""
        cells.append({"ticker": ticker, **cell} if ticker else cell)
    return replace(check, worst=tuple(cells))
