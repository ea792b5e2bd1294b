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
from typing import NamedTuple

import numpy as np

from pipeline.model.compiled import (
    Bools,
    Bools1D,
    Bools2D,
    Codes,
    Codes2D,
    Floats,
    Floats1D,
    Floats2D,
    Floats3D,
    Ints,
    Ints1D,
    Ints2D,
    Ints3D,
    as_input,
    inlined,
    kernel,
)

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


class Names(NamedTuple):
    """One level of the stocks, (n, T') each; `shrink` says what they are."""

    beta: Floats2D
    fact: Codes2D
    industry: Codes2D
    log_weight: Floats2D
    member: Bools2D


class Coding(NamedTuple):
    """Codes to positions: cell = industry_at[industry] * n_facts + (fact - low_fact)."""

    low_fact: int
    n_facts: int
    industry_at: Ints1D


class CrossSection(NamedTuple):
    """One session: fact and industry as positions, -1 none; (n,) each."""

    beta: Floats1D
    fact: Ints1D
    industry: Ints1D
    log_weight: Floats1D
    member: Bools1D


class Cells(NamedTuple):
    """Cells of one session in dense tables, (industries * n_facts,): names, sum of omega, mu, tau2.

    The others mean nothing where n is 0. cell_of: (n,) the cell of each stock, -1 none.
    """

    n: Ints1D
    total: Floats1D
    mean: Floats1D
    variance: Floats1D
    cell_of: Ints1D


class Batch(NamedTuple):
    """`BATCH` sessions of the stocks, transposed; rows of values and codes as below."""

    values: Floats3D
    codes: Ints3D
    member: Bools2D


_BETA, _LOG_WEIGHT, _SE, _ADJUSTED, _WEIGHT = range(5)
_FACT, _INDUSTRY = range(2)


@kernel
def _fill_cells(names: CrossSection, n_facts: int, out: Cells) -> None:
    """The cells of one session.

    A loop over stocks, not `np.bincount` over (session, cell): that gives the same bits in five times the time.
    """
    n, total, mean, variance, cell_of = out
    beta, fact, industry, log_weight, member = names
    n[:] = 0
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


@kernel
def _adjust(beta: Floats1D, se: Floats1D, cells: Cells, min_peers: int, adjusted: Floats1D, weight: Floats1D) -> None:
    """Shrink one session."""
    for i in range(beta.size):
        alpha = 0.0
        k = cells.cell_of[i]
        if k >= 0 and cells.n[k] >= min_peers and se[i] >= 0.0:
            noise = se[i] * se[i]
            alpha = noise / (noise + cells.variance[k]) if noise < np.inf else 1.0
        weight[i] = alpha if not np.isnan(beta[i]) else np.nan
        adjusted[i] = (1.0 - alpha) * beta[i] + alpha * cells.mean[k] if alpha > 0.0 else beta[i]


@kernel
def _gather(names: Names, coding: Coding, start: int, count: int, out: Batch) -> None:
    """`count` sessions from `start` on, without se."""
    values, codes = out.values, out.codes
    for i in range(names.beta.shape[0]):
        for j in range(count):
            t = start + j
            values[_BETA, j, i], values[_LOG_WEIGHT, j, i] = names.beta[i, t], names.log_weight[i, t]
            codes[_FACT, j, i] = names.fact[i, t] - coding.low_fact if names.fact[i, t] >= 0 else -1
            codes[_INDUSTRY, j, i] = coding.industry_at[names.industry[i, t]] if names.industry[i, t] > 0 else -1
            out.member[j, i] = names.member[i, t]


@inlined
def _session_of(batch: Batch, j: int) -> CrossSection:
    """A view."""
    values, codes = batch.values, batch.codes
    return CrossSection(values[_BETA, j], codes[_FACT, j], codes[_INDUSTRY, j], values[_LOG_WEIGHT, j], batch.member[j])


@kernel
def _shrink_panel(
    names: Names,
    se: Floats2D,
    coding: Coding,
    min_peers: int,
    batch: Batch,
    cells: Cells,
    adjusted: Floats2D,
    weight: Floats2D,
) -> None:
    stocks, sessions = names.beta.shape
    e, a, alpha = batch.values[_SE], batch.values[_ADJUSTED], batch.values[_WEIGHT]
    for start in range(0, sessions, BATCH):
        count = min(BATCH, sessions - start)
        _gather(names, coding, start, count, batch)
        for i in range(stocks):
            for j in range(count):
                e[j, i] = se[i, start + j]
        for j in range(count):
            session = _session_of(batch, j)
            _fill_cells(session, coding.n_facts, cells)
            _adjust(session.beta, e[j], cells, min_peers, a[j], alpha[j])
        for i in range(stocks):
            for j in range(count):
                adjusted[i, start + j] = a[j, i]
                weight[i, start + j] = alpha[j, i]


