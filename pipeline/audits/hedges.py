"""Checks of hedge ratios, explained-risk shares and the decomposition of returns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.audits import reference
from pipeline.audits.scope import (
    RATIOS,
    SHARES,
    Check,
    Floats,
    Scope,
    StoreView,
    Worst,
    at_each_level,
    cell_parameters,
    fact_symbols,
    first_recomputable,
    means,
    sample,
    windows,
)
from pipeline.datasets import LEVELS
from pipeline.store.windows import positions


@means(**at_each_level("shares_add_to_one", "The shares of explained risk of a level add to one."))
def shares_add_to_one(store: str, scope: Scope) -> list[Check]:
    """Explained-risk shares add to 1 at each level, for every stock and session written."""
    view = scope.family.view(store)
    columns, checks = slice(0, len(view.symbol)), []
    for level, names in SHARES.items():
        worst = Worst(
            f"shares_add_to_one_L{level}", store, scope.bounds.additivity, f"|sum of {' + '.join(names)} - 1|"
        )
        for first, last in scope.stretches():
            rows = scope.rows(view, first, last)
            parts = [view.read(name, rows, columns).astype(np.float64) for name in names]
            have = np.sum([np.isfinite(p) for p in parts], axis=0)
            error = np.abs(np.sum(parts, axis=0) - 1.0)
            error[(have > 0) & (have < len(parts))] = np.inf
            worst.add(error, scope.bounds.additivity, view.teo[rows], view.symbol)
        checks.append(worst.check())
    return checks


def returns_by_code(scope: Scope, view: StoreView, first: int, last: int) -> Floats:
    """(codes, rows) raw returns of the ETF that a code of `fact` stands for, NaN for none. From the stored codes
    alone."""
    etf = scope.family.view("ds_etf")
    values = etf.read("return", scope.rows(etf, first, last), slice(0, len(etf.symbol))).astype(np.float64)
    by_code = np.full((max(view.flags("fact")) + 1, values.shape[0]), np.nan)
    for code, symbol in fact_symbols(scope, view).items():
        at = positions(etf.symbol, [symbol])[0]
        if at >= 0:
            by_code[code] = values[:, at]
    by_code[0] = np.nan
    return by_code


def legs_of(fact: NDArray, by_code: Floats) -> list[Floats]:
    """Raw ETF returns of each stock's three facts, (rows, cols) each, NaN for none."""
    rows = np.arange(by_code.shape[1])[:, None]
    return [by_code[fact[..., level], rows] for level in range(3)]


def etf_returns(scope: Scope, view: StoreView, fact: NDArray, first: int, last: int) -> list[Floats]:
    """`legs_of` these sessions."""
    return legs_of(fact, returns_by_code(scope, view, first, last))


def _link_values(scope: Scope, view: StoreView, fact: NDArray, first: int, last: int) -> tuple[Floats, Floats, Floats]:
    """Stored link betas of each stock: sector on market, subsector on market, subsector on the stock's sector."""
    links = scope.family.view(scope.links)
    rows, columns = scope.rows(links, first, last), slice(0, len(links.symbol))
    sec = links.read("L2_link_sec_mkt_BF", rows, columns).astype(np.float64)
    sub = links.read("L3_link_sub_mkt_BF", rows, columns).astype(np.float64)
    n_links = len(links.axis("link"))
    pair = links.read("L3_link_sub_sec_pair_BF", rows, slice(0, n_links)).astype(np.float64)
    etfs = fact_symbols(scope, view)
    most = max(view.flags("fact")) + 1
    at = {code: int(positions(links.symbol, [symbol])[0]) for code, symbol in etfs.items()}
    sm, um = np.full((most, sec.shape[0]), np.nan), np.full((most, sec.shape[0]), np.nan)
    us = np.full((most, most, sec.shape[0]), np.nan)
    code_of = {ticker: code for code, ticker in view.flags("fact").items()}
    for code, col in at.items():
        if col >= 0:
            sm[code], um[code] = sec[:, col], sub[:, col]
    pairs = zip(links.axis("link_subsector_etf"), links.axis("link_sector_etf"), strict=True)
    for k, (sub_etf, sec_etf) in enumerate(pairs):
        if sub_etf in code_of and sec_etf in code_of:
            us[code_of[sub_etf], code_of[sec_etf]] = pair[:, k]
    at_row = np.arange(sec.shape[0])[:, None]
    s, u = fact[..., 1], fact[..., 2]
    return sm[s, at_row], um[u, at_row], us[u, s, at_row]


