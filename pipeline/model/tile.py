"""The model on one tile of stocks: checks the arrays, prepares the factor panel, runs the kernels block by block.

A tile is any set of stocks over any range of sessions. Inside, sessions are taken in blocks, so that memory beyond
inputs and outputs does not grow with history. No result depends on either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.model.assignments import Span, Stocks, pairs_in_use
from pipeline.model.cascade import Factors, cascade_tile, count_reasons
from pipeline.model.cascade import scratch as cascade_scratch
from pipeline.model.compiled import Bools, Bytes, Codes, Floats, Ints, as_input, check_out
from pipeline.model.explained_risk import SHARES, explained_risk_tile
from pipeline.model.explained_risk import scratch as risk_scratch
from pipeline.model.link_betas import SUB_ON_SECTOR, FactorPanel, LinkBetas, factor_panel, fill_factors
from pipeline.model.params import KernelParams
from pipeline.model.reasons import DegenerateReason
from pipeline.model.rolling_sums import decay, squared
from pipeline.model.stretch_fit import CLEANED, clean_factors
from pipeline.model.stretch_shares import CENTRED, Shares, centre_factors
from pipeline.model.window_fit import Betas, Estimator

# Sessions worked on at a time.
BLOCK = 1008


@dataclass(frozen=True, eq=False)
class Cascade:
    """Raw betas of T' = T - window + 1 sessions; the first axis is L1 market, L2 sector, L3 subsector.

    beta, se: (3, n, T') NaN where there is none
    n_obs:    (3, n, T') int16 sessions of the window in which the stock and all legs up to the level are valid
    reason:   (3, n, T') uint8 `DegenerateReason` of each cell
    counts:   (3, len(DegenerateReason)) wanted cells by reason; add them up over tiles
    """

    beta: Floats
    se: Floats
    n_obs: Codes
    reason: Bytes
    counts: Ints

    @classmethod
    def empty(cls, stocks: int, sessions: int) -> Cascade:
        """Arrays for so many cells, to be given to `cascade` as `out`, again and again."""
        shape = (3, stocks, sessions)
        counts = np.zeros((3, len(DegenerateReason)), np.int64)
        return cls(np.empty(shape), np.empty(shape), np.empty(shape, np.int16), np.empty(shape, np.uint8), counts)

    @property
    def unconverged(self) -> int:
        return int(self.counts[:, DegenerateReason.UNCONVERGED].sum())


def reason_counts(counts: Ints) -> dict[str, dict[str, int]]:
    """`Cascade.counts` (of one tile or added up) by name, without the zeros and without NONE.

    >>> import numpy as np
    >>> from pipeline.model import DegenerateReason, reason_counts
    >>> counts = np.zeros((3, len(DegenerateReason)), np.int64)
    >>> counts[0, DegenerateReason.TOO_FEW_OBS] = 12
    >>> reason_counts(counts)
    {'L1': {'too_few_obs': 12}, 'L2': {}, 'L3': {}}
    """
    return {
        f"L{level + 1}": {
            reason.name.lower(): int(counts[level, reason])
            for reason in DegenerateReason
            if counts[level, reason] and reason != DegenerateReason.NONE
        }
        for level in range(3)
    }


def _etf_returns(etf: Floats, market: int, first: int, params: KernelParams) -> Floats:
    etf = as_input(etf, np.float64)
    if etf.ndim != 2 or etf.shape[1] < params.window:
        raise ValueError(f"etf is (E, T) with T >= window = {params.window}; found {etf.shape}")
    if not 0 <= market < len(etf):
        raise ValueError(f"market is a row of etf, 0 to {len(etf) - 1}; found {market}")
    if first < 0:
        raise ValueError(f"first is the ordinal of column 0 and not negative; found {first}")
    return etf


def _stocks(r: Floats, etf: Floats, sector: Codes, subsector: Codes, wanted: Bools, params: KernelParams) -> Stocks:
    r = as_input(r, np.float64)
    if r.ndim != 2 or r.shape[1] != etf.shape[1]:
        raise ValueError(f"r is (n, T) with the {etf.shape[1]} sessions of etf; found {r.shape}")
    cells = (len(r), r.shape[1] - params.window + 1)
    for name, array in (("sector", sector), ("subsector", subsector), ("wanted", wanted)):
        if array.shape != cells:
            raise ValueError(f"{name} is (n, T - window + 1) = {cells}; found {array.shape}")
    return Stocks(r, as_input(sector, np.int16), as_input(subsector, np.int16), as_input(wanted, np.bool_))


def _panels(
    etf: Floats, market: int, pairs: Codes, used: Bools, first: int, params: KernelParams
) -> Iterator[tuple[Span, FactorPanel]]:
    filled, valid = fill_factors(etf)
    sessions = etf.shape[1] - params.window + 1
    for start in range(0, sessions, BLOCK):
        span = Span(first, start, min(start + BLOCK, sessions))
        yield span, factor_panel(filled, valid, market, pairs, used, span, params)


def link_betas(etf: Floats, market: int, pairs: Codes, first: int, params: KernelParams) -> LinkBetas:
    """Link betas of every ETF and pair for T' = T - window + 1 sessions (docs/methodology.md, section 2).

    etf:   (E, T) returns per session (0.01 is 1 %), NaN missing; market: the row of the market ETF
    pairs: (P, 2) int16 (subsector, sector) rows of etf
    first: ordinal of column 0, counted from any fixed session: sums are anchored on it

    Raises ValueError for arrays of other shapes and rows that etf does not have.

    >>> import numpy as np
    >>> from pipeline.model import KernelParams, link_betas
    >>> m, s, u = np.random.default_rng(0).normal(0, [[0.02], [0.004], [0.0005]], (3, 300))
    >>> etf = np.stack([m, 1.1 * m + s, 0.9 * m + 0.5 * s + u])
    >>> links = link_betas(etf, 0, np.array([[2, 1]], np.int16), 0, KernelParams("ols"))
    >>> links.on_market[:, -1].round(1), links.sub_on_sector[:, -1].round(1)
    (array([1. , 1.1, 0.9]), array([0.5]))
    """
    etf = _etf_returns(etf, market, first, params)
    pairs = as_input(pairs, np.int16).reshape(-1, 2)
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= len(etf)):
        raise ValueError(f"pairs are rows of etf, 0 to {len(etf) - 1}; found {pairs.min()} to {pairs.max()}")
    sessions = etf.shape[1] - params.window + 1
    links = LinkBetas(np.empty((len(etf), sessions)), np.empty((len(pairs), sessions)))
    for span, panel in _panels(etf, market, pairs, np.ones(len(etf), np.bool_), first, params):
        here = slice(span.start, span.stop)
        links.on_market[:, here] = panel.on_market[:-1]
        links.sub_on_sector[:, here] = panel.link[:, SUB_ON_SECTOR]
    return links


def _used(pairs: Codes, n_etf: int) -> Bools:
    used = np.zeros(n_etf, np.bool_)
    used[pairs[pairs >= 0]] = True
    return used


def cascade(
    r: Floats,
    etf: Floats,
    market: int,
    sector: Codes,
    subsector: Codes,
    wanted: Bools,
    first: int,
    params: KernelParams,
    out: Cascade | None = None,
) -> Cascade:
    """Raw betas with their standard errors, level by level (docs/methodology.md, section 3).

    r:      (n, T) stock returns, etf: (E, T) ETF returns, per session (0.01 is 1 %); NaN missing; market: its row
    sector, subsector: (n, T') int16 rows of etf, -1 none: the ETFs of session t clean and fit its whole window
    wanted: (n, T') cells to compute; the others are NaN (0) and cost nothing
    first:  ordinal of column 0, as for `link_betas`
    out:    arrays to write into and to return, of an earlier call or `Cascade.empty`: fresh memory costs as much as
            the arithmetic of `ols`

    Raises ValueError for arrays of other shapes and rows that etf does not have.

    >>> import numpy as np
    >>> from pipeline.model import KernelParams, cascade
    >>> m, s, u, noise = np.random.default_rng(0).normal(0, [[0.02], [0.004], [0.004], [0.0004]], (4, 252))
    >>> etf = np.stack([m, m + s, m + s + u])
    >>> r = (1.2 * m + 0.7 * s + 0.4 * u + noise)[None]
    >>> sector, subsector = np.array([[1]], np.int16), np.array([[2]], np.int16)
    >>> done = cascade(r, etf, 0, sector, subsector, np.array([[True]]), 0, KernelParams())
    >>> done.beta[:, 0, -1].round(1), done.n_obs[:, 0, -1]
    (array([1.2, 0.7, 0.4]), array([252, 252, 252], dtype=int16))
    """
    etf = _etf_returns(etf, market, first, params)
    stocks = _stocks(r, etf, sector, subsector, wanted, params)
    cells = stocks.wanted.shape
    pairs, pair_of = pairs_in_use(stocks, len(etf))
    out = out or Cascade.empty(*cells)
    betas = Betas(out.beta, out.se, out.n_obs, out.reason)
    for array, dtype in ((out.beta, np.float64), (out.se, np.float64), (out.n_obs, np.int16), (out.reason, np.uint8)):
        check_out(array, (3, *cells), dtype)
    out.counts[:] = 0
    weights = decay(params.window, params.half_life)
    squares = squared(weights)
    work = cascade_scratch(min(BLOCK, cells[1]), weights)
    huber = params.estimator == "huber"
    alpha = params.ridge_alpha if params.estimator == "ridge" else 0.0
    estimator = Estimator(huber, params.min_obs, params.huber_epsilon, params.huber_scale_floor, alpha)
    for span, panel in _panels(etf, market, pairs, _used(pairs, len(etf)), first, params):
        count = span.stop - span.start
        cleaned = np.empty((0 if huber else len(pairs), CLEANED, count))
        for p in range(len(cleaned)):
            clean_factors(panel.gram[p], panel.weight2, panel.link[p], 0, count, alpha, cleaned[p])
        cascade_tile(stocks, Factors(panel, pair_of, cleaned, weights, squares), span, estimator, work, betas)
    count_reasons(out.reason, stocks.wanted, out.counts)
    return out


def explained_risk(
    r: Floats,
    etf: Floats,
    market: int,
    sector: Codes,
    subsector: Codes,
    beta: Floats,
    wanted: Bools,
    first: int,
    params: KernelParams,
    out: tuple[Floats, Floats] | None = None,
) -> tuple[Floats, Floats]:
    """Shares of explained risk, and total variance (docs/methodology.md, section 8).

    Returns shares (9, n, T') in the order of `SHARES`, those of a level adding to 1, and the variance V0 (n, T') of a
    session's return, not annualised. V0 needs min_obs returns; it is 0 for a stock that did not move, whose shares are
    NaN. A level is NaN where its beta, or one above it, is.

    beta: (3, n, T') adjusted; the other arguments, `out` and errors as for `cascade`.

    >>> import numpy as np
    >>> from pipeline.model import SHARES, KernelParams, cascade, explained_risk
    >>> m, s, u, noise = np.random.default_rng(0).normal(0, 0.01, (4, 252))
    >>> cells = (1.2 * m + 0.7 * s + 0.4 * u + 0.1 * noise)[None], np.stack([m, m + s, m + s + u]), 0
    >>> cells = *cells, np.array([[1]], np.int16), np.array([[2]], np.int16)
    >>> wanted, params = np.array([[True]]), KernelParams()
    >>> beta = cascade(*cells, wanted, 0, params).beta
    >>> shares, variance = explained_risk(*cells, beta, wanted, 0, params)
    >>> dict(zip(SHARES[5:], shares[5:, 0, 0].round(2).tolist()))
    {'L3_market_ER': 0.68, 'L3_sector_ER': 0.24, 'L3_subsector_ER': 0.07, 'L3_residual_ER': 0.0}
    """
    etf = _etf_returns(etf, market, first, params)
    stocks = _stocks(r, etf, sector, subsector, wanted, params)
    cells = stocks.wanted.shape
    beta = as_input(beta, np.float64)
    if beta.shape != (3, *cells):
        raise ValueError(f"beta is {(3, *cells)}; found {beta.shape}")
    pairs, pair_of = pairs_in_use(stocks, len(etf))
    shares, variance = out or (np.empty((len(SHARES), *cells)), np.empty(cells))
    check_out(shares, (len(SHARES), *cells), np.float64)
    check_out(variance, cells, np.float64)
    weights = decay(params.window, params.half_life)
    squares = squared(weights)
    work = risk_scratch(min(BLOCK, cells[1]), weights)
    for span, panel in _panels(etf, market, pairs, _used(pairs, len(etf)), first, params):
        count = span.stop - span.start
        centred = np.empty((len(pairs), CENTRED, count))
        for p in range(len(pairs)):
            centre_factors(panel.gram[p], panel.link[p], 0, count, centred[p])
        factors = Factors(panel, pair_of, centred, weights, squares)
        explained_risk_tile(stocks, factors, span, params.min_obs, beta, work, Shares(shares, variance))
    return shares, variance
