"""Checks of the realised effectiveness of hedges: again from raw returns and from the ratios that readers had."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.audits.emptiness import levels_with_betas, market_is_withheld
from pipeline.audits.hedges import legs_of, returns_by_code
from pipeline.audits.scope import RATIOS, Check, Floats, Scope, StoreView, Worst, means, sample
from pipeline.datasets import LEVELS
from pipeline.datasets.spec import tiles
from pipeline.store.windows import columns, positions

WINDOWS = (63, 252)
"""Sessions of the windows of `ds_erm3_effectiveness`."""
RECOMPUTED = 1e-5

Singles = NDArray[np.float32]


def empty_so_far(store: str, scope: Scope) -> set[str]:
    """Variables that cannot have a value: nobody has a beta, or had a hedge ratio as many sessions ago as they look
    back, or the market ETF's return is withheld."""
    if not levels_with_betas(scope).any():
        return set(scope.family.view(store).variables)
    hedge = scope.family.view(scope.name("ds_erm3_hedge_weights"))
    start, columns = scope.calendar.ordinal(scope.family.view(store).teo[0]), slice(0, len(hedge.symbol))

    def hedged_before(sessions: int) -> bool:
        at = scope.last - sessions
        if at < start or at < scope.calendar.ordinal(hedge.teo[0]):
            return False
        return bool(np.isfinite(hedge.read("L1_market_HR", scope.rows(hedge, at, at), columns)).any())

    back = {"hedged_return": 1} | {
        f"{var}_{w}": w for w in WINDOWS for var in ("variance_share", "promised_share", "market_beta_left")
    }
    withheld = {"hedged_return"} if market_is_withheld(scope) else set()
    return withheld | {var for var, sessions in back.items() if not hedged_before(sessions)}


def _before(scope: Scope, view: StoreView, var: str, back: int, first: int, last: int, columns: slice) -> Singles:
    """(rows, columns[, levels]) of a store `back` sessions before [first, last], NaN where it did not reach so far."""
    begins = scope.calendar.ordinal(view.teo[0])
    skipped = min(max(begins + back - first, 0), last - first + 1)
    if skipped == last - first + 1:
        return np.full((skipped, *view.read(var, slice(0, 1), columns).shape[1:]), np.nan, np.float32)
    values = view.read(var, scope.rows(view, first - back + skipped, last - back), columns).astype(np.float32)
    return np.concatenate([np.full((skipped, *values.shape[1:]), np.nan, np.float32), values]) if skipped else values


@means(
    realised_from_published_ratios=(
        "The hedged return is the return plus the ratios published the session before times today's raw ETF returns."
    )
)
def realised_from_published_ratios(store: str, scope: Scope) -> Check:
    """Every hedged return again, from `ds_daily`, `ds_etf` and the hedge ratios and ETFs of the session before."""
    view, hedge = scope.family.view(store), scope.family.view(scope.name("ds_erm3_hedge_weights"))
    adjusted, daily = scope.family.view(scope.name("ds_erm3_betas_adjusted")), scope.family.view("ds_daily")
    worst = Worst(
        "realised_from_published_ratios", store, RECOMPUTED, "hedged return against published ratios and raw returns"
    )
    at = positions(daily.symbol, view.symbol)
    for first, last in scope.blocks():
        rows = scope.rows(view, first, last)
        by_code = returns_by_code(scope, adjusted, first, last)
        returns = daily.read("return", scope.rows(daily, first, last), slice(0, len(daily.symbol)))
        for k in tiles(len(view.symbol)):
            stored = view.read("hedged_return", rows, k).astype(np.float64)
            fact = np.nan_to_num(_before(scope, adjusted, "fact", 1, first, last, k)).astype(np.int16)
            if not (fact.any() or np.isfinite(stored).any()):
                continue
            legs, r = legs_of(fact, by_code), returns[:, at[k]].astype(np.float64)
            ratios = {var: _before(scope, hedge, var, 1, first, last, k) for names in RATIOS.values() for var in names}
            for depth, names in RATIOS.items():
                wanted, have = r.copy(), stored[..., depth - 1]
                for var, leg in zip(names, legs, strict=False):
                    wanted += ratios[var] * leg
                error = np.abs(have - wanted) / (1 + np.abs(wanted))
                error[np.isfinite(have) != np.isfinite(wanted)] = np.inf
                worst.add(error, RECOMPUTED, view.teo[rows], view.symbol[k], level=LEVELS[depth - 1])
    return worst.check()


