"""Small simulated markets, made once for all tests of this room."""

from __future__ import annotations

from functools import cache

from pipeline.settings import SimulatedMarket
from pipeline.sources import SimulatedSource, SourceTables


def market(stocks: int = 45, last_session: str = "2020-06-30", seed: int = 20060103) -> SimulatedMarket:
    """The whole cast, 628 sessions, through the starts of all ETFs and the crash of 2020."""
    return SimulatedMarket(seed=seed, stocks=stocks, first_session="2018-01-02", last_session=last_session)


@cache
def small() -> SimulatedSource:
    return SimulatedSource(market())


@cache
def small_tables() -> SourceTables:
    return small().load()
