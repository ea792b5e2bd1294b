"""One run: its sessions, its staging overlay, and the inputs that its steps share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import Calendar, xnys
from pipeline.datasets import DatasetSpec
from pipeline.datasets.spec import ROW_CHUNK
from pipeline.market_data.delivery import load_facts
from pipeline.market_data.point_in_time import Facts
from pipeline.model import KernelParams
from pipeline.quality.decisions import read_decisions
from pipeline.returns.panel import lookback
from pipeline.settings import FactorSet, Settings
from pipeline.store.objects import document
from pipeline.store.stage import Stage
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import History, WarmUp, warm_up_file
from security_master import MASTER_FILE, FactorEtfs, SecurityMaster
from security_master.errors import ExplainedError, at_file

YEAR = 252
"""Sessions of a year."""

TRADED_SESSIONS = 60
SNAPSHOT_LOOK_BACK = TRADED_SESSIONS + 25
"""Sessions before a published one that its universe may depend on: the trading rule, and a month end up to 23 back."""

INPUT_STORES = ("ds_daily", "ds_etf")
"""What is made from the source; windows reach into the warm-up of these."""

Progress = Callable[[str, int, int], None]


def silent(store: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class RangeError(ExplainedError, ValueError):
    """The asked sessions do not fit what is published, or what the source has."""


class MarketMissing(ExplainedError, ValueError):
    """The source has no market ETF, or another one than the settings."""


def look_back(settings: Settings) -> int:
    """Sessions before a published one that its values may depend on."""
    return max(settings.model.window, SNAPSHOT_LOOK_BACK)


def bars_from(settings: Settings, first: int, published_first: int) -> np.datetime64:
    """Day from which on a run from the session `first` on needs all bars: for its cells and their look-back, for what
    was delivered before, and for the warm-up while windows reach into it."""
    reach = look_back(settings)
    begins = published_first - reach if first - published_first < reach else first
    rules = settings.rules
    before = 1 + max(lookback(rules), rules.drift.sessions, rules.cleaning.unowned_gap, rules.sessions.shifted_sessions)
    return xnys().sessions[max(begins - before, 0)]


@dataclass(eq=False)
class Run:
    """One run over the consecutive sessions with ordinals [first, last].

    specs: declared shapes of all stores of the family, by name.
    scratch: directory of what the steps hand to each other beside the stores: landed facts, warm-up, the master.
    published_first: ordinal of the first published session, the run's own `first` for a new root.
    restated_as_of: with a declared restatement, the instant whose knowledge the sessions of the run are given.
    attributes: root attributes of the stores beyond those that their specs declare.
    """

    settings: Settings
    specs: Mapping[str, DatasetSpec]
    stage: Stage
    scratch: Path
    first: int
    last: int
    published_first: int
    restated_as_of: np.datetime64 | None = None
    progress: Progress = silent
    attributes: Mapping[str, Any] = field(default_factory=dict)
    _master: SecurityMaster | None = field(default=None, init=False, repr=False)
    _labels: dict[tuple[Any, ...], tuple[NDArray, NDArray]] = field(default_factory=dict, init=False, repr=False)

    @property
    def calendar(self) -> Calendar:
        return xnys()

    @property
    def sessions(self) -> int:
        return self.last - self.first + 1

    @cached_property
    def facts(self) -> Facts:
        """What was landed for this run, as of its knowledge instants."""
        return load_facts(self.scratch / "facts", self.restated_as_of)

    @property
    def master(self) -> SecurityMaster:
        """The security master of this run."""
        return self._master or self.reopen_master()

    def reopen_master(self, like: SecurityMaster | None = None) -> SecurityMaster:
        """To be called by who has written the master anew: who asks for it from here on sees what was written.

        like: a master of which what was read is kept where the new one says the same; by default the one before."""
        before, path = like or self._master, self.scratch / MASTER_FILE
        self._master = SecurityMaster.open(path) if before is None else before.moved_to(path)
        return self._master

    @property
    def inputs(self) -> dict[str, Any]:
        """What the run was made from: `build_id` of the security master; `origins`, file and hash by table;
        `not_delivered`, what the declared variables need and the source does not have; `left_out`, sentences
        about what of the delivery is not used."""
        path = self.scratch / "inputs.json"
        with at_file(path):
            return document(path.read_bytes(), str(path))

    def remember_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Keep `inputs` for the later steps, which may run in other processes."""
        with at_file(self.scratch / "inputs.json"):
            (self.scratch / "inputs.json").write_text(json.dumps(inputs, sort_keys=True))

    @cached_property
    def decisions(self) -> pd.DataFrame | None:
        """What people decided about quarantined cells (`pipeline.quality.decisions`); None when nobody did."""
        return read_decisions(self.settings.root, self.calendar, self.settings.rules, self.restated_as_of)

    @cached_property
    def etfs(self) -> FactorEtfs:
        """The factor ETFs; MarketMissing when their table names another market ETF than the settings."""
        etfs = self.master.factor_etfs()
        if etfs.tickers[etfs.market] != self.settings.market:
            raise MarketMissing(
                f"the factor sets use the market ETF {self.settings.market}, but the factor-ETF table names "
                f"{etfs.tickers[etfs.market]}; change one of them"
            )
        return etfs

    @cached_property
    def etf_ids(self) -> NDArray[np.object_]:
        """Permanent id of each factor ETF, "" where the source has none; the rows of the model's ETF array."""
        return np.asarray(self.etfs.sec_ids, dtype=object)

    def assignment(self, industry: NDArray, first: int, last: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Rows of the sector and subsector ETF in force for industry codes (n, T) at [first, last], -1 for none."""
        days, rule = self.days(first, last), self.cut_over
        return self.etfs.sector_positions(industry, days, **rule), self.etfs.subsector_positions(industry, days, **rule)

    @property
    def cut_over(self) -> dict[str, Any]:
        """When an ETF takes over from its proxy: once it has `min_obs` sessions of its own."""
        return {"calendar": self.calendar.sessions, "min_obs": self.settings.model.min_obs}

    @cached_property
    def kernel(self) -> KernelParams:
        """The model's parameters as the kernels take them."""
        p = self.settings.model
        return KernelParams(
            estimator=p.estimator,
            window=p.window,
            min_obs=p.min_obs,
            half_life=p.half_life,
            huber_epsilon=p.huber_epsilon,
            huber_scale_floor=p.huber_scale_floor,
            ridge_alpha=p.ridge_alpha,
        )

    @property
    def look_back(self) -> int:
        """Sessions before a published one that its values may depend on."""
        return look_back(self.settings)

    @property
    def warm_up_first(self) -> int:
        """First session of the warm-up of what is published."""
        return max(self.published_first - self.look_back, 0)

    @property
    def needs_warm_up(self) -> bool:
        """Whether windows of this run reach before the first published session."""
        return self.first - self.published_first < self.look_back and self.warm_up_first < self.published_first

    @property
    def restates_warm_up(self) -> bool:
        """A declared restatement of all sessions reads the warm-up anew, too."""
        return self.stage.kind == "restatement" and self.first == self.published_first

    def published_with(self, name: str) -> bool:
        """Whether a file lies beside the published stores. An older version may not have made it."""
        return self.stage.seal is not None and name in self.stage.seal.digests

    def keeps_warm_up(self, store: str) -> bool:
        """Whether windows use the warm-up that was published with a store, instead of reading it from the source."""
        return self.published_with(warm_up_file(store)) and not self.restates_warm_up

    @property
    def reads_warm_up(self) -> bool:
        """Whether the warm-up of a store is read from the source."""
        return self.needs_warm_up and not all(self.keeps_warm_up(name) for name in INPUT_STORES)

    @property
    def reads_from(self) -> int:
        """First session that this run computes from the source."""
        return self.warm_up_first if self.reads_warm_up else self.first

    @property
    def needs_bars_of(self) -> np.datetime64 | None:
        """Day from which on the run needs all bars, None for all there are."""
        if self.restated_as_of is not None:
            return None
        return bars_from(self.settings, self.first, self.published_first)

    @property
    def computed(self) -> list[tuple[int, int]]:
        """Ranges [first, last] of the sessions whose returns this run computes: its own, and the warm-up where it is
        not published."""
        own = (self.first, self.last)
        return [(self.warm_up_first, self.published_first - 1), own] if self.reads_warm_up else [own]

    def instants(self, first: int, last: int) -> NDArray[np.datetime64]:
        """Knowledge instant of each session in [first, last]."""
        own = self.calendar.knowledge_instants(np.arange(first, last + 1), self.settings.rules.vendor_delay_minutes)
        return own if self.restated_as_of is None else np.maximum(own, self.restated_as_of)

    def days(self, first: int, last: int) -> NDArray[np.datetime64]:
        """Sessions of the ordinals [first, last], datetime64[D]."""
        return self.calendar.sessions[first : last + 1]

    def blocks(
        self, store: StagedStore, first: int | None = None, last: int | None = None
    ) -> Iterator[tuple[int, int]]:
        """Time blocks: ordinals [a, b] of [first, last], by default the run's, cut where the store's chunks begin."""
        start = self.calendar.ordinal(store.teo[0])
        a, end = self.first if first is None else first, self.last if last is None else last
        while a <= end:
            b = min(start + ((a - start) // ROW_CHUNK + 1) * ROW_CHUNK - 1, end)
            yield a, b
            a = b + 1

    def rows(self, store: StagedStore, first: int, last: int) -> slice:
        """Rows of this store for the ordinals [first, last]."""
        return store.rows_of(self.days(first, last))

    def open(self, name: str) -> StagedStore:
        """A store as this run leaves it, for reading."""
        return self.stage.create_or_open(self.specs[name])

    def factor_set(self, name: str) -> FactorSet:
        """The factor set that a store is made for. Raises LookupError for a store that all factor sets share."""
        found = self.specs[name].factor_set
        if found is None:
            raise LookupError(f"{name} is made for no factor set; give its shape the scope 'factor set'")
        return found

    def input_of(self, name: str, dataset_id: str) -> StagedStore:
        """The store `dataset_id` that the store `name` is made from: of its factor set, or the one that all share."""
        own = {None, self.specs[name].factor_set}
        found = [s for s, spec in self.specs.items() if spec.dataset_id == dataset_id and spec.factor_set in own]
        if len(found) != 1:
            raise LookupError(f"{name} needs one store {dataset_id}, the family has {found or 'none'}")
        return self.open(found[0])

    def last_session(self, name: str, var: str) -> NDArray:
        """(columns[, levels]) of the run's last session."""
        store = self.open(name)
        return np.asarray(store.read(var, self.rows(store, self.last, self.last))[0])

    def last_year(self, name: str) -> tuple[int, int]:
        """Ordinals of the first and the last session of the store's last year that ends with the run."""
        begins = self.calendar.ordinal(self.open(name).teo[0])
        return max(begins, self.last - YEAR + 1), self.last

    def open_live(self, name: str) -> StagedStore | None:
        """A store as readers see it now, None where it has never been published."""
        return self.stage.open_live(self.specs[name]) if self.stage.exists_live(name) else None

    def create(self, name: str, flags: Mapping[str, Any] | None = None, **attributes: Any) -> StagedStore:
        """A store of the run, for writing, with the run's attributes."""
        made_with = {
            **self.attributes,
            "security_master_build": self.inputs["build_id"],
            "not_delivered": ", ".join(self.inputs["not_delivered"]) or "none",
            **attributes,
        }
        return self.stage.create_or_open(self.specs[name], made_with, flags)

    def history(self, name: str, store: StagedStore | None = None) -> History:
        """Windows of `ds_daily` or `ds_etf`, warm-up included. store: where it is being written."""
        path = self.scratch / warm_up_file(name)
        return History(store or self.open(name), WarmUp.load(path) if path.exists() else None, self.calendar)

    def extend(self, store: StagedStore, labels: Sequence[Any] | NDArray, dim: str = "symbol") -> NDArray:
        """Grow the sessions to the run's last one and the other axis, at its end, by what it lacks; the new axis."""
        have, wanted = set(store.axis(dim).tolist()), np.asarray(labels)
        new = wanted[[label not in have for label in wanted.tolist()]]
        reached = self.first - 1
        if len(store.teo):
            reached = self.calendar.ordinal(store.teo[-1])
            if reached < self.first - 1:
                days = self.calendar.sessions
                raise RangeError(
                    f"{store.name} is published through {days[reached]}: run {days[reached + 1]} to "
                    f"{days[self.first - 1]} before {days[self.first]}"
                )
        store.extend(**{"teo": self.calendar.sessions[reached + 1 : self.last + 1], dim: new})
        return store.axis(dim)

    def label(self, store: StagedStore) -> None:
        """Write the tickers of the symbols as they are, and are known to be, at the store's last session."""
        last = self.calendar.ordinal(store.teo[-1])
        asked = (last, *store.symbol)
        if asked not in self._labels:
            instant = self.instants(last, last)[0]
            self._labels[asked] = self.master.labels(store.symbol, store.teo[-1], known_as_of=instant)
        ticker, unique = self._labels[asked]
        store.set_coord("ticker", ticker)
        store.set_coord("unique_ticker", unique)

    def done(self, store: StagedStore, last: int) -> None:
        """Tell how far a store has come: through the ordinal last."""
        self.progress(store.name, last - self.first + 1, self.sessions)
