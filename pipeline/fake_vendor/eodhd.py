"""The answers of a vendor in the style of EODHD: paths, parameters, and the forms of its values."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.fake_vendor.market import Company, FakeMarket, each

VENUES = {"ARCA": "NYSE ARCA", "AMEX": "NYSE MKT"}
TYPES = {"etf": "ETF", "preferred": "Preferred Stock", "warrant": "Warrant", "unit": "Unit"}
COSTS = {"eod-bulk-last-day": 100, "symbol-change-history": 5, "fundamentals": 10, "historical-market-cap": 10}


class Answer(NamedTuple):
    """An answer as it goes out, before faults."""

    status: int
    body: bytes
    kind: str = "application/json"


def cost(path: str) -> int:
    """Units of a request."""
    return COSTS.get(path.strip("/").split("/")[0], 1)


def answer(market: FakeMarket, clock: dt.datetime, path: str, query: dict[str, str], late: dict[str, int]) -> Answer:
    """The answer to one request at an instant. late: by ticker, days that its splits come late."""
    parts = path.strip("/").split("/")
    if query.get("fmt") != "json":
        return Answer(200, b"Date,Open,High,Low,Close,Adjusted_close,Volume\n", "text/csv")
    if parts[0] in ("eod", "splits", "div", "fundamentals", "historical-market-cap"):
        return _of_symbol(market, clock, parts[0], parts[1], query, late)
    if parts[0] == "eod-bulk-last-day":
        return _of_day(market, clock, query, late)
    if parts[0] == "exchange-symbol-list":
        wanted = query.get("delisted") == "1"
        codes = market.codes(clock)
        rows = [_listed(code, c, clock) for code, c in sorted(codes.items()) if market.dead_at(c, clock) == wanted]
        return _json(rows)
    if parts[0] == "symbol-change-history":
        return _changes(market, clock, query)
    if parts[0] == "id-mapping":
        return _ids(market, clock, query)
    return Answer(404, b"Not Found", "text/html")


def _of_symbol(
    market: FakeMarket, clock: dt.datetime, what: str, symbol: str, query: dict[str, str], late: dict[str, int]
) -> Answer:
    code, _, exchange = symbol.rpartition(".")
    if exchange == "FOREX":
        return _json(_rates(market, clock, code, query))
    company = market.codes(clock).get(code) if exchange == "US" else None
    if company is None:
        return Answer(404, b"Ticker Not Found.", "text/html")
    begin, end = query.get("from", "1900-01-01"), query.get("to", "2100-01-01")
    splits = market.splits(company, clock, late)
    if what == "eod":
        return _json([row for row in _bars(market, company, clock, splits) if begin <= row["date"] <= end])
    if what == "splits":
        rows = [{"date": str(day), "split": f"{new:.6f}/{old:.6f}"} for day, new, old in splits]
        return _json([row for row in rows if begin <= row["date"] <= end])
    if what == "div":
        paid = [_dividend(d, splits) for d in market.dividends(company, clock)]
        return _json([row for row in paid if begin <= row["date"] <= end])
    if what == "historical-market-cap":
        return _json({})
    return _json(_fundamentals(market, code, company, clock))


def _bars(
    market: FakeMarket, company: Company, clock: dt.datetime, splits: list[tuple[dt.date, float, float]]
) -> list[dict[str, Any]]:
    """Bars as traded, volumes in today's shares, closes adjusted for today."""
    frame = market.bars(company, clock)
    dates = frame["date"].to_numpy()
    volume, factor = frame["volume"].to_numpy(dtype=float, copy=True), np.ones(len(frame))
    for day, new, old in splits:
        before = dates < np.datetime64(day, "s")
        volume[before] *= new / old
        factor[before] *= old / new
    close = frame["close"].to_numpy()
    for day, amount, _ in market.dividends(company, clock):
        before = dates < np.datetime64(day, "s")
        if before.any():
            factor[before] *= max(1 - amount / close[before][-1], 0.0)
    adjusted = np.round(close * factor, 4)
    days = dates.astype("datetime64[D]").astype(str)
    columns = (frame["open"], frame["high"], frame["low"], frame["close"], adjusted, volume)
    cells = zip(days.tolist(), *([_plain(v) for v in column.tolist()] for column in columns), strict=True)
    keys = ("date", "open", "high", "low", "close", "adjusted_close", "volume")
    return [dict(zip(keys, row, strict=True)) for row in cells]


def _of_day(market: FakeMarket, clock: dt.datetime, query: dict[str, str], late: dict[str, int]) -> Answer:
    day, kind = query.get("date", str(clock.date())), query.get("type", "")
    rows: list[dict[str, Any]] = []
    for code, company in sorted(market.codes(clock).items()):
        splits = market.splits(company, clock, late)
        if kind == "splits":
            found = [s for s in splits if str(s[0]) == day]
            rows += [{"code": code, "exchange": "US", "date": day, "split": f"{n:.6f}/{o:.6f}"} for _, n, o in found]
        elif kind == "dividends":
            for paid in market.dividends(company, clock):
                if str(paid[0]) == day:
                    rows.append(_of_day_dividend(code, _dividend(paid, splits)))
        else:
            at = company.bars["date"] == pd.Timestamp(day)
            if at.any():
                only = Company(**{**vars(company), "bars": company.bars[at]})
                own = _bars(market, only, clock, splits)
                rows += [{"code": code, "exchange_short_name": "US", **row} for row in own]
    return _json(rows)


