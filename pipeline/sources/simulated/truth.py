"""What is true in the simulated market. For tests only: nothing that computes may read it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.sources.simulated.identifiers import cik, share_class_figi
from pipeline.sources.simulated.industries import industries
from pipeline.sources.simulated.life import Life
from pipeline.sources.simulated.roster import NEVER
from pipeline.sources.simulated.walk import Path
from pipeline.sources.simulated.world import Fund, World


class Truth:
    """The truth behind the delivered tables, for the sessions shown.

    A security is named by its `key`, an ETF by its ticker. Everything stays in memory: for markets of test size.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    @cached_property
    def identities(self) -> pd.DataFrame:
        """One row per security: key, vendor_code and ticker at its listing, evidence, first_session, last_session."""
        return pd.DataFrame(
            {
                "key": life.company.key,
                "vendor_code": life.company.vendor_code,
                "ticker": life.company.ticker,
                "cik": cik(life.company.issuer),
                "share_class_figi": share_class_figi(life.company.number),
                "first_session": _day(life.company.start),
                "last_session": _day(life.company.last if life.company.last <= self._world.last else NEVER),
            }
            for life in self._shown
        )

    @cached_property
    def betas(self) -> pd.DataFrame:
        """One row per company and industry it was in: key, valid_from, industry, sector_etf, subsector_etf, and its
        betas `market`, `sector`, `subsector` on the three independent factors, with the annual volatility of the rest.

        They are the betas of the cascade at L1, L2 and L3 where no proxy stands in for an ETF.
        """
        rows = []
        for life in self._shown:
            company = life.company
            moves = [(company.start, company.industry), (company.reclassified_at, company.new_industry)]
            for at, code in moves:
                if at <= self._world.last:
                    industry = industries()[code]
                    rows.append(
                        (company.key, _day(at), code, industry.sector, industry.subsector, *company.betas, company.vol)
                    )
        names = ["key", "valid_from", "industry", "sector_etf", "subsector_etf", "market", "sector", "subsector"]
        return pd.DataFrame(rows, columns=[*names, "own_vol"])

    @cached_property
    def factors(self) -> pd.DataFrame:
        """Daily returns of the factors by session: `market`, and the own factor of each sector and subsector ETF."""
        factors, count = self._world.factors, self._world.last - self._world.first + 1
        columns = {"market": factors.market, **factors.of_etf}
        return pd.DataFrame(
            {name: values[:count] for name, values in columns.items()}, index=_days(factors.first, count)
        )

    @cached_property
    def etf_loadings(self) -> pd.DataFrame:
        """Loadings of each ETF (index: ticker): market, sector, own (on its own factor), noise (daily)."""
        loadings = self._world.factors.loadings
        return pd.DataFrame.from_dict({etf: vars(load) for etf, load in loadings.items()}, orient="index")

    @cached_property
    def delistings(self) -> pd.DataFrame:
        """key, last_session, reason, value: the return from the last close to what a holder got."""
        rows = [
            (life.company.key, _day(life.company.last), life.delisting.reason, life.delisting.value)
            for life in self._shown
            if life.delisting is not None and life.company.last <= self._world.last
        ]
        return pd.DataFrame(rows, columns=["key", "last_session", "reason", "value"])

    @cached_property
    def jumps(self) -> pd.DataFrame:
        """Genuine jumps, which no vendor error made: key, session, size (added to that session's return)."""
        rows = [
            (life.company.key, _day(life.company.start + at), size)
            for life in self._shown
            for at, size in life.jumps.items()
            if life.company.start + at <= self._world.last
        ]
        return pd.DataFrame(rows, columns=["key", "session", "size"])

    def total_return(self, key: str) -> pd.Series:
        """Clean total returns by session, NaN on the first."""
        return self._by_session(key, self._of(key).returns)

    def own_return(self, key: str) -> pd.Series:
        """The part of a company's returns that no factor explains, by session."""
        return self._by_session(key, self._lives[key].own)

    def traded(self, key: str) -> pd.Series:
        """By session: False where trading was halted (no row) or nobody traded (the last close again, volume 0)."""
        life = self._lives[key]
        return self._by_session(key, ~(life.halted | life.quiet))

    def exact_close(self, key: str) -> pd.Series:
        """Closes before they were rounded to a tick, by session."""
        return self._by_session(key, self._path(key).close)

    @cached_property
    def _lives(self) -> dict[str, Life]:
        return {life.company.key: life for life in self._world.lives()}

    @property
    def _shown(self) -> list[Life]:
        return [life for life in self._lives.values() if life.company.start <= self._world.last]

    def _of(self, key: str) -> Life | Fund:
        if key in self._lives:
            return self._lives[key]
        return next(fund for fund in self._world.funds if fund.ticker == key)

    def _path(self, key: str) -> Path:
        return self._of(key).path

    def _by_session(self, key: str, values: NDArray[Any]) -> pd.Series:
        of = self._of(key)
        start = of.company.start if isinstance(of, Life) else of.start
        count = min(len(values), self._world.last - start + 1)
        return pd.Series(values[:count], index=_days(start, count))


def _day(ordinal: int) -> np.datetime64:
    if ordinal == NEVER:
        return np.datetime64("NaT", "s")
    return xnys().sessions[ordinal].astype("datetime64[s]")


def _days(first: int, count: int) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(xnys().sessions[first : first + count].astype("datetime64[s]"))
