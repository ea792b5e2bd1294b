"""One company's life: its true returns, its raw closes and events, when it traded, how it ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.simulated.factors import SESSIONS_A_YEAR, Array, FactorReturns
from pipeline.sources.simulated.industries import industries
from pipeline.sources.simulated.roster import QUARTER, Company
from pipeline.sources.simulated.walk import Path, to_tick, walk
from pipeline.sources.streams import stream

EARNINGS_SIZE = 3.0
"""Standard deviation of the move on a results day, in daily ones."""
DECLINE = 189
"""Sessions of decline before an exchange drop or a bankruptcy."""
JUMPY_INDUSTRY = "4110"
JUMPS_A_YEAR = 0.25
SPECIALS_A_YEAR = 0.005
CLASS_NOISE = 0.001
"""Daily standard deviation between two classes of one issuer."""
IMPUTED_DELISTING_RETURN = {"NYSE": -0.30, "NASDAQ": -0.55}
"""What a drop from the exchange is taken to have cost when nobody knows."""


@dataclass(frozen=True)
class Delisting:
    """How it ended: `reason`, `cash` and successor as in the delistings table; value: the holder's last return."""

    reason: str
    cash: float
    successor_code: str
    successor_ratio: float
    value: float


@dataclass(frozen=True, eq=False)
class Life:
    """A company from `company.start` on, per session up to its last one or the end of the horizon.

    returns: (T,) true total returns, NaN on the first session; own: (T,) the part that no factor explains; path:
    exact closes and events; outstanding: (T,) true share count; halted: (T,) no row is printed; quiet: (T,) nobody
    trades and the last close is printed again; jumps: index -> size of the jumps in `own`.
    """

    company: Company
    returns: Array
    own: Array
    path: Path
    outstanding: Array
    halted: NDArray[np.bool_]
    quiet: NDArray[np.bool_]
    jumps: dict[int, float]
    delisting: Delisting | None

    @property
    def close(self) -> Array:
        """(T,) closes as quoted, had it traded every day."""
        return to_tick(self.path.close)


@dataclass(frozen=True, eq=False)
class Elder:
    """The first company of a slot, and its closes as quoted from its first session on."""

    company: Company
    close: Array


def live(
    seed: int,
    company: Company,
    factors: FactorReturns,
    fx_rates: dict[str, Array],
    last: int,
    elders: dict[int, Elder],
    sibling: Life | None = None,
) -> Life:
    """The company's life up to session `last` at most.

    elders: first companies of lower slots; one of them is the successor in a merger for stock. sibling: the life of
    the issuer's first class, for a second one.
    """
    T = min(company.last, last) - company.start + 1
    at = slice(company.start - factors.first, company.start - factors.first + T)
    if sibling is None:
        own, jumps = _own_returns(seed, company, factors.volstate[at])
    else:
        own = np.nan_to_num(sibling.own) + CLASS_NOISE * stream(seed, "own", company.key).standard_normal(T)
        jumps = sibling.jumps
    common = _common_returns(company, factors, at)
    returns = np.clip(common + own, -0.85, 4.0)
    specials = _by_index(company, company.specials, T) + _drawn_specials(seed, company, T)
    path = walk(
        returns,
        company.price,
        quarterly=(np.arange(company.start, company.start + T) + company.pay_phase) % QUARTER == 0,
        quarterly_yield=company.pays / 4,
        special=specials,
        spun_off=_by_index(company, {company.spin_off[0]: company.spin_off[1]}, T),
        fx=fx_rates[company.currency][at] if company.currency != "USD" else np.ones(T),
        planned={session - company.start: ratio for session, ratio in company.splits.items()},
        split_above=company.split_above,
        split_to=company.split_to,
        last_split=company.last - company.start - (DECLINE if _fails(company) else 5),
    )
    years = np.arange(T) / SESSIONS_A_YEAR
    outstanding = company.shares * path.shares * np.exp(company.growth * years)
    own = returns - common
    returns[0] = own[0] = np.nan
    halted = np.zeros(T, bool)
    for session, count in company.halts:
        begin = max(session - company.start, 1)
        halted[begin : max(begin, session + count - company.start)] = True
    delisting = None
    if company.last <= last:
        delisting = _delisting(seed, company, float(to_tick(path.close[-1:])[0]), elders)
    quiet = _quiet(seed, company, path) & ~halted
    return Life(company, returns, own, path, outstanding, halted, quiet, jumps, delisting)


def _fails(company: Company) -> bool:
    return company.end in ("exchange_drop", "bankruptcy")


