"""Why a coverage fell: the stocks that had a beta of a level the session before and have none, each with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.audits.scope import WORST_CELLS, Check, Scope, StoreView, members_of, returns_in_window
from pipeline.datasets import LEVELS
from pipeline.store.windows import positions

REASONS_TOLD = 3


def with_causes(check: Check, view: StoreView, scope: Scope, falls: Sequence[tuple[int, int]]) -> Check:
    """The check with who left, in place of its worst cells, and with how many left for which reason.

    falls: (ordinal of the session, index of the level), the largest fall first.
    """
    cells: list[dict[str, Any]] = []
    told: list[str] = []
    for session, level in falls[:WORST_CELLS]:
        left = stocks_that_left(view, scope, session, level)
        cells += left
        if len(told) < REASONS_TOLD:
            reasons = Counter(row["why"] for row in left).most_common(REASONS_TOLD)
            why = "; ".join(f"{count} because {reason}" for reason, count in reasons)
            told.append(f"on {scope.calendar.sessions[session]} {len(left)} stocks left {LEVELS[level]}: {why}")
    return replace(check, explanation=f"{check.explanation}: {'. '.join(told)}", worst=tuple(cells[:WORST_CELLS]))


def stocks_that_left(view: StoreView, scope: Scope, session: int, level: int) -> list[dict[str, Any]]:
    """Valid members at a session (ordinal) without a beta of a level that had one the session before."""
    columns, pair = slice(0, len(view.symbol)), scope.rows(view, session - 1, session)
    beta = np.isfinite(view.read("factor_beta", pair, columns)[..., level])
    member = members_of(scope, view.symbol, session, session)[0]
    left = np.flatnonzero(member & beta[0] & ~beta[1])
    fact = view.read("fact", pair, columns)[:, left, level]
    daily = scope.family.view("ds_daily")
    at = positions(daily.symbol, view.symbol[left])
    rows = scope.rows(daily, session - 1, session)
    industry = daily.read("fs_industry_code", rows, slice(0, len(daily.symbol)))[:, at]
    enough = returns_in_window(scope, view.symbol[left], session, session)[0] >= scope.model.min_obs
    day = scope.calendar.sessions[session]
    tickers = scope.master.labels(view.symbol[left], day)[0]
    named = view.flags("fact")
    etfs = [[named.get(int(code), "none") for code in of_session] for of_session in fact]
    return [
        {
            "teo": str(day),
            "level": LEVELS[level],
            "ticker": str(tickers[k]),
            "why": _why(industry[:, k].tolist(), [etfs[0][k], etfs[1][k]], bool(enough[k])),
        }
        for k in range(len(left))
    ]


def _why(industry: Sequence[int], etf: Sequence[str], enough: bool) -> str:
    """The reason of one stock, from its industry and the ETF used, before and now."""
    (was, now), (used, uses) = industry, etf
    if not enough:
        return "fewer returns beside the market's than min_obs are left in its window"
    if now == 0 and was != 0:
        return f"its industry {was:.0f} was taken away: it has no class"
    if now != was:
        return f"its industry went from {was:.0f} to {now:.0f}, and with it from {used} to {uses}"
    if used == uses:
        return f"{uses} has no returns, or too few, for a beta on it"
    return f"its industry {now:.0f} is mapped to {uses} and no more to {used}"