@means(effectiveness_recomputed="A sample of variance shares and market betas left, computed again from their windows.")
def effectiveness_recomputed(store: str, scope: Scope) -> Check:
    """A sample of cells against the variances and slopes of their windows, one window at a time."""
    view, daily, etf = (scope.family.view(name) for name in (store, "ds_daily", "ds_etf"))
    worst = Worst("effectiveness_recomputed", store, RECOMPUTED, "stored figure against that of the window itself")
    everything, spy = slice(0, len(view.symbol)), positions(etf.symbol, [scope.etf_ids[scope.factor_set.market]])[0]
    rows, begins = scope.rows(view), scope.calendar.ordinal(view.teo[0])
    now = [view.read("hedged_return", scope.rows(view, *block), everything)[..., 0] for block in scope.blocks()]
    cells = np.array(sample(np.isfinite(np.concatenate(now)), scope.bounds.recomputed_cells)).reshape(-1, 2)
    for first, last in scope.blocks():
        here = cells[(cells[:, 0] >= first - scope.first) & (cells[:, 0] <= last - scope.first)]
        if not len(here):
            continue
        back = max(first - max(WINDOWS) + 1, begins)
        m = etf.read("return", scope.rows(etf, back, last), slice(spy, spy + 1))[:, 0].astype(np.float64)
        of_daily = positions(daily.symbol, view.symbol[here[:, 1]])
        r = columns(daily, "return", scope.rows(daily, back, last), of_daily).astype(np.float64)
        for k in tiles(len(view.symbol)):
            inside = np.flatnonzero((here[:, 1] >= k.start) & (here[:, 1] < k.stop))
            if not len(inside):
                continue
            hedged = view.read("hedged_return", scope.rows(view, back, last), k).astype(np.float64)
            kept = {var: view.read(var, scope.rows(view, first, last), k) for w in WINDOWS for var in windowed(w)}
            for one in inside:
                row, col = here[one]
                of_cell = {var: values[row + scope.first - first, col - k.start] for var, values in kept.items()}
                window = slice(0, row + scope.first + 1 - back)
                errors = _errors(of_cell, r[window, one], hedged[window, col - k.start], m[window])
                where = view.teo[rows][row : row + 1], view.symbol[col : col + 1]
                for (var, level), error in errors.items():
                    worst.add(np.array([[error]]), RECOMPUTED, *where, variable=var, level=level)
    return worst.check()


def _errors(kept: Mapping[str, Singles], r: Floats, hedged: Floats, market: Floats) -> dict[tuple[str, str], float]:
    """How far each figure of a cell, by variable and level, is from that of the window that ends the given rows.

    kept: by variable, (levels,). r, market: (rows,). hedged: (rows, levels).
    """
    errors = {}
    for w in WINDOWS:
        for k, level in enumerate(LEVELS):
            found = _of_window(r[-w:], hedged[-w:, k], market[-w:], w)
            for var, wanted in zip(windowed(w), found, strict=True):
                have = float(kept[var][k])
                unlike = np.isnan(have) != np.isnan(wanted)
                errors[var, level] = np.inf if unlike else abs(have - wanted) / (1 + abs(wanted))
    return errors


def windowed(window: int) -> tuple[str, str]:
    return f"variance_share_{window}", f"market_beta_left_{window}"


def _of_window(r: Floats, hedged: Floats, market: Floats, window: int) -> tuple[float, float]:
    """Share of the variance and beta on the market of one window, NaN where it has too few sessions or ends without."""
    have = np.isfinite(r) & np.isfinite(hedged) & np.isfinite(market)
    if 2 * have.sum() < window or not np.isfinite(hedged[-1]) or not r[have].any():
        return np.nan, np.nan
    r, hedged, market = r[have], hedged[have], market[have]
    return float(hedged.var() / r.var()), float(hedged @ market / (market @ market))


@means(promises_are_as_published="The promised share is the residual share that was published a window earlier.")
def promises_are_as_published(store: str, scope: Scope) -> Check:
    """Every promised share is the published residual share of so many sessions ago, bit for bit."""
    view, hedge = scope.family.view(store), scope.family.view(scope.name("ds_erm3_hedge_weights"))
    worst = Worst("promises_are_as_published", store, 0.0, "promised share - that published")
    for first, last in scope.blocks():
        rows = scope.rows(view, first, last)
        for k in tiles(len(view.symbol)):
            today = np.isfinite(view.read("hedged_return", rows, k))
            stored = {w: view.read(f"promised_share_{w}", rows, k) for w in WINDOWS}
            for level in range(len(LEVELS)):
                var, earliest = f"L{level + 1}_residual_ER", first - max(WINDOWS) + min(WINDOWS)
                published = _before(scope, hedge, var, min(WINDOWS), earliest, last, k)
                for w in WINDOWS:
                    then = published[max(WINDOWS) - w :][: len(today)]
                    wanted, have = np.where(today[..., level], then, np.nan), stored[w][..., level]
                    error = np.abs(have.astype(np.float64) - wanted)
                    error[np.isfinite(have) != np.isfinite(wanted)] = np.inf
                    where = view.teo[rows], view.symbol[k]
                    worst.add(error, 0.0, *where, variable=f"promised_share_{w}", level=LEVELS[level])
    return worst.check()
