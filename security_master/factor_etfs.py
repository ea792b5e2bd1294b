"""The factor ETFs: which exist, from when each is used, what stands in before, and which pairs can occur.

Everything here follows from the taxonomy and factor-ETF tables, from the calendar, and from which ETFs a source has at
all: one that it lacks gives way to its stand-in (`data/stand_ins.csv`), where it has that. No price is looked at, so
what a stock is regressed on at a session never depends on which bars happened to be delivered.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from security_master.dates import dates_of
from security_master.taxonomy import shipped

NONE = -1
NEVER = "2999-12-31"
"""First session of an ETF that the source lacks and that has a stand-in."""
Positions = NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class FactorEtfs:
    """The factor ETFs in a stable order: market, the rows of the factor-ETF table, other ETFs of the taxonomy, proxies.

    tickers: text of each; a *position* is an index into it. sec_ids: the security of each, "" where the source has
    none. market: position of the market ETF. first_session: datetime64[D], NaT where the table says nothing (such an
    ETF counts as always in force). proxy: position of the proxy, NONE for none. sector_of, subsector_of: position
    by industry code.
    """

    tickers: tuple[str, ...]
    sec_ids: tuple[str, ...]
    market: int
    first_session: NDArray[np.datetime64]
    proxy: Positions
    sector_of: dict[int, int]
    subsector_of: dict[int, int]
    version: str

    @property
    def stand_ins(self) -> dict[str, str]:
        """ETF -> its stand-in, for those that the source lacks while it has the stand-in."""
        return stand_ins_for(dict(zip(self.tickers, self.sec_ids, strict=True)), self.tickers)

    def position(self, ticker: str) -> int:
        """Position of a ticker. Raises KeyError with the tickers there are."""
        try:
            return self.tickers.index(ticker)
        except ValueError:
            raise KeyError(f"{ticker!r} is no factor ETF; there are {', '.join(self.tickers)}") from None

    def chain(self, position: int) -> list[int]:
        """An ETF and its proxies, in the order in which they are tried."""
        chain = [position]
        while (following := int(self.proxy[chain[-1]])) != NONE:
            chain.append(following)
        return chain

    @cached_property
    def pairs(self) -> Positions:
        """(P, 2) all (subsector ETF, sector ETF) pairs that an industry can have, proxies included, sorted.

        A subsector ETF that is the sector ETF itself makes no pair.
        """
        found = {
            (sub, sector)
            for code, first in self.subsector_of.items()
            for sub in self.chain(first)
            for sector in self.chain(self.sector_of[code])
            if sub != sector
        }
        return np.array(sorted(found), dtype=np.int16).reshape(-1, 2)

    def in_force(self, sessions: ArrayLike, *, calendar: ArrayLike, min_obs: int) -> Positions:
        """(E, T) for each ETF, the one used in its place at each session: itself, a proxy, or NONE.

        calendar: all sessions there are; `sessions` are among them. An ETF is in force from the session at which it has
        `min_obs` returns; its first return is one session after its first session.
        """
        days = np.asarray(calendar, "datetime64[D]")
        at = np.searchsorted(days, np.asarray(sessions, "datetime64[D]"))
        begun = at[None, :] >= self._cutovers(days, min_obs)[:, None]
        used = np.full(begun.shape, NONE, dtype=np.int16)
        for etf in range(len(self.tickers)):
            for candidate in reversed(self.chain(etf)):
                used[etf, begun[candidate]] = candidate
        return used

    def sector_positions(
        self, codes: ArrayLike, sessions: ArrayLike, *, calendar: ArrayLike, min_obs: int
    ) -> Positions:
        """(n, T) sector ETF in force for industry codes (n, T) at sessions (T,); NONE where there is none."""
        return self._positions(codes, self.sector_of, sessions, calendar, min_obs)

    def subsector_positions(
        self, codes: ArrayLike, sessions: ArrayLike, *, calendar: ArrayLike, min_obs: int
    ) -> Positions:
        """(n, T) subsector ETF in force. It may be the one of the sector; the model has no third level then."""
        return self._positions(codes, self.subsector_of, sessions, calendar, min_obs)

    def home_pairs(self, sessions: ArrayLike, *, calendar: ArrayLike, min_obs: int) -> NDArray[np.int32]:
        """(E, T) row of `pairs` that belongs to each subsector ETF at each session, NONE where there is none.

        The sector is that of the first industry of the taxonomy with this subsector ETF; for a pure stand-in, that of
        the first industry it stands in for.
        """
        used = self.in_force(sessions, calendar=calendar, min_obs=min_obs)
        row_of = {(int(sub), int(sector)): row for row, (sub, sector) in enumerate(self.pairs)}
        homes: dict[int, int] = {}
        for depth in range(len(self.tickers)):
            for code, first in self.subsector_of.items():
                chain = self.chain(first)
                if depth < len(chain):
                    homes.setdefault(chain[depth], self.sector_of[code])
        rows = np.full(used.shape, NONE, dtype=np.int32)
        for etf, sector in homes.items():
            lookup = np.full(len(self.tickers) + 1, NONE, dtype=np.int32)
            for candidate in self.chain(sector):
                lookup[candidate] = row_of.get((etf, candidate), NONE)
            rows[etf] = lookup[used[sector]]
        return rows

    def _positions(
        self, codes: ArrayLike, etf_of: dict[int, int], sessions: ArrayLike, calendar: ArrayLike, min_obs: int
    ) -> Positions:
        first = _looked_up(np.asarray(codes), etf_of, NONE)
        used = self.in_force(sessions, calendar=calendar, min_obs=min_obs)
        padded = np.vstack([used, np.full((1, used.shape[1]), NONE, dtype=np.int16)])  # row -1 answers NONE
        return padded[first, np.arange(used.shape[1])[None, :]]

    def _cutovers(self, days: NDArray[np.datetime64], min_obs: int) -> NDArray[np.int64]:
        """Ordinal of the first session at which each ETF has `min_obs` returns."""
        first = self.first_session
        known = ~np.isnat(first)
        ordinals = np.searchsorted(days, np.where(known, first, days[0])).astype(np.int64)
        early = known & (first < days[0])
        ordinals[early] = -np.busday_count(first[early], days[0])
        return np.where(known, ordinals + min_obs, np.iinfo(np.int64).min)


def make_factor_etfs(
    taxonomy: pd.DataFrame, factor_etfs: pd.DataFrame, sec_ids: dict[str, str], version: str
) -> FactorEtfs:
    """FactorEtfs of checked tables. sec_ids: security by ticker."""
    market = str(factor_etfs.loc[factor_etfs["role"] == "market", "etf"].iloc[0])
    named: list[str] = [market, *factor_etfs["etf"]]
    for sector_etf, subsector_etf in zip(taxonomy["sector_etf"], taxonomy["subsector_etf"], strict=True):
        named += [sector_etf, subsector_etf]
    named += list(factor_etfs["proxy"])
    tickers = tuple(dict.fromkeys(ticker for ticker in named if ticker))
    position = {ticker: at for at, ticker in enumerate(tickers)}
    lacking = stand_ins_for(sec_ids, position)
    starts = dict(zip(factor_etfs["etf"], factor_etfs["first_session"], strict=True)) | dict.fromkeys(lacking, NEVER)
    proxies = dict(zip(factor_etfs["etf"], factor_etfs["proxy"], strict=True)) | lacking
    codes = [int(code) for code in taxonomy["fs_industry_code"]]
    return FactorEtfs(
        tickers=tickers,
        sec_ids=tuple(sec_ids.get(ticker, "") for ticker in tickers),
        market=position[market],
        first_session=dates_of([starts.get(ticker, "") for ticker in tickers]),
        proxy=np.array([position.get(proxies.get(ticker, ""), NONE) for ticker in tickers], dtype=np.int16),
        sector_of=_positions_of(codes, taxonomy["sector_etf"].tolist(), position),
        subsector_of=_positions_of(codes, taxonomy["subsector_etf"].tolist(), position),
        version=version,
    )


def stand_ins_for(sec_ids: Mapping[str, str], known: Container[str]) -> dict[str, str]:
    """ETF -> its stand-in, for those that the source lacks while it has the stand-in. known: the factor ETFs.

    >>> stand_ins_for({"XOP": "S1", "IYM": "S2", "MOO": "S3"}, ("IYE", "XOP", "IYM", "MOO"))
    {'IYE': 'XOP'}
    """
    table = shipped("stand_ins")
    return {
        etf: stand_in
        for etf, stand_in in zip(table["etf"], table["stand_in"], strict=True)
        if etf in known and stand_in in known and not sec_ids.get(etf) and sec_ids.get(stand_in)
    }


def _positions_of(codes: Sequence[int], tickers: Sequence[str], position: dict[str, int]) -> dict[int, int]:
    return {code: position[ticker] for code, ticker in zip(codes, tickers, strict=True) if ticker}


def _looked_up(codes: NDArray[np.integer], values: dict[int, int], missing: int) -> Positions:
    table = np.full(10_000, missing, dtype=np.int16)
    for code, value in values.items():
        table[code] = value
    if codes.size and (codes.min() < 0 or codes.max() >= len(table)):
        raise ValueError(f"industry codes have at most four digits, found {codes.min()}..{codes.max()}")
    return table[codes]
