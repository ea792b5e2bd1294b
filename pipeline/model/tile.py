"""The model on one tile of stocks: checks the arrays, prepares the factor panel, runs the kernels block by block.

A tile is any set of stocks over any range of sessions. Inside, sessions are taken in blocks, so that memory beyond
inputs and outputs does not grow with history. No result depends on either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.model.cascade import CLEANED, cascade_tile, clean_factors, count_reasons
from pipeline.model.cascade import scratch as cascade_scratch
from pipeline.model.compiled import Bools, Bytes, Codes, Floats, Ints, as_input, check_out
from pipeline.model.explained_risk import CENTRED, SHARES, centre_factors, explained_risk_tile
from pipeline.model.explained_risk import scratch as risk_scratch
from pipeline.model.link_betas import FactorPanel, LinkBetas, factor_panel, fill_factors, pairs_in_use
from pipeline.model.params import KernelParams
from pipeline.model.reasons import DegenerateReason
from pipeline.model.rolling_sums import decay, oldest_first

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
    def reasons(self) -> dict[str, dict[str, int]]:
        """Counts by level and reason, without the zeros and without NONE."""
        return reason_counts(self.counts)

    @property
    def unconverged(self) -> int:
        return int(self.counts[:, DegenerateReason.UNCONVERGED].sum())


def reason_counts(counts: Ints) -> dict[str, dict[str, int]]:
    """`Cascade.counts` (of one tile or added up) by name: {"L1": {"too_few_obs": 12}, ...}."""
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


def _cells(
    r: Floats, etf: Floats, sector: Codes, subsector: Codes, wanted: Bools, params: KernelParams
) -> tuple[Floats, Codes, Codes, Bools]:
    r = as_input(r, np.float64)
    if r.ndim != 2 or r.shape[1] != etf.shape[1]:
        raise ValueError(f"r is (n, T) with the {etf.shape[1]} sessions of etf; found {r.shape}")
    cells = (len(r), r.shape[1] - params.window + 1)
    for name, array in (("sector", sector), ("subsector", subsector), ("wanted", wanted)):
        if array.shape != cells:
            raise ValueError(f"{name} is (n, T - window + 1) = {cells}; found {array.shape}")
    return (
        r,
        as_input(sector, np.int16),
        as_input(subsector, np.int16),
        as_input(wanted, np.bool_),
    )


def _panels(
    etf: Floats, market: int, pairs: Codes, used: Bools, first: int, params: KernelParams
) -> Iterator[tuple[int, int, FactorPanel]]:
    filled, valid = fill_factors(etf)
    sessions = etf.shape[1] - params.window + 1
    for start in range(0, sessions, BLOCK):
        stop = min(start + BLOCK, sessions)
        yield start, stop, factor_panel(filled, valid, market, pairs, used, first, start, stop, params)


def link_betas(etf: Floats, market: int, pairs: Codes, first: int, params: KernelParams) -> LinkBetas:
    """Link betas of every ETF and pair for T' = T - window + 1 sessions.

    etf:   (E, T) raw returns, NaN missing; market: the row of the market ETF
    pairs: (P, 2) int16 (subsector, sector) rows of etf
    first: ordinal of column 0
    """
    etf = _etf_returns(etf, market, first, params)
    pairs = as_input(pairs, np.int16).reshape(-1, 2)
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= len(etf)):
        raise ValueError(f"pairs are rows of etf, 0 to {len(etf) - 1}; found {pairs.min()} to {pairs.max()}")
    sessions = etf.shape[1] - params.window + 1
    links = LinkBetas(np.empty((len(etf), sessions)), np.empty((len(pairs), sessions)))
    for start, stop, panel in _panels(etf, market, pairs, np.ones(len(etf), np.bool_), first, params):
        links.on_market[:, start:stop] = panel.on_market[:-1]
        links.sub_on_sector[:, start:stop] = panel.link[:, 2]
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
    """Raw betas with their standard errors, level by level.

    r:      (n, T) stock returns, etf: (E, T) ETF returns; NaN missing; column 0 has ordinal `first`
    sector, subsector: (n, T') int16 rows of etf, -1 none: the ETFs of session t clean and fit its whole window
    wanted: (n, T') cells to compute; the others are NaN (0) and cost nothing
    out:    arrays to write into and to return, of an earlier call or `Cascade.empty`: fresh memory costs as much as
            the arithmetic of `ols`
    """
    etf = _etf_returns(etf, market, first, params)
    r, sector, subsector, wanted = _cells(r, etf, sector, subsector, wanted, params)
    pairs, pair_of = pairs_in_use(sector, subsector, wanted, len(etf))
    out = out or Cascade.empty(*wanted.shape)
    for array, dtype in ((out.beta, np.float64), (out.se, np.float64), (out.n_obs, np.int16), (out.reason, np.uint8)):
        check_out(array, (3, *wanted.shape), dtype)
    out.counts[:] = 0
    weights = decay(params.window, params.half_life)
    ages = oldest_first(weights)
    work = cascade_scratch(min(BLOCK, wanted.shape[1]), ages, params.window)
    huber = params.estimator == "huber"
    alpha = params.ridge_alpha if params.estimator == "ridge" else 0.0
    for start, stop, panel in _panels(etf, market, pairs, _used(pairs, len(etf)), first, params):
        cleaned = np.empty((0 if huber else len(pairs), CLEANED, stop - start))
        for p in range(len(cleaned)):
            clean_factors(panel.gram[p], panel.weight2, panel.link[p], 0, stop - start, alpha, cleaned[p])
        cascade_tile(
            r,
            panel.filled,
            panel.valid,
            market,
            sector,
            subsector,
            wanted,
            pair_of,
            cleaned,
            panel.link,
            panel.complete,
            first,
            start,
            stop,
            weights,
            ages,
            weights * weights,
            oldest_first(weights * weights),
            huber,
            params.min_obs,
            params.huber_epsilon,
            params.huber_scale_floor,
            alpha,
            out.beta,
            out.se,
            out.n_obs,
            out.reason,
            *work,
        )
    count_reasons(out.reason, wanted, out.counts)
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
    """(shares, total variance): (9, n, T') in the order of `SHARES`, and (n, T') daily variance V0.

    beta: (3, n, T') adjusted; the other arguments as for `cascade`. A level is NaN where its beta, or one above it, is.
    V0 needs min_obs returns; it is 0 for a stock that did not move, whose shares are NaN.
    out: arrays to write into and to return, in the manner of `cascade`.
    """
    etf = _etf_returns(etf, market, first, params)
    r, sector, subsector, wanted = _cells(r, etf, sector, subsector, wanted, params)
    beta = as_input(beta, np.float64)
    if beta.shape != (3, *wanted.shape):
        raise ValueError(f"beta is {(3, *wanted.shape)}; found {beta.shape}")
    pairs, pair_of = pairs_in_use(sector, subsector, wanted, len(etf))
    shares, variance = out or (np.empty((len(SHARES), *wanted.shape)), np.empty(wanted.shape))
    check_out(shares, (len(SHARES), *wanted.shape), np.float64)
    check_out(variance, wanted.shape, np.float64)
    weights = decay(params.window, params.half_life)
    ages = oldest_first(weights)
    work = risk_scratch(min(BLOCK, wanted.shape[1]), params.window)
    for start, stop, panel in _panels(etf, market, pairs, _used(pairs, len(etf)), first, params):
        centred = np.empty((len(pairs), CENTRED, stop - start))
        for p in range(len(pairs)):
            centre_factors(panel.gram[p], panel.link[p], 0, stop - start, centred[p])
        explained_risk_tile(
            r,
            panel.filled,
            panel.valid,
            market,
            sector,
            subsector,
            beta,
            wanted,
            pair_of,
            centred,
            panel.link,
            panel.complete,
            first,
            start,
            stop,
            weights,
            ages,
            params.min_obs,
            shares,
            variance,
            *work,
        )
    return shares, variance
