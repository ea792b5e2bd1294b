"""Hedge ratios on raw ETF returns, and the decomposition of one session (docs/methodology.md, sections 6, 7 and 9).

    E_u = beta_u
    E_s = beta_s - beta_u lambda_us
    E_m = beta_m - beta_s lambda_sm - beta_u (lambda_um - lambda_us lambda_sm)        HR = -E

Negative: short the ETF, in dollars per dollar long the stock. The product lambda_us lambda_sm is what the cleaned
sector inside the cleaned subsector gives back to the market; without it a "hedged" stock keeps that market beta.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.model.assignments import one_assignment
from pipeline.model.compiled import (
    Bytes,
    Codes,
    Codes2D,
    Floats,
    Floats1D,
    Floats2D,
    Floats3D,
    Ints2D,
    as_input,
    check_out,
    kernel,
)
from pipeline.model.link_betas import LinkBetas

HEDGE_RATIOS = ("L1_market_HR", "L2_market_HR", "L2_sector_HR", "L3_market_HR", "L3_sector_HR", "L3_subsector_HR")
"""Order of the first axis of the hedge ratios."""


class Links(NamedTuple):
    """lambda_sm, lambda_um, lambda_us of one stock's sessions, or of any cells laid out flat."""

    sm: Floats1D
    um: Floats1D
    us: Floats1D


class Assigned(NamedTuple):
    """Link betas (E, T') and (P, T'), and whose they are: rows of etf (n, T'), -1 none.

    pair_of: table [sector + 1, subsector + 1] -> row of sub_on_sector, -1 none
    """

    on_market: Floats2D
    sub_on_sector: Floats2D
    pair_of: Ints2D
    sector: Codes2D
    subsector: Codes2D


@kernel
def _hedge_ratios(beta: Floats3D, i: int, links: Links, out: Floats3D) -> None:
    """Row i of out (6, n, T) from row i of beta (3, n, T) and one link beta of each kind a session."""
    sm, um, us = links
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
    """Dollars of each ETF per dollar long the stock, negative for short (docs/methodology.md, section 6).

    Returns (6, ...) in the order of `HEDGE_RATIOS`, from adjusted betas (3, ...) and link betas that broadcast to
    (...). A level without beta or link beta is NaN. out: an array to write into and to return; ValueError if it is not
    float64 (6, ...), C-contiguous and writeable.

    >>> import numpy as np
    >>> from pipeline.model import hedge_ratios
    >>> hedge_ratios(np.array([1.2, 0.7, 0.4]), lambda_sm=1.1, lambda_um=0.9, lambda_us=0.5).round(2)
    array([-1.2 , -0.43, -0.7 , -0.29, -0.5 , -0.4 ])
    """
    shape = beta.shape[1:]
    out = np.empty((6, *shape)) if out is None else out
    check_out(out, (6, *shape), np.float64)
    links = Links(_row(lambda_sm, shape), _row(lambda_um, shape), _row(lambda_us, shape))
    _hedge_ratios(_rows(beta)[:, None], 0, links, _rows(out)[:, None])
    return out


@kernel
def _links_of_stock(of: Assigned, i: int, out: Links) -> None:
    for t in range(of.sector.shape[1]):
        s, u = of.sector[i, t], of.subsector[i, t]
        pair = of.pair_of[s + 1, u + 1]
        out.sm[t] = of.on_market[s, t] if s >= 0 else np.nan
        out.um[t] = of.on_market[u, t] if u >= 0 else np.nan
        out.us[t] = of.sub_on_sector[pair, t] if pair >= 0 else np.nan


@kernel
def _links_of_stocks(of: Assigned, out: tuple[Floats2D, Floats2D, Floats2D]) -> None:
    sm, um, us = out
    for i in range(of.sector.shape[0]):
        _links_of_stock(of, i, Links(sm[i], um[i], us[i]))


