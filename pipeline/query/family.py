"""One publication, asked by ticker: the handle that all answers are made from.

In the examples `root` is a small simulated market, `family` is it opened, `stock` a ticker there, `stocks` two.

>>> family = open_family(root)
>>> family.complete_through, family.market_factor_etf
('2019-04-30', 'SPY')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import read
from pipeline.query import history as past
from pipeline.query import industry, portfolio, screening, snapshot, universe
from pipeline.query import stores as whole
from pipeline.query.cells import Cells
from pipeline.query.dates import On, iso_day
from pipeline.query.errors import BadQuestion, NothingThere
from pipeline.query.fields import BETAS, DAILY, ETF, FIELDS, HEDGE, LEVELS, Field
from pipeline.query.names import Found, Names, Who
from pipeline.query.table import Table
from pipeline.query.values import at_session
from pipeline.store.unpacked import ChunkCache

if TYPE_CHECKING:
    import xarray as xr

Weights = Mapping[str, float]


class QueryFamily:
    """A publication. Many threads may ask it at once.

    Dates are ISO text, dates or datetime64. `as_of` and `on` mean D: the answer is that of the last session at or
    before it, by what was so then; later than `complete_through` is `complete_through`. `who` is a ticker in any
    spelling that it had on D, `X#N` (the N-th that has had it) or a permanent id.

    Raises BadQuestion, NothingThere, SeveralAnswers, NotComputable (`pipeline.query.errors`).
    """

    def __init__(self, family: read.Family, factor_set: str | None = None, cache: ChunkCache | None = None) -> None:
        self.family, self.publication = family, family.publication
        self.factor_set_id = factor_set or _factor_set(family)
        through = family.record["complete_through"]
        if through is None:
            raise NothingThere(f"publication {self.publication} is not complete: a store has no values yet")
        self.complete_through = str(through)
        self._cache = cache or ChunkCache()
        own = family.store(DAILY).values("teo").astype("datetime64[D]")
        self.sessions: NDArray[np.datetime64] = own[: int(np.searchsorted(own, np.datetime64(through), "right"))]
        self._opened: dict[str, Cells] = {}

    # -- what there is --------------------------------------------------------------------------------------------

    def cells(self, store: str) -> Cells:
        """A store by the first part of its name, `ds_erm3_betas` for example."""
        if store not in self._opened:
            self._opened[store] = Cells(
                self.family.store(self.store_name(store)), self.sessions, self._cache, self.publication
            )
        return self._opened[store]

    def store_name(self, store: str) -> str:
        """The whole name of a store. Raises NothingThere.

        >>> family.store_name("ds_daily"), family.store_name("ds_erm3_betas")
        ('ds_daily', 'ds_erm3_betas_SPY_uni_mc_3000')
        """
        for name in (store, f"{store}_{self.factor_set_id}", f"{store}_{self.market_factor_etf}"):
            if name in self.family.sizes:
                return name
        raise NothingThere(
            f"there is no store {store[:60]!r}; known: {', '.join(self.family.stores)}", code="unknown_store"
        )

    def attributes(self, store: str) -> dict[str, Any]:
        return dict(self.cells(store).store.metadata[".zattrs"])

    @cached_property
    def names(self) -> Names:
        """Who was who, as this publication knows it."""
        with self.family.directory() as directory:
            return Names(directory)

    @cached_property
    def market_factor_etf(self) -> str:
        return self.factor_set_id.split("_", 1)[0]

    @cached_property
    def universe(self) -> str:
        return self.factor_set_id.split("_", 1)[1]

    @cached_property
    def etf_of_code(self) -> dict[int, str | None]:
        """Ticker of the factor ETF behind each code of `fact`; None for 0."""
        return {code: name if code else None for code, name in self.cells(BETAS).flags("fact").items()}

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What every answer says of the publication that it is from."""
        last = len(self.sessions) - 1
        used = {code for level in LEVELS for code in np.unique(self.cells(BETAS).day("fact", last, level)).tolist()}
        return {
            "model_version": f"ERM3 {self.attributes(HEDGE)['code_version']}",
            "data_as_of": self.complete_through,
            "factor_set_id": self.factor_set_id,
            "universe_size": int(universe.active(self, self.universe, last).sum()),
            "factors": [name for code, name in sorted(self.etf_of_code.items()) if name and code in used],
            "publication": self.publication,
        }

    def warm(self) -> None:
        """Keeps the last session of all fields in memory: a server asks for it most."""
        for field in FIELDS:
            self.cells(field.store).keep_last(field.variable, field.level)
        for level in LEVELS:
            self.cells(BETAS).keep_last("fact", level)
        _ = self.metadata

    # -- when and who ---------------------------------------------------------------------------------------------

    def on(self, as_of: Any = None) -> On:
        """D of a question, by default `complete_through`. Raises BadQuestion, NothingThere.

        >>> family.on("2019-01-06").day, str(family.sessions[family.on("2019-01-06").session])
        ('2019-01-06', '2019-01-04')
        """
        day = self.complete_through if as_of is None else min(iso_day(as_of), self.complete_through)
        session = int(np.searchsorted(self.sessions, np.datetime64(day), "right")) - 1
        if session < 0:
            raise NothingThere(f"nothing is published at or before {day}; the first session is {self.sessions[0]}")
        return On(day, session)

    def between(self, start: Any = None, end: Any = None) -> tuple[int, On]:
        """Position of the first session of a range, and D of its end. start: the first session by default.

        Raises BadQuestion for a range without sessions.

        >>> first, on = family.between("2019-01-05", "2019-01-08")
        >>> family.teo(first), on.day
        ('2019-01-07', '2019-01-08')
        """
        on = self.on(end)
        first = 0 if start is None else int(np.searchsorted(self.sessions, np.datetime64(iso_day(start))))
        if first > on.session:
            raise BadQuestion(f"no session lies between {start} and {on.day}", code="empty_range")
        return first, on

    def teo(self, session: int) -> str:
        return str(self.sessions[session])

    def who(self, who: str, as_of: Any = None) -> Who:
        """The security that a name means on D.

        >>> family.who("spy").kind
        'etf'
        """
        day = self.on(as_of).day
        symbol = self.names.resolve(who, day)
        stock, etf = symbol in self.cells(DAILY).position, symbol in self.cells(ETF).position
        ticker = self.names.ticker(symbol, day)
        if ticker is None or not (stock or etf):
            raise NothingThere(f"nothing is published for {who} at or before {day}")
        return Who(symbol, ticker, "stock" if stock else "etf")

    def stock(self, who: str, as_of: Any = None) -> Who:
        """As `who`; NothingThere for an ETF, which has no betas."""
        found = self.who(who, as_of)
        if found.kind != "stock":
            raise NothingThere(f"{found.ticker} is an ETF: it has prices and returns, and no betas or hedge ratios")
        return found

    def search(self, text: str, as_of: Any = None, limit: int = 20) -> list[Found]:
        """Securities whose ticker or name has a text in it, also of the past; none of the time after D."""
        return self.names.search(text, self.on(as_of).day, limit)

    def values(self, field: Field, session: int) -> NDArray:
        """(stocks,) of a field at a session, along the axis of the field's store."""
        return at_session(self, field, session)

    # -- answers --------------------------------------------------------------------------------------------------

    def metrics(self, who: str, as_of: Any = None) -> dict[str, Any]:
        """All fields of a stock at the last session <= D at which it has an L1 hedge ratio.

        Returns symbol, ticker, teo, periodicity, metrics (by wire name), meta, hedge_levels, _data_health.

        >>> found = family.metrics(stock, "2019-02-15")
        >>> found["teo"], len(found["metrics"]), round(sum(float(found["metrics"][f"l3_{x}_er"]) for x in
        ...     ("mkt", "sec", "sub", "res")), 6)
        ('2019-02-15', 36, 1.0)
        """
        return snapshot.metrics(self, who, as_of)

    def decompose(self, who: str, as_of: Any = None) -> dict[str, Any]:
        """A stock at the deepest level that has values: share of the risk, hedge ratio and ETF of each level.

        hedge: signed dollars of each ETF per dollar long the stock, the sum of the ratios on that ETF.

        >>> found = family.decompose(stock)
        >>> sorted(found["exposure"]), found["exposure"]["market"]["hedge_etf"] in found["hedge"]
        (['market', 'residual', 'sector', 'subsector'], True)
        """
        return snapshot.decompose(self, who, as_of)

    def ticker_returns(self, who: str, years: int = 1, as_of: Any = None) -> Table:
        """Returns, closes, and of a stock the factor returns and L3 ratios and shares, of the years up to D.

        Columns date, returns_gross, price_close; of a stock l1_cfr to l3_cfr, l3_mkt_hr to l3_res_er. attrs: symbol,
        ticker, asset_type, and the ETFs of the last row.

        >>> table = family.ticker_returns(stock, as_of="2019-02-15")
        >>> list(table.columns)[:4], str(table["date"][-1])
        (['date', 'returns_gross', 'price_close', 'l1_cfr'], '2019-02-15')
        """
        return past.ticker_returns(self, who, years, as_of)

    def l3_decomposition(self, who: str, years: int = 1, as_of: Any = None) -> Table:
        """L3 hedge ratios and shares of a stock, in the years up to D.

        >>> list(family.l3_decomposition(stock).columns)[1:4]
        ['l3_market_hr', 'l3_sector_hr', 'l3_subsector_hr']
        """
        return past.l3_decomposition(self, who, years, as_of)

    def returns_decomposition(
        self, who: str, years: int = 1, as_of: Any = None, include_lstar: bool = False, threshold: float | None = None
    ) -> Table:
        """Gross, factor, combined and residual returns of a stock at each level, in the years up to D.

        >>> table = family.returns_decomposition(stock, include_lstar=True)
        >>> list(table.columns)[-2:]
        ['lstar', 'lstar_residual_return']
        """
        return past.returns_decomposition(self, who, years, as_of, include_lstar, threshold)

    def lstar(self, who: str, years: int = 1, threshold: float | None = None, as_of: Any = None) -> Table:
        """Hedge depth of a stock, with the ratios, the explained share and the residual of that depth.

        threshold: 0 to 0.5 decides anew from the stored shares; None is the level as published.

        >>> set(family.lstar(stock, threshold=0.0)["lstar"]) <= {"L1", "L2", "L3", None}
        True
        """
        return past.lstar(self, who, years, threshold, as_of)

    def cube(
        self, names: Sequence[str], start: Any = None, end: Any = None, fields: Sequence[str] | None = None
    ) -> xr.Dataset:
        """Fields of several stocks through time: (ticker, date), variables by their names in Python.

        names: who had them on `end`. start, end: included; all that is published by default. The permanent ids are the
        coordinate `symbol`.

        >>> cube = family.cube([stock], "2019-02-01", "2019-02-15", ["l3_mkt_hr", "volatility"])
        >>> dict(cube.sizes), list(cube.data_vars)
        ({'ticker': 1, 'date': 11}, ['l3_market_hr', 'volatility'])
        """
        return past.cube(self, names, start, end, fields)

    def dataset(self, *stores: str, as_of: Any = None, chunks: Any = None) -> xr.Dataset:
        """Whole stores through D, aligned by label, with (teo, symbol[, level]) as they are stored.

        stores: names, or their first parts; a variable that two of them have is called after its store. `ticker` is an
        index: `X` for who had X on D, `X#N` for who had it before, so that one label is one security; who was not known
        by D is left out. chunks: as in `xarray.open_zarr`. Stores of different axes are filled, and so read, where one
        has no row.

        >>> both = family.dataset("ds_erm3_betas", "ds_erm3_betas_adjusted", as_of="2019-03-15")
        >>> [name for name in both.data_vars if "factor_beta" in name]
        ['betas_factor_beta', 'betas_adjusted_factor_beta']
        >>> one = both.betas_factor_beta.sel(ticker=stock, level="market")
        >>> one.dims, str(one.teo.values[-1])[:10]
        (('teo',), '2019-03-15')
        """
        return whole.dataset(self, stores, as_of, chunks)

    def industry_panel(
        self, teo: Any = None, level: str | None = None, min_peers: int | None = None, change: str | None = None
    ) -> Table:
        """Mean and variance of the raw betas of the industries at the last session <= teo, by level and code.

        min_peers: fewest companies, that of the store by default. change `1m`: beside the last session that is at least
        a month older.

        >>> panel = family.industry_panel(level="market", min_peers=1)
        >>> panel.attrs["teo"], int(panel["n_companies"].sum()) > 40
        ('2019-04-30', True)
        """
        return industry.panel(self, teo, level, min_peers, change)

    def industry_history(self, level: str = "subsector", start: Any = None, end: Any = None) -> xr.Dataset:
        """The panel through time: (date, industry) with the names of the industries.

        >>> sorted(family.industry_history("market", "2019-04-01").data_vars)[:2]
        ['beta_mean', 'beta_variance']
        """
        return industry.history(self, level, start, end)

    def portfolio_hedge_ratios(self, weights: Weights, on: Any = None) -> dict[str, float | None]:
        """Mean of each hedge ratio over the names that have it, by weight: sum(w x) / sum(w).

        >>> a, b = stocks
        >>> round(family.portfolio_hedge_ratios({a: 2, b: 2})["l1_market_hr"], 4) < 0
        True
        """
        return portfolio.hedge_ratios(self, weights, on)

    def portfolio_hedge(self, weights: Weights, on: Any = None, level: str = "L3") -> portfolio.Hedge:
        """Signed dollars of each ETF that hedge a portfolio of dollars; names without a ratio at that session apart.

        Nothing is normalised. A name without the ratios of `level` is hedged at its deepest level that has values.

        >>> a, b = stocks
        >>> hedge = family.portfolio_hedge({a: 1_000_000, b: -1_000_000}, level="L1")
        >>> list(hedge.dollars), hedge.missing
        (['SPY'], {})
        """
        return portfolio.hedge(self, weights, on, level)

    def portfolio_decomposition(self, weights: Weights, on: Any = None) -> dict[str, Any]:
        """Where a portfolio's risk comes from: `mean` of the names' L3 shares, and `realised` over 252 sessions.

        >>> a, b = stocks
        >>> family.portfolio_decomposition({a: 1, b: 1})
        Traceback (most recent call last):
        pipeline.query.errors.NotComputable: 103 of the last 252 sessions are complete, 126 are needed
        """
        return portfolio.decomposition(self, weights, on)

    def return_bridge(self, who: str | Weights, start: Any = None, end: Any = None) -> dict[str, Any]:
        """A compounded return in bars that add up to it: market, sector, subsector, residual.

        who: a name, or a portfolio of weights (daily rebalanced, their sum is 1).

        >>> bars = family.return_bridge(stock, "2019-02-01", "2019-02-15")["bars"]
        >>> abs(sum(list(bars.values())[:4]) - bars["total"]) < 1e-12
        True
        """
        return portfolio.bridge(self, who, start, end)

    def screen(
        self, metric: str = "gross_return", cohort: str = "universe", window: str = "1d", on: Any = None, **filters: Any
    ) -> Table:
        """Ranks of the valid members on D. filters: min_percentile, decile, sector_filter, limit.

        >>> top = family.screen("mkt_cap", limit=3)
        >>> top["rank_ordinal"].tolist(), top.attrs["limit"]
        ([1, 2, 3], 3)
        """
        return screening.screen(self, metric, cohort, window, on, **filters)

    def ranks(self, who: str, on: Any = None) -> Table:
        """All ranks of one stock on D: metric, cohort, window and as `screen`.

        >>> len(family.ranks(stock).columns)
        9
        """
        return screening.ranks(self, who, on)

    def members(self, name: str | None = None, on: Any = None) -> dict[str, Any]:
        """Valid members of a universe on D, with their ids and tickers then.

        >>> family.members("uni_mc_50")["counts"]["in_universe_mask"]
        50
        """
        return universe.members(self, name or self.universe, on)

    def etf_returns(self, sleeve: str = "all", tickers: Sequence[str] | None = None, on: Any = None) -> Table:
        """Close and compounded returns of the market and sector ETFs over 1, 21, 63 and 252 sessions up to D.

        >>> family.etf_returns("market")["ticker"].tolist()
        ['SPY']
        """
        return universe.etf_returns(self, sleeve, tickers, on)


def open_family(
    root: str | Path, publication: str | None = None, *, factor_set: str | None = None, cache: ChunkCache | None = None
) -> QueryFamily:
    """One publication of a root, the live one by default; an earlier one by its id (`pipeline.read.history`).

    factor_set: where a root has several, `SPY_uni_mc_500` for example. Raises StoreError where there is none.
    """
    return QueryFamily(read.open_family(root, publication), factor_set, cache)


def _factor_set(family: read.Family) -> str:
    found = [name.removeprefix(f"{HEDGE}_") for name in family.stores if name.startswith(f"{HEDGE}_")]
    if not found:
        raise NothingThere(f"publication {family.publication} has no hedge ratios yet; run all stores first (erm3 run)")
    return found[0]
