"""The answers of a vendor in the style of Tiingo: raw bars with cash dividends and split factors on their ex-dates."""

from __future__ import annotations

import datetime as dt
import io
import json
import zipfile

from pipeline.fake_vendor.eodhd import Answer
from pipeline.fake_vendor.market import FakeMarket, each

VENUES = {"ARCA": "NYSE ARCA", "AMEX": "NYSE MKT"}


def answer(market: FakeMarket, clock: dt.datetime, path: str, query: dict[str, str]) -> Answer:
    """The answer to one request at an instant."""
    if path == "/docs/tiingo/daily/supported_tickers.zip":
        return _supported(market, clock)
    parts = path.strip("/").split("/")
    company = market.codes(clock).get(parts[2]) if len(parts) == 4 else None
    if company is None:
        return Answer(404, b'{"detail":"Not found."}')
    paid = {day: amount for day, amount, _ in market.dividends(company, clock)}
    split = {day: new / old for day, new, old in market.splits(company, clock, {})}
    rows = []
    for bar in each(market.bars(company, clock)):
        day = bar.date.date()
        if query.get("startDate", "") <= str(day) <= query.get("endDate", "9"):
            prices = {name: getattr(bar, name) for name in ("open", "high", "low", "close", "volume")}
            events = {"divCash": paid.get(day, 0.0), "splitFactor": round(split.get(day, 1.0), 6)}
            rows.append({"date": f"{day}T00:00:00.000Z", **prices, **events})
    return Answer(200, json.dumps(rows).encode())


def _supported(market: FakeMarket, clock: dt.datetime) -> Answer:
    lines = ["ticker,exchange,assetType,priceCurrency,startDate,endDate"]
    for code, company in sorted(market.codes(clock).items()):
        days = market.bars(company, clock)["date"]
        ticker, kind = code.split("_old")[0], "ETF" if company.type == "etf" else "Stock"
        if len(days):
            venue = VENUES.get(company.exchange, company.exchange)
            lines.append(f"{ticker},{venue},{kind},USD,{days.iloc[0].date()},{days.iloc[-1].date()}")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("supported_tickers.csv"), "\n".join(lines) + "\n")
    return Answer(200, packed.getvalue(), "application/zip")
