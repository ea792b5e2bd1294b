"""Checks on staged and on published data (docs/methodology.md, section 10).

Each check reads back what was stored, in its stored precision, and returns a plain `Check`: whether it passed, the
worst value against its bound, how many cells it saw, and the worst cells, so that a person sees why. Nothing here knows
Dagster, and nothing here decides what happens after a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline import reference
from pipeline.calendar import Calendar
from pipeline.history import History, positions
from pipeline.settings import AuditBounds, FactorSet, ModelParameters

LEVELS = ("market", "sector", "subsector")
SHARES = {
    1: ("L1_market_ER", "L1_residual_ER"),
    2: ("L2_market_ER", "L2_sector_ER", "L2_residual_ER"),
    3: ("L3_market_ER", "L3_sector_ER", "L3_subsector_ER", "L3_residual_ER"),
}
RATIOS = {
    1: ("L1_market_HR",),
    2: ("L2_market_HR", "L2_sector_HR"),
    3: ("L3_market_HR", "L3_sector_HR", "L3_subsector_HR"),
}
ROWS_AT_ONCE = 504
WORST_CELLS = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """The outcome of one check on one store.

    value: the worst figure found; bound: what it is held against; cells: how many cells were looked at; counts:
    figures that a person wants beside the verdict; worst: the worst cells, one mapping each.
    """

    name: str
    store: str
    passed: bool
    value: float
    bound: float
    cells: int
    explanation: str
    worst: tuple[dict[str, Any], ...] = ()
    counts: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "check": self.name}


class StoreView(Protocol):
    """One store opened for reading: its axes, attributes and blocks of its variables."""

    @property
    def teo(self) -> NDArray[np.datetime64]: ...
    @property
    def symbol(self) -> NDArray[np.object_]: ...
    @property
    def variables(self) -> tuple[str, ...]: ...
    def axis(self, dim: str) -> NDArray: ...
    def flags(self, var: str) -> dict[int, str]: ...
    def read(self, var: str, rows: slice, cols: slice) -> NDArray: ...


class Family(Protocol):
    """All stores of one root, staged over live."""

    def view(self, name: str) -> StoreView: ...


@dataclass(frozen=True)
class Scope:
    """What an audit looks at: the sessions [first, last] (ordinals) of one factor set.

    etf_ids: ticker of a factor ETF -> its permanent id.
    history: opens trailing windows of `ds_daily` and `ds_etf` for the recomputed sample.
    before: opens the last published state of a store, None where there is none.
    """

    family: Family
    calendar: Calendar
    factor_set: FactorSet
    model: ModelParameters
    bounds: AuditBounds
    first: int
    last: int
    etf_ids: Mapping[str, str]
    history: Callable[[str], History]
    before: Callable[[str], StoreView | None]

    def name(self, kind: str) -> str:
        return f"{kind}_{self.factor_set.id}"

    @property
    def links(self) -> str:
        return f"ds_erm3_link_betas_{self.factor_set.market}"

    def rows(self, view: StoreView, first: int | None = None, last: int | None = None) -> slice:
        """Rows of this store for ordinals [first, last]; each store has its own axis."""
        start = self.calendar.ordinal(view.teo[0])
        return slice(
            (self.first if first is None else first) - start, (self.last if last is None else last) - start + 1
        )

    def blocks(self) -> list[tuple[int, int]]:
        return [(a, min(a + ROWS_AT_ONCE - 1, self.last)) for a in range(self.first, self.last + 1, ROWS_AT_ONCE)]


class _Worst:
    """Collects the worst cells of a residual over blocks."""

    def __init__(self, name: str, store: str, bound: float, explanation: str) -> None:
        self.name, self.store, self.bound, self.explanation = name, store, bound, explanation
        self.value, self.cells, self.broken = 0.0, 0, 0
        self.rows: list[tuple[float, dict[str, Any]]] = []

    def add(self, error: Floats, bound: Floats | float, sessions: NDArray, symbols: NDArray, **labels: Any) -> None:
        """error: (rows, cols), NaN where there is nothing to check; infinities count as broken."""
        seen = ~np.isnan(error)
        self.cells += int(seen.sum())
        if not seen.any():
            return
        excess = np.where(seen, error, 0.0) - bound
        self.value = max(self.value, float(np.nanmax(error)))
        bad = seen & (excess > 0)
        self.broken += int(bad.sum())
        if bad.any():
            flat = np.argsort(np.where(bad, -excess, np.inf), axis=None, kind="stable")[:WORST_CELLS]
            for k in flat[: int(bad.sum())]:
                i, j = np.unravel_index(k, error.shape)
                cell = {"teo": str(sessions[i]), "symbol": str(symbols[j]), "error": float(error[i, j]), **labels}
                self.rows.append((float(error[i, j]), cell))

    def check(self) -> Check:
        self.rows.sort(key=lambda item: -item[0])
        return Check(
            self.name, self.store, self.broken == 0, self.value, self.bound, self.cells, self.explanation,
            tuple(cell for _, cell in self.rows[:WORST_CELLS]), {"broken_cells": self.broken},
        )  # fmt: skip


def audit(store: str, scope: Scope) -> list[Check]:
    """All checks of one store of the family. Raises KeyError for a store that the family does not have."""
    checks = [axes_are_whole(store, scope), no_variable_is_empty(store, scope)]
    kind = store.removesuffix(f"_{scope.factor_set.id}")
    if kind in ("ds_daily", "ds_etf"):
        checks.append(returns_are_numbers(store, scope))
    elif store == "ds_masks":
        checks.append(masks_are_within_size(store, scope))
    elif kind == "ds_erm3_betas":
        checks += coverage(store, scope)
        checks.append(betas_recomputed(store, scope))
    elif kind == "ds_erm3_betas_adjusted":
        checks.append(shrinkage_is_between(store, scope))
    elif kind == "ds_erm3_industry":
        checks.append(peers_are_counted(store, scope))
    elif kind == "ds_erm3_hedge_weights":
        checks += [*shares_add_to_one(store, scope), net_market_beta(store, scope), shares_recomputed(store, scope)]
    elif kind == "ds_erm3_returns":
        checks += replication(store, scope)
    return checks


# --- every store ------------------------------------------------------------------------------------------------


def axes_are_whole(store: str, scope: Scope) -> Check:
    """`teo` increasing, exchange sessions only, none skipped, up to `last`; no symbol lost against the live store."""
    view, before = scope.family.view(store), scope.before(store)
    explanation = "teo increases by exactly one session; no published session or symbol is lost"
    problems: list[dict[str, Any]] = []
    start = scope.calendar.ordinal(view.teo[0])
    expected = scope.calendar.sessions[start : start + len(view.teo)]
    for row in np.flatnonzero(view.teo != expected)[:WORST_CELLS]:
        problems.append({"teo": str(view.teo[row]), "expected": str(expected[row])})
    reached = start + len(view.teo) - 1
    if reached < scope.last:
        days = scope.calendar.sessions
        problems.append({"last session": str(days[reached]), "expected": str(days[scope.last])})
    labels = axis_of(view)
    if len(set(labels)) != len(labels):
        problems.append({"symbol axis": "duplicate labels"})
    if before is not None:
        if len(before.teo) > len(view.teo) or np.any(before.teo != view.teo[: len(before.teo)]):
            problems.append({"published sessions": len(before.teo), "staged": len(view.teo)})
        old = axis_of(before)
        if len(old) > len(labels) or np.any(old != labels[: len(old)]):
            problems.append({"published symbols": len(old), "staged": len(labels)})
    return Check("axes_are_whole", store, not problems, len(problems), 0, len(view.teo), explanation, tuple(problems))


def axis_of(view: StoreView) -> NDArray:
    """The second axis of a store: `symbol`, or `fs_industry_code` for the industry store."""
    try:
        return view.axis("symbol")
    except KeyError:
        return view.axis("fs_industry_code")


def no_variable_is_empty(store: str, scope: Scope) -> Check:
    """No floating variable is NaN throughout the run's sessions, and none holds an infinity."""
    view = scope.family.view(store)
    everything = slice(0, len(axis_of(view)))
    empty, cells, shares = [], 0, {}
    optional = _may_be_empty(store, scope)
    for var in view.variables:
        seen = total = infinite = 0
        for first, last in scope.blocks():
            values = view.read(var, scope.rows(view, first, last), everything)
            if values.dtype.kind != "f":
                break
            seen += int(np.isfinite(values).sum())
            infinite += int(np.isinf(values).sum())
            total += values.size
        if total:
            shares[f"share_of_nan:{var}"] = 1 - seen / total
            cells += total
            if infinite or (seen == 0 and var not in optional):
                empty.append({"variable": var, "values": seen, "infinite": infinite, "cells": total})
    explanation = "every variable has values in the run's sessions, and no infinity"
    return Check("no_variable_is_empty", store, not empty, len(empty), 0, cells, explanation, tuple(empty), shares)


