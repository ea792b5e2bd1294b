"""Whether the published hedges work: by year, sector and stock, the worst names, and what left its own history."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.datasets import LEVELS
from pipeline.datasets.metadata import flags_of
from pipeline.datasets.return_flags import FIRST_MISSING, ReturnFlag
from pipeline.read import Family, open_family
from pipeline.settings import SCALE, FactorSet
from pipeline.store.objects import StoreError
from pipeline.store.windows import positions

Floats = NDArray[np.float64]
MONTH, SHORT, LONG = "datetime64[M]", 63, 252
WORST = 20
LEAST_RETURNS = 10
"""Returns of a month that a stock needs to count; of a year it needs twice as many."""
LEAST_NAMES = 5
LEAST_MONTHS = 12
LEAVES = 5.0
"""Distances of its own months (SCALE times their median size) from which on a month left its history."""
WITHOUT_HISTORY = 0.02
"""Smallest such distance, as a share of variance: a sector of a few months must not warn of every move."""
JUMP = 8.0
"""A return this many times the median size of the window's is an event, whatever its cause."""
EVENTS = tuple(int(flag) for flag in (ReturnFlag.EXTREME_KEPT, ReturnFlag.EVENT_MOVED, ReturnFlag.DELISTING))


@dataclass(frozen=True)
class Published:
    """What the report reads of the last `sessions` of a factor set (all for None), stocks in the order of the store."""

    family: Family
    factor_set: FactorSet
    sessions: int | None = None
    _opened: dict[str, xr.Dataset] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, root: str, factor_set: str, sessions: int | None = None) -> Published:
        return cls(open_family(root), FactorSet.parse(factor_set), sessions)

    def dataset(self, name: str) -> xr.Dataset:
        """A store of the family, opened once."""
        if name not in self._opened:
            self._opened[name] = self.family.dataset(name, as_of_manifest=True)
        return self._opened[name]

    def _read(self, name: str, var: str, sessions: int | None = None) -> NDArray:
        """(T, n[, level]) along the stocks of the effectiveness store."""
        end, wanted = self.dataset(name).sizes["teo"], sessions or self.sessions
        first = 0 if wanted is None else max(end - wanted, 0)
        return self._of_stocks(name, self.family.store(name).region(var, teo=slice(first, end)))

    def at(self, name: str, var: str, rows: NDArray[np.intp]) -> NDArray:
        """(rows, n[, level]) of a few sessions, along the stocks of the effectiveness store."""
        store = self.family.store(name)
        return self._of_stocks(name, np.stack([store.values(var, teo=int(row)) for row in rows]))

    def _of_stocks(self, name: str, values: NDArray) -> NDArray:
        """The columns of a store in the order of the effectiveness store."""
        columns = positions(self.dataset(name)["symbol"].values, self.symbol)
        if (columns < 0).any():
            raise StoreError(f"{name} lacks {self.symbol[columns < 0][0]}, whose hedges are published")
        return values if np.array_equal(columns, np.arange(values.shape[1])) else values[:, columns]

    def of_set(self, kind: str) -> str:
        return f"ds_erm3_{kind}_{self.factor_set.id}"

    @cached_property
    def symbol(self) -> NDArray:
        return self.dataset(self.of_set("effectiveness"))["symbol"].values

    @cached_property
    def ticker(self) -> NDArray:
        return self.dataset(self.of_set("effectiveness"))["ticker"].values

    @cached_property
    def teo(self) -> NDArray[np.datetime64]:
        teo = self.dataset(self.of_set("effectiveness"))["teo"].values
        return (teo if self.sessions is None else teo[-self.sessions :]).astype("datetime64[D]")

    @cached_property
    def returns(self) -> Floats:
        return self._read("ds_daily", "return").astype(np.float64)

    @cached_property
    def hedged(self) -> Floats:
        """(T, n, level)."""
        return self._read(self.of_set("effectiveness"), "hedged_return").astype(np.float64)

    @cached_property
    def sector(self) -> dict[int, str]:
        return flags_of(self.dataset("ds_daily")["fs_sector_code"].attrs)

    def last(self, kind: str, var: str) -> NDArray:
        """The last session of a variable."""
        name = kind if kind == "ds_daily" else self.of_set(kind)
        return self._read(name, var, 1)[0]

    def sectors(self) -> NDArray[np.int16]:
        """(T, n) sector of each stock at each session."""
        return self._read("ds_daily", "fs_sector_code")