def _dividend(paid: tuple[dt.date, float, str], splits: list[tuple[dt.date, float, float]]) -> dict[str, Any]:
    """A dividend in today's shares, and the amount of then as this vendor works it out from that."""
    day, amount, currency = paid
    factor = float(np.prod([new / old for ex, new, old in splits if ex > day] or [1.0]))
    value = round(amount / factor, 6)
    return {
        "date": str(day),
        "declarationDate": None,
        "recordDate": None,
        "paymentDate": None,
        "period": "Quarterly",
        "value": _plain(value),
        "unadjustedValue": _plain(round(value * factor, 6)),
        "currency": currency,
    }


def _of_day_dividend(code: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "code": code,
        "exchange": "US",
        "date": row["date"],
        "dividend": f"{row['value']:.6f}",
        "currency": row["currency"],
        "declarationDate": None,
        "recordDate": None,
        "paymentDate": None,
        "period": None,
        "unadjustedValue": f"{row['unadjustedValue']:.10f}",
    }


def _listed(code: str, company: Company, clock: dt.datetime) -> dict[str, Any]:
    return {
        "Code": code,
        "Name": company.name,
        "Country": "USA",
        "Exchange": VENUES.get(company.exchange, company.exchange),
        "Currency": "USD",
        "Type": TYPES.get(company.type, "Common Stock"),
        "Isin": company.isin_at(clock) or None,
    }


def _changes(market: FakeMarket, clock: dt.datetime, query: dict[str, str]) -> Answer:
    rows = []
    for company in market.companies:
        for (_, old), (since, new) in zip(company.tickers[:-1], company.tickers[1:], strict=True):
            if query["from"] <= str(since) <= query["to"] and _told(since) <= clock:
                rows.append(
                    {
                        "exchange": "US",
                        "old_symbol": old.replace(".", "-"),
                        "new_symbol": new.replace(".", "-"),
                        "company_name": company.name,
                        "effective": str(since),
                    }
                )
    return _json(sorted(rows, key=lambda row: (row["effective"], row["old_symbol"])))


def _told(since: dt.date) -> dt.datetime:
    return dt.datetime.combine(since, dt.time(3), dt.UTC)


def _fundamentals(market: FakeMarket, code: str, company: Company, clock: dt.datetime) -> dict[str, Any]:
    filed = company.shares[company.shares["filed_at"] <= clock.replace(tzinfo=None)]
    general: dict[str, Any] = {
        "Code": code,
        "Type": TYPES.get(company.type, "Common Stock"),
        "Name": company.name,
        "Exchange": VENUES.get(company.exchange, company.exchange),
        "CurrencyCode": "USD",
        "OpenFigi": company.figi or None,
        "ISIN": company.isin_at(clock) or None,
        "CIK": company.cik.lstrip("0") or None,
        "GicSubIndustry": market.gics_of.get(company.industry),
        "HomeCategory": "ADR" if company.type == "adr" else "Domestic",
        "Industry": "REIT - Diversified" if company.type == "reit" else "Other",
        "IsDelisted": market.dead_at(company, clock),
        "UpdatedAt": str(clock.date()),
    }
    if company.type == "etf":
        return {"General": general, "ETF_Data": {}}
    shares = int(filed.sort_values("period_end")["shares"].iloc[-1]) if len(filed) else 0
    return {
        "General": general,
        "SharesStats": {"SharesOutstanding": shares},
        "outstandingShares": {"annual": {}, "quarterly": []},
        "SplitsDividends": {"LastSplitFactor": ""},
    }


def _rates(market: FakeMarket, clock: dt.datetime, code: str, query: dict[str, str]) -> list[dict[str, Any]]:
    rates = market.rates[market.rates["currency"] == code.removesuffix("USD")]
    rows = []
    for row in each(rates):
        day = str(row.date.date())
        there = _told(row.date.date()) + dt.timedelta(hours=20) <= clock
        if there and query.get("from", "") <= day <= query.get("to", "9"):
            rate = dict.fromkeys(("open", "high", "low", "close", "adjusted_close"), _plain(row.usd_rate))
            rows.append({"date": day, **rate, "volume": 0})
    return rows


def _ids(market: FakeMarket, clock: dt.datetime, query: dict[str, str]) -> Answer:
    wanted = query.get("filter[symbol]", "")
    rows = [
        {"symbol": f"{code}.US", "isin": c.isin_at(clock), "figi": c.figi, "lei": None, "cusip": None, "cik": c.cik}
        for code, c in sorted(market.codes(clock).items())
        if not wanted or f"{code}.US" == wanted
    ]
    limit, offset = int(query.get("page[limit]", "1000")), int(query.get("page[offset]", "0"))
    meta = {"limit": limit, "offset": offset, "total": len(rows)}
    return _json({"meta": meta, "data": rows[offset : offset + limit], "links": {"next": None}})


def _plain(value: float) -> float | int:
    """Whole numbers go out as integers."""
    return int(value) if float(value).is_integer() else value


def _json(value: Any) -> Answer:
    return Answer(200, json.dumps(value, separators=(",", ":")).encode())
