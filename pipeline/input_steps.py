"""The first steps of a run: prices, returns and classes of the stocks, the factor ETFs, the universes.

A step knows only the run, the landed facts, the staged master and the stores before it, never the arrays of an earlier
step, so the command line (one process) and Dagster (one process for each step) do the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.daily import daily_panel, refuse_undecided
from pipeline.drift import DELIVERED_FILE, DRIFT_RULES, delivered_bars, drift, drift_findings
from pipeline.facts import Facts
from pipeline.findings import concat_findings
from pipeline.history import History, WarmUp, positions
from pipeline.listings import first_listed, of_type
from pipeline.run import ROWS, TRADED_SESSIONS, Run
from pipeline.settings import UNIVERSES
from pipeline.store import StagedStore
from security_master import MASTER_FILE, MEMBER_TYPES, RULES, record_snapshots, select_members

FINDINGS_FILE = "quality_findings.parquet"
STOCK_TYPES = ("common", "adr", "reit")

Block = Mapping[str, NDArray]


def stage_daily(run: Run, name: str) -> None:
    """`ds_daily`: closes, volumes, returns and flags of every stock ever seen, market caps and classes."""
    taxonomy = run.master.taxonomy()
    sectors = taxonomy.drop_duplicates("fs_sector_code").sort_values("fs_sector_code")
    sector_of = np.zeros(int(taxonomy["fs_industry_code"].max()) + 1, dtype=np.int16)
    sector_of[taxonomy["fs_industry_code"].to_numpy(int)] = taxonomy["fs_sector_code"].to_numpy(int)
    flags = {
        "fs_industry_code": list(zip(taxonomy["fs_industry_code"], taxonomy["industry"], strict=True)),
        "fs_sector_code": list(zip(sectors["fs_sector_code"], sectors["sector"], strict=True)),
        "bw_sector_code": list(zip(sectors["fs_sector_code"] + 70, sectors["sector"], strict=True)),
    }
    store = run.create(name, flags)
    symbols = run.extend(store, _listed(run, STOCK_TYPES))

    everywhere = run.facts.findings
    everywhere = everywhere[(everywhere["sec_id"] == "") & everywhere["detected_at"].between(run.first, run.last)]
    findings = [everywhere]

    def values(first: int, last: int) -> Block:
        panel = daily_panel(run.facts, symbols, first, last, run.settings.rules, run.decisions)
        if first >= run.first:
            findings.append(panel.quarantine)
        days, instants = run.days(first, last), run.instants(first, last)
        shares = run.master.shares_panel(list(symbols), days, instants, run.settings.rules.shares_max_age_days)
        industry = run.master.classification_panel(list(symbols), days, instants)
        sector = sector_of[industry]
        cap = panel.close * shares
        return {
            "return": panel.ret,
            "close": panel.close,
            "volume": panel.volume,
            "market_cap": np.where(cap > 0, cap, np.nan),  # no shares is a count that is not known
            "fs_sector_code": sector,
            "fs_industry_code": industry,
            "bw_sector_code": np.where(sector > 0, 70 + sector, 0).astype(np.int16),
            "return_flag": panel.flag,
        }

    _write(run, store, values, kept=("return", "close", "volume", "market_cap"))
    _keep_findings(run, name, findings)


def _listed(run: Run, types: Sequence[str]) -> NDArray[np.object_]:
    """Securities that some session up to the run's last one knew as listed with one of `types`, as they came."""
    first = first_listed(run.master.listings(), run.calendar, run.settings.rules.vendor_delay_minutes, types)
    return first.index[first <= run.last].to_numpy(object)


def _keep_findings(run: Run, name: str, found: Sequence[pd.DataFrame]) -> None:
    """What the rules found for one store. Steps may run side by side, so each has a file of its own until the end."""
    path = run.scratch / f"findings_{name}.parquet"
    concat_findings(found).to_parquet(path, index=False, compression="zstd")


def add_findings(run: Run) -> None:
    """Publish what the run's rules found beside the stores, in place of earlier rows about the same sessions."""
    fresh = {name: run.scratch / f"findings_{name}.parquet" for name in ("ds_daily", "ds_etf")}
    fresh = {name: path for name, path in fresh.items() if path.exists()}
    if not fresh:
        return
    rows = [pd.read_parquet(path) for path in fresh.values()]
    before = run.stage.published_file(FINDINGS_FILE, run.scratch / f"before_{FINDINGS_FILE}")
    if before is not None:
        old = pd.read_parquet(before)
        about = [symbol for name in fresh for symbol in run.open(name).symbol]
        if "ds_daily" in fresh:  # findings about whole sessions come with the stocks
            about.append("")
        again = old["detected_at"].between(run.first, run.last) & old["sec_id"].isin(about)
        rows.append(old[~again])
    path = run.scratch / FINDINGS_FILE
    concat_findings(rows).to_parquet(path, index=False, compression="zstd")
    run.stage.add_file(FINDINGS_FILE, path)


