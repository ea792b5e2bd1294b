"""Factor ETFs of a run held against the stocks that were staged before them (`pipeline.quality.etf_rules`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.engine.prices import Block, with_sessions_before
from pipeline.engine.run import Run
from pipeline.market_data.gate import refuse_undecided
from pipeline.quality.decisions import WHOLE_SESSION, withheld_prices
from pipeline.quality.etf_rules import (
    Off,
    baskets,
    groups_of,
    lookback,
    off_their_market,
    rule_of,
    without_a_price,
    without_a_return,
)
from pipeline.quality.findings import concat_findings, findings_frame
from pipeline.quality.session_rules import parted_from_the_stocks
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import positions


def withhold_off_market(
    run: Run,
    store: StagedStore,
    block: dict[str, NDArray] | Block,
    first: int,
    last: int,
    held_back: pd.DataFrame,
) -> pd.DataFrame:
    """Take the returns of ETFs that did not follow their stocks out of `block`, the sessions [first, last] of `ds_etf`.

    Returns the findings, those of ETFs that lost their price, and of months in which the market ETF does not move with
    the stocks. Raises BatchFault where it is the market ETF, or that has no return, and nobody decided: `release`
    publishes its price, `confirm` withholds it. held_back: findings about prices of ETFs that are no prices.
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
    held = baskets(ret, cap, groups, len(symbols))
    off = off_their_market(
        etf_ret,
        etf_close,
        held,
        market,
        row_of[sorted(set(run.etfs.sector_of.values()))].tolist(),
        first - begins,
        rules,
        _released(answers(run), symbols, begins),
    )
    found = _findings(run, symbols, off, market, begins)
    of_market = np.array([one.row == market for one in off], bool)
    withheld = withheld_prices(run.decisions)
    answered = withheld.get(symbols[market], set()) | withheld.get(WHOLE_SESSION, set())
    silent = [t + begins for t in without_a_return(etf_ret[market], etf_close[market], first - begins)]
    absent = _absent(run, symbols[market], silent, held_back)
    refuse_undecided(concat_findings([found[of_market], absent[~absent["session"].isin(answered)]]), None)
    for one in off:
        block["return"][one.row, one.column - (first - begins)] = etf_ret[one.row, one.column] = np.nan
    parted = parted_from_the_stocks(
        held.mean[market], held.names[market], etf_ret[market], first - begins, first, run.settings.rules.sessions
    )
    return concat_findings([found, absent, parted, _missing(run, symbols, row_of, etf_close, first - begins, begins)])


def _missing(
    run: Run, symbols: NDArray, row_of: NDArray, close: NDArray[np.float64], begin: int, begins: int
) -> pd.DataFrame:
    """Factor ETFs that were priced the session before: nobody hedged with them has a residual return."""
    lost = [(row, column) for row, column in without_a_price(close, begin) if row in row_of]
    ids, sessions, names = _cells(run, symbols, lost, begins)
    says = [
        f"{name}: no price, and one the session before; what is hedged with it has no residual return of the "
        f"session. Once it is delivered: erm3 restate --from {run.calendar.sessions[session]}"
        for name, session in zip(names, sessions, strict=True)
    ]
    return _dated(ids, sessions, "missing_etf", says)


def _absent(run: Run, market: str, sessions: list[int], held_back: pd.DataFrame) -> pd.DataFrame:
    """A stop for each session without a return of the market ETF, with what held its price back."""
    why = held_back[held_back["sec_id"] == market].groupby("session")["evidence"].first().to_dict()
    held_by = [why.get(t, "its price is withheld, or is none") for t in sessions]
    says = [f"{run.settings.market}: no return, and no stock could be explained by it: {one}" for one in held_by]
    return _dated(market, sessions, "market_etf_off", says)


def answers(run: Run) -> pd.DataFrame | None:
    """What people decided about cells. About the market ETF it answers a run that stopped, whenever it was said: it is
    in force from its own session on."""
    decisions = run.decisions
    if decisions is None:
        return None
    at_once = decisions["sec_id"] == run.etf_ids[run.etfs.market]
    return decisions.assign(visible=decisions["visible"].mask(at_once, decisions[["visible", "session"]].min(axis=1)))


def _released(decisions: pd.DataFrame | None, symbols: NDArray, begins: int) -> set[tuple[int, int]]:
    """(row, column) that people released, each from when it was known."""
    found: set[tuple[int, int]] = set()
    rows = {sec_id: row for row, sec_id in enumerate(symbols.tolist())}
    for one in [] if decisions is None else decisions.to_dict("records"):
        if one["sec_id"] in rows and one["visible"] <= one["session"]:
            cell = rows[one["sec_id"]], int(one["session"]) - begins
            (found.add if one["decision"] == "release" else found.discard)(cell)
    return found


def _findings(run: Run, symbols: NDArray, off: list[Off], market: int, begins: int) -> pd.DataFrame:
    ids, sessions, names = _cells(run, symbols, [(one.row, one.column) for one in off], begins)
    says = [f"{name}: {one.says}" for name, one in zip(names, off, strict=True)]
    rules = [rule_of(one, market) for one in off]
    return _dated(ids, sessions, rules, says, [one.ret for one in off], [one.expected for one in off])


def _cells(
    run: Run, symbols: NDArray, cells: Sequence[tuple[int, int]], begins: int
) -> tuple[NDArray[np.object_], NDArray[np.int64], Sequence[str]]:
    """Permanent ids, sessions and tickers of cells (row, column)."""
    ids = np.array([symbols[row] for row, _ in cells], dtype=object)
    tickers: Sequence[str] = []
    if len(cells):
        tickers = list(run.master.labels(ids, run.calendar.sessions[run.last])[0])
    return ids, np.array([column + begins for _, column in cells], np.int64), tickers


def _dated(
    sec_id: Any,
    sessions: Sequence[int] | NDArray,
    rule: Any,
    says: list[str],
    observed: Any = np.nan,
    expected: Any = np.nan,
) -> pd.DataFrame:
    """Findings about sessions, each made at its own."""
    return findings_frame(
        sec_id=sec_id,
        session=sessions,
        rule=rule,
        observed=observed,
        expected=expected,
        evidence=says,
        detected_at=sessions,
        index=range(len(says)),
    )
