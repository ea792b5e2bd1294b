"""Ranks of the valid members of the universe on a day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.rankings import COHORTS, COMPOUNDED, METRICS, WINDOWS, Ranking, least, windows_of
from pipeline.query import universe
from pipeline.query.errors import BadQuestion, NothingThere, one_of, within
from pipeline.query.fields import BETAS, BY_WIRE, RANKINGS
from pipeline.query.table import Table, texts
from pipeline.query.values import aligned, at_session, compounded

if TYPE_CHECKING:
    from pipeline.query.dates import On
    from pipeline.query.family import QueryFamily

LIMIT = (1, 500)


def screen(
    family: QueryFamily,
    metric: str,
    cohort: str,
    window: str,
    on: Any,
    min_percentile: float | None = None,
    decile: int | None = None,
    sector_filter: str | None = None,
    limit: int = 100,
) -> Table:
    """See QueryFamily.screen.

    Columns symbol, ticker, rank_ordinal, cohort_size, rank_percentile, metric_value, by rank. Rank 1 is the largest
    value, equal ones share the smallest rank. rank_percentile = 100 (1 - (rank - 1) / n); decile d is the percentiles
    above 100 - 10 d, up to 110 - 10 d. sector_filter: the sector ETF. attrs: teo, matched_count before the limit.
    """
    _check(metric, cohort, window)
    within("limit", limit, *LIMIT)
    if min_percentile is not None:
        within("min_percentile", min_percentile, 0, 100)
    if decile is not None:
        within("decile", decile, 1, 10)
    asked = family.on(on)
    who, columns = _ranked(family, metric, cohort, window, asked)
    percentile = columns["rank_percentile"]
    keep = np.isfinite(columns["metric_value"])
    if min_percentile is not None:
        keep &= percentile >= min_percentile
    if decile is not None:
        keep &= (percentile > 100 - 10 * decile) & (percentile <= 110 - 10 * decile)
    if sector_filter is not None:
        codes = [code for code, etf in family.etf_of_code.items() if etf == sector_filter.strip().upper()]
        if not codes:
            raise BadQuestion(f"{sector_filter[:20]!r} is no ETF of this factor set", code="unknown_etf")
        keep &= np.isin(_facts(family, who, "sector", asked.session), codes)
    tickers = [family.names.ticker(symbol, asked.day) or "" for symbol in who]
    chosen = sorted(
        np.flatnonzero(keep).tolist(),
        key=lambda k: (columns["rank_ordinal"][k], -columns["metric_value"][k], tickers[k], who[k]),
    )
    at = np.array(chosen[:limit], dtype=np.intp)
    found = {"symbol": texts(who)[at], "ticker": texts(tickers)[at], **{name: c[at] for name, c in columns.items()}}
    said = {"teo": family.teo(asked.session), "metric": metric, "cohort": cohort, "window": window, "limit": limit}
    return Table(found, "symbol", said | {"matched_count": len(chosen)})


def ranks(
    family: QueryFamily,
    who: str,
    on: Any,
    metric: str | None = None,
    cohort: str | None = None,
    window: str | None = None,
) -> Table:
    """See QueryFamily.ranks; metric, cohort, window: only those.

    Raises NothingThere for a stock that is no valid member on D.
    """
    for name, value, known in (
        ("metric", metric, METRICS),
        ("cohort", cohort, COHORTS),
        ("window", window, tuple(WINDOWS)),
    ):
        if value is not None:
            one_of(name, value, known)
    asked = family.on(on)
    stock = family.stock(who, asked.day)
    grid = [
        (m, c, w)
        for m in METRICS
        for c in COHORTS
        for w in windows_of(m)
        if (metric or m) == m and (cohort or c) == c and (window or w) == w
    ]
    if not grid:
        raise BadQuestion(f"{metric} has the window 1d only")
    rows: list[tuple[Any, ...]] = []
    for m, c, w in grid:
        symbols, columns = _ranked(family, m, c, w, asked)
        if stock.symbol not in symbols:
            raise NothingThere(
                f"{stock.ticker} is no valid member of {family.universe} on {asked.day}", code="no_member"
            )
        k = symbols.index(stock.symbol)
        if np.isfinite(columns["metric_value"][k]):
            rows.append((m, c, w, stock.symbol, stock.ticker, *(columns[name][k] for name in _COLUMNS)))
    names = ("metric", "cohort", "window", "symbol", "ticker", *_COLUMNS)
    kinds: dict[str, Any] = {
        "rank_ordinal": np.int64,
        "cohort_size": np.int64,
        "rank_percentile": float,
        "metric_value": float,
    }
    data = {
        name: np.array([row[k] for row in rows], kinds[name]) if name in kinds else texts([row[k] for row in rows])
        for k, name in enumerate(names)
    }
    return Table(data, "metric", {"teo": family.teo(asked.session), "symbol": stock.symbol, "ticker": stock.ticker})


_COLUMNS = ("rank_ordinal", "cohort_size", "rank_percentile", "metric_value")


def _check(metric: str, cohort: str, window: str) -> None:
    one_of("metric", metric, METRICS)
    one_of("cohort", cohort, COHORTS)
    one_of("window", window, tuple(WINDOWS))
    if window not in windows_of(metric):
        raise BadQuestion(f"{metric} is a value of the session: its window is 1d, not {window}")


def _ranked(
    family: QueryFamily, metric: str, cohort: str, window: str, asked: On
) -> tuple[list[str], dict[str, NDArray]]:
    """Valid members, their ranks as published, and what is ranked; a member without a rank has 0 and NaN."""
    who = universe.symbols(family, family.universe, asked.session)
    one, cells = Ranking(window, cohort, metric), family.cells(RANKINGS)
    rank, size = (aligned(family, RANKINGS, who, cells.day(var, asked.session)) for var in (one.rank, one.size))
    value = np.where(np.isfinite(rank), _values(family, metric, window, asked.session, who), np.nan)
    whole = (np.nan_to_num(column).astype(np.int64) for column in (rank, size))
    return who, dict(zip(_COLUMNS, (*whole, (1 - (rank - 1) / size) * 100, value), strict=True))


def _values(family: QueryFamily, metric: str, window: str, session: int, who: list[str]) -> NDArray:
    if metric in COMPOUNDED:
        store, variable, level = COMPOUNDED[metric]
        n = WINDOWS[window]
        cells = family.cells(store)
        returns = cells.block(variable, session - n + 1, session + 1, 0, len(cells.symbols), level or "")
        return compounded(aligned(family, store, who, returns), least(window))
    field = BY_WIRE["market_cap" if metric == "mkt_cap" else f"l{metric[-1]}_res_er"]
    values = aligned(family, field.store, who, at_session(family, field, session))
    return values if metric == "mkt_cap" else 1.0 - values


def _facts(family: QueryFamily, who: list[str], level: str, session: int) -> NDArray:
    """(members,) code of the ETF at a level; 0 for none."""
    return np.nan_to_num(aligned(family, BETAS, who, family.cells(BETAS).day("fact", session, level))).astype(np.int64)
