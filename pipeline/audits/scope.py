"""What an audit looks at, and what it finds: scopes, checks, and ways to read the stores of a family together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.audits import reference
from pipeline.calendar import Calendar
from pipeline.datasets.spec import ROW_CHUNK
from pipeline.settings import AuditBounds, FactorSet, ModelParameters
from pipeline.store.windows import History, positions
from security_master import FactorEtfs, SecurityMaster

SHARES = {
    1: ("L1_market_ER", "L1_residual_ER"),
    2: ("L2_market_ER", "L2_sector_ER", "L2_residual_ER"),
    3: ("L3_market_ER", "L3_sector_ER", "L3_subsector_ER", "L3_residual_ER"),
}
RATIOS = {
    1: ("L1_market_HR",),
    2: ("L2_market_HR", "L2_sector_HR"),
    3: ("L3_market_HR", "L3_sector_HR", "L3_subsector_HR"),
}
WORST_CELLS = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """The outcome of one check on one store.

    value: the worst figure found; bound: what it is held against; cells: how many cells were looked at; counts:
    figures that a person wants beside the verdict; worst: the worst cells, one mapping each.
    """

    name: str
    store: str
    passed: bool
    value: float
    bound: float
    cells: int
    explanation: str
    worst: tuple[dict[str, Any], ...] = ()
    counts: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The check as JSON has it, which knows no infinity: an error beyond all bounds is the text "inf"."""
        return _finite({**asdict(self), "check": self.name})


Look = Callable[[str, "Scope"], "Check | list[Check]"]


@dataclass(frozen=True)
class Audit:
    """A function that looks at a store, and what each of the checks that it makes means, by name."""

    look: Look
    meanings: Mapping[str, str]

    def __call__(self, store: str, scope: Scope) -> list[Check]:
        found = self.look(store, scope)
        return [found] if isinstance(found, Check) else found


def means(**meanings: str) -> Callable[[Look], Audit]:
    """Declares the checks that the decorated function makes: `@means(name_of_a_check="What it says to a person.")`."""
    return lambda look: Audit(look, meanings)


def at_each_level(name: str, meaning: str) -> dict[str, str]:
    """The meanings of `name_L1` to `name_L3`."""
    return {f"{name}_L{k}": f"{meaning} At L{k}." for k in (1, 2, 3)}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


class StoreView(Protocol):
    """One store opened for reading: its axes, attributes and blocks of its variables."""

    @property
    def teo(self) -> NDArray[np.datetime64]: ...
    @property
    def symbol(self) -> NDArray[np.object_]: ...
    @property
    def variables(self) -> tuple[str, ...]: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...
    def axis(self, dim: str) -> NDArray: ...
    def flags(self, var: str) -> dict[int, str]: ...
    def read(self, var: str, rows: slice, cols: slice | None) -> NDArray: ...


class Family(Protocol):
    """All stores of one root.

    view: a store as it is looked at, staged over live. before: its last published state, None where there is none.
    history: trailing windows of `ds_daily` and `ds_etf`, for the recomputed samples.
    """

    def view(self, name: str) -> StoreView: ...
    def before(self, name: str) -> StoreView | None: ...
    def history(self, name: str) -> History: ...


