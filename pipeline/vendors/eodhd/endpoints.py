"""The questions that EODHD is asked, with their costs, and what a line was about."""

from __future__ import annotations

import datetime as dt
from functools import cache
from urllib.parse import parse_qs, quote, unquote, urlsplit

from pipeline.landing.requests import Line, Request

SOURCE = "eodhd"
EOD, SPLITS, DIVIDENDS = "eod", "splits", "div"
DAY_BARS, DAY_SPLITS, DAY_DIVIDENDS = "bulk", "bulk-splits", "bulk-dividends"
RATES = "forex"
ACTIVE, DELISTED, CHANGES, FUNDAMENTALS = "list", "list-delisted", "symbol-changes", "fundamentals"
IDS, USER = "id-mapping", "user"

_BULK = {DAY_BARS: "", DAY_SPLITS: "splits", DAY_DIVIDENDS: "dividends"}
SECTIONS = "General,SharesStats,outstandingShares,SplitsDividends"


def of_symbol(endpoint: str, code: str, start: dt.date, end: dt.date, *, nth: int = 1, live: bool = True) -> Request:
    """Bars, splits or dividends of one symbol in [start, end]. live: bars are expected."""
    span = (("fmt", "json"), ("from", str(start)), ("to", str(end)))
    period = (("order", "a"), ("period", "d")) if endpoint == EOD else ()
    path = f"/{endpoint}/{quote(code, safe='')}.US"
    return Request(SOURCE, endpoint, path, span + period, may_be_empty=endpoint != EOD or not live, nth=nth)


def rate(currency: str, start: dt.date, end: dt.date) -> Request:
    """US dollars for one unit of a currency, by day."""
    span = (("fmt", "json"), ("from", str(start)), ("to", str(end)))
    return Request(SOURCE, RATES, f"/eod/{currency}USD.FOREX", span, may_be_empty=True)


def of_day(endpoint: str, day: dt.date, *, nth: int = 1) -> Request:
    """Bars, splits or dividends of all symbols on one day."""
    kind = (("type", _BULK[endpoint]),) if _BULK[endpoint] else ()
    query = (("date", str(day)), ("fmt", "json"), *kind)
    return Request(
        SOURCE, endpoint, "/eod-bulk-last-day/US", query, cost=100, may_be_empty=endpoint != DAY_BARS, nth=nth
    )


def symbol_list(endpoint: str, *, nth: int = 1) -> Request:
    """The active or the delisted symbols."""
    query = (("fmt", "json"),) + ((("delisted", "1"),) if endpoint == DELISTED else ())
    return Request(SOURCE, endpoint, "/exchange-symbol-list/US", query, may_be_empty=endpoint == DELISTED, nth=nth)


def symbol_changes(start: dt.date, end: dt.date) -> Request:
    query = (("ex", "US"), ("fmt", "json"), ("from", str(start)), ("to", str(end)))
    return Request(SOURCE, CHANGES, "/symbol-change-history", query, cost=5, may_be_empty=True)


def fundamentals(code: str) -> Request:
    query = (("filter", SECTIONS), ("fmt", "json"))
    return Request(SOURCE, FUNDAMENTALS, f"/fundamentals/{quote(code, safe='')}.US", query, cost=10)


def ids(code: str) -> Request:
    query = (("filter[symbol]", f"{code}.US"), ("fmt", "json"))
    return Request(SOURCE, IDS, "/id-mapping", query, cost=10, may_be_empty=True)


def user() -> Request:
    return Request(SOURCE, USER, "/internal-user", (("fmt", "json"),))


def code_of(line: Line) -> str:
    """The code that a line about one symbol asked for; of a rate, the currency and USD."""
    return _code(line.request_key)


def day_of(line: Line) -> dt.date:
    """The day that a line about one day asked for."""
    return _day(line.request_key)


def span_of(line: Line) -> tuple[dt.date, dt.date]:
    """The range that a line about one symbol asked for."""
    return _span(line.request_key)


@cache
def _code(key: str) -> str:
    return unquote(urlsplit(key).path.rpartition("/")[2]).rpartition(".")[0]


@cache
def _day(key: str) -> dt.date:
    return dt.date.fromisoformat(parse_qs(urlsplit(key).query)["date"][0])


@cache
def _span(key: str) -> tuple[dt.date, dt.date]:
    asked = parse_qs(urlsplit(key).query)
    return dt.date.fromisoformat(asked["from"][0]), dt.date.fromisoformat(asked["to"][0])
