"""Tiingo as the layer with the prices: raw bars, splits and dividends of named tickers, with a person's own key."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.landing.fetcher import Access, Bundle
from pipeline.landing.ledger import Quota
from pipeline.landing.requests import FetchError, Line, Request
from pipeline.quality.decisions import how_to_accept
from pipeline.quality.deliveries import listed
from pipeline.settings import Settings
from pipeline.sources.shipped import shipped_factor_etfs
from pipeline.vendors.bar_versions import BarParts, versions
from pipeline.vendors.contract import BACKFILL, Below, Landed, Need, Reject, VendorTables, columns_of
from pipeline.vendors.rounds import Rounds
from pipeline.vendors.tiingo.parse import Daily, Supported, parse_daily, parse_supported
from pipeline.vendors.values import VENUES

TOKEN = "ERM3_TIINGO_TOKEN"
UNITS_A_DAY, HOURS = 1000, 20
"""A free key's requests of a day, and the hours over which its hourly limit spreads them."""
SUPPORTED, PRICES = "supported", "prices"
AGAIN = dt.timedelta(days=14)
"""A night reads the bars of so many days once more: events come late."""
GONE = dt.timedelta(days=15)
"""A ticker whose last bar is so much older than the list is listed no more."""
TYPES = {"Stock": "common", "ETF": "etf"}


class Tiingo:
    """The vendor of raw bars and events."""

    name = "tiingo"
    units: int | None = UNITS_A_DAY

    def access(self, settings: Settings, environment: Mapping[str, str]) -> Access:
        token = environment.get(TOKEN, "").strip()
        if not token:
            raise FetchError(
                f"source 'tiingo' needs its key in the environment variable {TOKEN}; it is set nowhere else"
            )
        if not settings.fetching.names:
            raise FetchError(
                "a key of tiingo has some 500 symbols a month: name the tickers in fetching.names (the factor ETFs are "
                "always asked for); for the whole universe another source is needed"
            )
        given = settings.fetching.urls.get(self.name, "").rstrip("/")
        units = settings.fetching.units.get(self.name, UNITS_A_DAY)
        return Access(
            self.name,
            given or "https://api.tiingo.com",
            Quota(units, per_minute=units / (HOURS * 60)),
            headers={"Authorization": f"Token {token}", "Accept-Encoding": "gzip"},
            secrets=(token,),
            hosts={"/docs": given or "https://apimedia.tiingo.com"},
            timeout=settings.fetching.timeout_seconds,
        )

    def usage(self) -> None:
        """It does not say."""

    def plan(self, need: Need, landed: Landed, settings: Settings, below: Below) -> list[Bundle]:
        plan = _Plan(need, landed, settings)
        return plan.first_open([plan.supported, plan.histories if need.kind == BACKFILL else plan.night])

    def missing(self, session: dt.date, landed: Landed, settings: Settings) -> list[str]:
        made = _Delivered(landed, settings)
        expected, found, share = made.covered(session)
        if not found:
            return [f"no bars of {session} were delivered"]
        if session in landed.accepted:
            return []
        etfs, bound = sorted((expected - found) & set(shipped_factor_etfs())), settings.fetching.coverage
        why = f"no bars of the factor ETFs {', '.join(etfs[:5])}" if etfs else ""
        if share < bound:
            why = (f"bars of {session}: {share:.1%} of the {len(expected):,} names of the session before, expected "
                   f"{bound:.0%}; without one: {listed(sorted(expected - found))}")  # fmt: skip
        return [f"{why}. {how_to_accept(session)}"] if why else []

    def coverage(self, landed: Landed, settings: Settings) -> dict[dt.date, float]:
        made = _Delivered(landed, settings)
        days = {_span(line)[1] for line in landed.of(PRICES) if not line.batch_id.startswith(BACKFILL)}
        return {day: made.covered(day)[2] for day in sorted(days)}

    def tables(self, landed: Landed, settings: Settings, below: Below) -> VendorTables:
        """prices, securities, splits, dividends. No counts of shares and no delistings: another layer has them."""
        made = _Delivered(landed, settings)
        result = VendorTables(rejects=made.rejects)
        parts, events = BarParts(), _Events()
        for line, ticker, daily in made.readings:
            known = landed.known_from(line)
            codes = made.codes(ticker, daily.bars["date"].to_numpy())
            parts.add(codes, daily.bars, daily.bars["volume"].to_numpy(), known)
            events.tell(codes, daily, known)
        prices = versions(parts.frame())
        if prices.empty:
            return result
        listed = set(prices["vendor_code"].astype(str))
        frames = {"prices": prices, "securities": made.securities(listed), **events.frames()}
        result.columns = columns_of(frames)
        return result


