"""What hedges left, and whether a variant left less than the default: on common cells, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.model import KernelParams
from pipeline.settings import SCALE
from tests.study.panel import Panel
from tests.study.variants import _leg

Floats = NDArray[np.float64]
BLOCK, DRAWS = 63, 1000
"""Sessions of a block of the bootstrap, and how often blocks are drawn."""
LEAST = 126
"""Sessions that a stock needs to be judged, in all or in a year."""
RATIOS = ((0,), (1, 2), (3, 4, 5))
"""Rows of the hedge ratios at L1, L2, L3, each on market, sector, subsector."""


def hedged(panel: Panel, ratios: Floats) -> Floats:
    """(3, n, T) return of each session, hedged with the ratios and ETFs of the session before."""
    out = np.full((3, *panel.r.shape), np.nan)
    etf = np.concatenate([panel.etf[:, 1:], np.full((len(panel.etf), 1), np.nan)], axis=1)  # of the session after
    legs = [_leg(panel, etf, leg)[:, :-1] for leg in range(3)]
    for depth, rows in enumerate(RATIOS):
        used = tuple(ratios[row, :, :-1] for row in rows)
        out[depth, :, 1:] = model.hedged_return(panel.r[:, 1:], tuple(legs[: depth + 1]), used)
    return out


def turnover(panel: Panel, ratios: Floats) -> list[float]:
    """Dollars of ETFs traded a year per dollar of stock, by level; a change of ETF closes one and opens another."""
    found = []
    row = (None, panel.sector, panel.subsector)
    for rows in RATIOS:
        total = np.zeros(panel.r.shape)[:, 1:]
        for leg, k in enumerate(rows):
            now, before = ratios[k, :, 1:], ratios[k, :, :-1]
            etf = row[leg]
            same = True if etf is None else etf[:, 1:] == etf[:, :-1]
            total = total + np.where(same, np.abs(now - before), np.abs(now) + np.abs(before))
        found.append(252 * float(np.nanmean(total)))
    return found


@dataclass(frozen=True)
class Against:
    """A variant against the default at one level, on the cells that both have.

    share: median over stocks of the variance left over the stock's own; change: median of the ratio to the default,
    less 1; mean: the same for squares over the stock's variance, all cells together, with its interval; names, years:
    how many are better, of how many. halves: change and mean on even years of every second stock, where candidates are
    judged, and on odd years of the others, where they are held to it.
    """

    share: float
    change: float
    mean: float
    low: float
    high: float
    names: float
    years: int
    of_years: int
    by_year: dict[int, float]
    halves: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Sums:
    """Sums over the common cells of each stock and year, (n, years): how many, and of mine, default and own returns the
    sum and the sum of squares."""

    years: NDArray[np.int64]
    count: Floats
    mine: tuple[Floats, Floats]
    default: tuple[Floats, Floats]
    own: tuple[Floats, Floats]

    @classmethod
    def of(cls, panel: Panel, mine: Floats, default: Floats) -> Sums:
        both = np.isfinite(mine) & np.isfinite(default)
        year = panel.sessions.astype("datetime64[Y]").astype(int) + 1970
        years, begins = np.unique(year, return_index=True)

        def added(x: Floats) -> tuple[Floats, Floats]:
            x = np.where(both, x, 0.0)
            return np.add.reduceat(x, begins, axis=1), np.add.reduceat(x * x, begins, axis=1)

        count = np.add.reduceat(both.astype(np.float64), begins, axis=1)
        return cls(years, count, added(mine), added(default), added(panel.r))

    def ratios(self, names: Any = slice(None), years: Any = slice(None)) -> tuple[Floats, Floats]:
        """(names,) variance of mine over that of default, and over the stock's own, in these years together."""
        n = self.count[names][:, years].sum(axis=1)

        def variance(sums: tuple[Floats, Floats]) -> Floats:
            first, second = (x[names][:, years].sum(axis=1) / np.maximum(n, 1) for x in sums)
            return second - first**2

        a, b, own = map(variance, (self.mine, self.default, self.own))
        with np.errstate(invalid="ignore", divide="ignore"):
            enough = (n >= LEAST) & (b > 0) & (own > 0)
            return np.where(enough, a / b, np.nan), np.where(enough, a / own, np.nan)

    def scale(self) -> Floats:
        """(n,) one over the mean square of a stock's own returns, 0 for one without."""
        square = self.own[1].sum(axis=1)
        return np.divide(self.count.sum(axis=1), square, out=np.zeros(len(square)), where=square > 0)

    def mean(self, names: Any = slice(None), years: Any = slice(None)) -> float:
        """Change of the squares in units of each stock's own, all cells together."""
        scale = self.scale()[names][:, None]
        mine, default = ((x[1][names][:, years] * scale).sum() for x in (self.mine, self.default))
        return float(mine / default - 1) if default else np.nan


def against(panel: Panel, mine: Floats, default: Floats) -> Against:
    """mine, default: (n, T) hedged returns."""
    sums = Sums.of(panel, mine, default)
    ratio, share = sums.ratios()
    by_year = {}
    for k, year in enumerate(sums.years.tolist()):
        here = sums.ratios(years=[k])[0]
        if np.isfinite(here).sum() >= 10:
            by_year[year] = float(np.nanmedian(here) - 1)
    both = np.isfinite(mine) & np.isfinite(default)
    squares = [(np.where(both, x, 0.0) ** 2 * sums.scale()[:, None]).sum(axis=0) for x in (mine, default)]
    low, high = interval(squares[0] - squares[1], squares[1])
    better = ratio[np.isfinite(ratio)] < 1
    even_name, even_year = np.arange(len(panel.r)) % 2 == 0, sums.years % 2 == 0
    halves = {}
    for name, (names, years) in {"chosen on": (even_name, even_year), "held out": (~even_name, ~even_year)}.items():
        halves[name] = float(np.nanmedian(sums.ratios(names, years)[0]) - 1), sums.mean(names, years)
    return Against(
        float(np.nanmedian(share)),
        float(np.nanmedian(ratio) - 1),
        sums.mean(),
        low,
        high,
        float(better.mean()) if len(better) else np.nan,
        sum(change < 0 for change in by_year.values()),
        len(by_year),
        by_year,
        halves,
    )


