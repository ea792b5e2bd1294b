"""Industry aggregates of the betas of one level, from the cells of its peers (docs/methodology.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.model.compiled import Bools, Codes, Floats, Floats2D, Ints, Ints2D, as_input, inlined, kernel
from pipeline.model.peers import (
    BATCH,
    Batch,
    Cells,
    Coding,
    Names,
    checked_names,
    coding_of,
    fill_cells,
    gather,
    new_batch,
    new_cells,
    session_of,
)


@dataclass(frozen=True, eq=False)
class IndustryAggregates:
    """(I, T') each, for the industries asked for; beta_mean and beta_variance are NaN where n_companies is 0."""

    beta_mean: Floats
    beta_variance: Floats
    n_companies: Ints
    total_log_mcap_weight: Floats
    n_facts: Ints


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
        gather(names, coding, start, count, batch)
        for j in range(count):
            fill_cells(session_of(batch, j), coding.n_facts, cells)
            _aggregate(cells, coding.n_facts, start + j, out)


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
    names = checked_names(beta, fact, industry, log_weight, member)
    industries = as_input(industries, np.int16)
    if len(industries) and (industries[0] <= 0 or (np.diff(industries) <= 0).any()):
        raise ValueError("industries are positive codes in ascending order, each once")
    coding = coding_of(names.fact, industries)
    stocks, sessions = names.beta.shape
    shape = (len(industries), sessions)
    out = Industries(
        np.empty(shape), np.empty(shape), np.empty(shape, np.int64), np.empty(shape), np.empty(shape, np.int64)
    )
    cells = new_cells(stocks, len(industries) * coding.n_facts)
    _aggregate_panel(names, coding, new_batch(stocks, 2), cells, out)
    return IndustryAggregates(out.mean, out.variance, out.n, out.total, out.facts)