def _may_be_empty(store: str, scope: Scope) -> set[str]:
    """Variables that are empty by definition in these sessions: nothing was asked of them."""
    if not store.endswith(scope.factor_set.id):
        return (
            {"L3_link_sub_mkt_BF", "L3_link_sub_sec_BF", "L3_link_sub_sec_pair_BF"} if store == scope.links else set()
        )
    betas = scope.family.view(scope.name("ds_erm3_betas"))
    fact = betas.read("fact", scope.rows(betas), slice(0, len(betas.symbol)))
    if not fact.any():
        return set(scope.family.view(store).variables)
    deep = {*SHARES[3], *RATIOS[3]} if not fact[..., 2].any() else set()
    return deep | ({*SHARES[2], *RATIOS[2]} if not fact[..., 1].any() else set())


# --- inputs -----------------------------------------------------------------------------------------------------


def returns_are_numbers(store: str, scope: Scope) -> Check:
    """No return at or below -100 % without a delisting, none above 10,000 %: such values are faults, not returns."""
    view = scope.family.view(store)
    worst = _Worst("returns_are_numbers", store, 100.0, "-1 <= return <= 100")
    columns = slice(0, len(view.symbol))
    for first, last in scope.blocks():
        rows = scope.rows(view, first, last)
        values = view.read("return", rows, columns).astype(np.float64)
        error = np.where(values < -1, np.inf, np.abs(values))
        worst.add(error, 100.0, view.teo[rows], view.symbol)
    return worst.check()


