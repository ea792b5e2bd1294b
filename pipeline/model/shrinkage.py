"""Vasicek shrinkage to industry peers (docs/methodology.md, section 4). `peers` says who they are, and mu and tau2:

alpha = se^2 / (se^2 + tau2)         adjusted = (1 - alpha) beta + alpha mu
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.model.compiled import Bools, Codes, Floats, Floats1D, Floats2D, Ints, as_input, kernel
from pipeline.model.peers import (
    ADJUSTED,
    BATCH,
    SE,
    WEIGHT,
    Batch,
    Cells,
    Coding,
    CrossSection,
    Names,
    checked_names,
    coding_of,
    fill_cells,
    gather,
    industries_in,
    new_batch,
    new_cells,
    session_of,
)


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
    e, a, alpha = batch.values[SE], batch.values[ADJUSTED], batch.values[WEIGHT]
    for start in range(0, sessions, BATCH):
        count = min(BATCH, sessions - start)
        gather(names, coding, start, count, batch)
        for i in range(stocks):
            for j in range(count):
                e[j, i] = se[i, start + j]
        for j in range(count):
            session = session_of(batch, j)
            fill_cells(session, coding.n_facts, cells)
            _adjust(session.beta, e[j], cells, min_peers, a[j], alpha[j])
        for i in range(stocks):
            for j in range(count):
                adjusted[i, start + j] = a[j, i]
                weight[i, start + j] = alpha[j, i]


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
    names = checked_names(beta, fact, industry, log_weight, member)
    if se.shape != names.beta.shape:
        raise ValueError(f"se has the shape of beta, {names.beta.shape}; found {se.shape}")
    industries = industries_in(names.industry)
    coding = coding_of(names.fact, industries)
    stocks = len(names.beta)
    adjusted, weight = np.empty(names.beta.shape), np.empty(names.beta.shape)
    cells = new_cells(stocks, max(len(industries), 1) * coding.n_facts)
    _shrink_panel(names, as_input(se, np.float64), coding, min_peers, new_batch(stocks, 5), cells, adjusted, weight)
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
    names = checked_names(beta[:, None], fact[:, None], industry[:, None], log_weight[:, None], member[:, None])
    adjusted, weight = shrink(names.beta, se[:, None], *names[1:], min_peers)
    industries = industries_in(names.industry)
    coding = coding_of(names.fact, industries)
    batch = new_batch(len(beta), 2)
    cells = new_cells(len(beta), max(len(industries), 1) * coding.n_facts)
    gather(names, coding, 0, 1, batch)
    (b, w), (f, g) = batch.values[:, 0], batch.codes[:, 0]
    fill_cells(CrossSection(b, f, g, w, batch.member[0]), coding.n_facts, cells)
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
