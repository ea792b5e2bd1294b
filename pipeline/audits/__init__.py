"""Checks on staged and on published data (docs/methodology.md, section 10).

Each check reads back what was stored, in its stored precision, and returns a plain `Check`: whether it passed, the
worst value against its bound, how many cells it saw, and the worst cells, so that a person sees why. Nothing here knows
Dagster, and nothing here decides what happens after a failure.
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.audits import estimates, hedges, inputs
from pipeline.audits.scope import Check, Family, Scope, StoreView, failures
from security_master import SecurityMaster

__all__ = ["Check", "Family", "Scope", "StoreView", "audit", "failures"]


def audit(store: str, scope: Scope) -> list[Check]:
    """All checks of one store of the family. Raises KeyError for a store that the family does not have."""
    return [_with_tickers(check, scope.master) for check in _checks(store, scope)]


def _with_tickers(check: Check, master: SecurityMaster) -> Check:
    """The worst cells with the ticker that each security had on the day, beside its permanent id."""
    cells = []
    for cell in check.worst:
        ticker = master.labels([cell["symbol"]], cell["teo"])[0][0] if {"symbol", "teo"} <= cell.keys() else ""
        cells.append({"ticker": ticker, **cell} if ticker else cell)
    return replace(check, worst=tuple(cells))


def _checks(store: str, scope: Scope) -> list[Check]:
    whole = inputs.axes_are_whole(store, scope)
    if not whole.passed:
        return [whole]  # the others would read other rows than they mean
    checks = [whole, inputs.no_variable_is_empty(store, scope)]
    kind = store.removesuffix(f"_{scope.factor_set.id}")
    if kind in ("ds_daily", "ds_etf"):
        checks.append(inputs.returns_are_numbers(store, scope))
    elif kind == "ds_masks":
        checks += [inputs.masks_are_within_size(store, scope), inputs.masks_are_as_recorded(store, scope)]
    elif store == scope.links:
        checks.append(estimates.home_links_are_pairs(store, scope))
    elif kind == "ds_erm3_betas":
        checks += estimates.coverage(store, scope)
        checks += [estimates.facts_follow_industries(store, scope), estimates.betas_recomputed(store, scope)]
    elif kind == "ds_erm3_betas_adjusted":
        checks.append(estimates.shrinkage_recomputed(store, scope))
    elif kind == "ds_erm3_industry":
        checks += [estimates.peers_are_counted(store, scope), estimates.aggregates_recomputed(store, scope)]
    elif kind == "ds_erm3_hedge_weights":
        checks += hedges.shares_add_to_one(store, scope)
        checks += [hedges.net_market_beta(store, scope), hedges.shares_recomputed(store, scope)]
    elif kind == "ds_erm3_returns":
        checks += hedges.replication(store, scope)
        checks += [hedges.levels_add_up(store, scope), hedges.lstar_is_as_defined(store, scope)]
    return checks
