"""What each address answers: calls of the library, and the names that existing clients expect around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.query import NothingThere, QueryError, QueryFamily, Table, screening, universe
from pipeline.query import history as past
from pipeline.query.errors import BadQuestion
from pipeline.query.fields import BY_WIRE, LEVELS, field, sdk_name
from pipeline.query.table import texts
from pipeline.query.values import YEAR

SOURCE = "zarr"
MAG7 = ("AAPL", "AMZN", "GOOG", "GOOGL", "META", "MSFT", "NVDA", "TSLA")
Answer = tuple[dict[str, Any], Table | None]
"""A document for JSON, and a table for CSV and Parquet where there is one."""


def market_only(family: QueryFamily, etf: str | None) -> None:
    """Raises NothingThere for another market ETF than the publication's."""
    if etf is not None and etf.strip().upper() != family.market_factor_etf:
        raise NothingThere(f"the market ETF here is {family.market_factor_etf}", code="unknown_market_factor_etf")


def _echo(document: dict[str, Any], as_of: str | None, teo: str | None = None) -> dict[str, Any]:
    """With the day that was asked about, and the session that answers; that of the document by default."""
    if as_of is None:
        return document
    return {**document, "as_of": as_of, "as_of_resolved": document["teo"] if teo is None else teo}


def _looked_for(search: str) -> None:
    """Raises BadQuestion for a search without a text."""
    if not search.strip():
        raise BadQuestion("search is empty; give a ticker or a part of a name", code="empty_search")


def flat(found: Mapping[str, Any]) -> dict[str, Any]:
    """A snapshot as one row."""
    values = found["metrics"]
    told = {
        "ticker": found["ticker"],
        "date": found["teo"],
        "volatility": values["vol_23d"],
        "close_price": values["price_close"],
    }
    return told | values


def as_table(names: Sequence[str], rows: Sequence[Mapping[str, Any]], text: Sequence[str]) -> Table:
    """Rows as columns: text where it is named, float32 where all are as stored, float64 otherwise."""
    columns: dict[str, NDArray] = {}
    for name in names:
        values = [row[name] for row in rows]
        if name in text:
            columns[name] = texts(values)
        else:
            kind = np.float32 if name in BY_WIRE and not BY_WIRE[name].computed else np.float64
            columns[name] = np.array([np.nan if v is None else v for v in values], kind)
    return Table(columns, names[0])


# -- one stock ----------------------------------------------------------------------------------------------------


def metrics(family: QueryFamily, ticker: str, as_of: str | None) -> Answer:
    """All fields of a stock at its last session with a hedge ratio; the table is one row."""
    found = family.metrics(ticker, as_of)
    row = flat(found)
    return _echo(found, as_of), as_table(list(row), [row], ("ticker", "date"))


def decompose(family: QueryFamily, ticker: str, as_of: str | None) -> Answer:
    """A stock in its four layers."""
    found = family.decompose(ticker, as_of)
    return (_echo(found, as_of) | ({} if as_of is None else {"as_of_basis": "report_date"})), None


def ticker_returns(family: QueryFamily, ticker: str, years: int, limit: int | None, as_of: str | None) -> Answer:
    """Daily returns of a stock with its closes, ratios and shares; of an ETF returns and closes."""
    table = family.ticker_returns(ticker, years, as_of)
    table = table if limit is None else table.tail(limit)
    told = table.attrs
    stock = told["asset_type"] == "stock"
    document = {
        "symbol": told["symbol"],
        "ticker": told["ticker"],
        "asset_type": told["asset_type"],
        "periodicity": "daily",
        "data": table.rows(),
        "meta": {**{f"{x}_etf": told.get(f"{x}_etf") for x in LEVELS}, "universe": "US_EQUITY" if stock else "US_ETF"},
        "_metadata": {"data_source": SOURCE, "range": [table["date"][0], table["date"][-1]]},
    }
    return _echo(document, as_of, table["date"][-1]), table


def _series(family: QueryFamily, table: Table, as_of: str | None, **more: Any) -> Answer:
    """Columns side by side, as the decompositions have them."""
    columns = {("dates" if name == "date" else name): column for name, column in table.columns.items()}
    document = {
        "ticker": table.attrs["ticker"],
        "symbol": table.attrs["symbol"],
        **columns,
        "market_factor_etf": family.market_factor_etf,
        "universe": "US_EQUITY",
        "data_source": SOURCE,
        **more,
    }
    return _echo(document, as_of, table["date"][-1]), table


