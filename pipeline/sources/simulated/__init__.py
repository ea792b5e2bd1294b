"""The simulated market: a vendor that needs no key, with the truth beside its tables (docs/sources.md)."""

from __future__ import annotations

from functools import cached_property

from pipeline.settings import SimulatedMarket
from pipeline.sources.simulated.delivery import deliver
from pipeline.sources.simulated.truth import Truth
from pipeline.sources.simulated.world import World, make_world
from pipeline.sources.tables import SourceTables

__all__ = ["SimulatedSource", "Truth"]


class SimulatedSource:
    """The market that `market` describes: the same tables for the same seed, whatever the horizon and the size."""

    name = "simulated"

    def __init__(self, market: SimulatedMarket) -> None:
        self.market = market

    def load(self) -> SourceTables:
        """The tables as known a quarter of an hour after the close of the last session."""
        return deliver(self._world)

    @cached_property
    def truth(self) -> Truth:
        """What is true, for tests; nothing that computes may read it."""
        return Truth(self._world)

    @cached_property
    def _world(self) -> World:
        return make_world(self.market)
