"""Vasicek shrinkage to industry peers, and industry aggregates (docs/methodology.md, sections 4 and 5).

A cell is (industry, fact) of one session. Its names ("peers") are the members with a finite beta, a known industry
(code > 0), a fact (>= 0) and a finite, positive weight: a member without market cap is nobody's peer, keeps its raw
beta, and does not count in n. With omega = ln(market cap + 1):

    mu = sum omega beta / sum omega      tau2 = max(sum omega (beta - mu)^2 / sum omega, 1e-8)
    alpha = se^2 / (se^2 + tau2)         adjusted = (1 - alpha) beta + alpha mu

Sums run along the symbol axis, so symbols appended at its end that are not members change no bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.model.compiled import Bools, Codes, Floats, Ints, as_input, kernel

TAU2_FLOOR = 1e-8
# Sessions whose cross-sections are gathered together: stock-major rows are read in cache lines.
BATCH = 16


@dataclass(frozen=True, eq=False)
class Shrunk:
    """One session, one level.

    adjusted: (n,) the beta, shrunk for peers in cells of min_peers names or more, raw for all others
    weight:   (n,) alpha; 0 where nothing was shrunk, NaN where there is no beta
    cell_*:   (C,) the cells, ordered by industry and fact: names, sum of omega, mu, tau2
    """

    adjusted: Floats
    weight: Floats
    cell_industry: Codes
    cell_fact: Codes
    cell_n: Ints
    cell_log_weight: Floats
    cell_mean: Floats
    cell_variance: Floats


@dataclass(frozen=True, eq=False)
class IndustryAggregates:
    """(I, T') each, for the industries asked for; beta_mean and beta_variance are NaN where n_companies is 0."""

    beta_mean: Floats
    beta_variance: Floats
    n_companies: Ints
    total_log_mcap_weight: Floats
    n_facts: Ints


@kernel("void(f8[::1], i8[::1], i8[::1], f8[::1], b1[::1], i8, i8[::1], i8[::1], f8[::1], f8[::1], f8[::1])")
def _cells(
    beta: Floats,
    fact: Ints,
    industry: Ints,
    log_weight: Floats,
    member: Bools,
    n_facts: int,
    cell_of: Ints,
    n: Ints,
    total: Floats,
    mean: Floats,
    variance: Floats,
) -> None:
    """Cells of one session in dense tables of industry * n_facts + fact; cell_of is -1 for who is in none.

    fact and industry are positions (-1 none). n must be 0 on entry; cells with n = 0 are meaningless afterwards.
    """
    for i in range(beta.size):
        cell_of[i] = -1
        w = log_weight[i]
        if member[i] and fact[i] >= 0 and industry[i] >= 0 and w > 0.0 and np.isfinite(w) and np.isfinite(beta[i]):
            k = industry[i] * n_facts + fact[i]
            cell_of[i] = k
            if n[k] == 0:
                total[k] = mean[k] = variance[k] = 0.0
            n[k] += 1
            total[k] += w
            mean[k] += w * beta[i]
    for k in range(n.size):
        if n[k] > 0:
            mean[k] /= total[k]
    for i in range(beta.size):
        k = cell_of[i]
        if k >= 0:
            variance[k] += log_weight[i] * (beta[i] - mean[k]) ** 2
    for k in range(n.size):
        if n[k] > 0:
            variance[k] = max(variance[k] / total[k], TAU2_FLOOR)


@kernel("void(f8[::1], f8[::1], i8[::1], i8[::1], f8[::1], f8[::1], i8, f8[::1], f8[::1])")
def _adjust(
    beta: Floats,
    se: Floats,
    cell_of: Ints,
    n: Ints,
    mean: Floats,
    variance: Floats,
    min_peers: int,
    adjusted: Floats,
    weight: Floats,
) -> None:
    for i in range(beta.size):
        alpha = 0.0
        k = cell_of[i]
        if k >= 0 and n[k] >= min_peers and se[i] >= 0.0:
            noise = se[i] * se[i]
            alpha = noise / (noise + variance[k]) if noise < np.inf else 1.0
        weight[i] = alpha if not np.isnan(beta[i]) else np.nan
        adjusted[i] = (1.0 - alpha) * beta[i] + alpha * mean[k] if alpha > 0.0 else beta[i]


@kernel(
    "void(f8[:,::1], i2[:,::1], i2[:,::1], f8[:,::1], b1[:,::1], i8, i8, i8, i8[::1],"
    "f8[:,:,::1], i8[:,:,::1], b1[:,::1])"
)
def _gather(
    beta: Floats,
    fact: Codes,
    industry: Codes,
    log_weight: Floats,
    member: Bools,
    start: int,
    batch: int,
    fact_offset: int,
    industry_at: Ints,
    values: Floats,
    codes: Ints,
    who: Bools,
) -> None:
    """Transpose `batch` sessions from `start` on: values beta, log_weight; codes as positions fact, industry."""
    for i in range(beta.shape[0]):
        for j in range(batch):
            t = start + j
            values[0, j, i], values[1, j, i] = beta[i, t], log_weight[i, t]
            codes[0, j, i] = fact[i, t] - fact_offset if fact[i, t] >= 0 else -1
            codes[1, j, i] = industry_at[industry[i, t]] if industry[i, t] > 0 else -1
            who[j, i] = member[i, t]


@kernel(
    "void(f8[:,::1], f8[:,::1], i2[:,::1], i2[:,::1], f8[:,::1], b1[:,::1], i8, i8[::1], i8, i8,"
    "f8[:,::1], f8[:,::1], f8[:,:,::1], i8[:,:,::1], b1[:,::1], i8[::1], i8[::1], f8[:,::1])"
)
def _shrink_panel(
    beta: Floats,
    se: Floats,
    fact: Codes,
    industry: Codes,
    log_weight: Floats,
    member: Bools,
    fact_offset: int,
    industry_at: Ints,
    n_facts: int,
    min_peers: int,
    adjusted: Floats,
    weight: Floats,
    values: Floats,
    codes: Ints,
    who: Bools,
    cell_of: Ints,
    n: Ints,
    tables: Floats,
) -> None:
    stocks, sessions = beta.shape
    total, mean, variance = tables[0], tables[1], tables[2]
    b, w, e, a, alpha = values[0], values[1], values[2], values[3], values[4]
    for start in range(0, sessions, BATCH):
        batch = min(BATCH, sessions - start)
        _gather(beta, fact, industry, log_weight, member, start, batch, fact_offset, industry_at, values, codes, who)
        for i in range(stocks):
            for j in range(batch):
                e[j, i] = se[i, start + j]
        for j in range(batch):
            n[:] = 0
            _cells(b[j], codes[0, j], codes[1, j], w[j], who[j], n_facts, cell_of, n, total, mean, variance)
            _adjust(b[j], e[j], cell_of, n, mean, variance, min_peers, a[j], alpha[j])
        for i in range(stocks):
            for j in range(batch):
                adjusted[i, start + j] = a[j, i]
                weight[i, start + j] = alpha[j, i]


@kernel(
    "void(f8[:,::1], i2[:,::1], i2[:,::1], f8[:,::1], b1[:,::1], i8, i8[::1], i8,"
    "f8[:,::1], f8[:,::1], i8[:,::1], f8[:,::1], i8[:,::1],"
    "f8[:,:,::1], i8[:,:,::1], b1[:,::1], i8[::1], i8[::1], f8[:,::1])"
)
def _aggregate_panel(
    beta: Floats,
    fact: Codes,
    industry: Codes,
    log_weight: Floats,
    member: Bools,
    fact_offset: int,
    industry_at: Ints,
    n_facts: int,
    out_mean: Floats,
    out_variance: Floats,
    out_n: Ints,
    out_total: Floats,
    out_facts: Ints,
    values: Floats,
    codes: Ints,
    who: Bools,
    cell_of: Ints,
    n: Ints,
    tables: Floats,
) -> None:
    sessions = beta.shape[1]
    total, mean, variance = tables[0], tables[1], tables[2]
    b, w = values[0], values[1]
    for start in range(0, sessions, BATCH):
        batch = min(BATCH, sessions - start)
        _gather(beta, fact, industry, log_weight, member, start, batch, fact_offset, industry_at, values, codes, who)
        for j in range(batch):
            n[:] = 0
            _cells(b[j], codes[0, j], codes[1, j], w[j], who[j], n_facts, cell_of, n, total, mean, variance)
            for g in range(out_mean.shape[0]):
                names = facts = 0
                weights = centre = 0.0
                for k in range(g * n_facts, (g + 1) * n_facts):
                    if n[k] > 0:
                        names += n[k]
                        facts += 1
                        weights += total[k]
                        centre += n[k] * mean[k]
                spread = 0.0
                if names > 0:
                    centre /= names
                    for k in range(g * n_facts, (g + 1) * n_facts):
                        if n[k] > 0:
                            spread += n[k] * (variance[k] + (mean[k] - centre) ** 2)
                out_n[g, start + j] = names
                out_facts[g, start + j] = facts
                out_total[g, start + j] = weights
                out_mean[g, start + j] = centre if names > 0 else np.nan
                out_variance[g, start + j] = spread / names if names > 0 else np.nan


def _scratch(stocks: int, cells: int, columns: int) -> tuple[Floats, Ints, Bools, Ints, Ints, Floats]:
    """The last arguments of the two panels: gathered values (columns, BATCH, stocks) and codes, and tables of cells."""
    return (
        np.empty((columns, BATCH, stocks)),
        np.empty((2, BATCH, stocks), np.int64),
        np.empty((BATCH, stocks), np.bool_),
        np.empty(stocks, np.int64),
        np.empty(cells, np.int64),
        np.empty((3, cells)),
    )


def _positions(industries: Codes) -> Ints:
    """Position of each industry code among the sorted `industries`, -1 for others; addressed by the code."""
    at = np.full(np.iinfo(np.int16).max + 1, -1, np.int64)
    at[industries] = np.arange(len(industries))
    return at


def _industries(industry: Codes) -> Codes:
    seen = np.zeros(np.iinfo(np.int16).max + 1, np.bool_)
    seen[np.maximum(industry, 0)] = True
    seen[0] = False
    return np.flatnonzero(seen).astype(np.int16)


def _facts(fact: Codes) -> tuple[int, int]:
    """(lowest fact, number of facts in its range)."""
    low, high = max(int(fact.min(initial=0)), 0), max(int(fact.max(initial=0)), 0)
    return low, high - low + 1


def _arguments(
    beta: Floats, fact: Codes, industry: Codes, log_weight: Floats, member: Bools
) -> tuple[Floats, Codes, Codes, Floats, Bools]:
    shape = beta.shape
    for name, array in (("fact", fact), ("industry", industry), ("log_weight", log_weight), ("member", member)):
        if array.shape != shape:
            raise ValueError(f"{name} has the shape of beta, {shape}; found {array.shape}")
    return (
        as_input(beta, np.float64),
        as_input(fact, np.int16),
        as_input(industry, np.int16),
        as_input(log_weight, np.float64),
        as_input(member, np.bool_),
    )


def shrink(
    beta: Floats, se: Floats, fact: Codes, industry: Codes, log_weight: Floats, member: Bools, min_peers: int
) -> tuple[Floats, Floats]:
    """(adjusted, weight), each (n, T'), of one level, session by session.

    beta, se: (n, T') raw betas and standard errors; fact, industry: int16 codes (-1 and 0: none);
    log_weight: ln(market cap + 1), NaN unknown; member: in the universe at that session.
    """
    beta, fact, industry, log_weight, member = _arguments(beta, fact, industry, log_weight, member)
    if se.shape != beta.shape:
        raise ValueError(f"se has the shape of beta, {beta.shape}; found {se.shape}")
    low, n_facts = _facts(fact)
    industries = _industries(industry)
    adjusted, weight = np.empty(beta.shape), np.empty(beta.shape)
    _shrink_panel(
        beta,
        as_input(se, np.float64),
        fact,
        industry,
        log_weight,
        member,
        low,
        _positions(industries),
        n_facts,
        min_peers,
        adjusted,
        weight,
        *_scratch(len(beta), max(len(industries), 1) * n_facts, 5),
    )
    return adjusted, weight


def shrink_session(
    beta: Floats, se: Floats, fact: Codes, industry: Codes, log_weight: Floats, member: Bools, min_peers: int
) -> Shrunk:
    """`shrink` for one session, (n,) each, with the cells that it used."""
    beta, fact, industry, log_weight, member = _arguments(beta, fact, industry, log_weight, member)
    adjusted, weight = shrink(
        beta[:, None], se[:, None], fact[:, None], industry[:, None], log_weight[:, None], member[:, None], min_peers
    )
    low, n_facts = _facts(fact)
    industries = _industries(industry)
    positions = _positions(industries)
    fact_at = np.where(fact >= 0, fact.astype(np.int64) - low, -1)
    industry_at = np.where(industry > 0, positions[industry], -1)
    size = max(len(industries), 1) * n_facts
    n, cell_of = np.zeros(size, np.int64), np.empty(len(beta), np.int64)
    total, mean, variance = np.empty(size), np.empty(size), np.empty(size)
    _cells(beta, fact_at, industry_at, log_weight, member, n_facts, cell_of, n, total, mean, variance)
    cells = np.flatnonzero(n)
    return Shrunk(
        adjusted[:, 0],
        weight[:, 0],
        industries[cells // n_facts] if len(industries) else np.empty(0, np.int16),
        (cells % n_facts + low).astype(np.int16),
        n[cells],
        total[cells],
        mean[cells],
        variance[cells],
    )


def industry_aggregates(
    beta: Floats, fact: Codes, industry: Codes, log_weight: Floats, member: Bools, industries: Codes
) -> IndustryAggregates:
    """Aggregates of one level per session for the codes in `industries` (I,), ascending; (n, T') inputs as in `shrink`.

    beta is the raw beta of the level. At the level `market` every stock has the same fact, the market ETF:
    `fact = np.full(beta.shape, market)`. N = sum n over the cells of an industry:
    beta_mean = sum n mu / N, beta_variance = sum n (tau2 + (mu - beta_mean)^2) / N.
    """
    beta, fact, industry, log_weight, member = _arguments(beta, fact, industry, log_weight, member)
    industries = as_input(industries, np.int16)
    if len(industries) and (industries[0] <= 0 or (np.diff(industries) <= 0).any()):
        raise ValueError("industries are positive codes in ascending order, each once")
    low, n_facts = _facts(fact)
    shape = (len(industries), beta.shape[1])
    out = IndustryAggregates(
        np.empty(shape), np.empty(shape), np.empty(shape, np.int64), np.empty(shape), np.empty(shape, np.int64)
    )
    _aggregate_panel(
        beta,
        fact,
        industry,
        log_weight,
        member,
        low,
        _positions(industries),
        n_facts,
        out.beta_mean,
        out.beta_variance,
        out.n_companies,
        out.total_log_mcap_weight,
        out.n_facts,
        *_scratch(len(beta), len(industries) * n_facts, 2),
    )
    return out
