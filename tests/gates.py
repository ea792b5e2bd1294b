"""Gates that a busy machine does not close.

On cost: ratios of processor time, measured again before they fail, since other programs disturb any one.
On time: only what hangs is given up.
"""

from __future__ import annotations

from collections.abc import Callable

TRIES = 4

PATIENCE = 600.0
"""Seconds after which a process or an answer will never come. No test passes or fails by how fast one is."""


def smallest(ratio: Callable[[], float], enough: float) -> float:
    """The smallest of at most TRIES measurements; the first one below `enough` is the last."""
    found = ratio()
    for _ in range(TRIES - 1):
        if found < enough:
            break
        found = min(found, ratio())
    return found
