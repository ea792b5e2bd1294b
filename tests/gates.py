"""Gates on cost: ratios of processor time, measured again before they fail, since other programs disturb any one."""

from __future__ import annotations

from collections.abc import Callable

TRIES = 4


def smallest(ratio: Callable[[], float], enough: float) -> float:
    """The smallest of at most TRIES measurements; the first one below `enough` is the last."""
    found = ratio()
    for _ in range(TRIES - 1):
        if found < enough:
            break
        found = min(found, ratio())
    return found
