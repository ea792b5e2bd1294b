"""Share counts in a wrong unit: left out before the security master reads them.

A filed count that differs from the one known before it by more than a factor (after the splits between their period
ends) is left out and reported, until a second filing says about the same: then it is the count, and was not wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import pandas as pd

JUMP = 20.0
"""Factor between consecutive filings from which on a count is not believed alone."""

AGREES = 2.0

Row = dict[str, Any]


def leave_out_jumps(
    shares: pd.DataFrame, splits: pd.DataFrame, report: Callable[[str, Row, float, float, str], None]
) -> pd.DataFrame:
    """`shares` without the counts that are not believed; `report(rule, row, observed, expected, evidence)` for each."""
    rows = shares.sort_values(["vendor_code", "known_from", "period_end", "shares"], kind="stable")
    code, count = rows["vendor_code"].to_numpy(object), rows["shares"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.abs(np.log(count[1:] / count[:-1]))
    suspicious = set(code[1:][(code[1:] == code[:-1]) & ~(step <= log(JUMP) / 2)])
    dropped: list[int] = []
    for name, group in rows[rows["vendor_code"].isin(suspicious)].groupby("vendor_code", sort=True):
        own = splits[splits["vendor_code"] == name]
        believed: Row | None = None
        doubted: Row | None = None
        for index, row in zip(group.index, group.to_dict("records"), strict=True):
            filing: Row = {str(key): value for key, value in row.items()}
            fits = believed is None or _factor(believed, filing, own) <= JUMP
            if fits or (doubted is not None and _factor(doubted, filing, own) <= AGREES):
                believed, doubted = filing, None
            elif believed is not None:
                dropped.append(int(index))
                doubted = filing
                evidence = f"{filing['shares']:.0f} shares after {believed['shares']:.0f}; left out until confirmed"
                report("share_count_jump", filing, filing["shares"], believed["shares"], evidence)
    return shares.drop(index=dropped).reset_index(drop=True) if dropped else shares


def _factor(before: Row, now: Row, splits: pd.DataFrame) -> float:
    """How many times larger one count is than the other, in the units of the same day."""
    first, last = sorted((before["period_end"], now["period_end"]))
    between = splits[
        (splits["ex_date"] > first) & (splits["ex_date"] <= last) & (splits["known_from"] <= now["known_from"])
    ]
    ratio = float((between["ratio_new"] / between["ratio_old"]).prod())
    expected = before["shares"] * (ratio if before["period_end"] <= now["period_end"] else 1 / ratio)
    if not (expected > 0 and now["shares"] > 0):
        return 1.0 if expected == now["shares"] else float("inf")
    return float(max(now["shares"] / expected, expected / now["shares"]))