def l3_decomposition(family: QueryFamily, ticker: str, years: int, as_of: str | None) -> Answer:
    """The L3 ratios, shares and returns of a stock through time."""
    return _series(family, family.l3_decomposition(ticker, years, as_of), as_of)


def returns_decomposition(
    family: QueryFamily, ticker: str, years: int, as_of: str | None, include_lstar: bool, threshold: float | None
) -> Answer:
    """A stock's return through time in the returns of its layers."""
    table = family.returns_decomposition(ticker, years, as_of, include_lstar, threshold)
    used = {"threshold_used": table.attrs["threshold_used"]} if include_lstar else {}
    return _series(family, table, as_of, **used)


def lstar(family: QueryFamily, ticker: str, years: int, threshold: float | None, as_of: str | None) -> Answer:
    """The depth worth hedging at each session, with its ratios and residual."""
    table = family.lstar(ticker, years, threshold, as_of)
    return _series(family, table, as_of, threshold_used=table.attrs["threshold_used"], axis="industry")


def series(family: QueryFamily, ticker: str, fields: Sequence[str], years: int, as_of: str | None) -> Answer:
    """Any fields of a stock through time, and the ETFs used."""
    names = list(dict.fromkeys(sdk_name(name) for name in fields))
    table, etfs = past.fields_of(family, ticker, years, as_of, names), past.etf_history(family, ticker, years, as_of)
    columns = {**table.columns, **{f"{x}_etf": etfs[f"{x}_etf"] for x in LEVELS}}
    units = {name: field(name).unit for name in names}
    return _series(family, Table(columns, "date", table.attrs), as_of, units=units)


# -- cross sections -----------------------------------------------------------------------------------------------


def industry_panel(
    family: QueryFamily, teo: str | None, level: str | None, min_peers: int | None, change: str | None
) -> Answer:
    """Mean and dispersion of the betas of every industry."""
    table = family.industry_panel(teo, level, min_peers, change)
    document = {
        **table.attrs,
        "industries": table.rows(),
        "by": "level",
        "panel_key": "level",
        "market_factor_etf": family.market_factor_etf,
        "universe": family.universe,
        "data_source": SOURCE,
    }
    return document, table


def screen(family: QueryFamily, metric: str, cohort: str, window: str, as_of: str | None, **filters: Any) -> Answer:
    """The valid members of the universe, ranked and filtered."""
    table = family.screen(metric, cohort, window, as_of, **filters)
    return _echo({**table.attrs, "rankings": table.rows()}, as_of), table


def rankings(
    family: QueryFamily, ticker: str, metric: str | None, cohort: str | None, window: str | None, as_of: str | None
) -> Answer:
    """Where one stock stands in each cohort, by each metric and window asked about."""
    table = screening.ranks(family, ticker, as_of, metric, cohort, window)
    return _echo({**table.attrs, "rankings": table.rows()}, as_of), table


def tickers(family: QueryFamily, search: str | None, mag7: bool, include_metadata: bool, as_of: str | None) -> Answer:
    """Who is in the universe, or what a search finds, or the seven that clients ask for by name."""
    if search is None:
        found = universe.tickers(family, as_of, include_metadata)
        if mag7:
            found["tickers"] = [ticker for ticker in found["tickers"] if ticker in MAG7]
            if include_metadata:
                found["metadata"] = {ticker: found["metadata"][ticker] for ticker in found["tickers"]}
        return found, Table({"ticker": texts(found["tickers"])}, "ticker")
    _looked_for(search)
    on = family.on(as_of)
    hits = [hit for hit in family.search(search, as_of, 50) if hit.last is None and hit.kind != "etf"]
    exact = next((hit.ticker for hit in hits if hit.ticker == search.strip().upper()), None)
    if exact is not None:
        return {"ticker": exact}, Table({"ticker": texts([exact])}, "ticker")
    suggestions = [
        {
            "ticker": hit.ticker,
            "company_name": hit.name,
            "sector": universe.describe(family, hit.symbol, on.day, on.session)["sector"],
        }
        for hit in hits[:20]
    ]
    table = {name: texts([s[name] for s in suggestions]) for name in ("ticker", "company_name", "sector")}
    return {"ticker": suggestions[0]["ticker"] if suggestions else None, "suggestions": suggestions}, Table(
        table, "ticker"
    )


