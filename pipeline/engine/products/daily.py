"""`ds_daily`: closes, volumes, returns and flags of every stock ever seen, market caps and classes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.audits import emptiness, inputs
from pipeline.datasets.return_flags import ReturnFlag
from pipeline.datasets.shared import CLOSE, RETURN, STOCKS, VOLUME
from pipeline.datasets.spec import StoreShape, VariableSpec
from pipeline.engine.day_before import hold_against_the_day_before
from pipeline.engine.figures import Series, count
from pipeline.engine.prices import Block, known_from, listed, sessions_before, write_blocks
from pipeline.engine.product import Lines, Picture, Product
from pipeline.engine.run import Run
from pipeline.engine.step_findings import keep_findings
from pipeline.engine.tiles import map_each
from pipeline.quality.findings import concat_findings
from pipeline.returns import market_caps
from pipeline.returns.cells import Span, findings_of
from pipeline.returns.currencies import dollars_of_closes
from pipeline.returns.panel import daily_panel
from pipeline.store.staged_store import StagedStore
from security_master.universe import STOCK_TYPES

SECOND_NUMBERING = 70
"""What is added to a sector's code to get its code in the second numbering."""


def _variables() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol")
    return (
        replace(RETURN, comment="NaN where return_flag is 0 or from 32 on, which says why"),
        replace(CLOSE, comment="neither split- nor dividend-adjusted; NaN where there is no accepted price"),
        replace(VOLUME, comment=f"as traded, {VOLUME.comment}; NaN where there is no price"),
        VariableSpec(
            "market_cap",
            cell,
            "float32",
            "market capitalisation",
            "USD",
            "close times the shares known at the session; NaN where either is not known",
            needs=("shares",),
        ),
        VariableSpec(
            "fs_sector_code",
            cell,
            "int16",
            "sector known at the session",
            comment="0 where unclassified",
            flags=((0, "unclassified"),),
            open_flags=True,
            needs=("classification",),
        ),
        VariableSpec(
            "fs_industry_code",
            cell,
            "int16",
            "industry known at the session",
            comment="0 where unclassified",
            flags=((0, "unclassified"),),
            open_flags=True,
            needs=("classification",),
        ),
        VariableSpec(
            "bw_sector_code",
            cell,
            "int16",
            "sector in the second numbering",
            comment=f"{SECOND_NUMBERING} + fs_sector_code; 0 where unclassified",
            flags=((0, "unclassified"),),
            open_flags=True,
            needs=("classification",),
        ),
        VariableSpec(
            "return_flag",
            cell,
            "int16",
            "how the return was made, or why there is none",
            comment="1 to 31 accompany a return; 0 and codes from 32 on accompany NaN",
            flags=tuple((int(flag), flag.name.lower()) for flag in ReturnFlag),
        ),
    )


SHAPE = StoreShape(
    "ds_daily",
    "market data",
    "Daily prices and returns of US stocks",
    "All stocks ever seen, with what is known of them at each session.",
    coordinates=STOCKS,
    variables=_variables(),
)


def _known(
    run: Run,
    store: StagedStore,
    shares: NDArray[np.float64],
    since: int,
    first: int,
    on: tuple[NDArray[np.datetime64], NDArray[np.datetime64]],
) -> market_caps.Known:
    """What the market caps of a range need beside its panel: the sessions `on` begin at the ordinal `since`."""
    master, rules = run.master, run.settings.rules
    return market_caps.Known(
        rate=dollars_of_closes(master.listings(), run.facts.fx_rates, store.symbol, since, on, rules.events.fx_max_age),
        twins=market_caps.twins_of(shares, *master.siblings(store.symbol, *on)),
        close=sessions_before(run, store, "close", since, first),
        cap=sessions_before(run, store, "market_cap", since, first),
    )