@dataclass(frozen=True)
class Scope:
    """What an audit looks at: the sessions [first, last] (ordinals) of one factor set.

    master: the security master that the stores are made with.
    needs: by variable of the store, what of a source it is made from (`VariableSpec.needs`).
    may_be_empty: `may_be_empty(store, scope)`: the variables that these sessions could not fill, by its product.
    withheld: by permanent id, "*" for all securities, the sessions (ordinals) whose prices people withheld.
    """

    family: Family
    calendar: Calendar
    factor_set: FactorSet
    model: ModelParameters
    bounds: AuditBounds
    first: int
    last: int
    master: SecurityMaster
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    may_be_empty: Callable[[str, Scope], set[str]] = lambda store, scope: set()
    withheld: Mapping[str, Collection[int]] = field(default_factory=dict)

    @cached_property
    def etfs(self) -> FactorEtfs:
        return self.master.factor_etfs()

    @cached_property
    def etf_ids(self) -> dict[str, str]:
        """Ticker of a factor ETF -> its permanent id, "" where the source has none."""
        return dict(zip(self.etfs.tickers, (str(sec_id) for sec_id in self.etfs.sec_ids), strict=True))

    def name(self, kind: str) -> str:
        """Name of a store of this factor set."""
        return f"{kind}_{self.factor_set.id}"

    @property
    def links(self) -> str:
        return f"ds_erm3_link_betas_{self.factor_set.market}"

    def rows(self, view: StoreView, first: int | None = None, last: int | None = None) -> slice:
        """Rows of this store for ordinals [first, last]; each store has its own axis."""
        start = self.calendar.ordinal(view.teo[0])
        return slice(
            (self.first if first is None else first) - start, (self.last if last is None else last) - start + 1
        )

    def blocks(self) -> list[tuple[int, int]]:
        """Ordinals [a, b] of stretches that fit into memory."""
        return self.stretches(ROW_CHUNK)

    def stretches(self, sessions: int = 128) -> list[tuple[int, int]]:
        """Ordinals [a, b] of shorter ones, for a check that holds many variables of all columns together. By default
        the sessions that a part of a chunk has which is unpacked by itself."""
        return [(a, min(a + sessions - 1, self.last)) for a in range(self.first, self.last + 1, sessions)]


class Worst:
    """Collects the worst cells of a residual over blocks."""

    def __init__(self, name: str, store: str, bound: float, explanation: str) -> None:
        self.name, self.store, self.bound, self.explanation = name, store, bound, explanation
        self.value, self.cells, self.broken = 0.0, 0, 0
        self.rows: list[tuple[float, dict[str, Any]]] = []

    def add(
        self,
        error: Floats,
        bound: Floats | float,
        sessions: NDArray,
        columns: NDArray,
        *,
        axis: str = "symbol",
        **labels: Any,
    ) -> None:
        """error: (rows, cols), NaN where there is nothing to check; infinities count as broken.

        sessions, columns: what the rows and the columns are, the columns by the name of their axis.
        """
        seen = int(np.count_nonzero(~np.isnan(error)))
        if not seen:
            return
        self.cells += seen
        self.value = max(self.value, float(np.fmax.reduce(error, axis=None)))
        bad = error > bound
        broken = int(np.count_nonzero(bad))
        if broken:
            self.broken += broken
            excess = np.subtract(error, bound, out=np.full(error.shape, -np.inf), where=bad)
            for k in np.argsort(-excess, axis=None, kind="stable")[: min(broken, WORST_CELLS)]:
                i, j = np.unravel_index(k, error.shape)
                cell = {"teo": str(sessions[i]), axis: str(columns[j]), "error": float(error[i, j]), **labels}
                self.rows.append((float(error[i, j]), cell))

    def check(self) -> Check:
        """The verdict, with the worst cells seen."""
        self.rows.sort(key=lambda item: -item[0])
        return Check(
            self.name, self.store, self.broken == 0, self.value, self.bound, self.cells, self.explanation,
            tuple(cell for _, cell in self.rows[:WORST_CELLS]), {"broken_cells": self.broken},
        )  # fmt: skip


def axis_of(view: StoreView) -> NDArray:
    """The second axis of a store: `symbol`, or `fs_industry_code` for the industry store."""
    try:
        return view.axis("symbol")
    except KeyError:
        return view.axis("fs_industry_code")


def members_of(scope: Scope, symbols: NDArray, first: int, last: int) -> NDArray[np.bool_]:
    """(sessions, n): member of the universe and valid at the session; KeyError for symbols that ds_masks lacks."""
    masks = scope.family.view("ds_masks")
    rows, columns = scope.rows(masks, first, last), slice(0, len(masks.symbol))
    member = masks.read(scope.factor_set.universe, rows, columns) & masks.read("validity", rows, columns)
    at = positions(masks.symbol, symbols)
    if (at < 0).any():
        raise KeyError(f"symbols that ds_masks does not have: {list(symbols[at < 0][:5])}")
    return np.asarray(member[:, at])


