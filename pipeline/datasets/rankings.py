"""What is ranked: metrics, the windows they are compounded over, the cohorts they are ranked within, where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

WINDOWS = {"1d": 1, "21d": 21, "63d": 63, "252d": 252}
COHORTS = ("universe", "sector", "subsector")
COMPOUNDED = {
    "gross_return": ("ds_daily", "return", None),
    "sector_residual": ("ds_erm3_returns", "residual_return", "sector"),
    "subsector_residual": ("ds_erm3_returns", "residual_return", "subsector"),
}
"""Metrics that are compounded over a window: where the returns lie."""
AT_SESSION = {
    "mkt_cap": ("ds_daily", "market_cap"),
    "er_l1": ("ds_erm3_hedge_weights", "L1_residual_ER"),
    "er_l2": ("ds_erm3_hedge_weights", "L2_residual_ER"),
    "er_l3": ("ds_erm3_hedge_weights", "L3_residual_ER"),
}
"""Metrics of the session itself, where they lie; er is 1 less the residual share."""
METRICS = ("mkt_cap", *COMPOUNDED, *list(AT_SESSION)[1:])
"""In the order of the store's variables."""
PRESENT = 0.9
"""Share of a window's sessions that must have a return."""


@dataclass(frozen=True)
class Ranking:
    """One metric over one window within one cohort."""

    window: str
    cohort: str
    metric: str

    @property
    def rank(self) -> str:
        return f"rank_ord_{self.window}_{self.cohort}_{self.metric}"

    @property
    def size(self) -> str:
        return f"cohort_size_{self.window}_{self.cohort}_{self.metric}"


def windows_of(metric: str) -> tuple[str, ...]:
    """The windows that a metric has: what is no return is of the session."""
    return tuple(WINDOWS) if metric in COMPOUNDED else ("1d",)


def rankings() -> Iterator[Ranking]:
    """Every ranking, in the order of the store's variables."""
    for metric in METRICS:
        for window in windows_of(metric):
            for cohort in COHORTS:
                yield Ranking(window, cohort, metric)


def least(window: str) -> int:
    """Returns that a window must have.

    >>> [least(window) for window in WINDOWS]
    [1, 19, 57, 227]
    """
    return ceil(PRESENT * WINDOWS[window])