def securities(family: QueryFamily, search: str, as_of: str | None) -> Answer:
    """Who has, or has had, a ticker or a name like this."""
    _looked_for(search)
    hits = family.search(search, as_of)
    return {"securities": [hit._asdict() for hit in hits]}, None


def members(family: QueryFamily, name: str, teo: str | None) -> Answer:
    """The members of a universe at a session."""
    found = family.members(name, teo)
    rows = found["members"]
    return found, Table({key: texts([row[key] for row in rows]) for key in ("symbol", "ticker")}, "symbol")


def etf_returns(family: QueryFamily, sleeve: str, wanted: Sequence[str] | None, teo: str | None) -> Answer:
    """Returns of factor ETFs at a session."""
    table = family.etf_returns(sleeve, wanted, teo)
    windows = list(universe.WINDOWS)
    rows = [
        {key: row[key] for key in row if key not in windows} | {"returns": {w: row[w] for w in windows}}
        for row in table.rows()
    ]
    narrowed = {"sleeve": sleeve, "tickers": table.attrs["tickers"] or None}
    return {"teo": table.attrs["teo"], "filter": narrowed, "windows": windows, "rows": rows}, table


# -- for the page -------------------------------------------------------------------------------------------------


def portfolio(family: QueryFamily, positions: Mapping[str, float], level: str, as_of: str | None) -> Answer:
    """A portfolio's hedge in dollars of each ETF, and where its risk comes from."""
    hedge = family.portfolio_hedge(positions, as_of, level)
    document = {**vars(hedge), "hedge_ratios": family.portfolio_hedge_ratios(positions, as_of)}
    for name, ask in (("risk", family.portfolio_decomposition), ("bridge", _bridge_of_year(family))):
        try:
            document[name] = ask(positions, as_of)
        except QueryError as error:
            document[name] = {"error": str(error)}
    return _echo(document, as_of), None


def _bridge_of_year(family: QueryFamily) -> Callable[[Mapping[str, float], str | None], dict[str, Any]]:
    def ask(positions: Mapping[str, float], as_of: str | None) -> dict[str, Any]:
        on = family.on(as_of)
        return family.return_bridge(positions, family.teo(max(on.session - YEAR + 1, 0)), on.day)

    return ask


def industry_history(family: QueryFamily, industry: int, level: str, as_of: str | None) -> Answer:
    """The aggregates of one industry through time."""
    found = family.industry_history(level, None, as_of)
    if industry not in found.industry.values.tolist():
        raise NothingThere(f"there is no industry {industry}", code="unknown_industry")
    one = found.sel(industry=industry)
    dates = texts(np.datetime_as_string(one.date.values.astype("datetime64[D]")).tolist())
    columns = {"date": dates} | {str(name): np.ascontiguousarray(one[name].values) for name in one.data_vars}
    document = {"industry": industry, "name": str(one.name.values), "level": level, "dates": dates}
    return document | {name: column for name, column in columns.items() if name != "date"}, Table(columns, "date")


def status(family: QueryFamily) -> Answer:
    """What is published, and what the last session's returns were withheld for."""
    cells = family.cells("ds_daily")
    last = len(family.sessions) - 1
    names = cells.flags("return_flag")
    flags = cells.day("return_flag", last)
    codes, counts = np.unique(flags, return_counts=True)
    withheld = [
        {
            "flag": names.get(int(code), str(code)),
            "stocks": int(n),
            "tickers": [
                family.names.ticker(cells.symbols[k], family.complete_through)
                for k in np.flatnonzero(flags == code)[:20].tolist()
            ],
        }
        for code, n in zip(codes.tolist(), counts.tolist(), strict=True)
        if code >= 32
    ]
    record = family.family.record
    return {
        "publication": family.publication,
        "published_utc": record.get("published_utc"),
        "first_session": family.teo(0),
        "complete_through": family.complete_through,
        "sessions": len(family.sessions),
        "stores": sorted(family.family.stores),
        "returns": int(sum(n for code, n in zip(codes.tolist(), counts.tolist(), strict=True) if 0 < code < 32)),
        "withheld": withheld,
        "industries": {str(code): row.name for code, row in family.names.industries.items()},
    }, None