def masks_are_within_size(store: str, scope: Scope) -> Check:
    """A universe never holds more names than its size."""
    view = scope.family.view(store)
    columns, problems, counts = slice(0, len(view.symbol)), [], {}
    most = 0.0
    for var in view.variables:
        members = np.concatenate(
            [view.read(var, scope.rows(view, a, b), columns).sum(axis=1, dtype=np.int64) for a, b in scope.blocks()]
        )
        counts[f"last:{var}"] = float(members[-1])
        if var == "validity":
            continue
        size = int(var.rsplit("_", 1)[1])
        most = max(most, float(members.max() / size))
        for k in np.flatnonzero(members > size)[:WORST_CELLS]:
            problems.append(
                {"universe": var, "teo": str(scope.calendar.sessions[scope.first + k]), "members": int(members[k])}
            )
    return Check(
        "masks_are_within_size", store, not problems, most, 1.0, scope.last - scope.first + 1,
        "members of each universe over its size", tuple(problems), counts,
    )  # fmt: skip


# --- betas ------------------------------------------------------------------------------------------------------


def _members(scope: Scope, symbols: NDArray, first: int, last: int) -> NDArray[np.bool_]:
    masks = scope.family.view("ds_masks")
    rows, columns = scope.rows(masks, first, last), slice(0, len(masks.symbol))
    member = masks.read(scope.factor_set.universe, rows, columns) & masks.read("validity", rows, columns)
    at = positions(masks.symbol, symbols)
    if (at < 0).any():
        raise KeyError(f"symbols that ds_masks does not have: {list(symbols[at < 0][:5])}")
    return np.asarray(member[:, at])


