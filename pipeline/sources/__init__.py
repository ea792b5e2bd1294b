"""Sources: a vendor's data, or the simulated market, as one set of typed and checked tables."""

from __future__ import annotations

from typing import Protocol

from pipeline.sources.files import FilesSource
from pipeline.sources.simulated import SimulatedSource
from pipeline.sources.tables import SourceError, SourceTables

__all__ = ["FilesSource", "SimulatedSource", "Source", "SourceError", "SourceTables"]


class Source(Protocol):
    """Where tables come from. `load` reads and checks everything, or raises SourceError."""

    @property
    def name(self) -> str: ...

    def load(self) -> SourceTables: ...