def _by_index(company: Company, by_session: dict[int, float], T: int) -> Array:
    values = np.zeros(T)
    for session, value in by_session.items():
        if 0 < session - company.start < T:
            values[session - company.start] = value
    return values


def _common_returns(company: Company, factors: FactorReturns, at: slice) -> Array:
    """(T,) what the factors explain; a reclassified company moves to the factors of its new industry."""
    beta_m, beta_s, beta_u = company.betas
    common = beta_m * factors.market[at]
    move = max(company.reclassified_at - company.start, 0)
    for code, span in ((company.industry, slice(0, move)), (company.new_industry, slice(move, None))):
        industry = industries()[code]
        common[span] += beta_s * factors.of_etf[industry.sector][at][span]
        common[span] += beta_u * factors.of_etf[industry.subsector][at][span]
    return common


def _own_returns(seed: int, company: Company, volstate: Array) -> tuple[Array, dict[int, float]]:
    """Student-t(4) noise of mean 0, moves on results days, the decline of who fails, and rare jumps."""
    T = len(volstate)
    daily = company.vol / np.sqrt(SESSIONS_A_YEAR)
    own = stream(seed, "own", company.key).standard_t(4, T) / np.sqrt(2) * daily * np.sqrt(volstate)
    results = (np.arange(company.start, company.start + T) + company.number * 17) % QUARTER == 0
    own[results] += EARNINGS_SIZE * daily * stream(seed, "results", company.key).standard_normal(int(results.sum()))
    if _fails(company):
        own[max(company.last - DECLINE - company.start, 0) :] -= 0.6 / SESSIONS_A_YEAR
    jumps = {session - company.start: size for session, size in company.jumps.items() if session - company.start < T}
    if company.industry == JUMPY_INDUSTRY:
        draws = stream(seed, "jumps", company.key).random((T, 2))
        for t in np.flatnonzero(draws[:, 0] < JUMPS_A_YEAR / SESSIONS_A_YEAR).tolist():
            if t > 0:
                size = 0.4 + 0.6 * (draws[t, 1] % 0.5)
                jumps[t] = float(size if draws[t, 1] < 0.5 else -size)
    for t, size in jumps.items():
        own[t] += size
    return own, jumps


def _drawn_specials(seed: int, company: Company, T: int) -> Array:
    draws = stream(seed, "specials", company.key).random((T, 2))
    drawn = (draws[:, 0] < SPECIALS_A_YEAR / SESSIONS_A_YEAR) & (np.arange(T) > 20)
    return np.where(drawn, 0.03 + 0.37 * draws[:, 1] ** 2, 0.0)


def _quiet(seed: int, company: Company, path: Path) -> NDArray[np.bool_]:
    """Days without a trade: not the first or last one, and not a day on which something goes ex."""
    T = len(path.close)
    quiet = np.zeros(T, bool)
    if company.quiet_days > 0:
        quiet = stream(seed, "quiet days", company.key).random(T) < company.quiet_days
        quiet &= (path.regular == 0) & (path.special == 0) & (path.new == path.old) & (path.spun_off == 0)
        quiet[0] = False
        if company.last - company.start < T:
            quiet[-1] = False
    return quiet


def _delisting(seed: int, company: Company, last_close: float, elders: dict[int, Elder]) -> Delisting:
    u, v = stream(seed, "delisting", company.key).random(2)
    if company.end == "stock_merger":
        successor = _successor(company, elders)
        if successor is not None:
            paid = successor.close[company.last - successor.company.start]
            ratio = float(np.round(last_close * (1 + 0.02 * (u - 0.3)) / paid, 4))
            if ratio > 0:
                code = successor.company.code_on(company.last)
                return Delisting("merger", np.nan, code, ratio, float(ratio * paid / last_close - 1))
    if company.end in ("cash_merger", "stock_merger"):
        reason, cash = "merger", np.round(last_close * (1 + 0.015 * u), 2)
    elif _fails(company) and v < 0.4:
        return Delisting(company.end, np.nan, "", np.nan, IMPUTED_DELISTING_RETURN[company.exchange])
    elif _fails(company):
        reason = company.end
        cash = np.round(last_close * (0.15 + 0.6 * u if reason == "exchange_drop" else 0.1 * u), 4)
    else:
        reason, cash = company.end, np.round(last_close * (0.97 + 0.05 * u), 2)
    return Delisting(reason, float(cash), "", np.nan, float(cash / last_close - 1))


def _successor(company: Company, elders: dict[int, Elder]) -> Elder | None:
    """The nearest lower slot whose first company is there to stay."""
    for slot in range(company.slot - 1, -1, -1):
        if slot in elders and elders[slot].company.last > company.last + 5:
            return elders[slot]
    return None
