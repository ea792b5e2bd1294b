"""The symbol directory in the style of Nasdaq: what is listed at an instant."""

from __future__ import annotations

import datetime as dt

from pipeline.fake_vendor.eodhd import Answer
from pipeline.fake_vendor.market import FakeMarket

LISTED = "Symbol|Security Name|Market Category|Test Issue|Financial Status|Round Lot Size|ETF|NextShares"
OTHER = "ACT Symbol|Security Name|Exchange|CQS Symbol|ETF|Round Lot Size|Test Issue|NASDAQ Symbol"
VENUES = {"NYSE": "N", "ARCA": "P", "AMEX": "A", "BATS": "Z"}
TEST_ISSUE = "ZVZZT|NASDAQ TEST STOCK|G|Y|N|100||N"


def answer(market: FakeMarket, clock: dt.datetime, path: str) -> Answer:
    """The answer to one request at an instant."""
    rows = sorted(
        (c.ticker_on(clock.date()), c.name, c.exchange, "Y" if c.type == "etf" else "N") for c in market.living(clock)
    )
    if path.endswith("/nasdaqlisted.txt"):
        lines = [
            LISTED,
            *(f"{t}|{name}|Q|N|N|100|{etf}|N" for t, name, venue, etf in rows if venue == "NASDAQ"),
            TEST_ISSUE,
        ]
    elif path.endswith("/otherlisted.txt"):
        lines = [
            OTHER,
            *(f"{t}|{name}|{VENUES[venue]}|{t}|{etf}|100|N|{t}" for t, name, venue, etf in rows if venue in VENUES),
        ]
    else:
        return Answer(404, b"", "text/html")
    lines.append(f"File Creation Time: {clock:%m%d%Y%H:%M}" + "|" * lines[0].count("|"))
    return Answer(200, "\r\n".join(lines).encode() + b"\r\n", "text/plain")