def coverage(store: str, scope: Scope) -> list[Check]:
    """Share of the universe's valid members that have a beta: no sudden fall, and above the floor at L1."""
    view = scope.family.view(store)
    start = scope.calendar.ordinal(view.teo[0])
    first = max(scope.first - 1, start)
    have = np.zeros((3, scope.last - first + 1))
    members = np.zeros(scope.last - first + 1)
    columns = slice(0, len(view.symbol))
    outside = 0
    for a, b in scope.blocks():
        a = min(a, max(first, a - 1)) if a == scope.first else a
        beta = view.read("factor_beta", scope.rows(view, a, b), columns)
        member = _members(scope, view.symbol, a, b)
        members[a - first : b - first + 1] = member.sum(axis=1)
        have[:, a - first : b - first + 1] = (np.isfinite(beta) & member[..., None]).sum(axis=1).T
        outside += int((np.isfinite(beta) & ~member[..., None]).any(axis=2).sum())
    share = np.divide(have, members, out=np.full_like(have, np.nan), where=members > 0)
    sessions = scope.calendar.sessions[first : scope.last + 1]
    fall = share[:, :-1] - share[:, 1:]
    fall[:, (members[:-1] < 20) | (members[1:] < 20)] = np.nan
    worst = _Worst(
        "coverage_holds", store, scope.bounds.coverage_drop, "fall of the covered share against the session before"
    )
    worst.add(fall.T, scope.bounds.coverage_drop, sessions[1:], np.array(LEVELS))
    floor = _Worst(
        "coverage_floor", store, 1 - scope.bounds.coverage_floor, "share of valid members without an L1 beta"
    )
    floor.add(1 - share[:1].T, 1 - scope.bounds.coverage_floor, sessions, np.array(["market"]))
    held = worst.check()
    counts = {f"last:{level}": float(have[k, -1]) for k, level in enumerate(LEVELS)} | {
        "last:members": float(members[-1])
    }
    masked = Check(
        "only_members_have_values", store, outside == 0, outside, 0, int(members.sum()),
        "betas are written only where a stock is a member of the universe and valid",
    )  # fmt: skip
    return [Check(**{**asdict(held), "worst": held.worst, "counts": held.counts | counts}), floor.check(), masked]


def _cell_parameters(model: ModelParameters) -> reference.CellParameters:
    return reference.CellParameters(
        model.estimator, model.min_obs, model.half_life, model.huber_epsilon, model.huber_scale_floor, model.ridge_alpha
    )


def _sample(finite: NDArray[np.bool_], count: int) -> list[tuple[int, int]]:
    """Evenly spaced cells among those that have a value, the last one included."""
    cells = np.argwhere(finite)
    if not len(cells) or not count:
        return []
    picked = np.unique(np.linspace(0, len(cells) - 1, min(count, len(cells))).round().astype(int))
    return [(int(a), int(b)) for a, b in cells[picked]]


def _fact_symbols(scope: Scope, view: StoreView) -> dict[int, str]:
    """Code of `fact` -> permanent id of the ETF: the meaning of the code is in the store, the id in the master."""
    named = view.flags("fact").items()
    return {code: scope.etf_ids[ticker] for code, ticker in named if code and scope.etf_ids.get(ticker)}


