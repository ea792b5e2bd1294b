"""The first steps of a run: prices, returns and classes of the stocks, the factor ETFs, the universes.

A step knows only the run, the landed facts, the staged master and the stores before it, never the arrays of an earlier
step, so the command line (one process) and Dagster (one process for each step) do the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.engine.run import MarketMissing, Run
from pipeline.engine.step_findings import keep_findings
from pipeline.market_data.point_in_time import first_listed
from pipeline.returns.panel import daily_panel
from pipeline.store import StagedStore
from pipeline.store.windows import WarmUp
from security_master.universe import STOCK_TYPES

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
    keep_findings(run, name, findings)


def _listed(run: Run, types: Sequence[str]) -> NDArray[np.object_]:
    """Securities that some session up to the run's last one knew as listed with one of `types`, as they came."""
    first = first_listed(run.master.listings(), run.calendar, run.settings.rules.vendor_delay_minutes, types)
    return first.index[first <= run.last].to_numpy(object)


def stage_etf(run: Run, name: str) -> None:
    """`ds_etf`: the factor ETFs, by the same code, rules and decisions as the stocks."""
    if not run.etf_ids[run.etfs.market]:
        raise MarketMissing(
            f"the source has no ETF with the ticker {run.settings.market}, the market of the model; deliver it, "
            "or name another one in the setting factor_sets"
        )
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
    keep_findings(run, name, findings)


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
