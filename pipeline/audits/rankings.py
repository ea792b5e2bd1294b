"""Checks of the ranks: counted again, session by session, from what is published of each metric."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline.audits.scope import Check, Floats, Scope, Worst, means, members_of, some_sessions
from pipeline.datasets.rankings import AT_SESSION, COMPOUNDED, WINDOWS, least, rankings
from pipeline.store.windows import positions

LOOKED_AT = len(WINDOWS)
"""Sessions of a run at which ranks are counted again."""
TIES = 1e-12
"""Values as near as this may be ordered either way: products over a window are taken in several orders."""


class _Session:
    """What is ranked at one session, in plain numpy. windows: those that are asked for, by name."""

    def __init__(self, scope: Scope, symbols: NDArray, session: int, windows: Iterable[str] = WINDOWS) -> None:
        self.scope, self.symbols, self.session = scope, symbols, session
        self.longest = max(WINDOWS[window] for window in windows)
        self.member = members_of(scope, symbols, session, session)[0]
        adjusted = self._read("ds_erm3_betas_adjusted", "fact", 1)[0]
        self.codes = {"universe": np.ones(len(symbols)), "sector": adjusted[:, 1], "subsector": adjusted[:, 2]}
        self._kept: dict[tuple[str, str], NDArray] = {}

    def values(self, metric: str, window: str) -> Floats:
        """(n,) NaN for who is no valid member."""
        if metric in COMPOUNDED:
            r = self._returns(metric)[-WINDOWS[window] :]
            have = np.isfinite(r)
            grown = np.where(have, 1 + r, 1.0).prod(axis=0) - 1
            found = np.full(len(self.symbols), np.nan)
            found[self.member] = np.where(have.sum(axis=0) >= least(window), grown, np.nan)
            return found
        stored = self._read(*AT_SESSION[metric], 1)[0].astype(np.float64)
        return np.where(self.member, stored if metric == "mkt_cap" else 1 - stored, np.nan)

    def _returns(self, metric: str) -> Floats:
        """(sessions, members) of the longest window, as far as published. What two metrics share is read once."""
        store, var, level = COMPOUNDED[metric]
        if (store, var) not in self._kept:
            self._kept[store, var] = self._read(store, var, self.longest)[:, self.member]
        r = self._kept[store, var]
        return (r if level is None else r[..., {"sector": 1, "subsector": 2}[level]]).astype(np.float64)

    def _read(self, kind: str, var: str, sessions: int) -> NDArray:
        """(sessions, n[, levels]) up to this session, as far as they are published, in stored precision."""
        view = self.scope.family.view(kind if kind == "ds_daily" else self.scope.name(kind))
        first = max(self.session - sessions + 1, self.scope.calendar.ordinal(view.teo[0]))
        values = view.read(var, self.scope.rows(view, first, self.session), slice(0, len(view.symbol)))
        return values[:, positions(view.symbol, self.symbols)]


def empty_so_far(store: str, scope: Scope) -> set[str]:
    """Variables of rankings in which no valid member has a value at the last session."""
    session = _Session(scope, scope.family.view(store).symbol, scope.last)
    empty: set[str] = set()
    for ranking in rankings():
        values = session.values(ranking.metric, ranking.window)
        if not (np.isfinite(values) & (session.codes[ranking.cohort] > 0)).any():
            empty |= {ranking.rank, ranking.size}
    return empty


@means(
    ranks_recounted="At some sessions: a rank is one more than the number of larger values in the cohort; "
    "exactly those who have a value are ranked, and counted."
)
def ranks_recounted(store: str, scope: Scope) -> Check:
    """Ranks and sizes of cohorts counted again from returns, residuals, shares and market caps as published.

    Every ranking is looked at in some sessions: the windows take turns, and the last session has them all.
    """
    view = scope.family.view(store)
    worst = Worst("ranks_recounted", store, 0.0, "ranks that a rank, or stocks that a size, is off")
    columns = slice(0, len(view.symbol))
    for turn, ordinal in enumerate(some_sessions(scope, LOOKED_AT)):
        now = set(WINDOWS) if ordinal == scope.last else {list(WINDOWS)[turn % len(WINDOWS)]}
        session, row = _Session(scope, view.symbol, ordinal, now), scope.rows(view, ordinal, ordinal)
        of_window: dict[tuple[str, str], Floats] = {}
        for ranking in rankings():
            if ranking.window not in now:
                continue
            key = ranking.metric, ranking.window
            if key not in of_window:
                of_window[key] = session.values(*key)
            rank, size = (view.read(var, row, columns)[0].astype(np.float64) for var in (ranking.rank, ranking.size))
            error = _off(rank, size, of_window[key], session.codes[ranking.cohort])
            worst.add(error[None], 0.0, view.teo[row], view.symbol, variable=ranking.rank)
    return worst.check()


def _off(rank: Floats, size: Floats, values: Floats, codes: NDArray) -> Floats:
    """(n,) how far rank and size are from those counted; infinite where one is there that should not, or lacks."""
    wanted = np.isfinite(values) & (codes > 0)
    error = np.where(np.isfinite(rank) | np.isfinite(size) | wanted, np.inf, np.nan)
    for code in np.unique(codes[wanted]):
        at = np.flatnonzero(wanted & (codes == code))
        ascending, near = np.sort(values[at]), TIES * (1 + np.abs(values[at]))
        best = len(at) - np.searchsorted(ascending, values[at] + near, "right") + 1
        last = len(at) - np.searchsorted(ascending, values[at] - near, "left")
        off = np.maximum(np.maximum(best - rank[at], rank[at] - last), np.abs(size[at] - len(at)))
        error[at] = np.where(np.isnan(off), np.inf, np.maximum(off, 0))
    return error
