"""Everything that happens in the simulated market: factors, ETFs, companies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.calendar import xnys
from pipeline.settings import SimulatedMarket
from pipeline.sources.cells import SourceError
from pipeline.sources.simulated.factors import Array, FactorReturns, factor_returns, fx_rates
from pipeline.sources.simulated.industries import ETF_STARTS
from pipeline.sources.simulated.life import Elder, Life, live
from pipeline.sources.simulated.roster import QUARTER, Company, companies_of_slot, second_class, spun_off_company
from pipeline.sources.simulated.walk import Path, walk
from pipeline.sources.streams import stream

AHEAD = 30
"""Sessions simulated beyond the last one that is shown: what is announced on the last session happens in them."""
ETF_SPLITS = {"XOP": (("2020-04-29", (1, 8)),)}
ETF_YIELD = 0.016
ETF_VOL = 0.2


@dataclass(frozen=True, eq=False)
class Fund:
    """An ETF: first session (ordinal), true total returns (T,) with NaN on the first, exact closes and events."""

    ticker: str
    start: int
    returns: Array
    path: Path
    shares: float


@dataclass(frozen=True, eq=False)
class World:
    """A market of `slots` slots. first, last: ordinals of the sessions shown; everything runs on to `end`."""

    seed: int
    slots: int
    first: int
    last: int
    end: int
    factors: FactorReturns
    fx_rates: dict[str, Array]
    funds: tuple[Fund, ...]

    def lives(self) -> Iterator[Life]:
        """Every security's life, one at a time, in the order of slots and listings; the same ones at every call.

        A second class and a spun-off company come directly after the company they belong to.
        """
        elders: dict[int, Elder] = {}
        for slot in range(self.slots):
            for company in companies_of_slot(self.seed, slot, self.first, self.end):
                life = self._live(company, elders)
                if company.generation == 0:
                    elders[slot] = Elder(company, life.close)
                yield life
                if company.dual_class:
                    yield self._live(second_class(self.seed, company), elders, sibling=life)
                ex = company.spin_off[0] - company.start
                if ex < len(life.returns):
                    value, shares = life.path.spun_off[ex], life.outstanding[ex]
                    yield self._live(spun_off_company(self.seed, company, value, shares), elders)

    def _live(self, company: Company, elders: dict[int, Elder], sibling: Life | None = None) -> Life:
        return live(self.seed, company, self.factors, self.fx_rates, self.end, elders, sibling)


def make_world(market: SimulatedMarket) -> World:
    """The market up to its last session. Raises SourceError for a range without two sessions."""
    calendar = xnys()
    first = int(calendar.on_or_after(np.datetime64(market.first_session)))
    last = int(calendar.on_or_before(np.datetime64(market.last_session)))
    if last <= first:
        raise SourceError(f"no two sessions from {market.first_session} to {market.last_session}", "simulated market")
    end = last + AHEAD
    if end >= len(calendar.sessions):
        raise SourceError(f"{market.last_session} is too near the calendar's end", "simulated market")
    factors = factor_returns(market.seed, first, end)
    funds = [_fund(market.seed, ticker, factors, end) for ticker in sorted(factors.etfs)]
    return World(
        seed=market.seed,
        slots=market.stocks,
        first=first,
        last=last,
        end=end,
        factors=factors,
        fx_rates=fx_rates(market.seed, first, end),
        funds=tuple(fund for fund in funds if fund is not None),
    )


def _fund(seed: int, ticker: str, factors: FactorReturns, end: int) -> Fund | None:
    """The ETF from its start on; None when it starts after the horizon."""
    start = factors.first
    if ticker in ETF_STARTS:
        start = max(start, int(xnys().on_or_after(np.datetime64(ETF_STARTS[ticker][0]))))
    if start > end:
        return None
    returns = factors.etfs[ticker][start - factors.first :].copy()
    T = len(returns)
    rng = stream(seed, "fund", ticker)
    price, phase = float(np.round(rng.uniform(25, 120), 2)), int(rng.integers(QUARTER))
    splits = {int(xnys().on_or_after(np.datetime64(day))) - start: ratio for day, ratio in ETF_SPLITS.get(ticker, ())}
    path = walk(
        returns,
        price,
        quarterly=(np.arange(start, start + T) + phase) % QUARTER == 0,
        quarterly_yield=ETF_YIELD / 4,
        special=np.zeros(T),
        spun_off=np.zeros(T),
        fx=np.ones(T),
        planned=splits,
        split_above=1000.0,
        split_to=100.0,
        last_split=T,
    )
    returns[0] = np.nan
    return Fund(ticker, start, returns, path, shares=float(np.round(5e9 / price, -3)))
