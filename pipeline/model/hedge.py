"""Hedge ratios on raw ETF returns, and the decomposition of one session (docs/methodology.md, sections 6, 7 and 9).

    E_u = beta_u
    E_s = beta_s - beta_u lambda_us
    E_m = beta_m - beta_s lambda_sm - beta_u (lambda_um - lambda_us lambda_sm)        HR = -E

Negative: short the ETF, in dollars per dollar long the stock. The product lambda_us lambda_sm is what the cleaned
sector inside the cleaned subsector gives back to the market; without it a "hedged" stock keeps that market beta.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.compiled import Bytes, Codes, Floats, Ints, as_input, kernel
from pipeline.model.link_betas import LinkBetas
from pipeline.model.window import copy_row, one_assignment

HEDGE_RATIOS = ("L1_market_HR", "L2_market_HR", "L2_sector_HR", "L3_market_HR", "L3_sector_HR", "L3_subsector_HR")
"""Order of the first axis of the hedge ratios."""


@kernel("void(f8[:,::1], f8[::1], f8[::1], f8[::1], f8[:,::1])")
def _hedge_ratios(beta: Floats, sm: Floats, um: Floats, us: Floats, out: Floats) -> None:
    for j in range(sm.size):
        b_m, b_s, b_u = beta[0, j], beta[1, j], beta[2, j]
        out[0, j] = -b_m
        out[1, j] = -(b_m - b_s * sm[j])
        out[2, j] = -b_s
        out[3, j] = -(b_m - b_s * sm[j] - b_u * (um[j] - us[j] * sm[j]))
        out[4, j] = -(b_s - b_u * us[j])
        out[5, j] = -b_u


def hedge_ratios(beta: Floats, lambda_sm: Floats, lambda_um: Floats, lambda_us: Floats) -> Floats:
    """(6, ...) in the order of `HEDGE_RATIOS`, from adjusted betas (3, ...) and link betas (...).

    A level without beta or link beta is NaN.
    """
    shape = beta.shape[1:]
    out = np.empty((6, *shape))
    _hedge_ratios(_rows(beta), _row(lambda_sm, shape), _row(lambda_um, shape), _row(lambda_us, shape), _rows(out))
    return out


@kernel("void(f8[:,::1], f8[:,::1], i8[:,::1], i2[:,::1], i2[:,::1], f8[:,::1], f8[:,::1], f8[:,::1])")
def _links_of_stocks(
    on_market: Floats,
    sub_on_sector: Floats,
    pair_of: Ints,
    sector: Codes,
    subsector: Codes,
    sm: Floats,
    um: Floats,
    us: Floats,
) -> None:
    for i in range(sector.shape[0]):
        if sector.shape[1] > 0 and one_assignment(sector[i], subsector[i]):
            s, u = sector[i, 0], subsector[i, 0]
            pair = pair_of[s + 1, u + 1]
            if s >= 0 and u >= 0 and pair >= 0:
                copy_row(on_market[s], sm[i])
                copy_row(on_market[u], um[i])
                copy_row(sub_on_sector[pair], us[i])
                continue
        for t in range(sector.shape[1]):
            s, u = sector[i, t], subsector[i, t]
            pair = pair_of[s + 1, u + 1]
            sm[i, t] = on_market[s, t] if s >= 0 else np.nan
            um[i, t] = on_market[u, t] if u >= 0 else np.nan
            us[i, t] = sub_on_sector[pair, t] if pair >= 0 else np.nan


def links_of_stocks(links: LinkBetas, pairs: Codes, sector: Codes, subsector: Codes) -> tuple[Floats, Floats, Floats]:
    """(lambda_sm, lambda_um, lambda_us), each (n, T'), of each stock's ETFs at each session; NaN without the ETF.

    pairs: (P, 2) = (subsector, sector) rows as given to `link_betas`; sector, subsector: (n, T') rows of etf, -1 none.
    """
    n_etf, sessions = links.on_market.shape
    for name, codes in (("sector", sector), ("subsector", subsector)):
        if codes.ndim != 2 or codes.shape[1] != sessions or codes.shape != sector.shape:
            raise ValueError(f"{name} is (n, {sessions}) like the link betas; found {codes.shape}")
        if codes.size and not (codes.min() >= -1 and codes.max() < n_etf):
            raise ValueError(f"{name} holds rows of etf, -1 to {n_etf - 1}; found {codes.min()} to {codes.max()}")
    pair_of = np.full((n_etf + 1, n_etf + 1), -1, np.int64)
    pairs = np.asarray(pairs).reshape(-1, 2)
    pair_of[pairs[:, 1] + 1, pairs[:, 0] + 1] = np.arange(len(pairs))
    out = (np.empty(sector.shape), np.empty(sector.shape), np.empty(sector.shape))
    _links_of_stocks(
        as_input(links.on_market, np.float64),
        as_input(links.sub_on_sector, np.float64),
        pair_of,
        as_input(sector, np.int16),
        as_input(subsector, np.int16),
        *out,
    )
    return out


@kernel(
    "void(f8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1], f8[::1], f8[::1], f8[::1],f8[:,::1], f8[:,::1], f8[:,::1])"
)
def _decompose(
    r: Floats,
    m: Floats,
    s: Floats,
    u: Floats,
    beta: Floats,
    sm: Floats,
    um: Floats,
    us: Floats,
    factor: Floats,
    combined: Floats,
    residual: Floats,
) -> None:
    for j in range(r.size):
        cleaned = s[j] - sm[j] * m[j]
        first = beta[0, j] * m[j]
        second = beta[1, j] * cleaned
        third = beta[2, j] * ((u[j] - um[j] * m[j]) - us[j] * cleaned)
        factor[0, j], factor[1, j], factor[2, j] = first, second, third
        combined[0, j], combined[1, j], combined[2, j] = first, first + second, first + second + third
        residual[0, j], residual[1, j] = r[j] - first, r[j] - (first + second)
        residual[2, j] = r[j] - (first + second + third)


def decompose(
    r_t: Floats, m_t: Floats, s_t: Floats, u_t: Floats, beta: Floats, lambdas: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """(factor_return, combined, residual), each (3, ...), of the session whose returns and betas are given.

        factor_return: beta_m m | beta_s s* | beta_u u*    combined: their cumulative sum    residual: r - combined

    r_t, m_t, s_t, u_t: (...) returns of the session; beta: (3, ...); lambdas: lambda_sm, lambda_um, lambda_us, (...)
    A level without beta is NaN, and so are the combined and residual returns from there on.
    """
    beta = np.asarray(beta)
    shape = beta.shape[1:]
    out = (np.empty((3, *shape)), np.empty((3, *shape)), np.empty((3, *shape)))
    sm, um, us = lambdas
    _decompose(
        _row(r_t, shape),
        _row(m_t, shape),
        _row(s_t, shape),
        _row(u_t, shape),
        _rows(beta),
        _row(sm, shape),
        _row(um, shape),
        _row(us, shape),
        _rows(out[0]),
        _rows(out[1]),
        _rows(out[2]),
    )
    return out


def _row(x: Floats, shape: tuple[int, ...]) -> Floats:
    """x broadcast to `shape` and laid out flat."""
    return as_input(np.broadcast_to(x, shape), np.float64).reshape(-1)


def _rows(x: Floats) -> Floats:
    """(k, ...) laid out as (k, N); a view when x is contiguous."""
    return as_input(x, np.float64).reshape(len(x), -1)


def lstar_level(sector_share: Floats, subsector_share: Floats, threshold: float) -> Bytes:
    """Hedge depth L*: 3 if the L3 subsector share reaches the threshold, else 2 if the L2 sector share does, else 1.

    0 when both are missing. sector_share: L2_sector_ER, subsector_share: L3_subsector_ER, of one shape.
    """
    depth = np.where(subsector_share >= threshold, 3, np.where(sector_share >= threshold, 2, 1))
    return np.where(np.isnan(sector_share) & np.isnan(subsector_share), 0, depth).astype(np.uint8)