def shares(returns: Floats, hedged: Floats, least: int) -> Floats:
    """(n, level) variance of hedged returns over that of the returns, on the sessions of both; NaN for fewer.

    >>> shares(np.array([[0.02], [-0.02]]), np.array([[[0.01]], [[-0.01]]]), 2)
    array([[0.25]])
    """
    have = np.isfinite(hedged) & np.isfinite(returns)[..., None]
    n = np.maximum(have.sum(axis=0), 1)
    left, own = (np.where(have, x, 0.0) for x in (hedged, returns[..., None]))
    variance, total = ((x**2).sum(axis=0) / n - (x.sum(axis=0) / n) ** 2 for x in (left, own))
    enough = (have.sum(axis=0) >= least) & (total > 0)
    return np.divide(variance, total, out=np.full(total.shape, np.nan), where=enough)


def by_year(published: Published, who: int | None = None) -> pd.DataFrame:
    """Year, level, names, and the median share of variance left in it. who: one stock, by its position."""
    stocks = slice(None) if who is None else slice(who, who + 1)
    years = published.teo.astype("datetime64[Y]").astype(int) + 1970
    rows = []
    for year in np.unique(years).tolist():
        at = years == year
        found = shares(published.returns[at][:, stocks], published.hedged[at][:, stocks], 2 * LEAST_RETURNS)
        rows.append({"year": year} | _medians(found, names=who is None))
    return pd.DataFrame(rows)


