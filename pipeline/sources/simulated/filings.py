"""Share counts as a company files them: quarterly, weeks late, sometimes amended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.sources.simulated.life import Life
from pipeline.sources.streams import stream

AMENDED = 0.03

Dates = NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class Filings:
    """Share counts: period_end datetime64[D], filed_at naive-UTC datetime64[us], shares in the units of period_end."""

    period_end: Dates
    filed_at: Dates
    shares: NDArray[np.float64]


def filings(seed: int, life: Life) -> Filings:
    """What the company filed over its life: the prospectus on the eve of its first session, then every quarter."""
    company, calendar = life.company, xnys()
    sessions = calendar.sessions[company.start : company.start + len(life.returns)]
    quarters = np.arange(
        sessions[0].astype("datetime64[M]"), sessions[-1] + np.timedelta64(1, "D"), dtype="datetime64[M]"
    )
    quarters = quarters[(quarters.astype(int) + 1) % 3 == 0]
    period_end = (quarters + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
    period_end = period_end[(period_end > sessions[0]) & (period_end <= sessions[-1])]
    draws = stream(seed, "filings", company.key).random((len(period_end) + 1, 5))
    at = np.searchsorted(sessions, period_end, side="right") - 1
    annual = period_end.astype("datetime64[M]").astype(int) % 12 == 11
    days = np.where(annual, 45 + np.floor(45 * draws[1:, 0]), 25 + np.floor(20 * draws[1:, 0])).astype(int)
    filed = _in_the_evening(period_end + days, draws[1:, 1])
    counts = np.round(life.outstanding[at], -3)
    amended = draws[1:, 2] < AMENDED
    later = _in_the_evening(period_end + days + 10 + np.floor(50 * draws[1:, 3]).astype(int), draws[1:, 1])
    corrected = np.round(counts * (1 + 0.04 * (draws[1:, 4] - 0.5)), -3)
    closed = calendar.closes[min(company.last, len(calendar.closes) - 1)]  # the dead file nothing
    prospectus = _in_the_evening(sessions[:1] - np.timedelta64(1, "D"), draws[:1, 1])
    in_life = np.concatenate([[True], filed <= closed, later[amended] <= closed])
    made = Filings(
        np.concatenate([sessions[:1], period_end, period_end[amended]]),
        np.concatenate([prospectus, filed, later[amended]]),
        np.concatenate([[np.round(life.outstanding[0], -3)], counts, corrected[amended]]),
    )
    return Filings(made.period_end[in_life], made.filed_at[in_life], made.shares[in_life])


def _in_the_evening(days: Dates, when: NDArray[np.float64]) -> Dates:
    """Instants between 11:00 and 22:00 UTC of each day: some before the close, most after."""
    return days.astype("datetime64[us]") + (11 * 60 + np.floor(11 * 60 * when)).astype("timedelta64[m]")
