"""A number for the close of each bar, of which sums say whether closes are the same, in whatever order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def close_digests(day: NDArray[np.datetime64], close: NDArray[np.float64]) -> NDArray[np.uint64]:
    """For each bar one of which no bit can be told from another bar's (the finaliser of splitmix64)."""
    value = close.view(np.uint64) + day.astype("datetime64[D]").astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
