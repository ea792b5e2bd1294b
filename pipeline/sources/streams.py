"""Random numbers by name: one stream per seed, kind and entity, whatever is drawn elsewhere."""

from __future__ import annotations

from zlib import crc32

from numpy.random import Generator, Philox, SeedSequence


def stream(seed: int, kind: str, entity: str) -> Generator:
    """The stream of one entity. Drawing more of it later continues it, so a longer horizon keeps earlier numbers."""
    return Generator(Philox(SeedSequence([seed, crc32(kind.encode()), crc32(entity.encode())])))