class _Delivered:
    """What was landed, read once."""

    def __init__(self, landed: Landed, settings: Settings) -> None:
        self.landed, self.rejects = landed, list[Reject]()
        self.wanted = sorted({*settings.fetching.names, *shipped_factor_etfs()})

    @cached_property
    def readings(self) -> list[tuple[Line, str, Daily]]:
        found = []
        for line in self.landed.of(PRICES):
            daily = self.landed.read(line, parse_daily, self.rejects)
            if daily is None:
                continue
            self.rejects += [Reject.of(line, row, why) for row, why in daily.rejects]
            found.append((line, _ticker(line), daily))
        return found

    @cached_property
    def supported(self) -> dict[str, list[tuple[Line, Supported]]]:
        """By ticker the rows of the latest list that could be read, the earliest owner first."""
        for line in reversed(self.landed.of(SUPPORTED)):
            rows = self.landed.read(line, parse_supported, self.rejects)
            if rows is None:
                continue
            found: dict[str, list[tuple[Line, Supported]]] = {}
            wanted = set(self.wanted)
            for row in sorted(rows, key=lambda row: row.first or dt.date.max):
                if row.ticker in wanted and row.first is not None and row.last is not None:
                    found.setdefault(row.ticker, []).append((line, row))
            return found
        return {}

    def codes(self, ticker: str, days: np.ndarray) -> np.ndarray:
        """The code of each bar: an earlier owner's, TICKER_old, up to the end of its row of the list."""
        found = np.full(len(days), ticker, dtype=object)
        for k, (_, row) in reversed(list(enumerate(self.supported.get(ticker, [])[:-1]))):
            found[days <= np.datetime64(row.last, "s")] = _old(ticker, k)
        return found

    @cached_property
    def _bars(self) -> tuple[np.ndarray, np.ndarray]:
        """Tickers and days of the bars of all readings."""
        days = [daily.bars["date"].to_numpy() for _, _, daily in self.readings]
        tickers = np.array([ticker for _, ticker, _ in self.readings], dtype=object)
        return np.repeat(tickers, [len(own) for own in days]), np.concatenate([np.zeros(0, "datetime64[s]"), *days])

    def priced(self, day: dt.date) -> set[str]:
        """Tickers with a bar of a day."""
        tickers, days = self._bars
        return set(tickers[days == np.datetime64(day, "s")])

    def covered(self, session: dt.date) -> tuple[set[str], set[str], float]:
        """Tickers with a bar of the session before, those with one of the session, and their share of the first."""
        expected, found = self.priced(_before(session)), self.priced(session)
        return expected, found, len(expected & found) / max(len(expected), 1)

    def securities(self, listed: set[str]) -> pd.DataFrame:
        rows = []
        for ticker, owners in sorted(self.supported.items()):
            for k, (line, row) in enumerate(owners):
                code = ticker if k == len(owners) - 1 else _old(ticker, k)
                read = dt.date.fromisoformat(line.received_at[:10])
                assert row.last is not None
                ended = row.last if row.last < read - GONE or code != ticker else None
                if code in listed:
                    rows.append(
                        {
                            "vendor_code": code,
                            "ticker": ticker.replace("-", "."),
                            "type": TYPES.get(row.type, "other"),
                            "exchange": VENUES.get(row.exchange, row.exchange),
                            "currency": row.currency or "USD",
                            "first_session": np.datetime64("NaT", "s") if k == 0 else np.datetime64(row.first, "s"),
                            "last_session": np.datetime64(ended or "NaT", "s"),
                            "cik": "",
                            "name": "",
                            "known_from": self._first_listed(code, ended),
                        }
                    )
        return pd.DataFrame(rows)

    def _first_listed(self, code: str, ended: dt.date | None) -> pd.Timestamp:
        """Receipt of the first bars of a code; of an end, of the latest list."""
        if ended is not None:
            return self.landed.known_from(self.landed.of(SUPPORTED)[-1])
        return next((self.landed.known_from(line) for line, ticker, _ in self.readings if ticker == code), pd.NaT)  # type: ignore[return-value]