class Industries(NamedTuple):
    """`IndustryAggregates` as the kernels write them, (I, T') each."""

    mean: Floats2D
    variance: Floats2D
    n: Ints2D
    total: Floats2D
    facts: Ints2D


@inlined
def _aggregate(cells: Cells, n_facts: int, t: int, out: Industries) -> None:
    """Column t of the aggregates from the cells of its session."""
    n, total, mean, variance, _ = cells
    for g in range(out.mean.shape[0]):
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
        out.n[g, t] = names
        out.facts[g, t] = facts
        out.total[g, t] = weights
        out.mean[g, t] = centre if names > 0 else np.nan
        out.variance[g, t] = spread / names if names > 0 else np.nan


@kernel
def _aggregate_panel(names: Names, coding: Coding, batch: Batch, cells: Cells, out: Industries) -> None:
    sessions = names.beta.shape[1]
    for start in range(0, sessions, BATCH):
        count = min(BATCH, sessions - start)
        _gather(names, coding, start, count, batch)
        for j in range(count):
            _fill_cells(_session_of(batch, j), coding.n_facts, cells)
            _aggregate(cells, coding.n_facts, start + j, out)


def _batch(stocks: int, columns: int) -> Batch:
    """Work arrays with the first `columns` of the values."""
    return Batch(
        np.empty((columns, BATCH, stocks)),
        np.empty((2, BATCH, stocks), np.int64),
        np.empty((BATCH, stocks), np.bool_),
    )


def _cells(stocks: int, cells: int) -> Cells:
    total, mean, variance = np.empty((3, cells))
    return Cells(np.empty(cells, np.int64), total, mean, variance, np.empty(stocks, np.int64))


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


def _coding(fact: Codes, industries: Codes) -> Coding:
    """Cells of all facts between the lowest and the highest one, in each of the industries."""
    low, high = max(int(fact.min(initial=0)), 0), max(int(fact.max(initial=0)), 0)
    return Coding(low, high - low + 1, _positions(industries))


def _names(beta: Floats, fact: Codes, industry: Codes, log_weight: Floats, member: Bools) -> Names:
    shape = beta.shape
    for name, array in (("fact", fact), ("industry", industry), ("log_weight", log_weight), ("member", member)):
        if array.shape != shape:
            raise ValueError(f"{name} has the shape of beta, {shape}; found {array.shape}")
    return Names(
        as_input(beta, np.float64),
        as_input(fact, np.int16),
        as_input(industry, np.int16),
        as_input(log_weight, np.float64),
        as_input(member, np.bool_),
    )


def shrink(
    beta: Floats, se: Floats, fact: Codes, industry: Codes, log_weight: Floats, member: Bools, min_peers: int
) -> tuple[Floats, Floats]:
    """Betas of one level shrunk to their cells, session by session (docs/methodology.md, section 4; Vasicek 1973).

    Returns (adjusted, weight), each (n, T'), as `Shrunk` describes them.

    beta, se:  (n, T') raw betas and their standard errors
    fact:      (n, T') int16 codes of the ETF of the level, -1 none; industry: (n, T') int16 codes, 0 none
    log_weight: (n, T') ln(market cap in dollars + 1), NaN unknown; member: (n, T') in the universe at that session
    min_peers: names from which on a cell shrinks its own

    Raises ValueError for an array that has not the shape of beta.

    >>> import numpy as np
    >>> from pipeline.model import shrink
    >>> beta = np.array([[0.8], [1.0], [1.8]])
    >>> one, yes = np.ones((3, 1), np.int16), np.ones((3, 1), bool)
    >>> adjusted, weight = shrink(beta, np.full((3, 1), 0.4), one, one, np.ones((3, 1)), yes, min_peers=3)
    >>> adjusted.T.round(2), weight.T.round(2)
    (array([[0.98, 1.09, 1.52]]), array([[0.46, 0.46, 0.46]]))
    """
    names = _names(beta, fact, industry, log_weight, member)
    if se.shape != names.beta.shape:
        raise ValueError(f"se has the shape of beta, {names.beta.shape}; found {se.shape}")
    industries = _industries(names.industry)
    coding = _coding(names.fact, industries)
    stocks = len(names.beta)
    adjusted, weight = np.empty(names.beta.shape), np.empty(names.beta.shape)
    cells = _cells(stocks, max(len(industries), 1) * coding.n_facts)
    _shrink_panel(names, as_input(se, np.float64), coding, min_peers, _batch(stocks, 5), cells, adjusted, weight)
    return adjusted, weight