def by_sector(published: Published) -> pd.DataFrame:
    """Sector (of the last session) and the median share of variance left over the last 252 sessions, by level."""
    found = shares(published.returns[-LONG:], published.hedged[-LONG:], LONG // 4)
    code = published.sectors()[-1]
    rows = [{"sector": "universe"} | _medians(found)]
    for one in np.unique(code[np.isfinite(found[:, 0]) & (code > 0)]).tolist():
        rows.append({"sector": published.sector[one]} | _medians(found[code == one]))
    return pd.DataFrame(rows)


def _medians(found: Floats, names: bool = True) -> dict[str, Any]:
    """By level: how many names have a share, and its median."""
    row: dict[str, Any] = {}
    for k, level in enumerate(LEVELS):
        have = found[np.isfinite(found[:, k]), k]
        if names:
            row[f"names_{level}"] = len(have)
        row[f"left_{level}"] = float(np.median(have)) if len(have) else np.nan
    return row


def worst(published: Published, count: int = WORST) -> pd.DataFrame:
    """The stocks whose deepest hedge left most of their variance over the last 63 sessions, and why.

    left, promised: the share of the deepest level, and that of 63 sessions earlier.
    """
    share = published.last("effectiveness", f"variance_share_{SHORT}").astype(np.float64)
    promised = published.last("effectiveness", f"promised_share_{SHORT}").astype(np.float64)
    depth = np.where(np.isfinite(share), np.arange(1, len(LEVELS) + 1), 0).max(axis=1)
    at = np.flatnonzero(depth > 0)
    deepest = np.where(depth > 0, share[np.arange(len(share)), np.maximum(depth, 1) - 1], np.nan)
    chosen = sorted(at.tolist(), key=lambda i: (-deepest[i], str(published.symbol[i])))[:count]
    reasons = _reasons(published, chosen, share, depth)
    rows = [
        {
            "ticker": str(published.ticker[i]),
            "symbol": str(published.symbol[i]),
            "level": LEVELS[depth[i] - 1],
            "left": float(deepest[i]),
            "promised": float(promised[i, depth[i] - 1]),
            "reason": reasons[i],
        }
        for i in chosen
    ]
    return pd.DataFrame(rows, columns=["ticker", "symbol", "level", "left", "promised", "reason"])


def _reasons(published: Published, stocks: list[int], share: Floats, depth: NDArray[np.int64]) -> dict[int, str]:
    """What can be named of each of these stocks: an event, thin data, an ETF that adds variance; or nothing."""
    r = published.returns[-SHORT:]
    flags = published._read("ds_daily", "return_flag", SHORT)
    days = published.teo[-SHORT:]
    n_obs = published.last("betas", "n_obs")
    most = n_obs[:, 0].max(initial=0)
    found = {}
    for i in stocks:
        own = r[:, i]
        have = np.isfinite(own)
        said = []
        size = np.median(np.abs(own[have])) if have.any() else np.nan
        jumps = np.flatnonzero((np.abs(np.nan_to_num(own)) > JUMP * size) | np.isin(flags[:, i], EVENTS))
        if len(jumps):
            worst_day = max(jumps.tolist(), key=lambda t: abs(np.nan_to_num(own[t])))
            said.append(f"event: {own[worst_day]:+.1%} on {days[worst_day]}")
        gaps = int((flags[:, i] >= FIRST_MISSING).sum())
        still = int((own[have] == 0).sum())
        if n_obs[i, 0] < most / 2 or gaps + still > len(own) / 4:
            said.append(
                f"thin data: {n_obs[i, 0]} returns in the window, {gaps} missing and {still} zero of {len(own)}"
            )
        deep = depth[i] - 1
        if deep > 0 and share[i, deep] > share[i, deep - 1]:
            said.append(f"assignment: the {LEVELS[deep]} ETF adds variance ({share[i, deep - 1]:.2f} without it)")
        found[i] = "; ".join(said) or "none that can be named"
    return found


def months(published: Published) -> pd.DataFrame:
    """month, cohort (universe or a sector), level, names, and the median share of variance left in the month.

    Cohorts and levels of fewer than LEAST_NAMES names are left out.
    """
    month = published.teo.astype(MONTH)
    codes = published.sectors()
    rows = []
    for one in np.unique(month):
        at = month == one
        found = shares(published.returns[at], published.hedged[at], LEAST_RETURNS)
        code = codes[at][-1]
        for cohort in (0, *np.unique(code[code > 0]).tolist()):
            mine = found if cohort == 0 else found[code == cohort]
            for k, level in enumerate(LEVELS):
                have = mine[np.isfinite(mine[:, k]), k]
                if len(have) >= LEAST_NAMES:
                    name = published.sector[cohort] if cohort else "universe"
                    rows.append((str(one), name, level, len(have), float(np.median(have))))
    return pd.DataFrame(rows, columns=["month", "cohort", "level", "names", "left"])


def left_their_history(by_month: pd.DataFrame) -> pd.DataFrame:
    """Cohorts and levels whose last month leaves more than all months before it suggest.

    Columns of `months` with usual (the median of the months before) and distance, in the spread of those months.
    """
    rows = []
    for _, one in by_month.groupby(["cohort", "level"], sort=True):
        now, before = one.iloc[-1], one["left"].iloc[:-1].to_numpy()
        if now["month"] != by_month["month"].max() or len(before) < LEAST_MONTHS:
            continue
        usual = float(np.median(before))
        spread = max(SCALE * float(np.median(np.abs(before - usual))), WITHOUT_HISTORY / LEAVES)
        distance = (now["left"] - usual) / spread
        if distance > LEAVES:
            rows.append({**now.to_dict(), "usual": usual, "distance": distance})
    return pd.DataFrame(rows, columns=[*by_month.columns, "usual", "distance"])


def level_names(published: Published) -> pd.DataFrame:
    """year, level, reason, names: the valid members at the last session of each year, by whether they have a level.

    reason: "has values", and for the others why not.
    """
    betas, universe = published.of_set("betas"), published.factor_set.universe
    data = published.dataset(betas)
    teo = data["teo"].values.astype("datetime64[Y]")
    ends = np.flatnonzero(np.append(teo[1:] != teo[:-1], True))
    beta, fact = (published.at(betas, var, ends) for var in ("factor_beta", "fact"))
    industry = published.at("ds_daily", "fs_industry_code", ends)
    member = published.at("ds_masks", universe, ends) & published.at("ds_masks", "validity", ends)
    codes = flags_of(data["fact"].attrs)
    with published.family.master() as master:
        etfs = master.factor_etfs()
    absent = [code for code, ticker in codes.items() if code and not etfs.sec_ids[etfs.position(ticker)]]
    instead = {etfs.position(t) + 1: t for t in set(etfs.stand_ins.values())}
    rows = []
    for y, year in enumerate(teo[ends].astype(int) + 1970):
        for k in range(len(LEVELS)):
            code = fact[y, :, k]
            why = np.full(len(published.symbol), "fewer than min_obs returns", object)
            why[np.isin(code, absent)] = "its ETF is not delivered"
            why[code == 0] = "no ETF yet, or none that is delivered"
            if k:
                why[(code > 0) & (code == fact[y, :, k - 1])] = "the same ETF as the level above"
                why[industry[y] == 0] = "not classified"
            why[np.isfinite(beta[y, :, k])] = "has values"
            own = etfs.subsector_of if k == 2 else {}
            stands = np.isin(industry[y], [c for c, p in own.items() if etfs.tickers[p] in etfs.stand_ins])
            why[np.isfinite(beta[y, :, k]) & stands & np.isin(code, list(instead))] = "has values, by a stand-in"
            for reason, names in zip(*np.unique(why[member[y]].astype(str), return_counts=True), strict=True):
                rows.append((int(year), f"L{k + 1}", str(reason), int(names)))
    return pd.DataFrame(rows, columns=["year", "level", "reason", "names"])
