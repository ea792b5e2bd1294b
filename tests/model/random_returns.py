"""Synthetic returns with three levels, for tests of the kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.model import Cascade, KernelParams, cascade, explained_risk

FIRST = 1003


@dataclass(frozen=True)
class Market:
    """r (n, T), etf (E, T): row 0 the market, then three sectors, then subsectors; sector, subsector (n, T')."""

    r: np.ndarray
    etf: np.ndarray
    sector: np.ndarray
    subsector: np.ndarray
    wanted: np.ndarray
    first: int = FIRST

    @property
    def sessions(self) -> int:
        return self.wanted.shape[1]

    def with_returns(self, r=None, etf=None) -> Market:
        return replace(self, r=self.r if r is None else r, etf=self.etf if etf is None else etf)

    def cut(self, window: int, start: int, stop: int) -> Market:
        """The published sessions [start, stop) with just the columns that they need."""
        columns, cells = slice(start, stop + window - 1), slice(start, stop)
        return Market(
            self.r[:, columns].copy(),
            self.etf[:, columns].copy(),
            self.sector[:, cells].copy(),
            self.subsector[:, cells].copy(),
            self.wanted[:, cells].copy(),
            self.first + start,
        )

    def pick(self, stocks) -> Market:
        return replace(
            self,
            r=self.r[stocks],
            sector=self.sector[stocks],
            subsector=self.subsector[stocks],
            wanted=self.wanted[stocks],
        )

    def cascade(self, params: KernelParams) -> Cascade:
        return cascade(self.r, self.etf, 0, self.sector, self.subsector, self.wanted, self.first, params)

    def explained_risk(self, beta, params: KernelParams):
        return explained_risk(self.r, self.etf, 0, self.sector, self.subsector, beta, self.wanted, self.first, params)


def make_market(n, sessions, window, seed=0, etfs=8, noise=0.012) -> Market:
    """n stocks and `sessions` published sessions, without gaps."""
    rng = np.random.default_rng(seed)
    columns = sessions + window - 1
    etf = np.empty((etfs, columns))
    etf[0] = rng.standard_normal(columns) * 0.01 + 0.0003
    for e in range(1, etfs):
        etf[e] = rng.uniform(0.7, 1.4) * etf[0] + rng.standard_normal(columns) * 0.006
        if e >= 4:
            etf[e] += 0.8 * (etf[1 + e % 3] - etf[0])
    sector, subsector = rng.integers(1, 4, n), rng.integers(4, etfs, n)
    r = np.empty((n, columns))
    for i in range(n):
        factors = rng.uniform(0.3, 1.2) * etf[0] + 0.4 * etf[sector[i]] + 0.3 * etf[subsector[i]]
        r[i] = factors + rng.standard_t(3, columns) * noise
    shape = (n, sessions)
    return Market(
        r,
        etf,
        np.broadcast_to(sector[:, None], shape).astype(np.int16),
        np.broadcast_to(subsector[:, None], shape).astype(np.int16),
        np.ones(shape, bool),
    )


def with_trouble(market: Market, seed=1) -> Market:
    """Gaps, late listings, an ETF that starts late, one with holes, changing assignments, unwanted cells, odd ETFs."""
    rng = np.random.default_rng(seed)
    r, etf = market.r.copy(), market.etf.copy()
    sector, subsector, wanted = market.sector.copy(), market.subsector.copy(), market.wanted.copy()
    n, columns = r.shape
    for i in range(0, n, 3):
        r[i, rng.random(columns) < 0.1] = np.nan
    for i in range(1, n, 5):
        r[i, : rng.integers(columns)] = np.nan
    for i in range(2, n, 7):
        start = rng.integers(columns)
        r[i, start : start + columns // 4] = 0.0
    etf[5, : columns // 3] = np.nan
    etf[6, rng.random(columns) < 0.03] = np.nan
    half = market.sessions // 2
    sector[4 % n, half:] = 1 + sector[4 % n, half:] % 3
    subsector[5 % n, half:] = -1
    subsector[6 % n, half:] = sector[6 % n, half:]
    sector[7 % n, half:] = 0
    sector[8 % n, half:] = -1
    wanted[:, market.sessions // 4 : market.sessions // 4 + 3] = False
    wanted[9 % n, ::2] = False
    return replace(market, r=r, etf=etf, sector=sector, subsector=subsector, wanted=wanted)


def assert_same_bits(one, other, what=""):
    one, other = np.ascontiguousarray(one), np.ascontiguousarray(other)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    if one.tobytes() != other.tobytes():
        differs = np.argwhere((one != other) & ~((one != one) & (other != other)))
        raise AssertionError(f"{what} differs in {len(differs)} cells, first at {differs[:1].tolist()}")


def assert_same_cascade(one: Cascade, other: Cascade, what=""):
    for name in ("beta", "se", "n_obs", "reason"):
        assert_same_bits(getattr(one, name), getattr(other, name), f"{what} {name}")