def _windows(scope: Scope, view: StoreView, fact: NDArray, row: int, col: int) -> tuple[Floats, list[Floats | None]]:
    """Window of one cell: the stock's returns and those of its three ETFs (None where a level has none of its own)."""
    last = scope.first + row
    first = last - scope.model.window + 1
    r = scope.history("ds_daily").window("return", [view.symbol[col]], first, last)[0]
    etfs = _fact_symbols(scope, view)
    legs: list[Floats | None] = []
    codes = [int(c) for c in fact[row, col]]
    for level, code in enumerate(codes):
        own = code in etfs and code not in codes[:level]
        legs.append(scope.history("ds_etf").window("return", [etfs[code]], first, last)[0] if own else None)
    return r, legs


def _recomputable(scope: Scope) -> int:
    """First row of the run whose whole window can be read back."""
    history = scope.history("ds_daily")
    begin = history.first_row if history.warm_up is None else history.warm_up.first
    return max(begin + scope.model.window - 1 - scope.first, 0)


def betas_recomputed(store: str, scope: Scope) -> Check:
    """A sample of betas against the independent slow implementation, from the stored returns."""
    view = scope.family.view(store)
    rows, columns = scope.rows(view), slice(0, len(view.symbol))
    beta, fact = view.read("factor_beta", rows, columns), view.read("fact", rows, columns)
    finite = np.isfinite(beta[..., 0])
    finite[: _recomputable(scope)] = False
    worst = _Worst(
        "betas_recomputed", store, 1e-5, "stored beta against a slow second implementation, relative to 1 + |beta|"
    )
    for row, col in _sample(finite, scope.bounds.recomputed_cells):
        r, (m, s, u) = _windows(scope, view, fact, row, col)
        assert m is not None
        found = np.array(reference.cell(r, m, s, u, _cell_parameters(scope.model)).beta)
        stored = beta[row, col].astype(np.float64)
        error = np.abs(stored - found) / (1 + np.abs(found))
        error[np.isnan(stored) != np.isnan(found)] = np.inf
        error[np.isnan(stored) & np.isnan(found)] = np.nan
        for level in range(3):
            worst.add(
                error[None, level : level + 1],
                1e-5,
                view.teo[rows][row : row + 1],
                view.symbol[col : col + 1],
                level=LEVELS[level],
            )
    return worst.check()


def shrinkage_is_between(store: str, scope: Scope) -> Check:
    """L1 is as raw; L2 and L3 lie between the raw beta and the mean of their cell, recomputed here by plain sums."""
    raw_view, view = scope.family.view(scope.name("ds_erm3_betas")), scope.family.view(store)
    daily = scope.family.view("ds_daily")
    worst = _Worst("shrinkage_recomputed", store, 1e-5, "adjusted beta against the definition, relative to 1 + |beta|")
    at = positions(daily.symbol, view.symbol)
    for row in np.unique(np.linspace(scope.first, scope.last, 12).round().astype(int)):
        rows, columns = scope.rows(view, row, row), slice(0, len(view.symbol))
        raw_rows, daily_rows = scope.rows(raw_view, row, row), scope.rows(daily, row, row)
        raw = raw_view.read("factor_beta", raw_rows, columns)[0].astype(np.float64)
        se = raw_view.read("beta_se", raw_rows, columns)[0].astype(np.float64)
        fact = raw_view.read("fact", raw_rows, columns)[0]
        found = view.read("factor_beta", rows, columns)[0].astype(np.float64)
        everything = slice(0, len(daily.symbol))
        weight = np.log1p(daily.read("market_cap", daily_rows, everything)[0].astype(np.float64))[at]
        industry = daily.read("fs_industry_code", daily_rows, everything)[0][at]
        expected = raw.copy()
        for level in (1, 2):
            peer = np.isfinite(raw[:, level]) & np.isfinite(weight) & (industry != 0)
            for key in {(int(i), int(f)) for i, f in zip(industry[peer], fact[peer, level], strict=True)}:
                cell = peer & (industry == key[0]) & (fact[:, level] == key[1])
                if cell.sum() < scope.model.min_peers:
                    continue
                mean = np.average(raw[cell, level], weights=weight[cell])
                tau2 = max(np.average((raw[cell, level] - mean) ** 2, weights=weight[cell]), 1e-8)
                alpha = se[cell, level] ** 2 / (se[cell, level] ** 2 + tau2)
                expected[cell, level] = (1 - alpha) * raw[cell, level] + alpha * mean
        error = np.abs(found - expected) / (1 + np.abs(expected))
        error[np.isnan(found) != np.isnan(expected)] = np.inf
        worst.add(error.T, 1e-5, np.array(LEVELS), view.symbol, session=str(scope.calendar.sessions[row]))
    return worst.check()


