"""`ds_masks`: the universes in force (snapshots of the last month end) and daily validity."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.audits import inputs
from pipeline.datasets.shared import STOCKS
from pipeline.datasets.spec import ROW_CHUNK, StoreShape, VariableSpec
from pipeline.engine.figures import Series, count
from pipeline.engine.product import Lines, Picture, Product
from pipeline.engine.run import TRADED_SESSIONS, Run
from pipeline.settings import UNIVERSES
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import History
from security_master import MASTER_FILE, MEMBER_TYPES, RULES, record_snapshots, select_members
from security_master.panels import of_type


def _variables() -> tuple[VariableSpec, ...]:
    members = tuple(
        VariableSpec(
            name,
            ("teo", "symbol"),
            "bool",
            f"among the {name.rsplit('_', 1)[1]} largest stocks by market capitalisation",
            comment="as of the last session of the month before; false before the stock was ever ranked",
            needs=("shares",),
        )
        for name in UNIVERSES
    )
    valid = VariableSpec(
        "validity",
        ("teo", "symbol"),
        "bool",
        "tradable and priced at the session",
        comment="outputs are written where a stock is a member of the universe and valid at that session",
    )
    return (*members, valid)


SHAPE = StoreShape(
    "ds_masks",
    "market data",
    "Universes and validity",
    "Membership as of the last month end, applied from the first session of the month after; validity daily.",
    coordinates=STOCKS,
    variables=_variables(),
    lineage=("ds_daily",),
)


def stage(run: Run, name: str) -> None:
    """`ds_masks`: the universes in force (snapshots of the last month end) and daily validity."""
    history = run.history("ds_daily")
    store = run.create(name)
    symbols = run.extend(store, run.open("ds_daily").symbol)
    place = pd.Index(symbols, dtype=object)
    everything = slice(0, len(symbols))
    snapshots = take_snapshots(run, symbols, history)
    back = run.settings.rules.validity_sessions
    for first, last in run.blocks(store):
        close = history.window("close", symbols, first - back + 1, last)
        volume = history.window("volume", symbols, first - back + 1, last)
        traded = _traded(close, volume)
        width = last - first + 1
        recently = np.logical_or.reduce([traded[:, k : k + width] for k in range(back)])
        rows = run.rows(store, first, last)
        store.write("validity", rows, everything, (recently & np.isfinite(close[:, back - 1 :])).T)
        for universe in UNIVERSES:
            store.write(universe, rows, everything, _in_force(run, snapshots[universe], place, first, last))
        run.done(store, last)
    run.label(store)
    store.close()


def _traded(close: NDArray[np.float64], volume: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Sessions with an accepted close and, where the volume is known, some volume."""
    return np.isfinite(close) & ~(volume <= 0)


Snapshots = dict[str, dict[np.datetime64, NDArray]]
"""Universe -> month end -> members."""


def take_snapshots(run: Run, symbols: NDArray, history: History) -> Snapshots:
    """The universes in force in the run and after it; those of month ends that have none yet are taken and recorded.

    A snapshot depends on the facts of its month end and on the snapshot before it; it never changes afterwards. The
    first one is that of the last month end before the first published session.
    """
    sessions = run.calendar.sessions
    recorded = {name: set(run.master.snapshot_days(name)) for name in UNIVERSES}
    new_ends = [
        end
        for end in run.calendar.month_ends(run.published_first - 24, run.last)
        if any(sessions[end] not in recorded[name] for name in UNIVERSES) and not _before_first(run, end)
    ]
    since = sessions[min([run.first, *new_ends])]
    taken: Snapshots = {name: dict(run.master.snapshots(name, since=since)) for name in UNIVERSES}
    symbols = np.sort(symbols)  # as `select_members` would for each universe
    listings, new, place = run.master.listings(), [], pd.Index(symbols, dtype=object)
    windows = _Windows(history, symbols, run.last)
    for month_end in new_ends:
        day = sessions[month_end]
        close, volume, cap = windows.ending(month_end)
        cap = _last_known(cap[:, -run.settings.rules.validity_sessions :])
        price = _last_known(close[:, -run.settings.rules.validity_sessions :])
        traded = _traded(close, volume).mean(axis=1)
        instant = run.instants(month_end, month_end)[0]
        eligible = of_type(listings, symbols, day, instant, MEMBER_TYPES)
        for name in UNIVERSES:
            earlier = [d for d in taken[name] if d < day]
            before = taken[name][max(earlier)] if earlier else np.array([], dtype=object)
            was = _among(place, before)
            snapshot = select_members(RULES[name], symbols, cap, price, traded, was, eligible)
            taken[name][day] = snapshot.members
            new.append((snapshot, day, instant))
    if record_snapshots(run.scratch / MASTER_FILE, new):
        run.reopen_master()
        run.stage.add_file(MASTER_FILE, run.scratch / MASTER_FILE)
    return taken


