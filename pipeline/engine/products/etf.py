"""`ds_etf`: the factor ETFs, by the same code, rules and decisions as the stocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.audits import emptiness, inputs
from pipeline.datasets.shared import CLOSE, RETURN, STOCKS, VOLUME
from pipeline.datasets.spec import StoreShape
from pipeline.engine.etf_market import answers, withhold_off_market
from pipeline.engine.figures import Series, count
from pipeline.engine.prices import Block, known_from, listed, write_blocks
from pipeline.engine.product import Product
from pipeline.engine.run import MarketMissing, Run
from pipeline.engine.step_findings import keep_findings
from pipeline.returns.panel import daily_panel
from pipeline.store.staged_store import StagedStore

SHAPE = StoreShape(
    "ds_etf",
    "market data",
    "Daily prices and returns of the factor ETFs",
    "The factor ETFs and their proxies, on an axis of their own.",
    coordinates=STOCKS,
    variables=(
        replace(
            RETURN,
            comment="NaN before the ETF's second session, where a return cannot be made, and where the ETF did not "
            "follow its stocks",
        ),
        replace(CLOSE, comment="NaN where there is no price"),
        replace(VOLUME, comment=f"{VOLUME.comment}; NaN where there is no price"),
    ),
    lineage=("ds_daily",),
)


def stage(run: Run, name: str) -> None:
    """`ds_etf`: the factor ETFs, by the same code, rules and decisions as the stocks."""
    if not run.etf_ids[run.etfs.market]:
        raise MarketMissing(
            f"the source has no ETF with the ticker {run.settings.market}, the market of the model; deliver it, "
            "or name another one in the setting factor_sets"
        )
    store = run.create(name)
    etfs = listed(run, ["etf"])
    symbols = run.extend(store, etfs[np.isin(etfs.astype(str), run.etf_ids.astype(str))])
    known = known_from(run, symbols, ["etf"])
    findings: list[pd.DataFrame] = []
    decisions = answers(run)

    def values(first: int, last: int) -> Block:
        panel = daily_panel(run.facts, symbols, first, last, run.settings.rules, decisions, known)
        block = {"return": panel.ret, "close": panel.close, "volume": panel.volume}
        if first >= run.first:
            held_back = panel.quarantine[panel.quarantine["sec_id"] != ""]
            findings.append(held_back)
            findings.append(withhold_off_market(run, store, block, first, last, held_back))
        return block

    write_blocks(run, store, values, kept=("return", "close"))
    keep_findings(run, name, findings)


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    return {"ETFs with a return": count(np.isfinite(store.read("return", rows)))}


PRODUCT = Product(
    SHAPE, stage, audits=(inputs.returns_are_numbers,), figures=figures, may_be_empty=emptiness.before_two_closes
)