@means(net_market_beta="The L3 hedge leaves no market beta: its cross terms are there, with the right sign.")
def net_market_beta(store: str, scope: Scope) -> Check:
    """Market beta left by the L3 hedge (methodology, section 6), rebuilt from stored betas and link betas.

    With exact algebra it is zero. The bound grows with the rounding of the stored float32 terms, which matters only for
    betas in the hundreds.
    """
    view, adjusted = scope.family.view(store), scope.family.view(scope.name("ds_erm3_betas_adjusted"))
    worst = Worst("net_market_beta", store, scope.bounds.net_market_beta, "market beta left by the L3 hedge")
    columns = slice(0, len(view.symbol))
    for first, last in scope.stretches():
        rows, adjusted_rows = scope.rows(view, first, last), scope.rows(adjusted, first, last)
        beta = adjusted.read("factor_beta", adjusted_rows, columns).astype(np.float64)
        fact = adjusted.read("fact", adjusted_rows, columns)
        sm, um, us = _link_values(scope, adjusted, fact, first, last)
        market = view.read("L3_market_HR", rows, columns).astype(np.float64)
        # The cascade loads (b_m - b_s sm - b_u (um - us sm)) on the raw market; the hedge must take away exactly that.
        terms = [beta[..., 0], -beta[..., 1] * sm, -beta[..., 2] * um, beta[..., 2] * us * sm, market]
        left = np.sum(terms, axis=0)
        missing = np.isfinite(beta).all(axis=2) & ~np.isfinite(market)
        left[missing] = np.inf
        rounding = 4 * np.finfo(np.float32).eps * np.nansum(np.abs(terms), axis=0)
        worst.add(np.abs(left), scope.bounds.net_market_beta + rounding, view.teo[rows], view.symbol)
    return worst.check()


@means(shares_recomputed="A sample of explained-risk shares, computed again by a slow second implementation.")
def shares_recomputed(store: str, scope: Scope) -> Check:
    """A sample of explained-risk shares and variances recomputed from raw returns and stored adjusted betas."""
    view, adjusted = scope.family.view(store), scope.family.view(scope.name("ds_erm3_betas_adjusted"))
    columns = slice(0, len(view.symbol))
    rows, adjusted_rows = scope.rows(view), scope.rows(adjusted)
    beta, fact = adjusted.read("factor_beta", adjusted_rows, columns), adjusted.read("fact", adjusted_rows, columns)
    finite = np.isfinite(beta[..., 0])
    finite[: first_recomputable(scope)] = False
    cells = sample(finite, scope.bounds.recomputed_cells)
    names = [*SHARES[1], *SHARES[2], *SHARES[3], "_stock_var"]
    worst = Worst("shares_recomputed", store, 1e-5, "stored share against a slow second implementation")
    for row, col in cells:
        r, (m, s, u) = windows(scope, adjusted, fact, row, col)
        assert m is not None
        p = cell_parameters(scope.model)
        b = beta[row, col].astype(np.float64)
        # Of the cell only its ETFs on each other are needed, which are least squares whatever the stock's estimator.
        links = reference.cell(r, m, s, u, replace(p, estimator="ols"))
        found = reference.shares(r, m, s, u, (b[0], b[1], b[2]), links, p)
        for name in names:
            stored = view.read(name, slice(rows.start + row, rows.start + row + 1), slice(col, col + 1))
            have, want = float(stored[0, 0]), found.get(name, float("nan"))
            error = np.inf if np.isnan(have) != np.isnan(want) else abs(have - want) / (1 + abs(want))
            worst.add(
                np.array([[error]]), 1e-5, view.teo[rows][row : row + 1], view.symbol[col : col + 1], variable=name
            )
    return worst.check()