def interval(gain: Floats, base: Floats) -> tuple[float, float]:
    """95 % interval of sum(gain) / sum(base) over sessions, drawn in blocks of 63 (circular, fixed seed).

    >>> interval(np.full(630, -0.01), np.ones(630))
    (-0.01, -0.01)
    """
    n = len(gain)
    draws = np.random.default_rng(16).integers(0, n, (DRAWS, -(-n // BLOCK)))
    sums = [np.append(0.0, np.cumsum(np.concatenate([x, x[:BLOCK]]))) for x in (gain, base)]
    totals = [(s[draws + BLOCK] - s[draws]).sum(axis=1) for s in sums]
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = np.nanpercentile(totals[0] / totals[1], [2.5, 97.5])
    return round(float(low), 12), round(float(high), 12)


def promised(panel: Panel, beta: Floats, params: KernelParams) -> Floats:
    """(3, n, T) residual shares that the default publishes."""
    start = params.window - 1
    sector, subsector = panel.sector[:, start:], panel.subsector[:, start:]
    wanted = np.isfinite(beta[0])
    shares, _ = model.explained_risk(
        panel.r, panel.etf, panel.market, sector, subsector, beta, wanted, panel.first, params
    )
    out = np.full((3, *panel.r.shape), np.nan)
    out[..., start:] = shares[[1, 4, 8]]
    return out


def came(panel: Panel, left: Floats, window: int) -> Floats:
    """(3, n, T) share of variance that hedges left in the `window` sessions up to each, as the store has it."""
    out = np.full(left.shape, np.nan)
    stacked = np.ascontiguousarray(left.transpose(0, 2, 1))
    last = panel.first + window - 1
    share, _ = model.effectiveness(panel.r.T, stacked, panel.etf[panel.market], window, last)
    out[..., window - 1 :] = share.transpose(0, 2, 1)
    return out


def names(panel: Panel, done: model.Cascade, window: int) -> dict[int, tuple[int, list[int], dict[str, int]]]:
    """By year, at its last session: stocks with a return, those with a beta at each level, and why others lack L3."""
    start = window - 1
    year = panel.sessions[start:].astype("datetime64[Y]").astype(int) + 1970
    found = {}
    for t in np.flatnonzero(np.append(year[1:] != year[:-1], True)):
        wanted = np.isfinite(panel.r[:, start + t])
        have = [int((np.isfinite(done.beta[k, :, t]) & wanted).sum()) for k in range(3)]
        lack = wanted & ~np.isfinite(done.beta[2, :, t])
        unclassified = lack & (panel.industry[:, start + t] == 0)
        why = {"not classified": int(unclassified.sum())}
        for code in np.unique(done.reason[2, lack & ~unclassified, t]).tolist():
            said = model.DegenerateReason(code).name.lower().replace("_", " ")
            why[said] = int((done.reason[2, :, t] == code)[lack & ~unclassified].sum())
        found[int(year[t])] = int(wanted.sum()), have, {reason: n for reason, n in why.items() if n}
    return found


def of_errors(beta: Floats, se: Floats, window: int) -> list[float]:
    """By level: spread (1.4826 times the median size) of the change of a beta over one window, in its standard errors.

    1 where a beta that does not move is all there is to it.
    """
    now, before = slice(window, None, window), slice(0, -window, window)
    found = []
    for k in range(3):
        z = (beta[k][:, now] - beta[k][:, before]) / np.hypot(se[k][:, now], se[k][:, before])
        found.append(SCALE * float(np.nanmedian(np.abs(z))))
    return found


def depths(panel: Panel, left: Floats, default_shares: Floats, realised: Floats) -> dict[str, float]:
    """Median share of variance left by rules that choose the level for the next session, where all three have a value.

    left: (3, n, T) hedged returns; default_shares: (3, n, T) promised residual shares; realised: those that came.
    """
    rules = {}
    have = np.isfinite(left).all(axis=0)
    known = np.concatenate([np.full((3, len(panel.r), 1), np.nan), default_shares[..., :-1]], axis=2)
    past = np.concatenate([np.full((3, len(panel.r), 1), np.nan), realised[..., :-1]], axis=2)
    have &= np.isfinite(known).all(axis=0) & np.isfinite(past).all(axis=0)
    threshold = np.where(known[1] - known[2] >= 0.01, 2, np.where(known[0] - known[1] >= 0.01, 1, 0))
    best = np.argmin(np.where(np.isfinite(past), past, np.inf), axis=0)
    for name, level in (
        ("always L3", np.full(have.shape, 2)),
        ("L* at 1 % of explained risk", threshold),
        ("the level that left least in the last 252 sessions", best),
    ):
        chosen = np.take_along_axis(left, level[None], axis=0)[0]
        chosen = np.where(have, chosen, np.nan)
        rules[name] = float(np.nanmedian(Sums.of(panel, chosen, chosen).ratios()[1]))
    return rules
