"""Checks of betas, of what they are regressed on, of shrinkage and industry aggregates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.audits import outside_judge, reference
from pipeline.audits.left_coverage import with_causes
from pipeline.audits.scope import (
    Check,
    Floats,
    Scope,
    Worst,
    at_sessions,
    axis_of,
    cell_parameters,
    first_recomputable,
    means,
    members_of,
    returns_in_window,
    sample,
    some_sessions,
    windows,
)
from pipeline.datasets import LEVELS
from pipeline.store.windows import positions


@means(home_links_are_pairs="The link beta of a subsector ETF on its home sector is one of its pairs.")
def home_links_are_pairs(store: str, scope: Scope) -> Check:
    """The link beta of a subsector ETF on its home sector is that of one of its pairs."""
    view = scope.family.view(store)
    columns, pairs = slice(0, len(view.symbol)), slice(0, len(view.axis("link")))
    ids = [scope.etf_ids.get(ticker, "") for ticker in view.axis("link_subsector_etf")]
    worst = Worst("home_links_are_pairs", store, 0.0, "1 where a home link beta is none of the ETF's pairs")
    for first, last in scope.blocks():
        rows = scope.rows(view, first, last)
        home, pair = view.read("L3_link_sub_sec_BF", rows, columns), view.read("L3_link_sub_sec_pair_BF", rows, pairs)
        for col in range(len(view.symbol)):
            own = pair[:, [k for k, sec_id in enumerate(ids) if sec_id == view.symbol[col]]]
            wrong = np.isfinite(home[:, col]) & ~(own == home[:, col, None]).any(axis=1)
            worst.add(wrong[:, None].astype(np.float64), 0.0, view.teo[rows], view.symbol[col : col + 1])
    return worst.check()


@means(
    coverage_holds="The share of members with a beta does not fall suddenly from one session to the next.",
    coverage_floor="Enough of the valid members have a market beta.",
    only_members_have_values="Betas stand only where a stock is a valid member of the universe.",
)
def coverage(store: str, scope: Scope) -> list[Check]:
    """Share of the universe's valid members that have a beta: no sudden fall, and above the floor at L1.

    Members with fewer than `min_obs` returns beside the market's cannot have one and are not counted.
    """
    view = scope.family.view(store)
    start = scope.calendar.ordinal(view.teo[0])
    first = max(scope.first - 1, start)
    have = np.zeros((3, scope.last - first + 1))
    members = np.zeros(scope.last - first + 1)
    columns = slice(0, len(view.symbol))
    explanation = "1 where a beta is written for a stock that is no valid member of the universe"
    outside = Worst("only_members_have_values", store, 0.0, explanation)
    for a, b in scope.blocks():
        a = min(a, max(first, a - 1)) if a == scope.first else a
        beta = view.read("factor_beta", scope.rows(view, a, b), columns)
        member = members_of(scope, view.symbol, a, b)
        long = returns_in_window(scope, view.symbol, a, b) >= scope.model.min_obs
        grown = member & (long | np.isfinite(beta[..., 0]))
        members[a - first : b - first + 1] = grown.sum(axis=1)
        have[:, a - first : b - first + 1] = (np.isfinite(beta) & grown[..., None]).sum(axis=1).T
        written = (np.isfinite(beta) & ~member[..., None]).any(axis=2)
        outside.add(written.astype(np.float64), 0.0, view.teo[scope.rows(view, a, b)], view.symbol)
    share = np.divide(have, members, out=np.full_like(have, np.nan), where=members > 0)
    sessions = scope.calendar.sessions[first : scope.last + 1]
    fall = share[:, :-1] - share[:, 1:]
    fall[:, (members[:-1] < 20) | (members[1:] < 20)] = np.nan
    worst = Worst(
        "coverage_holds", store, scope.bounds.coverage_drop, "fall of the covered share against the session before"
    )
    worst.add(fall.T, scope.bounds.coverage_drop, sessions[1:], np.array(LEVELS), axis="level")
    floor = Worst("coverage_floor", store, 1 - scope.bounds.coverage_floor, "share of valid members without an L1 beta")
    floor.add(1 - share[:1].T, 1 - scope.bounds.coverage_floor, sessions, np.array(["market"]), axis="level")
    held = worst.check()
    if not held.passed:
        level, at = np.nonzero(np.nan_to_num(fall) > scope.bounds.coverage_drop)
        order = np.argsort(-fall[level, at], kind="stable")
        falls = [(first + 1 + int(at[k]), int(level[k])) for k in order]
        held = with_causes(held, view, scope, falls)
    counts = {f"last:{level}": float(have[k, -1]) for k, level in enumerate(LEVELS)} | {
        "last:members": float(members[-1])
    }
    return [replace(held, counts=held.counts | counts), floor.check(), outside.check()]


@means(facts_follow_industries="The ETF that was used is the one of the stock's industry at that session.")
def facts_follow_industries(store: str, scope: Scope) -> Check:
    """`fact` names the ETFs in force for the stored industry of each valid member, and nothing elsewhere."""
    view, daily = scope.family.view(store), scope.family.view("ds_daily")
    columns, everything = slice(0, len(view.symbol)), slice(0, len(daily.symbol))
    at = positions(daily.symbol, view.symbol)
    code_of = {ticker: code for code, ticker in view.flags("fact").items()}
    code = np.array([*(code_of.get(ticker, -1) for ticker in scope.etfs.tickers), 0])  # the row -1 stands for none
    worst = Worst("facts_follow_industries", store, 0.0, "1 where the ETF used is not that of the stock's industry")
    for first, last in scope.blocks():
        rows, days = scope.rows(view, first, last), scope.calendar.sessions[first : last + 1]
        industry = daily.read("fs_industry_code", scope.rows(daily, first, last), everything)[:, at].T
        market = np.full(industry.shape, scope.etfs.market)
        sector, subsector = (
            positions_of(industry, days, calendar=scope.calendar.sessions, min_obs=scope.model.min_obs)
            for positions_of in (scope.etfs.sector_positions, scope.etfs.subsector_positions)
        )
        member = members_of(scope, view.symbol, first, last)
        fact = view.read("fact", rows, columns)
        for k, used in enumerate((market, sector, subsector)):
            wrong = fact[..., k] != np.where(member, code[used.T], 0)
            worst.add(wrong.astype(np.float64), 0.0, view.teo[rows], view.symbol, level=LEVELS[k])
    return worst.check()


JUDGED_CELLS = 2


@means(betas_recomputed="A sample of betas, computed again from the stored returns by a slow second implementation.")
def betas_recomputed(store: str, scope: Scope) -> Check:
    """A sample of betas against the independent slow implementation, from the stored returns.

    Huber betas of JUDGED_CELLS of them against scikit-learn as well: a tenth of a second for each fit.
    """
    view = scope.family.view(store)
    rows, columns = scope.rows(view), slice(0, len(view.symbol))
    beta, fact = view.read("factor_beta", rows, columns), view.read("fact", rows, columns)
    se, n_obs = view.read("beta_se", rows, columns), view.read("n_obs", rows, columns)
    finite = np.isfinite(beta[..., 0])
    finite[: first_recomputable(scope)] = False
    worst = Worst(
        "betas_recomputed", store, 1e-5,
        "stored beta, s.e. and n_obs against a slow second implementation, relative to 1 + |value|",
    )  # fmt: skip
    cells, parameters = sample(finite, scope.bounds.recomputed_cells), cell_parameters(scope.model)
    judged = sample(finite, min(JUDGED_CELLS, len(cells))) if parameters.estimator == "huber" else []
    for row, col in cells:
        r, (m, s, u) = windows(scope, view, fact, row, col)
        assert m is not None
        cell = reference.cell(r, m, s, u, parameters)
        day, symbol = view.teo[rows][row : row + 1], view.symbol[col : col + 1]
        for var, values, wanted in (
            ("factor_beta", beta, cell.beta),
            ("beta_se", se, cell.se),
            ("n_obs", n_obs, cell.n_obs),
        ):
            stored, found = values[row, col].astype(np.float64), np.array(wanted, np.float64)
            error = np.abs(stored - found) / (1 + np.abs(found))
            error[np.isnan(stored) != np.isnan(found)] = np.inf
            for level in range(3):
                worst.add(error[None, level : level + 1], 1e-5, day, symbol, variable=var, level=LEVELS[level])
        if (row, col) in judged:
            found = np.array(reference.cell(r, m, s, u, parameters, outside_judge.huber_fit).beta)
            error = np.abs(beta[row, col] - found) / (1 + np.abs(found))  # NaN where the judge has no opinion
            for level in range(3):
                of = {"variable": "factor_beta", "level": LEVELS[level], "against": "scikit-learn"}
                worst.add(error[None, level : level + 1], 1e-5, day, symbol, **of)
    return worst.check()


@means(shrinkage_recomputed="Shrunk betas, computed again from their definition by plain sums.")
def shrinkage_recomputed(store: str, scope: Scope) -> Check:
    """L1 is as raw; L2 and L3 are shrunk towards the mean of their cell, with its weight, recomputed by plain sums."""
    raw_view, view = scope.family.view(scope.name("ds_erm3_betas")), scope.family.view(store)
    daily = scope.family.view("ds_daily")
    worst = Worst(
        "shrinkage_recomputed", store, 1e-5, "adjusted beta and weight against the definition, relative to 1 + |value|"
    )
    at, sessions = positions(daily.symbol, view.symbol), some_sessions(scope)
    estimates = (at_sessions(scope, raw_view, var, sessions) for var in ("factor_beta", "beta_se", "fact"))
    shrunk = (at_sessions(scope, view, var, sessions) for var in ("factor_beta", "shrinkage_weight"))
    facts = (at_sessions(scope, daily, var, sessions)[:, at] for var in ("market_cap", "fs_industry_code"))
    for ordinal, raw, se, fact, found, weight_found, cap, industry in zip(
        sessions, *estimates, *shrunk, *facts, strict=True
    ):
        raw, se, weight = raw.astype(np.float64), se.astype(np.float64), np.log1p(cap.astype(np.float64))
        expected, weight_expected = raw.copy(), np.where(np.isfinite(raw), 0.0, np.nan)
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
                weight_expected[cell, level] = alpha
        day = scope.calendar.sessions[ordinal : ordinal + 1]
        for name, have, want in (
            ("factor_beta", found, expected),
            ("shrinkage_weight", weight_found, weight_expected),
        ):
            error = np.abs(have - want) / (1 + np.abs(want))
            error[np.isnan(have) != np.isnan(want)] = np.inf
            for k in range(3):
                worst.add(error[None, :, k], 1e-5, day, view.symbol, variable=name, level=LEVELS[k])
    return worst.check()


@means(peers_are_counted="The companies of all industries are the stocks with a beta, a market cap and a class.")
def peers_are_counted(store: str, scope: Scope) -> Check:
    """Companies of all industries at a level = stocks with a beta, a market cap and a class at that level."""
    view, raw = scope.family.view(store), scope.family.view(scope.name("ds_erm3_betas"))
    daily = scope.family.view("ds_daily")
    worst = Worst("peers_are_counted", store, 0.0, "companies in the industries minus stocks with a beta, per level")
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
        worst.add(
            np.abs(counted - stocks), 0.0, scope.calendar.sessions[first : last + 1], np.array(LEVELS), axis="level"
        )
    return worst.check()


AGGREGATES = ("n_companies", "n_facts", "total_log_mcap_weight", "beta_mean", "beta_variance")


@means(aggregates_recomputed="Industry means and variances, computed again from their definition by plain sums.")
def aggregates_recomputed(store: str, scope: Scope) -> Check:
    """Industry aggregates of some sessions against methodology section 5, by plain sums over the stored raw betas."""
    view, raw_view = scope.family.view(store), scope.family.view(scope.name("ds_erm3_betas"))
    daily = scope.family.view("ds_daily")
    at, sessions = positions(daily.symbol, raw_view.symbol), some_sessions(scope)
    industries = axis_of(view)
    worst = Worst("aggregates_recomputed", store, 1e-5, "aggregate against the definition, relative to 1 + |value|")
    estimates = (at_sessions(scope, raw_view, var, sessions) for var in ("factor_beta", "fact"))
    facts = (at_sessions(scope, daily, var, sessions)[:, at] for var in ("market_cap", "fs_industry_code"))
    aggregates = zip(*(at_sessions(scope, view, name, sessions) for name in AGGREGATES), strict=True)
    for ordinal, raw, fact, cap, industry, stored in zip(sessions, *estimates, *facts, aggregates, strict=True):
        raw, weight = raw.astype(np.float64), np.log1p(cap.astype(np.float64))
        found = np.array(
            [
                [_aggregate(raw[peers, level], weight[peers], fact[peers, level]) for level in range(3)]
                for peers in (industry == code for code in industries)
            ]
        )
        for k, name in enumerate(AGGREGATES):
            have, want = stored[k], found[:, :, k]
            error = np.where(np.isnan(have) != np.isnan(want), np.inf, np.abs(have - want) / (1 + np.abs(want)))
            for level in range(3):
                day = scope.calendar.sessions[ordinal : ordinal + 1]
                of = {"variable": name, "level": LEVELS[level]}
                worst.add(error[None, :, level], 1e-5, day, industries, axis="fs_industry_code", **of)
    return worst.check()


def _aggregate(beta: Floats, weight: Floats, fact: NDArray) -> tuple[float, float, float, float, float]:
    """AGGREGATES of the stocks of one industry; those without a beta or a weight do not count."""
    counts = np.isfinite(beta) & np.isfinite(weight)
    beta, weight, fact = beta[counts], weight[counts], fact[counts]
    if not len(beta):
        return 0, 0, np.nan, np.nan, np.nan
    cells = [fact == f for f in np.unique(fact)]
    n = np.array([cell.sum() for cell in cells])
    mean = np.array([_mean(beta[cell], weight[cell]) for cell in cells])
    spread = np.array([_mean((beta[cell] - m) ** 2, weight[cell]) for cell, m in zip(cells, mean, strict=True)])
    total = float((n * mean).sum() / n.sum())
    variance = float((n * (np.maximum(spread, 1e-8) + (mean - total) ** 2)).sum() / n.sum())
    return float(n.sum()), len(cells), float(weight.sum()), total, variance


def _mean(values: Floats, weight: Floats) -> float:
    return float((weight * values).sum() / weight.sum())