def shrink_session(
    beta: Floats, se: Floats, fact: Codes, industry: Codes, log_weight: Floats, member: Bools, min_peers: int
) -> Shrunk:
    """`shrink` for one session, (n,) arrays, with the cells that it used.

    >>> import numpy as np
    >>> from pipeline.model import shrink_session
    >>> one, yes = np.ones(3, np.int16), np.ones(3, bool)
    >>> out = shrink_session(np.array([0.8, 1.0, 1.8]), np.full(3, 0.4), one, one, np.ones(3), yes, min_peers=3)
    >>> out.cell_industry, out.cell_n, out.cell_mean.round(2)
    (array([1], dtype=int16), array([3]), array([1.2]))
    """
    names = _names(beta[:, None], fact[:, None], industry[:, None], log_weight[:, None], member[:, None])
    adjusted, weight = shrink(names.beta, se[:, None], *names[1:], min_peers)
    industries = _industries(names.industry)
    coding = _coding(names.fact, industries)
    batch = _batch(len(beta), 2)
    cells = _cells(len(beta), max(len(industries), 1) * coding.n_facts)
    _gather(names, coding, 0, 1, batch)
    (b, w), (f, g) = batch.values[:, 0], batch.codes[:, 0]
    _fill_cells(CrossSection(b, f, g, w, batch.member[0]), coding.n_facts, cells)
    used = np.flatnonzero(cells.n)
    return Shrunk(
        adjusted[:, 0],
        weight[:, 0],
        industries[used // coding.n_facts] if len(industries) else np.empty(0, np.int16),
        (used % coding.n_facts + coding.low_fact).astype(np.int16),
        cells.n[used],
        cells.total[used],
        cells.mean[used],
        cells.variance[used],
    )


def industry_aggregates(
    beta: Floats, fact: Codes, industry: Codes, log_weight: Floats, member: Bools, industries: Codes
) -> IndustryAggregates:
    """Aggregates of one level per session and industry (docs/methodology.md, section 5).

    With N = sum n over the cells of an industry:

        beta_mean = sum n mu / N      beta_variance = sum n (tau2 + (mu - beta_mean)^2) / N

    industries: (I,) int16 codes, ascending; the others (n, T') as for `shrink`, with the raw betas of the level. At the
    level `market` every stock has the same fact, the market ETF: `fact = np.full(beta.shape, market)`.

    Raises ValueError for an array that has not the shape of beta, and for industries out of order.

    >>> import numpy as np
    >>> from pipeline.model import industry_aggregates
    >>> beta = np.array([[0.8], [1.0], [1.8]])
    >>> fact, yes = np.ones((3, 1), np.int16), np.ones((3, 1), bool)
    >>> industry = np.array([[1010], [1010], [1020]], np.int16)
    >>> out = industry_aggregates(beta, fact, industry, np.ones((3, 1)), yes, np.array([1010, 1020], np.int16))
    >>> out.beta_mean.T, out.n_companies.T
    (array([[0.9, 1.8]]), array([[2, 1]]))
    """
    names = _names(beta, fact, industry, log_weight, member)
    industries = as_input(industries, np.int16)
    if len(industries) and (industries[0] <= 0 or (np.diff(industries) <= 0).any()):
        raise ValueError("industries are positive codes in ascending order, each once")
    coding = _coding(names.fact, industries)
    stocks, sessions = names.beta.shape
    shape = (len(industries), sessions)
    out = Industries(
        np.empty(shape), np.empty(shape), np.empty(shape, np.int64), np.empty(shape), np.empty(shape, np.int64)
    )
    cells = _cells(stocks, len(industries) * coding.n_facts)
    _aggregate_panel(names, coding, _batch(stocks, 2), cells, out)
    return IndustryAggregates(out.mean, out.variance, out.n, out.total, out.facts)