@kernel
def _hedge_ratios_of_stocks(beta: Floats3D, of: Assigned, row: Links, out: Floats3D) -> None:
    """row: (T',) scratch."""
    for i in range(of.sector.shape[0]):
        if of.sector.shape[1] > 0 and one_assignment(of.sector[i], of.subsector[i]):
            s, u = of.sector[i, 0], of.subsector[i, 0]
            pair = of.pair_of[s + 1, u + 1]
            if s >= 0 and u >= 0 and pair >= 0:
                _hedge_ratios(beta, i, Links(of.on_market[s], of.on_market[u], of.sub_on_sector[pair]), out)
                continue
        _links_of_stock(of, i, row)
        _hedge_ratios(beta, i, row, out)


def _assigned(links: LinkBetas, pairs: Codes, sector: Codes, subsector: Codes) -> Assigned:
    """Checked: ValueError says which array has which wrong shape or rows."""
    n_etf, sessions = links.on_market.shape
    for name, codes in (("sector", sector), ("subsector", subsector)):
        if codes.ndim != 2 or codes.shape[1] != sessions or codes.shape != sector.shape:
            raise ValueError(f"{name} is (n, {sessions}) like the link betas; found {codes.shape}")
        if codes.size and not (codes.min() >= -1 and codes.max() < n_etf):
            raise ValueError(f"{name} holds rows of etf, -1 to {n_etf - 1}; found {codes.min()} to {codes.max()}")
    pair_of = np.full((n_etf + 1, n_etf + 1), -1, np.int64)
    pairs = np.asarray(pairs).reshape(-1, 2)
    pair_of[pairs[:, 1] + 1, pairs[:, 0] + 1] = np.arange(len(pairs))
    return Assigned(
        as_input(links.on_market, np.float64),
        as_input(links.sub_on_sector, np.float64),
        pair_of,
        as_input(sector, np.int16),
        as_input(subsector, np.int16),
    )


def links_of_stocks(links: LinkBetas, pairs: Codes, sector: Codes, subsector: Codes) -> tuple[Floats, Floats, Floats]:
    """(lambda_sm, lambda_um, lambda_us), each (n, T'), of each stock's ETFs at each session; NaN without the ETF.

    pairs: (P, 2) = (subsector, sector) rows as given to `link_betas`; sector, subsector: (n, T') rows of etf, -1 none.
    Raises ValueError for arrays of other shapes and rows that the link betas do not have.

    >>> import numpy as np
    >>> from pipeline.model import LinkBetas, links_of_stocks
    >>> links = LinkBetas(on_market=np.array([[1.0], [1.1], [0.9]]), sub_on_sector=np.array([[0.5]]))
    >>> pairs, sector = np.array([[2, 1]], np.int16), np.array([[1], [1]], np.int16)
    >>> sm, um, us = links_of_stocks(links, pairs, sector, np.array([[2], [-1]], np.int16))
    >>> sm.T, um.T, us.T
    (array([[1.1, 1.1]]), array([[0.9, nan]]), array([[0.5, nan]]))
    """
    out = (np.empty(sector.shape), np.empty(sector.shape), np.empty(sector.shape))
    _links_of_stocks(_assigned(links, pairs, sector, subsector), out)
    return out


def hedge_ratios_of_stocks(
    beta: Floats, links: LinkBetas, pairs: Codes, sector: Codes, subsector: Codes, out: Floats | None = None
) -> Floats:
    """`hedge_ratios` of stocks with the link betas of their ETFs, (6, n, T').

    beta: (3, n, T') adjusted; the other arguments and errors as for `links_of_stocks`; out: as for `hedge_ratios`.

    >>> import numpy as np
    >>> from pipeline.model import LinkBetas, hedge_ratios_of_stocks
    >>> links = LinkBetas(on_market=np.array([[1.0], [1.1], [0.9]]), sub_on_sector=np.array([[0.5]]))
    >>> pairs, sector, subsector = (np.array([row], np.int16) for row in ([2, 1], [1], [2]))
    >>> hedge_ratios_of_stocks(np.array([1.2, 0.7, 0.4]).reshape(3, 1, 1), links, pairs, sector, subsector)[5]
    array([[-0.4]])
    """
    assigned = _assigned(links, pairs, sector, subsector)
    beta = as_input(beta, np.float64)
    if beta.shape != (3, *sector.shape):
        raise ValueError(f"beta is {(3, *sector.shape)}; found {beta.shape}")
    out = np.empty((6, *sector.shape)) if out is None else out
    check_out(out, (6, *sector.shape), np.float64)
    _hedge_ratios_of_stocks(beta, assigned, Links(*np.empty((3, sector.shape[1]))), out)
    return out


