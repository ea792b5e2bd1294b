"""Splits too small to be judged (stock dividends) that fit the moves better on a neighbouring session.

Nothing is moved: a pair of moves is evidence, not proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log1p

import numpy as np

from pipeline.returns.cells import Found
from pipeline.returns.ordinary import Ordinary


def doubted_splits(ordinary: Ordinary) -> Iterator[Found]:
    """A finding for each such split, at the first session that can tell."""
    rules, span = ordinary.rules.outliers, ordinary.grid.span
    i, ex, effects, visible = ordinary.roster.events.splits()
    near = (ex >= span.first - rules.misdated) & (ex <= span.last) & (visible <= ex)
    near &= np.abs(effects) > rules.small
    columns = (ex[near] - span.start).tolist()
    for row, t, effect in zip(i[near].tolist(), columns, effects[near].tolist(), strict=True):
        for by in (-1, -2, 1, 2):
            if abs(by) <= rules.misdated and _fits_better(ordinary, row, t, t + by, effect):
                move = float(ordinary.ret[row, t])
                evidence = f"a split (factor {exp(effect):g}) fits both moves better {by:+d} sessions from its ex-date"
                expected = exp(log1p(move) - effect) - 1
                yield Found(row, t + by, "misdated_event", move, expected, evidence, max(t, t + by))
                break


def _fits_better(ordinary: Ordinary, row: int, t: int, other: int, effect: float) -> bool:
    """Whether two moves are smaller with the split of `t` at the column `other`, by more than noise."""
    rules = ordinary.rules.outliers
    if min(t, other) < 1 or max(t, other) >= ordinary.grid.span.width:
        return False
    if not ordinary.priced[row, [t - 1, t, other - 1, other]].all():
        return False
    scale = ordinary.scale(row, min(t, other))
    if scale == 0 or abs(effect) >= max(rules.material, rules.material_sigmas * scale):
        return False  # `pipeline.returns.outliers` looks at it
    here, there = np.log1p(ordinary.ret[row, [t, other]]).tolist()
    if abs(here - effect) >= abs(here) or abs(there + effect) >= abs(there):
        return False
    gain = here**2 + there**2 - (here - effect) ** 2 - (there + effect) ** 2
    return bool(gain > rules.gain * scale**2)