class _Events:
    """Splits and dividends: what was said first of a day, and each later reading that says something else."""

    def __init__(self) -> None:
        self._splits: dict[tuple[str, dt.date], list[tuple[Any, pd.Timestamp]]] = {}
        self._paid: dict[tuple[str, dt.date], list[tuple[Any, pd.Timestamp]]] = {}

    def tell(self, codes: np.ndarray, daily: Daily, known: pd.Timestamp) -> None:
        """A reading says all events of the days that it has bars of; what it omits is withdrawn. codes: of its bars."""
        keys = list(zip(codes, daily.bars["date"].to_numpy().astype("datetime64[D]").tolist(), strict=True))
        for book, told, none in ((self._splits, dict(daily.splits), 1), (self._paid, dict(daily.dividends), 0)):
            for key in keys:
                value, said = told.get(key[1], none), book.get(key, [(none, known)])
                if value != said[-1][0]:
                    book.setdefault(key, []).append((value, known))

    def frames(self) -> dict[str, pd.DataFrame]:
        splits = [(code, day, ratio.numerator, ratio.denominator, known)
                  for (code, day), said in sorted(self._splits.items()) for ratio, known in said]  # fmt: skip
        paid = [(code, day, float(amount), "USD", known)
                for (code, day), said in sorted(self._paid.items()) for amount, known in said]  # fmt: skip
        return {
            "splits": _frame(splits, ["vendor_code", "ex_date", "ratio_new", "ratio_old", "known_from"]),
            "dividends": _frame(paid, ["vendor_code", "ex_date", "amount", "currency", "known_from"]),
        }


class _Plan(Rounds):
    def __init__(self, need: Need, landed: Landed, settings: Settings) -> None:
        super().__init__(need, landed)
        self.made = _Delivered(landed, settings)

    def supported(self) -> list[Bundle]:
        """The list of tickers, once a week."""
        if self.lately(SUPPORTED):
            return []
        return [[Request("tiingo", SUPPORTED, "/docs/tiingo/daily/supported_tickers.zip", form="zip")]]

    def histories(self) -> list[Bundle]:
        return [[_bars(ticker, self.need.start, self.need.end)] for ticker in self.made.supported]

    def night(self) -> list[Bundle]:
        """The last days of each ticker that was priced lately; again while the session's bar is not there."""
        lately = set().union(*(self.made.priced(day) for day in _sessions_before(self.need.end, 5)))
        waiting = sorted(lately - self.made.priced(self.need.end))
        requests = (self.again(_bars(ticker, self.need.end - AGAIN, self.need.end)) for ticker in waiting)
        return [[request] for request in requests if request is not None]


def _bars(ticker: str, start: dt.date, end: dt.date) -> Request:
    query = (("endDate", str(end)), ("format", "json"), ("startDate", str(start)))
    path = f"/tiingo/daily/{quote(ticker, safe='')}/prices"
    return Request("tiingo", PRICES, path, query, may_be_empty=True)


def _ticker(line: Line) -> str:
    return urlsplit(line.request_key).path.split("/")[-2]


def _span(line: Line) -> tuple[dt.date, dt.date]:
    asked = parse_qs(urlsplit(line.request_key).query)
    return dt.date.fromisoformat(asked["startDate"][0]), dt.date.fromisoformat(asked["endDate"][0])


def _sessions_before(session: dt.date, n: int) -> list[dt.date]:
    calendar = xnys()
    at = calendar.ordinal(session)
    found: list[dt.date] = calendar.sessions[at - n : at].tolist()
    return found


def _before(session: dt.date) -> dt.date:
    return _sessions_before(session, 1)[0]


def _old(ticker: str, k: int) -> str:
    return f"{ticker}_old{k or ''}"


def _frame(rows: list[tuple[Any, ...]], columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns)
    frame["ex_date"] = frame["ex_date"].to_numpy().astype("datetime64[s]")
    frame["known_from"] = frame["known_from"].to_numpy().astype("datetime64[us]")
    return frame
