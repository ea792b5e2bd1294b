"""Peers: the cells of industry and ETF of one session (docs/methodology.md, sections 4 and 5).

A cell is (industry, fact) of one session. Its names ("peers") are the members with a finite beta, a known industry
(code > 0), a fact (>= 0) and a finite, positive weight: a member without market cap is nobody's peer, keeps its raw
beta, and does not count in n. With omega = ln(market cap + 1):

    mu = sum omega beta / sum omega      tau2 = max(sum omega (beta - mu)^2 / sum omega, 1e-8)

Sums run along the symbol axis, so symbols appended at its end that are not members change no bit.
"""

from __future__ import annotations

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
    Ints3D,
    as_input,
    inlined,
    kernel,
)

TAU2_FLOOR = 1e-8
# Sessions whose cross-sections are gathered together: stock-major rows are read in cache lines.
BATCH = 16


class Names(NamedTuple):
    """One level of the stocks, (n, T') each; `pipeline.model.shrink` says what they are."""

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
    """`BATCH` sessions of the stocks, transposed; rows of `values` are BETA ..., of `codes` FACT, INDUSTRY."""

    values: Floats3D
    codes: Ints3D
    member: Bools2D


# Rows of a batch's values and codes; the last three of the values are those of who shrinks.
BETA, LOG_WEIGHT, SE, ADJUSTED, WEIGHT = range(5)
FACT, INDUSTRY = range(2)


@kernel
def fill_cells(names: CrossSection, n_facts: int, out: Cells) -> None:
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
def gather(names: Names, coding: Coding, start: int, count: int, out: Batch) -> None:
    """`count` sessions from `start` on, without se."""
    values, codes = out.values, out.codes
    for i in range(names.beta.shape[0]):
        for j in range(count):
            t = start + j
            values[BETA, j, i], values[LOG_WEIGHT, j, i] = names.beta[i, t], names.log_weight[i, t]
            codes[FACT, j, i] = names.fact[i, t] - coding.low_fact if names.fact[i, t] >= 0 else -1
            codes[INDUSTRY, j, i] = coding.industry_at[names.industry[i, t]] if names.industry[i, t] > 0 else -1
            out.member[j, i] = names.member[i, t]


@inlined
def session_of(batch: Batch, j: int) -> CrossSection:
    """A view."""
    values, codes = batch.values, batch.codes
    return CrossSection(values[BETA, j], codes[FACT, j], codes[INDUSTRY, j], values[LOG_WEIGHT, j], batch.member[j])


def new_batch(stocks: int, columns: int) -> Batch:
    """Work arrays with the first `columns` of the values."""
    return Batch(
        np.empty((columns, BATCH, stocks)),
        np.empty((2, BATCH, stocks), np.int64),
        np.empty((BATCH, stocks), np.bool_),
    )


def new_cells(stocks: int, cells: int) -> Cells:
    total, mean, variance = np.empty((3, cells))
    return Cells(np.empty(cells, np.int64), total, mean, variance, np.empty(stocks, np.int64))


def _positions(industries: Codes) -> Ints:
    """Position of each industry code among the sorted `industries`, -1 for others; addressed by the code."""
    at = np.full(np.iinfo(np.int16).max + 1, -1, np.int64)
    at[industries] = np.arange(len(industries))
    return at


def industries_in(industry: Codes) -> Codes:
    seen = np.zeros(np.iinfo(np.int16).max + 1, np.bool_)
    seen[np.maximum(industry, 0)] = True
    seen[0] = False
    return np.flatnonzero(seen).astype(np.int16)


def coding_of(fact: Codes, industries: Codes) -> Coding:
    """Cells of all facts between the lowest and the highest one, in each of the industries."""
    low, high = max(int(fact.min(initial=0)), 0), max(int(fact.max(initial=0)), 0)
    return Coding(low, high - low + 1, _positions(industries))


def checked_names(beta: Floats, fact: Codes, industry: Codes, log_weight: Floats, member: Bools) -> Names:
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