def peers_are_counted(store: str, scope: Scope) -> Check:
    """Companies of all industries at a level = stocks with a beta, a market cap and a class at that level."""
    view, raw = scope.family.view(store), scope.family.view(scope.name("ds_erm3_betas"))
    daily = scope.family.view("ds_daily")
    worst = _Worst("peers_are_counted", store, 0.0, "companies in the industries minus stocks with a beta, per level")
    at = positions(daily.symbol, raw.symbol)
    for first, last in scope.blocks():
        industries = view.read("n_companies", scope.rows(view, first, last), slice(0, len(axis_of(view))))
        beta = raw.read("factor_beta", scope.rows(raw, first, last), slice(0, len(raw.symbol)))
        rows, everything = scope.rows(daily, first, last), slice(0, len(daily.symbol))
        known = np.isfinite(daily.read("market_cap", rows, everything)) & (
            daily.read("fs_industry_code", rows, everything) != 0
        )
        stocks = (np.isfinite(beta) & known[:, at, None]).sum(axis=1)
        counted = np.nan_to_num(industries.astype(np.float64)).sum(axis=1)
        worst.add(np.abs(counted - stocks), 0.0, scope.calendar.sessions[first : last + 1], np.array(LEVELS))
    return worst.check()


# --- hedge ------------------------------------------------------------------------------------------------------


def shares_add_to_one(store: str, scope: Scope) -> list[Check]:
    """Explained-risk shares add to 1 at each level, for every stock and session written."""
    view = scope.family.view(store)
    columns, checks = slice(0, len(view.symbol)), []
    for level, names in SHARES.items():
        worst = _Worst(
            f"shares_add_to_one_L{level}", store, scope.bounds.additivity, f"|sum of {' + '.join(names)} - 1|"
        )
        for first, last in scope.blocks():
            rows = scope.rows(view, first, last)
            parts = [view.read(name, rows, columns).astype(np.float64) for name in names]
            have = np.sum([np.isfinite(p) for p in parts], axis=0)
            error = np.abs(np.sum(parts, axis=0) - 1.0)
            error[(have > 0) & (have < len(parts))] = np.inf
            worst.add(error, scope.bounds.additivity, view.teo[rows], view.symbol)
        checks.append(worst.check())
    return checks


def _etf_returns(scope: Scope, view: StoreView, fact: NDArray, first: int, last: int) -> list[Floats]:
    """Raw ETF returns of each stock's three facts, (rows, cols) each, NaN for none. From the stored codes alone."""
    etf = scope.family.view("ds_etf")
    values = etf.read("return", scope.rows(etf, first, last), slice(0, len(etf.symbol))).astype(np.float64)
    by_code = np.full((max(view.flags("fact")) + 1, values.shape[0]), np.nan)
    for code, symbol in _fact_symbols(scope, view).items():
        at = positions(etf.symbol, [symbol])[0]
        if at >= 0:
            by_code[code] = values[:, at]
    by_code[0] = np.nan
    rows = np.arange(values.shape[0])[:, None]
    return [by_code[fact[..., level], rows] for level in range(3)]


def _link_values(scope: Scope, view: StoreView, fact: NDArray, first: int, last: int) -> tuple[Floats, Floats, Floats]:
    """Stored link betas of each stock: sector on market, subsector on market, subsector on the stock's sector."""
    links = scope.family.view(scope.links)
    rows, columns = scope.rows(links, first, last), slice(0, len(links.symbol))
    sec = links.read("L2_link_sec_mkt_BF", rows, columns).astype(np.float64)
    sub = links.read("L3_link_sub_mkt_BF", rows, columns).astype(np.float64)
    n_links = len(links.axis("link"))
    pair = links.read("L3_link_sub_sec_pair_BF", rows, slice(0, n_links)).astype(np.float64)
    etfs = _fact_symbols(scope, view)
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