def returns_in_window(scope: Scope, symbols: NDArray, first: int, last: int) -> NDArray[np.int64]:
    """(T, n): returns that a stock and the market ETF have together in the window of each session, as far as known."""
    width, daily, etf = scope.model.window, scope.family.history("ds_daily"), scope.family.history("ds_etf")
    begin = max(first - width + 1, daily.begins, etf.begins)
    market = [scope.etf_ids[scope.etfs.tickers[scope.etfs.market]]]
    known = np.isfinite(daily.window("return", symbols, begin, last))
    known &= np.isfinite(etf.window("return", market, begin, last))
    sums = np.cumsum(np.pad(known, ((0, 0), (1 + begin - (first - width + 1), 0))), axis=1)
    return (sums[:, width:] - sums[:, :-width]).T


def cell_parameters(model: ModelParameters) -> reference.CellParameters:
    """The model's parameters as the second implementation takes them."""
    return reference.CellParameters(
        model.estimator, model.min_obs, model.half_life, model.huber_epsilon, model.huber_scale_floor, model.ridge_alpha
    )


def sample(finite: NDArray[np.bool_], count: int) -> list[tuple[int, int]]:
    """Evenly spaced cells among those that have a value, the last one included."""
    cells = np.argwhere(finite)
    if not len(cells) or not count:
        return []
    picked = np.unique(np.linspace(len(cells) - 1, 0, min(count, len(cells))).round().astype(int))
    return [(int(a), int(b)) for a, b in cells[picked]]


def fact_symbols(scope: Scope, view: StoreView) -> dict[int, str]:
    """Code of `fact` -> permanent id of the ETF: the meaning of the code is in the store, the id in the master."""
    named = view.flags("fact").items()
    return {code: scope.etf_ids[ticker] for code, ticker in named if code and scope.etf_ids.get(ticker)}


def windows(scope: Scope, view: StoreView, fact: NDArray, row: int, col: int) -> tuple[Floats, list[Floats | None]]:
    """Window of one cell: the stock's returns and those of its three ETFs (None where a level has none of its own)."""
    last = scope.first + row
    first = last - scope.model.window + 1
    r = scope.family.history("ds_daily").window("return", [view.symbol[col]], first, last)[0]
    etfs = fact_symbols(scope, view)
    legs: list[Floats | None] = []
    codes = [int(c) for c in fact[row, col]]
    for level, code in enumerate(codes):
        own = code in etfs and code not in codes[:level]
        legs.append(scope.family.history("ds_etf").window("return", [etfs[code]], first, last)[0] if own else None)
    return r, legs


def first_recomputable(scope: Scope) -> int:
    """First row of the run whose whole window can be read back."""
    history = scope.family.history("ds_daily")
    begin = history.first_row if history.warm_up is None else history.warm_up.first
    return max(begin + scope.model.window - 1 - scope.first, 0)


def at_sessions(scope: Scope, view: StoreView, var: str, sessions: Sequence[int]) -> NDArray:
    """(len(sessions), n, ...): a variable at these ordinals, ascending; a chunk that holds several is read once."""
    everything, found = slice(0, len(axis_of(view))), []
    for first, last in scope.blocks():
        inside = np.array([ordinal for ordinal in sessions if first <= ordinal <= last])
        if len(inside):
            rows = scope.rows(view, inside[0], inside[-1])
            found.append(view.read(var, rows, everything)[inside - inside[0]])
    return np.concatenate(found)


def some_sessions(scope: Scope, most: int = 12) -> list[int]:
    """Ordinals of at most so many evenly spaced sessions, the first and the last included."""
    return np.unique(np.linspace(scope.first, scope.last, most).round().astype(int)).tolist()


def failures(checks: Sequence[Check]) -> list[Check]:
    """The checks that did not pass."""
    return [check for check in checks if not check.passed]
