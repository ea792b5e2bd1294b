"""Cells of a panel, and what is said about single ones: their place, their return, what was found out about them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.quality.findings import findings_frame, no_findings

Cell = tuple[int, int]
"""Row (position in the roster) and column (session - `Span.start`)."""


class Span(NamedTuple):
    """Sessions (ordinals) of a panel: bars from `start` on, a look-back before `first`; results for [first, last]."""

    start: int
    first: int
    last: int

    @property
    def width(self) -> int:
        return self.last - self.start + 1


class Found(NamedTuple):
    """What a rule found about a cell. `detected`: the column of the session that could tell, None for its own."""

    row: int
    column: int
    rule: str
    observed: float
    expected: float
    evidence: str
    detected: int | None = None

    @property
    def seen_at(self) -> int:
        """Column of the session that could tell."""
        return self.column if self.detected is None else self.detected


class CellReturn(NamedTuple):
    """The return of one cell, its flag, and what was found out while it was made."""

    cell: Cell
    ret: float
    flag: ReturnFlag
    found: tuple[Found, ...] = ()


def findings_of(found: Iterable[Found], sec_ids: NDArray[np.object_], span: Span) -> pd.DataFrame:
    """The findings (`pipeline.quality.findings`) of the sessions from `span.first` on."""
    rows = [one for one in found if one.seen_at + span.start >= span.first]
    if not rows:
        return no_findings()
    columns = dict(zip(Found._fields, zip(*rows, strict=True), strict=True))
    return findings_frame(
        sec_id=sec_ids[list(columns["row"])],
        session=np.array(columns["column"]) + span.start,
        rule=list(columns["rule"]),
        observed=columns["observed"],
        expected=columns["expected"],
        evidence=list(columns["evidence"]),
        detected_at=np.array([one.seen_at for one in rows]) + span.start,
        index=range(len(rows)),
    )
