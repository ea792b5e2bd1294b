"""Which variables may be empty in a run's sessions: what no input, or no history so far, could fill.

What was never delivered holds for every store. The rest belongs to its product (`Product.may_be_empty`), and is asked
only when a variable is empty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.audits.scope import RATIOS, SHARES, Scope, StoreView, members_of, returns_in_window
from pipeline.datasets import LEVELS


def not_delivered(store: str, scope: Scope) -> set[str]:
    """Variables of which an input was never there: not in this delivery, nor values in what was published before.

    For sessions that others follow, what counts is that there was no value up to them.
    """
    view, before = scope.family.view(store), scope.family.before(store)
    missing = str(view.attributes.get("not_delivered", "none")).split(", ")
    older = scope.rows(view).stop < len(view.teo)
    found = set()
    for var, needs in scope.needs.items():
        if set(needs) & set(missing):
            there = before is not None and _has_value(before, var, slice(len(before.teo) - 1, len(before.teo)))
        else:
            there = not (needs and older) or _has_value(view, var, slice(0, scope.rows(view).stop))
        if not there:
            found.add(var)
    return found


def _has_value(view: StoreView, var: str, rows: slice) -> bool:
    values = view.read(var, rows, None)
    return values.dtype.kind != "f" or bool(np.isfinite(values).any())


def before_two_closes(store: str, scope: Scope) -> set[str]:
    """Returns, where no security has two closes yet."""
    view = scope.family.view(store)
    stop = scope.rows(view).stop
    if stop > 2:
        return set()
    closes = np.isfinite(view.read("close", slice(0, stop), None))
    return set() if stop == 2 and (closes.sum(axis=0) > 1).any() else {"return"}


def links_without_history(store: str, scope: Scope) -> set[str]:
    """Links of subsectors, of which there may be none; all links, where no ETF has `min_obs` returns beside SPY's."""
    deep = {"L3_link_sub_mkt_BF", "L3_link_sub_sec_BF", "L3_link_sub_sec_pair_BF"}
    history, ids = scope.family.history("ds_etf"), np.asarray(list(scope.etf_ids.values()), dtype=object)
    begin = max(scope.last - scope.model.window + 1, history.begins)
    known = np.isfinite(history.window("return", ids, begin, scope.last))
    both = (known & known[scope.etfs.market]).sum(axis=1)
    both[scope.etfs.market] = 0
    return deep | ({"L2_link_sec_mkt_BF"} if both.max() < scope.model.min_obs else set())


def betas_without_history(store: str, scope: Scope) -> set[str]:
    """All of `ds_erm3_betas`, where no member of the universe has `min_obs` returns beside the market's."""
    view = scope.family.view(store)
    for a, b in scope.blocks():
        long = returns_in_window(scope, view.symbol, a, b) >= scope.model.min_obs
        if (members_of(scope, view.symbol, a, b) & long).any():
            return set()
    return set(view.variables)


def without_betas(store: str, scope: Scope) -> set[str]:
    """Variables of a store that is made of betas, where no member has a beta of their level."""
    found = levels_with_betas(scope)
    if not found.any():
        return set(scope.family.view(store).variables)
    deep = set() if found[2] else {*SHARES[3], *RATIOS[3]}
    return deep if found[1] else {*deep, *SHARES[2], *RATIOS[2]}


def withheld(store: str, scope: Scope) -> set[str]:
    """All variables, where people withheld the prices of each of these sessions."""
    return set(scope.family.view(store).variables) if _withheld_throughout(scope, "*") else set()


def without_betas_or_market(store: str, scope: Scope) -> set[str]:
    """`without_betas`, and all returns on factors where the market ETF's are withheld."""
    made = {"factor_return", "combined_factor_return", "residual_return"}
    return without_betas(store, scope) | (made if market_is_withheld(scope) else set())


def market_is_withheld(scope: Scope) -> bool:
    """Whether people withheld the price of the market ETF, or all prices, of each of these sessions."""
    return _withheld_throughout(scope, "*", scope.etf_ids[scope.etfs.tickers[scope.etfs.market]])


def _withheld_throughout(scope: Scope, *securities: str) -> bool:
    sessions = set().union(*(scope.withheld.get(one, ()) for one in securities))
    return sessions.issuperset(range(scope.first, scope.last + 1))


def levels_with_betas(scope: Scope) -> NDArray[np.bool_]:
    """(levels,) whether any stock has a beta of the level in these sessions."""
    betas = scope.family.view(scope.name("ds_erm3_betas"))
    found = np.zeros(len(LEVELS), bool)
    for first, last in scope.blocks():
        beta = betas.read("factor_beta", scope.rows(betas, first, last), slice(0, len(betas.symbol)))
        found |= np.isfinite(beta).any(axis=(0, 1))
    return found
