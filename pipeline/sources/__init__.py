"""Sources: a vendor's data, or the simulated market, as one set of typed and checked tables."""

from __future__ import annotations

from typing import Protocol

from pipeline.settings import Settings
from pipeline.sources.files import FilesSource
from pipeline.sources.simulated import SimulatedSource
from pipeline.sources.tables import SourceError, SourceTables

__all__ = ["FilesSource", "SimulatedSource", "Source", "SourceError", "SourceTables", "open_source"]


class Source(Protocol):
    """Where tables come from. `load` reads and checks everything, or raises SourceError."""

    @property
    def name(self) -> str: ...

    def load(self) -> SourceTables: ...


def open_source(settings: Settings) -> Source:
    """The source that is configured."""
    if settings.source == "files":
        assert settings.source_path is not None  # Settings has checked it
        return FilesSource(settings.source_path)
    return SimulatedSource(settings.simulated)