class Session(NamedTuple):
    """Returns of the stocks and of each one's ETFs, laid out flat."""

    r: Floats1D
    m: Floats1D
    s: Floats1D
    u: Floats1D


class Parts(NamedTuple):
    """The outputs of `decompose`, (3, N) each."""

    factor: Floats2D
    combined: Floats2D
    residual: Floats2D


@kernel
def _decompose(session: Session, beta: Floats2D, links: Links, out: Parts) -> None:
    r, m, s, u = session
    factor, combined, residual = out
    for j in range(r.size):
        cleaned = s[j] - links.sm[j] * m[j]
        first = beta[0, j] * m[j]
        second = beta[1, j] * cleaned
        third = beta[2, j] * ((u[j] - links.um[j] * m[j]) - links.us[j] * cleaned)
        factor[0, j], factor[1, j], factor[2, j] = first, second, third
        combined[0, j], combined[1, j], combined[2, j] = first, first + second, first + second + third
        residual[0, j], residual[1, j] = r[j] - first, r[j] - (first + second)
        residual[2, j] = r[j] - (first + second + third)


def decompose(
    r_t: Floats, m_t: Floats, s_t: Floats, u_t: Floats, beta: Floats, lambdas: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """The returns of a session, taken apart with its betas (docs/methodology.md, section 7).

    Returns (factor_return, combined, residual), each (3, ...):

        factor_return: beta_m m | beta_s s* | beta_u u*    combined: their cumulative sum    residual: r - combined

    r_t, m_t, s_t, u_t: (...) returns of the stock and of its ETFs (0.01 is 1 %); beta: (3, ...);
    lambdas: lambda_sm, lambda_um, lambda_us, (...)
    A level without beta is NaN, and so are the combined and residual returns from there on. All broadcast to the shape
    of beta[0]; ValueError where that cannot be.

    >>> import numpy as np
    >>> from pipeline.model import decompose
    >>> factor, combined, residual = decompose(0.03, 0.01, 0.02, 0.0, np.array([1.2, 0.5, np.nan]), (1.0, 1.0, 0.5))
    >>> factor.round(3), residual.round(3)
    (array([0.012, 0.005,   nan]), array([0.018, 0.013,   nan]))
    """
    beta = np.asarray(beta)
    shape = beta.shape[1:]
    out = (np.empty((3, *shape)), np.empty((3, *shape)), np.empty((3, *shape)))
    session = Session(_row(r_t, shape), _row(m_t, shape), _row(s_t, shape), _row(u_t, shape))
    sm, um, us = lambdas
    links = Links(_row(sm, shape), _row(um, shape), _row(us, shape))
    _decompose(session, _rows(beta), links, Parts(*map(_rows, out)))
    return out


def _row(x: Floats, shape: tuple[int, ...]) -> Floats:
    """x broadcast to `shape` and laid out flat."""
    return as_input(np.broadcast_to(x, shape), np.float64).reshape(-1)


def _rows(x: Floats) -> Floats:
    """(k, ...) laid out as (k, N); a view when x is contiguous."""
    return as_input(x, np.float64).reshape(len(x), -1)


def lstar_level(sector_share: Floats, subsector_share: Floats, threshold: float) -> Bytes:
    """Hedge depth L*: 3 if the L3 subsector share reaches the threshold, else 2 if the L2 sector share does, else 1.

    0 when both are missing. sector_share: L2_sector_ER, subsector_share: L3_subsector_ER, of one shape
    (docs/methodology.md, section 9).

    >>> import numpy as np
    >>> from pipeline.model import lstar_level
    >>> lstar_level(np.array([0.02, 0.20, 0.20, np.nan]), np.array([0.01, 0.01, 0.10, np.nan]), threshold=0.05)
    array([1, 2, 3, 0], dtype=uint8)
    """
    depth = np.where(subsector_share >= threshold, 3, np.where(sector_share >= threshold, 2, 1))
    return np.where(np.isnan(sector_share) & np.isnan(subsector_share), 0, depth).astype(np.uint8)