class _Windows:
    """The sessions that decide at a month end, read from the store for a time block of month ends at once."""

    VARIABLES = ("close", "volume", "market_cap")

    def __init__(self, history: History, symbols: NDArray, last: int) -> None:
        self.history, self.symbols, self.last = history, symbols, last
        self.first, self.end = 0, -1
        self.values: list[NDArray[np.float64]] = []

    def ending(self, month_end: int) -> list[NDArray[np.float64]]:
        """(n, TRADED_SESSIONS) of each variable. Month ends must be asked for in order."""
        first = month_end - TRADED_SESSIONS + 1
        if month_end > self.end:
            begins = self.history.first_row  # blocks end where the store's chunks do
            self.first, self.end = first, min(month_end + ROW_CHUNK - 1 - (month_end - begins) % ROW_CHUNK, self.last)
            self.values = [self.history.window(v, self.symbols, self.first, self.end) for v in self.VARIABLES]
        return [block[:, first - self.first : month_end - self.first + 1] for block in self.values]


def _before_first(run: Run, month_end: int) -> bool:
    """Whether another month end lies between this one and the first published session."""
    return len(run.calendar.month_ends(month_end + 1, run.published_first - 1)) > 0


def _in_force(run: Run, taken: dict[np.datetime64, NDArray], symbols: pd.Index, first: int, last: int) -> NDArray:
    """(sessions, n): member by the last snapshot taken in an earlier month."""
    member = np.zeros((last - first + 1, len(symbols)), dtype=bool)
    months = run.days(first, last).astype("datetime64[M]")
    ends = np.array(sorted(taken), dtype="datetime64[D]")
    at = np.searchsorted(ends.astype("datetime64[M]"), months, side="left") - 1
    for k in np.unique(at[at >= 0]):
        member[at == k] = _among(symbols, taken[ends[k]])
    return member


def _among(symbols: pd.Index, members: NDArray) -> NDArray[np.bool_]:
    """(n,) whether each symbol is one of the members."""
    found = np.zeros(len(symbols), dtype=bool)
    at = symbols.get_indexer(pd.Index(members, dtype=object))
    found[at[at >= 0]] = True
    return found


def _last_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The last finite value of each row, NaN where a row has none."""
    finite = np.isfinite(values)
    last = values.shape[1] - 1 - np.argmax(finite[:, ::-1], axis=1)
    return np.where(finite.any(axis=1), values[np.arange(len(values)), last], np.nan)


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    valid = store.read("validity", rows)
    members = {f"valid members of {u}": count(store.read(u, rows) & valid) for u in UNIVERSES}
    return {"valid stocks": count(valid), **members}


def pictures(run: Run, name: str) -> list[Picture]:
    universe = run.settings.factor_sets[0].split("_", 1)[1]
    keys = {"valid stocks": "valid stocks", f"valid members of {universe}": f"of these in {universe}"}
    return [Lines("universe over the last year", keys, "stocks")]


PRODUCT = Product(
    SHAPE,
    stage,
    audits=(
        inputs.masks_are_within_size,
        inputs.masks_are_as_recorded,
    ),
    figures=figures,
    pictures=pictures,
)