def compare_deliveries(run: Run, facts: Facts) -> Facts:
    """The facts with a finding for each bar that was published and that the vendor has rewritten since.

    Raises BatchFault when so many were that somebody should look first. A declared restatement is the way to publish
    what was rewritten, so it compares nothing. Stages what is delivered now, for the next run to compare with.
    """
    now, at = delivered_bars(facts.prices, run.last), run.scratch / f"before_{DELIVERED_FILE}"
    if (published := run.stage.published_file(DELIVERED_FILE, at)) is not None:
        before = pd.read_parquet(published)
        if run.restated_as_of is None:
            found = drift_findings(drift(before[before["session"] < run.first], facts.prices), run.first)
            refuse_undecided(found[found["rule"] == "drift"], run.decisions)
            facts = replace(facts, findings=concat_findings([facts.findings, found]))
        own = now["session"] >= run.first if run.restated_as_of is not None else now["session"] >= 0
        kept = before[~before["session"].between(now.loc[own, "session"].min(), run.last)]
        now = pd.concat([kept, now[own]]).sort_values(["sec_id", "session"], ignore_index=True)
        now = now[now["session"] > now["session"].max() - DRIFT_RULES.sessions]
    path = run.scratch / DELIVERED_FILE
    now.to_parquet(path, index=False, compression="zstd")
    run.stage.add_file(DELIVERED_FILE, path)
    return facts


def stage_etf(run: Run, name: str) -> None:
    """`ds_etf`: the factor ETFs, by the same code, rules and decisions as the stocks."""
    if not run.etf_ids[run.etfs.market]:
        raise ValueError(f"the source has no ETF with the ticker {run.settings.market}, the market of the model")
    store = run.create(name)
    etfs = _listed(run, ["etf"])
    symbols = run.extend(store, etfs[np.isin(etfs.astype(str), run.etf_ids.astype(str))])
    findings: list[pd.DataFrame] = []

    def values(first: int, last: int) -> Block:
        panel = daily_panel(run.facts, symbols, first, last, run.settings.rules, run.decisions)
        if first >= run.first:
            findings.append(panel.quarantine[panel.quarantine["sec_id"] != ""])
        return {"return": panel.ret, "close": panel.close, "volume": panel.volume}

    _write(run, store, values, kept=("return",))
    _keep_findings(run, name, findings)


def _write(run: Run, store: StagedStore, values: Callable[[int, int], Block], kept: tuple[str, ...]) -> None:
    """Write `values` (variable -> (n, T)) block by block, and keep the variables that a window needs of the warm-up."""
    everything = slice(0, len(store.symbol))
    for first, last in run.blocks(store):
        for var, block in values(first, last).items():
            store.write(var, run.rows(store, first, last), everything, block.T)
        run.done(store, last)
    if run.needs_warm_up and run.warm_up_first < run.published_first:
        warm = values(run.warm_up_first, run.published_first - 1)
        saved = WarmUp(run.warm_up_first, store.symbol, {var: warm[var].T.astype(np.float32) for var in kept})
        saved.save(run.scratch / f"warm_up_{store.name}.npz")
    run.label(store)
    store.close()


def stage_masks(run: Run, name: str) -> None:
    """`ds_masks`: the universes in force (snapshots of the last month end) and daily validity."""
    history = run.history("ds_daily")
    store = run.create(name)
    symbols = run.extend(store, run.open("ds_daily").symbol)
    everything = slice(0, len(symbols))
    snapshots = take_snapshots(run, symbols, history)
    run.stage.add_file(MASTER_FILE, run.scratch / MASTER_FILE)
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
            store.write(universe, rows, everything, _in_force(run, snapshots[universe], symbols, first, last))
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
    listings, new = run.master.listings(), []
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
            was = _among(symbols, before)
            snapshot = select_members(RULES[name], symbols, cap, price, traded, was, eligible)
            taken[name][day] = snapshot.members
            new.append((snapshot, day, instant))
    if record_snapshots(run.scratch / MASTER_FILE, new):
        run.__dict__.pop("master", None)  # it was written anew: who asks from here on sees the snapshots
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
            self.first, self.end = first, min(month_end + ROWS - 1 - (month_end - begins) % ROWS, self.last)
            self.values = [self.history.window(v, self.symbols, self.first, self.end) for v in self.VARIABLES]
        return [block[:, first - self.first : month_end - self.first + 1] for block in self.values]


def _before_first(run: Run, month_end: int) -> bool:
    """Whether another month end lies between this one and the first published session."""
    return len(run.calendar.month_ends(month_end + 1, run.published_first - 1)) > 0


def _in_force(run: Run, taken: dict[np.datetime64, NDArray], symbols: NDArray, first: int, last: int) -> NDArray:
    """(sessions, n): member by the last snapshot taken in an earlier month."""
    member = np.zeros((last - first + 1, len(symbols)), dtype=bool)
    months = run.days(first, last).astype("datetime64[M]")
    ends = np.array(sorted(taken), dtype="datetime64[D]")
    at = np.searchsorted(ends.astype("datetime64[M]"), months, side="left") - 1
    for k in np.unique(at[at >= 0]):
        member[at == k] = _among(symbols, taken[ends[k]])
    return member


def _among(symbols: NDArray, members: NDArray) -> NDArray[np.bool_]:
    """(n,) whether each symbol is one of the members."""
    found = np.zeros(len(symbols), dtype=bool)
    at = positions(symbols, members)
    found[at[at >= 0]] = True
    return found


def _last_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The last finite value of each row, NaN where a row has none."""
    finite = np.isfinite(values)
    last = values.shape[1] - 1 - np.argmax(finite[:, ::-1], axis=1)
    return np.where(finite.any(axis=1), values[np.arange(len(values)), last], np.nan)
