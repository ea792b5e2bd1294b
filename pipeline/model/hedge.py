"""Hedge ratios on raw ETF returns, and the decomposition of one session (docs/methodology.md, sections 6, 7 and 9).

    E_u = beta_u
    E_s = beta_s - beta_u lambda_us
    E_m = beta_m - beta_s lambda_sm - beta_u (lambda_um - lambda_us lambda_sm)        HR = -E

Negative: short the ETF, in dollars per dollar long the stock. The product lambda_us lambda_sm is what the cleaned
sector inside the cleaned subsector gives back to the market; without it a "hedged" stock keeps that market beta.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.compiled import Bytes, Codes, Floats, Ints, as_input, check_out, kernel
from pipeline.model.link_betas import LinkBetas
from pipeline.model.rolling_sums import one_assignment

HEDGE_RATIOS = ("L1_market_HR", "L2_market_HR", "L2_sector_HR", "L3_market_HR", "L3_sector_HR", "L3_subsector_HR")
"""Order of the first axis of the hedge ratios."""


@kernel("void(f8[:,:,::1], i8, f8[::1], f8[::1], f8[::1], f8[:,:,::1])")
def _hedge_ratios(beta: Floats, i: int, sm: Floats, um: Floats, us: Floats, out: Floats) -> None:
    """Row i of out (6, n, T) from row i of beta (3, n, T) and one link beta of each kind a session."""
    b_m, b_s, b_u = beta[0, i], beta[1, i], beta[2, i]
    l1_m, l2_m, l2_s, l3_m, l3_s, l3_u = out[0, i], out[1, i], out[2, i], out[3, i], out[4, i], out[5, i]
    for j in range(sm.size):
        l1_m[j] = -b_m[j]
        l2_m[j] = -(b_m[j] - b_s[j] * sm[j])
        l2_s[j] = -b_s[j]
        l3_m[j] = -(b_m[j] - b_s[j] * sm[j] - b_u[j] * (um[j] - us[j] * sm[j]))
        l3_s[j] = -(b_s[j] - b_u[j] * us[j])
        l3_u[j] = -b_u[j]


def hedge_ratios(
    beta: Floats, lambda_sm: Floats, lambda_um: Floats, lambda_us: Floats, out: Floats | None = None
) -> Floats:
    """(6, ...) in the order of `HEDGE_RATIOS`, from adjusted betas (3, ...) and link betas (...).

    A level without beta or link beta is NaN. out: an array to write into and to return.
    """
    shape = beta.shape[1:]
    out = np.empty((6, *shape)) if out is None else out
    check_out(out, (6, *shape), np.float64)
    lambdas = _row(lambda_sm, shape), _row(lambda_um, shape), _row(lambda_us, shape)
    _hedge_ratios(_rows(beta)[:, None], 0, *lambdas, _rows(out)[:, None])
    return out


@kernel("void(f8[:,::1], f8[:,::1], i8[:,::1], i2[::1], i2[::1], f8[::1], f8[::1], f8[::1])")
def _links_of_stock(
    on_market: Floats,
    sub_on_sector: Floats,
    pair_of: Ints,
    sector: Codes,
    subsector: Codes,
    sm: Floats,
    um: Floats,
    us: Floats,
) -> None:
    for t in range(sector.size):
        s, u = sector[t], subsector[t]
        pair = pair_of[s + 1, u + 1]
        sm[t] = on_market[s, t] if s >= 0 else np.nan
        um[t] = on_market[u, t] if u >= 0 else np.nan
        us[t] = sub_on_sector[pair, t] if pair >= 0 else np.nan


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
        _links_of_stock(on_market, sub_on_sector, pair_of, sector[i], subsector[i], sm[i], um[i], us[i])


@kernel("void(f8[:,:,::1], f8[:,::1], f8[:,::1], i8[:,::1], i2[:,::1], i2[:,::1], f8[:,::1], f8[:,:,::1])")
def _hedge_ratios_of_stocks(
    beta: Floats,
    on_market: Floats,
    sub_on_sector: Floats,
    pair_of: Ints,
    sector: Codes,
    subsector: Codes,
    row: Floats,
    out: Floats,
) -> None:
    """row: (3, T) scratch."""
    for i in range(sector.shape[0]):
        if sector.shape[1] > 0 and one_assignment(sector[i], subsector[i]):
            s, u = sector[i, 0], subsector[i, 0]
            pair = pair_of[s + 1, u + 1]
            if s >= 0 and u >= 0 and pair >= 0:
                _hedge_ratios(beta, i, on_market[s], on_market[u], sub_on_sector[pair], out)
                continue
        _links_of_stock(on_market, sub_on_sector, pair_of, sector[i], subsector[i], row[0], row[1], row[2])
        _hedge_ratios(beta, i, row[0], row[1], row[2], out)


def _assigned(
    links: LinkBetas, pairs: Codes, sector: Codes, subsector: Codes
) -> tuple[Floats, Floats, Ints, Codes, Codes]:
    """The first arguments of the two kernels above, checked; `pair_of[s + 1, u + 1]` is a pair's row, -1 for none."""
    n_etf, sessions = links.on_market.shape
    for name, codes in (("sector", sector), ("subsector", subsector)):
        if codes.ndim != 2 or codes.shape[1] != sessions or codes.shape != sector.shape:
            raise ValueError(f"{name} is (n, {sessions}) like the link betas; found {codes.shape}")
        if codes.size and not (codes.min() >= -1 and codes.max() < n_etf):
            raise ValueError(f"{name} holds rows of etf, -1 to {n_etf - 1}; found {codes.min()} to {codes.max()}")
    pair_of = np.full((n_etf + 1, n_etf + 1), -1, np.int64)
    pairs = np.asarray(pairs).reshape(-1, 2)
    pair_of[pairs[:, 1] + 1, pairs[:, 0] + 1] = np.arange(len(pairs))
    return (
        as_input(links.on_market, np.float64),
        as_input(links.sub_on_sector, np.float64),
        pair_of,
        as_input(sector, np.int16),
        as_input(subsector, np.int16),
    )


def links_of_stocks(links: LinkBetas, pairs: Codes, sector: Codes, subsector: Codes) -> tuple[Floats, Floats, Floats]:
    """(lambda_sm, lambda_um, lambda_us), each (n, T'), of each stock's ETFs at each session; NaN without the ETF.

    pairs: (P, 2) = (subsector, sector) rows as given to `link_betas`; sector, subsector: (n, T') rows of etf, -1 none.
    """
    out = (np.empty(sector.shape), np.empty(sector.shape), np.empty(sector.shape))
    _links_of_stocks(*_assigned(links, pairs, sector, subsector), *out)
    return out


def hedge_ratios_of_stocks(
    beta: Floats, links: LinkBetas, pairs: Codes, sector: Codes, subsector: Codes, out: Floats | None = None
) -> Floats:
    """`hedge_ratios` of stocks with the link betas of their ETFs, (6, n, T').

    beta: (3, n, T') adjusted; the other arguments as for `links_of_stocks`; out: an array to write into and to return.
    """
    assigned = _assigned(links, pairs, sector, subsector)
    beta = as_input(beta, np.float64)
    if beta.shape != (3, *sector.shape):
        raise ValueError(f"beta is {(3, *sector.shape)}; found {beta.shape}")
    out = np.empty((6, *sector.shape)) if out is None else out
    check_out(out, (6, *sector.shape), np.float64)
    _hedge_ratios_of_stocks(beta, *assigned, np.empty((3, sector.shape[1])), out)
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