def net_market_beta(store: str, scope: Scope) -> Check:
    """Market beta left by the L3 hedge (methodology, section 6), rebuilt from stored betas and link betas.

    With exact algebra it is zero. The bound grows with the rounding of the stored float32 terms, which matters only for
    betas in the hundreds.
    """
    view, adjusted = scope.family.view(store), scope.family.view(scope.name("ds_erm3_betas_adjusted"))
    worst = _Worst("net_market_beta", store, scope.bounds.net_market_beta, "market beta left by the L3 hedge")
    columns = slice(0, len(view.symbol))
    for first, last in scope.blocks():
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


def shares_recomputed(store: str, scope: Scope) -> Check:
    """A sample of explained-risk shares and variances recomputed from raw returns and stored adjusted betas."""
    view, adjusted = scope.family.view(store), scope.family.view(scope.name("ds_erm3_betas_adjusted"))
    columns = slice(0, len(view.symbol))
    rows, adjusted_rows = scope.rows(view), scope.rows(adjusted)
    beta, fact = adjusted.read("factor_beta", adjusted_rows, columns), adjusted.read("fact", adjusted_rows, columns)
    finite = np.isfinite(beta[..., 0])
    finite[: _recomputable(scope)] = False
    cells = _sample(finite, scope.bounds.recomputed_cells)
    names = [*SHARES[1], *SHARES[2], *SHARES[3], "_stock_var"]
    stored = {name: view.read(name, rows, columns) for name in names} if cells else {}
    worst = _Worst("shares_recomputed", store, 1e-5, "stored share against a slow second implementation")
    for row, col in cells:
        r, (m, s, u) = _windows(scope, adjusted, fact, row, col)
        assert m is not None
        p = _cell_parameters(scope.model)
        b = beta[row, col].astype(np.float64)
        found = reference.shares(r, m, s, u, (b[0], b[1], b[2]), reference.cell(r, m, s, u, p), p)
        for name in names:
            have, want = float(stored[name][row, col]), found.get(name, float("nan"))
            error = np.inf if np.isnan(have) != np.isnan(want) else abs(have - want) / (1 + abs(want))
            worst.add(
                np.array([[error]]), 1e-5, view.teo[rows][row : row + 1], view.symbol[col : col + 1], variable=name
            )
    return worst.check()


# --- decomposition ----------------------------------------------------------------------------------------------


def replication(store: str, scope: Scope) -> list[Check]:
    """The return is replicated by raw ETFs and the residual at L1, L2, L3, and the two paths of section 7 agree."""
    view, hedge = scope.family.view(store), scope.family.view(scope.name("ds_erm3_hedge_weights"))
    adjusted, daily = scope.family.view(scope.name("ds_erm3_betas_adjusted")), scope.family.view("ds_daily")
    at = positions(daily.symbol, view.symbol)
    columns, bound = slice(0, len(view.symbol)), scope.bounds.replication
    replicated = [
        _Worst(f"replication_L{k}", store, bound, f"|r - (-sum of HR x raw ETF return + residual)| at L{k}")
        for k in (1, 2, 3)
    ]
    paths = [
        _Worst(f"two_paths_L{k}", store, bound, f"|cleaned cascade - (-sum of HR x raw ETF return)| at L{k}")
        for k in (1, 2, 3)
    ]
    for first, last in scope.blocks():
        rows = scope.rows(view, first, last)
        fact = adjusted.read("fact", scope.rows(adjusted, first, last), columns)
        legs = _etf_returns(scope, adjusted, fact, first, last)
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


def failures(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if not check.passed]
