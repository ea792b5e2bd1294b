"""What a product is: one published store, with all that belongs to it in one file of `pipeline.engine.products`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from numpy.typing import NDArray

from pipeline.audits import Audit, Scope
from pipeline.datasets.spec import StoreShape
from pipeline.engine.figures import Series
from pipeline.engine.run import Run
from pipeline.store.staged_store import StagedStore


@dataclass(frozen=True)
class Lines:
    """Figures of the published year before the run's last session, as lines. figures: figure -> its legend."""

    title: str
    figures: Mapping[str, str]
    label: str
    percent: bool = False


@dataclass(frozen=True)
class Histograms:
    """How (stocks, levels) values are distributed, one histogram for each level."""

    title: str
    values: NDArray
    label: str


@dataclass(frozen=True)
class BeforeAfter:
    """(stocks, levels) betas before and after they are shrunk with a weight, one picture for each level but market."""

    title: str
    before: NDArray
    after: NDArray
    weight: NDArray


@dataclass(frozen=True)
class Heat:
    """(rows, sessions) values as shades, from the session with the ordinal `first` on. names: of the rows."""

    title: str
    values: NDArray
    names: Sequence[str]
    first: int
    label: str


Picture = Lines | Histograms | BeforeAfter | Heat
"""What is to be drawn, as data: who draws it is above the engine."""


def no_figures(run: Run, store: StagedStore, rows: slice) -> Series:
    """The figures of a product that has none."""
    return {}


def no_pictures(run: Run, name: str) -> list[Picture]:
    """The pictures of a product that has none."""
    return []


def nothing(store: str, scope: Scope) -> set[str]:
    """Every variable has values from the first session on."""
    return set()


@dataclass(frozen=True)
class Product:
    """One store of the family.

    shape:    its contract: axes, variables, attributes, what it is made from.
    stage:    `stage(run, name)` computes it for the sessions of the run and writes it into the overlay.
    audits:   the checks of its own, beside those of every store. Each blocks the publication.
    figures:  `figures(run, store, rows)`: numbers that a person follows, (rows,) each.
    pictures: `pictures(run, name)`: what is drawn of it at the last session of a run.
    may_be_empty: `may_be_empty(store, scope)`: the variables that the sessions of a run could not fill yet.
    reaches:  sessions after the last one with another beta or hedge ratio that its values still depend on.
    """

    shape: StoreShape
    stage: Callable[[Run, str], None]
    audits: tuple[Audit, ...] = ()
    figures: Callable[[Run, StagedStore, slice], Series] = no_figures
    pictures: Callable[[Run, str], list[Picture]] = no_pictures
    may_be_empty: Callable[[str, Scope], set[str]] = nothing
    reaches: int = 0