@means(
    **at_each_level("replication", "Hedge ratios times raw ETF returns, plus the residual, give the stock's return."),
    **at_each_level("two_paths", "The cleaned cascade and the hedge ratios on raw ETFs give the same factor return."),
)
def replication(store: str, scope: Scope) -> list[Check]:
    """The return is replicated by raw ETFs and the residual at L1, L2, L3, and the two paths of section 7 agree."""
    view, hedge = scope.family.view(store), scope.family.view(scope.name("ds_erm3_hedge_weights"))
    adjusted, daily = scope.family.view(scope.name("ds_erm3_betas_adjusted")), scope.family.view("ds_daily")
    at = positions(daily.symbol, view.symbol)
    columns, bound = slice(0, len(view.symbol)), scope.bounds.replication
    replicated = [
        Worst(f"replication_L{k}", store, bound, f"|r - (-sum of HR x raw ETF return + residual)| at L{k}")
        for k in (1, 2, 3)
    ]
    paths = [
        Worst(f"two_paths_L{k}", store, bound, f"|cleaned cascade - (-sum of HR x raw ETF return)| at L{k}")
        for k in (1, 2, 3)
    ]
    for first, last in scope.stretches():
        rows = scope.rows(view, first, last)
        fact = adjusted.read("fact", scope.rows(adjusted, first, last), columns)
        legs = etf_returns(scope, adjusted, fact, first, last)
        daily_rows = scope.rows(daily, first, last)
        r = daily.read("return", daily_rows, slice(0, len(daily.symbol)))[:, at].astype(np.float64)
        residual = view.read("residual_return", rows, columns).astype(np.float64)
        combined = view.read("combined_factor_return", rows, columns).astype(np.float64)
        for level, names in RATIOS.items():
            ratios = [hedge.read(n, scope.rows(hedge, first, last), columns).astype(np.float64) for n in names]
            hedged = -sum(h * leg for h, leg in zip(ratios, legs, strict=False))
            expected = np.isfinite(hedged) & np.isfinite(r)
            error = np.abs(r - (hedged + residual[..., level - 1]))
            error[expected != np.isfinite(residual[..., level - 1])] = np.inf
            replicated[level - 1].add(error, bound, view.teo[rows], view.symbol)
            gap = np.abs(combined[..., level - 1] - hedged)
            gap[np.isfinite(hedged) != np.isfinite(combined[..., level - 1])] = np.inf
            paths[level - 1].add(gap, bound, view.teo[rows], view.symbol)
    return [w.check() for w in (*replicated, *paths)]


@means(levels_add_up="The combined factor return of a level is the sum of the factor returns down to it.")
def levels_add_up(store: str, scope: Scope) -> Check:
    """The combined factor return of each level is the sum of the factor returns down to it."""
    view = scope.family.view(store)
    columns = slice(0, len(view.symbol))
    worst = Worst("levels_add_up", store, 1e-5, "|combined - sum of the factor returns|, relative to 1 + |return|")
    for first, last in scope.stretches():
        rows = scope.rows(view, first, last)
        single = view.read("factor_return", rows, columns).astype(np.float64)[..., :3]
        combined = view.read("combined_factor_return", rows, columns).astype(np.float64)[..., :3]
        total = np.cumsum(single, axis=2)
        error = np.abs(combined - total) / (1 + np.abs(combined))
        error[np.isnan(combined) != np.isnan(total)] = np.inf
        for k in range(3):
            worst.add(error[..., k], 1e-5, view.teo[rows], view.symbol, level=LEVELS[k])
    return worst.check()


@means(lstar_is_as_defined="L* and the values at its depth are as defined.")
def lstar_is_as_defined(store: str, scope: Scope) -> Check:
    """L* follows from the stored shares (methodology, section 9), and the level `lstar` repeats the level it names."""
    view, hedge = scope.family.view(store), scope.family.view(scope.name("ds_erm3_hedge_weights"))
    columns = slice(0, len(view.symbol))
    worst = Worst("lstar_is_as_defined", store, 0.0, "1 where L* or the values at its depth are not as defined")
    threshold = scope.model.lstar_threshold
    for first, last in scope.stretches():
        rows, hedge_rows = scope.rows(view, first, last), scope.rows(hedge, first, last)
        sector = hedge.read("L2_sector_ER", hedge_rows, columns).astype(np.float64)
        subsector = hedge.read("L3_subsector_ER", hedge_rows, columns).astype(np.float64)
        depth = view.read("lstar_level", rows, columns)
        expected = np.ones(depth.shape, depth.dtype)
        expected[sector >= threshold] = 2
        expected[subsector >= threshold] = 3
        expected[np.isnan(sector) & np.isnan(subsector)] = 0
        worst.add((depth != expected).astype(np.float64), 0.0, view.teo[rows], view.symbol, variable="lstar_level")
        for name in ("factor_return", "combined_factor_return", "residual_return"):
            values = view.read(name, rows, columns)
            named = np.take_along_axis(values, np.maximum(expected.astype(np.int64), 1)[..., None] - 1, axis=2)[..., 0]
            named[expected == 0] = np.nan
            wrong = (values[..., 3] != named) & ~(np.isnan(values[..., 3]) & np.isnan(named))
            worst.add(wrong.astype(np.float64), 0.0, view.teo[rows], view.symbol, variable=name)
    return worst.check()
