"""Hedge ratios on raw ETF returns (docs/methodology.md, section 6).

    E_u = beta_u
    E_s = beta_s - beta_u lambda_us
    E_m = beta_m - beta_s lambda_sm - beta_u (lambda_um - lambda_us lambda_sm)        HR = -E

Negative: short the ETF, in dollars per dollar long the stock. The product lambda_us lambda_sm is what the cleaned
sector inside the cleaned subsector gives back to the market; without it a "hedged" stock keeps that market beta.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.compiled import Codes, Floats
from pipeline.model.link_betas import LinkBetas

HEDGE_RATIOS = ("L1_market_HR", "L2_market_HR", "L2_sector_HR", "L3_market_HR", "L3_sector_HR", "L3_subsector_HR")
"""Order of the first axis of the hedge ratios."""


def hedge_ratios(beta: Floats, lambda_sm: Floats, lambda_um: Floats, lambda_us: Floats) -> Floats:
    """(6, ...) in the order of `HEDGE_RATIOS`, from adjusted betas (3, ...) and link betas (...).

    A level without beta or link beta is NaN.
    """
    beta_m, beta_s, beta_u = beta
    ratios = np.empty((6, *beta.shape[1:]))
    ratios[0] = -beta_m
    ratios[1] = -(beta_m - beta_s * lambda_sm)
    ratios[2] = -beta_s
    ratios[3] = ratios[1] + beta_u * (lambda_um - lambda_us * lambda_sm)
    ratios[4] = -(beta_s - beta_u * lambda_us)
    ratios[5] = -beta_u
    return ratios


def links_of_stocks(links: LinkBetas, pairs: Codes, sector: Codes, subsector: Codes) -> tuple[Floats, Floats, Floats]:
    """(lambda_sm, lambda_um, lambda_us), each (n, T'), of each stock's ETFs at each session; NaN without the ETF.

    pairs: (P, 2) = (subsector, sector) rows as given to `link_betas`; sector, subsector: (n, T') rows of etf, -1 none.
    """
    at = np.arange(sector.shape[1])
    n_etf = len(links.on_market)
    pair_of = np.full((n_etf + 1, n_etf + 1), -1)
    pair_of[pairs[:, 1], pairs[:, 0]] = np.arange(len(pairs))
    pair = pair_of[sector, subsector]  # -1 addresses the last row or column, which stay -1
    lambda_sm = np.where(sector >= 0, links.on_market[sector, at], np.nan)
    lambda_um = np.where(subsector >= 0, links.on_market[subsector, at], np.nan)
    if len(pairs) == 0:
        return lambda_sm, lambda_um, np.full(sector.shape, np.nan)
    return lambda_sm, lambda_um, np.where(pair >= 0, links.sub_on_sector[pair, at], np.nan)
