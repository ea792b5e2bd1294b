"""One company's life: its true returns, its raw closes and events, its end, its share counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sources.simulated.factors import SESSIONS_A_YEAR, Array, FactorReturns
from pipeline.sources.simulated.industries import industries
from pipeline.sources.simulated.roster import Company
from pipeline.sources.simulated.streams import stream
from pipeline.sources.simulated.walk import Path, to_tick, walk

QUARTER = 63
EARNINGS_SIZE = 3.0
DECLINE = 189
"""Sessions of decline before an exchange drop or a bankruptcy."""
JUMPY_INDUSTRY = "4110"
JUMPS_A_YEAR = 0.25
SPECIALS_A_YEAR = 0.005
IMPUTED_DELISTING_RETURN = {"NYSE": -0.30, "NASDAQ": -0.55}


@dataclass(frozen=True)
class Delisting:
    """How it ended: `reason` as in the delistings table; value: what a holder got for the last close, as a return."""

    reason: str
    cash: float
    successor_code: str
    successor_ratio: float
    value: float


@dataclass(frozen=True, eq=False)
class Life:
    """A company from `company.start` on, per session up to its last one or the end of the horizon.

    returns: (T,) true total returns, NaN on the first session; own: (T,) the part that no factor explains; path:
    exact closes and events; outstanding: (T,) true share count; jumps: index -> size of the jumps planted in `own`.
    """

    company: Company
    returns: Array
    own: Array
    path: Path
    outstanding: Array
    jumps: dict[int, float]
    delisting: Delisting | None

    @property
    def close(self) -> Array:
        """(T,) closes as quoted."""
        return to_tick(self.path.close)


@dataclass(frozen=True, eq=False)
class Elder:
    """The first company of a slot, and its closes as quoted from its first session on."""

    company: Company
    close: Array


def live(seed: int, company: Company, factors: FactorReturns, last: int, elders: dict[int, Elder]) -> Life:
    """The company's life up to session `last` at most.

    elders: lives of the first companies of lower slots; one of them is the successor in a merger for stock.
    """
    T = min(company.last, last) - company.start + 1
    own, jumps = _own_returns(seed, company, factors, T)
    returns = np.clip(_factor_part(company, factors, T) + own, -0.85, 4.0)
    own = own + (returns - (_factor_part(company, factors, T) + own))
    sessions = np.arange(company.start, company.start + T)
    path = walk(
        returns,
        company.price,
        quarterly=(sessions + company.pay_phase) % QUARTER == 0,
        quarterly_yield=company.pays / 4,
        special=_specials(seed, company, factors.first, T),
        spun_off=np.zeros(T),
        fx=np.ones(T),
        split_above=company.split_above,
        split_to=company.split_to,
        last_split=company.last - company.start - (DECLINE if company.end in ("exchange_drop", "bankruptcy") else 5),
    )
    years = np.arange(T) / SESSIONS_A_YEAR
    outstanding = company.shares * path.shares * np.exp(company.growth * years)
    returns[0] = own[0] = np.nan
    ended = company.last <= last
    delisting = _delisting(seed, company, to_tick(path.close[-1:])[0], elders) if ended else None
    return Life(company, returns, own, path, outstanding, jumps, delisting)


def _factor_part(company: Company, factors: FactorReturns, T: int) -> Array:
    """(T,) what the factors explain; a reclassified company moves to the factors of its new industry."""
    at = slice(company.start - factors.first, company.start - factors.first + T)
    beta_m, beta_s, beta_u = company.betas
    part = beta_m * factors.market[at]
    move = min(max(company.reclassified_at - company.start, 0), T)
    for code, span in ((company.industry, slice(0, move)), (company.new_industry, slice(move, T))):
        industry = industries()[code]
        part[span] += beta_s * factors.of_etf[industry.sector][at][span]
        part[span] += beta_u * factors.of_etf[industry.subsector][at][span]
    return part


def _own_returns(seed: int, company: Company, factors: FactorReturns, T: int) -> tuple[Array, dict[int, float]]:
    daily = company.vol / np.sqrt(SESSIONS_A_YEAR)
    at = slice(company.start - factors.first, company.start - factors.first + T)
    own = stream(seed, "own", company.key).standard_t(4, T) / np.sqrt(2) * daily * np.sqrt(factors.volstate[at])
    sessions = np.arange(company.start, company.start + T)
    earnings = (sessions + company.number * 17) % QUARTER == 0
    own[earnings] += EARNINGS_SIZE * daily * stream(seed, "earnings", company.key).standard_normal(int(earnings.sum()))
    if company.end in ("exchange_drop", "bankruptcy"):
        own[max(company.last - DECLINE - company.start, 0) :] -= 0.6 / SESSIONS_A_YEAR
    jumps: dict[int, float] = {}
    if company.industry == JUMPY_INDUSTRY:
        draws = stream(seed, "jumps", company.key).random((T, 2))
        for k in np.flatnonzero(draws[:, 0] < JUMPS_A_YEAR / SESSIONS_A_YEAR):
            size = 0.4 + 0.3 * (draws[k, 1] % 0.5) * 2
            jumps[int(k)] = size if draws[k, 1] < 0.5 else -size
            own[k] += jumps[int(k)]
    return own, jumps


def _specials(seed: int, company: Company, first: int, T: int) -> Array:
    draws = stream(seed, "specials", company.key).random((T, 2))
    drawn = (draws[:, 0] < SPECIALS_A_YEAR / SESSIONS_A_YEAR) & (np.arange(T) > 20)
    specials = np.where(drawn, 0.03 + 0.37 * draws[:, 1] ** 2, 0.0)
    for offset, size in company.role.special_at.items():
        if company.start == first and offset < T:
            specials[offset] = size
    return specials


def _delisting(seed: int, company: Company, last_close: float, elders: dict[int, Elder]) -> Delisting:
    u, v = stream(seed, "delisting", company.key).random(2)
    if company.end == "stock_merger":
        successor = _successor(company, elders)
        if successor is not None:
            paid = successor.close[company.last - successor.company.start]
            ratio = float(np.round(last_close * (1 + 0.02 * (u - 0.3)) / paid, 4))
            if ratio > 0:
                return Delisting("merger", np.nan, successor.company.vendor_code, ratio, ratio * paid / last_close - 1)
    if company.end in ("cash_merger", "stock_merger"):
        cash = np.round(last_close * (1 + 0.015 * u), 2)
        return Delisting("merger", cash, "", np.nan, cash / last_close - 1)
    if company.end in ("exchange_drop", "bankruptcy"):
        if v < 0.4:  # nobody knows what a holder got
            return Delisting(company.end, np.nan, "", np.nan, IMPUTED_DELISTING_RETURN[company.exchange])
        share = 0.15 + 0.6 * u if company.end == "exchange_drop" else 0.1 * u
        cash = np.round(last_close * share, 4)
        return Delisting(company.end, cash, "", np.nan, cash / last_close - 1)
    cash = np.round(last_close * (0.97 + 0.05 * u), 2)
    return Delisting(company.end, cash, "", np.nan, cash / last_close - 1)


def _successor(company: Company, elders: dict[int, Elder]) -> Elder | None:
    """The nearest lower slot whose first company trades on, in the session after the last one too."""
    for slot in range(company.slot - 1, -1, -1):
        elder = elders.get(slot)
        if elder is not None and elder.company.last > company.last + 5:
            return elder
    return None
