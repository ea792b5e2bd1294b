"""From states to dated facts: what was believed at each instant becomes rows with `known_from` and `known_to`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from security_master.dates import NEVER

Fact = TypeVar("Fact", bound=Hashable)


@dataclass(frozen=True)
class Source:
    """Where a fact comes from: table, digest of the row, batch, and whether its known_from is an assumption."""

    table: str
    evidence: str
    batch_id: str
    known_assumed: int


@dataclass(frozen=True)
class Known(Generic[Fact]):
    """A fact and the interval of instants in which it was believed."""

    fact: Fact
    known_from: str
    known_to: str
    source: Source


def believed(instants: Iterable[str], state: Callable[[str], dict[Fact, Source]]) -> list[Known[Fact]]:
    """Every fact of `state(instant)` over the instants at which something may change, as intervals of belief.

    A fact that stays keeps the source with which it first came.
    """
    open_since: dict[Fact, tuple[str, Source]] = {}
    rows: list[Known[Fact]] = []
    for instant in sorted(set(instants)):
        now = state(instant)
        for fact in [fact for fact in open_since if fact not in now]:
            since, source = open_since.pop(fact)
            rows.append(Known(fact, since, instant, source))
        for fact, source in now.items():
            open_since.setdefault(fact, (instant, source))
    rows += [Known(fact, since, NEVER, source) for fact, (since, source) in open_since.items()]
    return rows
