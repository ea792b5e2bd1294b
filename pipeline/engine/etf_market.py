"""Factor ETFs of a run held against the stocks that were staged before them (`pipeline.quality.etf_rules`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.engine.prices import Block, with_sessions_before
from pipeline.engine.run import Run
from pipeline.market_data.gate import refuse_undecided
from pipeline.quality.etf_rules import (
    Off,
    baskets,
    groups_of,
    lookback,
    off_their_market,
    rule_of,
    without_a_price,
)
from pipeline.quality.findings import concat_findings, findings_frame
from pipeline.quality.session_rules import parted_from_the_stocks
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import positions


def withhold_off_market(
    run: Run, store: StagedStore, block: dict[str, NDArray] | Block, first: int, last: int
) -> pd.DataFrame:
    """Take the returns of ETFs that did not follow their stocks out of `block`, the sessions [first, last] of `ds_etf`.

    Returns the findings, those of ETFs that lost their price, and of months in which the market ETF does not move with
    the stocks. Raises BatchFault
    where it is the market ETF and nobody decided: `release` publishes its return, `confirm` withholds it.
    """
    rules = run.settings.rules.etfs
    known = {name: min(getattr(rules, name), run.look_back) for name in ("sessions", "family_sessions")}
    rules = rules.model_copy(update=known)  # no night has more than that before it
    begins = max(first - min(lookback(rules), run.look_back), run.warm_up_first)
    symbols, stocks = store.symbol, run.open("ds_daily").symbol
    daily = run.history("ds_daily")
    ret, cap, industry = (
        daily.window(name, stocks, begins, last) for name in ("return", "market_cap", "fs_industry_code")
    )
    row_of = positions(symbols, run.etf_ids)  # of each factor ETF; "" is no symbol
    market = int(row_of[run.etfs.market])
    homes = (
        {code: int(row_of[at]) for code, at in home.items()} for home in (run.etfs.sector_of, run.etfs.subsector_of)
    )
    groups = groups_of(np.nan_to_num(industry).astype(np.int64), list(homes), market)
    etf_ret, etf_close = (with_sessions_before(run, store, block, name, begins, first) for name in ("return", "close"))
    released, withheld = _decided(run, symbols, begins, market)
    held = baskets(ret, cap, groups, len(symbols))
    off = off_their_market(
        etf_ret,
        etf_close,
        held,
        market,
        row_of[sorted(set(run.etfs.sector_of.values()))].tolist(),
        first - begins,
        rules,
        released,
    )
    found = _findings(run, symbols, off, market, begins)
    undecided = [one.row == market and (one.row, one.column) not in withheld for one in off]
    refuse_undecided(found[np.array(undecided, bool)], None)
    for one in off:
        block["return"][one.row, one.column - (first - begins)] = etf_ret[one.row, one.column] = np.nan
    parted = parted_from_the_stocks(
        held.mean[market], held.names[market], etf_ret[market], first - begins, first, run.settings.rules.sessions
    )
    return concat_findings([found, parted, _missing(run, symbols, row_of, etf_close, first - begins, begins)])


def _missing(
    run: Run, symbols: NDArray, row_of: NDArray, close: NDArray[np.float64], begin: int, begins: int
) -> pd.DataFrame:
    """Factor ETFs that were priced the session before: nobody hedged with them has a residual return."""
    lost = [(row, column) for row, column in without_a_price(close, begin) if row in row_of]
    ids = np.array([symbols[row] for row, _ in lost], dtype=object)
    days = run.calendar.sessions
    names: Any = run.master.labels(ids, days[run.last])[0] if len(lost) else []
    sessions = np.array([column + begins for _, column in lost], np.int64)
    return findings_frame(
        sec_id=ids,
        session=sessions,
        rule="missing_etf",
        observed=np.nan,
        expected=np.nan,
        evidence=[
            f"{name}: no price, and one the session before; what is hedged with it has no residual return of the "
            f"session. Once it is delivered: erm3 restate --from {days[session]}"
            for name, session in zip(names, sessions, strict=True)
        ],
        detected_at=sessions,
        index=range(len(lost)),
    )


def _decided(run: Run, symbols: NDArray, begins: int, market: int) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """(row, column) that people released, each from when it was known, and that they withheld.

    What is said about the market ETF answers a run that stopped, whenever it was said.
    """
    said: dict[str, set[tuple[int, int]]] = {"release": set(), "confirm": set()}
    decisions: Any = run.decisions if run.decisions is not None else pd.DataFrame()
    rows = {sec_id: row for row, sec_id in enumerate(symbols.tolist())}
    for one in decisions.to_dict("records"):
        row = rows.get(one["sec_id"], -1)
        if row >= 0 and (row == market or one["visible"] <= one["session"]):
            cell = row, int(one["session"]) - begins
            for verdict, cells in said.items():
                (cells.add if verdict == one["decision"] else cells.discard)(cell)
    return said["release"], said["confirm"]


def _findings(run: Run, symbols: NDArray, off: list[Off], market: int, begins: int) -> pd.DataFrame:
    sessions = np.array([one.column + begins for one in off], np.int64)
    ids = np.array([symbols[one.row] for one in off], dtype=object)
    names: Any = run.master.labels(ids, run.calendar.sessions[run.last])[0] if len(off) else []
    return findings_frame(
        sec_id=ids,
        session=sessions,
        rule=[rule_of(one, market) for one in off],
        observed=[one.ret for one in off],
        expected=[one.expected for one in off],
        evidence=[f"{name}: {one.says}" for name, one in zip(names, off, strict=True)],
        detected_at=sessions,
        index=range(len(off)),
    )