def stage(run: Run, name: str) -> None:
    """`ds_daily`: closes, volumes, returns and flags of every stock ever seen, market caps and classes."""
    taxonomy = run.master.taxonomy()
    store, sector_of = run.create(name, _class_codes(taxonomy)), _sector_of(taxonomy)
    symbols = run.extend(store, listed(run, STOCK_TYPES))
    known = known_from(run, symbols, STOCK_TYPES)

    everywhere = run.facts.findings
    everywhere = everywhere[(everywhere["sec_id"] == "") & everywhere["detected_at"].between(run.first, run.last)]
    findings = [everywhere]
    each = partial(map_each, run.settings)

    def values(first: int, last: int) -> Block:
        rules, since = run.settings.rules, max(0, first - market_caps.lookback(run.settings.rules))
        panel = daily_panel(run.facts, symbols, since, last, rules, run.decisions, known, each)
        span = Span(since, first, last)
        days, instants = run.days(since, last), run.instants(since, last)
        shares = run.master.shares_panel(list(symbols), days, instants, rules.shares_max_age_days)
        beside = _known(run, store, shares, since, first, (days, instants))
        caps, found = market_caps.market_caps(panel.close, panel.volume, panel.flag, shares, rules, beside)
        if first >= run.first:
            mine = panel.quarantine[panel.quarantine["detected_at"] >= first]
            findings.append(concat_findings([mine, findings_of(found, panel.sec_ids, span)]))
        days, instants = days[first - since :], instants[first - since :]
        industry = run.master.classification_panel(list(symbols), days, instants)
        industry[np.arange(first, last + 1) < known[:, None]] = 0
        sector = sector_of[industry]
        block: Block = {
            "return": panel.ret[:, first - since :],
            "close": panel.close[:, first - since :],
            "volume": panel.volume[:, first - since :],
            "market_cap": caps[:, first - since :],
            "fs_sector_code": sector,
            "fs_industry_code": industry,
            "bw_sector_code": np.where(sector > 0, SECOND_NUMBERING + sector, 0).astype(np.int16),
            "return_flag": panel.flag[:, first - since :],
        }
        if first >= run.first:
            findings.append(hold_against_the_day_before(run, store, block, shares[:, first - since :], first))
        return block

    write_blocks(run, store, values, kept=("return", "close", "volume", "market_cap", "fs_industry_code"))
    keep_findings(run, name, findings)


def _class_codes(taxonomy: pd.DataFrame) -> dict[str, list[tuple[int, str]]]:
    """Meanings of the codes of sectors and industries."""
    sectors = taxonomy.drop_duplicates("fs_sector_code").sort_values("fs_sector_code")
    return {
        "fs_industry_code": list(zip(taxonomy["fs_industry_code"], taxonomy["industry"], strict=True)),
        "fs_sector_code": list(zip(sectors["fs_sector_code"], sectors["sector"], strict=True)),
        "bw_sector_code": list(zip(sectors["fs_sector_code"] + SECOND_NUMBERING, sectors["sector"], strict=True)),
    }


def _sector_of(taxonomy: pd.DataFrame) -> NDArray[np.int16]:
    """Sector by industry code, 0 where there is none."""
    sector_of = np.zeros(int(taxonomy["fs_industry_code"].max()) + 1, dtype=np.int16)
    sector_of[taxonomy["fs_industry_code"].to_numpy(int)] = taxonomy["fs_sector_code"].to_numpy(int)
    return sector_of


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    return {
        "stocks with a price": count(np.isfinite(store.read("close", rows))),
        "stocks with a return": count(np.isfinite(store.read("return", rows))),
    }


def pictures(run: Run, name: str) -> list[Picture]:
    keys = {"stocks with a price": "with a price", "stocks with a return": "with a return"}
    return [Lines("prices and returns over the last year", keys, "stocks")]


PRODUCT = Product(
    SHAPE,
    stage,
    audits=(inputs.returns_are_numbers,),
    figures=figures,
    pictures=pictures,
    may_be_empty=emptiness.before_two_closes,
)
