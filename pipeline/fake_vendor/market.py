"""The simulated market as a vendor has it: by company, under the code that each has at an instant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.settings import SimulatedMarket
from pipeline.sources.shipped import industry_of_gics
from pipeline.sources.simulated import SimulatedSource
from pipeline.sources.tables import SourceTables

BARS_AFTER = dt.timedelta(minutes=15)
ETF_BARS_AFTER = dt.timedelta(hours=2, minutes=45)
EVENTS_AT = dt.timedelta(hours=3)
"""After midnight UTC of the ex-date."""
VOLUME_SETTLES = dt.timedelta(hours=14)
"""A volume is a little short until the next morning."""


def each(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples."""
    return iter(frame.itertuples(index=False))


@dataclass(frozen=True, eq=False)
class Company:
    """One security. tickers: (since, ticker) in order; first, last: sessions, last None while it lives.

    bars: date, open, high, low, close, volume as traded; splits: (ex_date, ratio); dividends: (ex_date, amount after
    the split of that day, currency); isins: (since, isin).
    """

    key: str
    name: str
    type: str
    exchange: str
    cik: str
    figi: str
    tickers: tuple[tuple[dt.date, str], ...]
    isins: tuple[tuple[dt.datetime, str], ...]
    first: dt.date
    last: dt.date | None
    bars: pd.DataFrame
    splits: tuple[tuple[dt.date, float, float], ...]
    dividends: tuple[tuple[dt.date, float, str], ...]
    industry: str
    shares: pd.DataFrame
    delisting: dict[str, Any] = field(default_factory=dict)

    def ticker_on(self, day: dt.date) -> str:
        return [name for since, name in self.tickers if since <= day or since == self.tickers[0][0]][-1]

    def isin_at(self, clock: dt.datetime) -> str:
        return [isin for since, isin in self.isins if since <= clock or since == self.isins[0][0]][-1]


class FakeMarket:
    """Everything that happens, and what a vendor shows of it at an instant (`clock`, aware UTC)."""

    def __init__(self, market: SimulatedMarket) -> None:
        self.first = dt.date.fromisoformat(market.first_session)
        self.tables: SourceTables = SimulatedSource(market).load()
        self._grouped: dict[str, tuple[dict[str, pd.DataFrame], pd.DataFrame]] = {}
        self._codes: tuple[dt.datetime, dict[str, Company]] | None = None

    @cached_property
    def companies(self) -> list[Company]:
        tables = self.tables
        securities = tables.securities
        keys = securities["share_class_figi"].where(securities["share_class_figi"] != "", securities["vendor_code"])
        prices = {str(code): own for code, own in tables.prices.groupby("vendor_code", observed=True)}
        return [self._company(str(key), own, prices) for key, own in securities.groupby(keys, sort=True)]

    def codes(self, clock: dt.datetime) -> dict[str, Company]:
        """By the code that the vendor has at an instant. Earlier owners of a code are `_old`, `_old1`, ..."""
        made = self._codes
        if made is None or made[0] != clock:
            self._codes = made = clock, self._codes_at(clock)
        return made[1]

    def _codes_at(self, clock: dt.datetime) -> dict[str, Company]:
        today = clock.date()
        found: dict[str, Company] = {}
        shown = [c for c in self.companies if self.listed_at(c) <= clock]
        for company in sorted(shown, key=lambda c: (c.first, c.key)):
            code = company.ticker_on(min(today, company.last or today)).replace(".", "-")
            if code in found:
                earlier = found[code]
                n = 0
                while (old := f"{code}_old{n or ''}") in found:
                    n += 1
                found[old] = earlier
            found[code] = company
        return found

    def listed_at(self, company: Company) -> dt.datetime:
        """When the vendor first shows a company: in the morning of its first session."""
        return dt.datetime.combine(company.first, dt.time(), dt.UTC) + EVENTS_AT

    def dead_at(self, company: Company, clock: dt.datetime) -> bool:
        """Whether it stands among the delisted: from the morning after its last session on."""
        if company.last is None:
            return False
        return clock >= dt.datetime.combine(company.last + dt.timedelta(days=1), dt.time(), dt.UTC) + EVENTS_AT

    def living(self, clock: dt.datetime) -> list[Company]:
        """What is listed at an instant."""
        return [c for c in self.companies if self.listed_at(c) <= clock and not self.dead_at(c, clock)]

    def bars(self, company: Company, clock: dt.datetime) -> pd.DataFrame:
        """The bars that are there at an instant, volumes of the last session a little short until they settle."""
        after = ETF_BARS_AFTER if company.type == "etf" else BARS_AFTER
        calendar = xnys()
        dates = company.bars["date"].to_numpy()
        closes = calendar.closes[calendar.on_or_after(dates)]
        there = closes + np.timedelta64(after) <= np.datetime64(clock.replace(tzinfo=None))
        found = company.bars[there].copy()
        fresh = closes[there] + np.timedelta64(VOLUME_SETTLES) > np.datetime64(clock.replace(tzinfo=None))
        found.loc[fresh, "volume"] = np.floor(found.loc[fresh, "volume"] * 0.999)
        return found

    def splits(self, company: Company, clock: dt.datetime, late: dict[str, int]) -> list[tuple[dt.date, float, float]]:
        """Splits that the vendor has at an instant. late: by ticker, days that its splits come late."""
        days = late.get(company.ticker_on(clock.date()), 0)
        return [s for s in company.splits if _shown(s[0], clock, days)]

    def dividends(self, company: Company, clock: dt.datetime) -> list[tuple[dt.date, float, str]]:
        return [d for d in company.dividends if _shown(d[0], clock, 0)]

    @cached_property
    def rates(self) -> pd.DataFrame:
        return self.tables.fx_rates

    @cached_property
    def gics_of(self) -> dict[str, str]:
        """Industry code to a GICS sub-industry that maps to it."""
        found: dict[str, str] = {}
        for name, code in industry_of_gics().items():
            found.setdefault(code, name)
        return found

    def _company(self, key: str, rows: pd.DataFrame, prices: dict[str, pd.DataFrame]) -> Company:
        spans = rows.drop_duplicates(["vendor_code", "first_session"], keep="last").sort_values("first_session")
        first = spans["first_session"].iloc[0]
        last = spans["last_session"].iloc[-1]
        bars = pd.concat([_inside(prices.get(s.vendor_code), "date", s) for s in each(spans)])
        own = {name: self._own(name, spans) for name in ("splits", "dividends", "spin_offs", "shares", "ticker_changes",
                                                          "delistings", "classification")}  # fmt: skip
        isins = sorted({(_aware(row.known_from), row.isin) for row in each(rows)})
        classes = own["classification"]
        return Company(
            key=key,
            name=str(spans["name"].iloc[-1]),
            type=str(spans["type"].iloc[-1]),
            exchange=str(spans["exchange"].iloc[-1]),
            cik=str(spans["cik"].iloc[-1]),
            figi=str(spans["share_class_figi"].iloc[-1]),
            tickers=_tickers(spans, own["ticker_changes"]),
            isins=tuple(isins),
            first=first.date(),
            last=None if pd.isna(last) else last.date(),
            bars=bars[["date", "open", "high", "low", "close", "volume"]].reset_index(drop=True),
            splits=tuple(_splits(own["splits"], own["spin_offs"], bars)),
            dividends=tuple(_dividends(own["dividends"], own["splits"])),
            industry=str(classes["fs_industry_code"].iloc[0]) if len(classes) else "",
            shares=own["shares"],
            delisting={str(k): v for k, v in own["delistings"].iloc[0].items()} if len(own["delistings"]) else {},
        )

    def _own(self, table: str, spans: pd.DataFrame) -> pd.DataFrame:
        day = {"shares": "period_end", "ticker_changes": "effective_date", "delistings": "last_session",
               "classification": "valid_from"}.get(table, "ex_date")  # fmt: skip
        of_code, none = self._of_code(table)
        parts = [_inside(of_code.get(s.vendor_code, none), day, s) for s in each(spans)]
        return pd.concat(parts).drop_duplicates().reset_index(drop=True)

    def _of_code(self, table: str) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
        """The rows of a table by vendor code, and no rows."""
        if table not in self._grouped:
            frame = getattr(self.tables, table)
            own = {str(code): rows for code, rows in frame.groupby("vendor_code", observed=True)}
            self._grouped[table] = own, frame.iloc[:0]
        return self._grouped[table]


def _inside(frame: pd.DataFrame | None, day: str, span: Any) -> pd.DataFrame:
    if frame is None:
        return pd.DataFrame(columns=["date", "open", "high", "low", "close", "volume"])
    end = span.last_session if pd.notna(span.last_session) else pd.Timestamp("2100-01-01")
    slack = pd.Timedelta(days=10) if day in ("effective_date",) else pd.Timedelta(0)
    return frame[(frame[day] >= span.first_session) & (frame[day] <= end + slack)]


def _tickers(spans: pd.DataFrame, changes: pd.DataFrame) -> tuple[tuple[dt.date, str], ...]:
    final, first = str(spans["ticker"].iloc[-1]), spans["first_session"].iloc[0].date()
    ordered = changes.sort_values("effective_date").drop_duplicates(["effective_date"], keep="last")
    if ordered.empty:
        return ((first, final),)
    found = [(first, str(ordered["old_ticker"].iloc[0]))]
    return (*found, *((row.effective_date.date(), str(row.new_ticker)) for row in each(ordered)))


def _splits(splits: pd.DataFrame, spin_offs: pd.DataFrame, bars: pd.DataFrame) -> list[tuple[dt.date, float, float]]:
    """Splits, and spin-offs as the odd splits that this kind of vendor makes of them."""
    found = [(row.ex_date.date(), float(row.ratio_new), float(row.ratio_old)) for row in each(splits)]
    for row in each(spin_offs):
        before = bars.loc[bars["date"] < row.ex_date, "close"]
        if len(before) and pd.notna(row.value) and 0 < row.value < before.iloc[-1]:
            found.append((row.ex_date.date(), round(1000 * before.iloc[-1] / (before.iloc[-1] - row.value)), 1000.0))
    return sorted(found)


def _dividends(dividends: pd.DataFrame, splits: pd.DataFrame) -> list[tuple[dt.date, float, str]]:
    ratio = {row.ex_date: row.ratio_new / row.ratio_old for row in each(splits)}
    return sorted(
        (row.ex_date.date(), row.amount / (ratio.get(row.ex_date, 1.0) if row.basis == "pre" else 1.0), row.currency)
        for row in each(dividends)
    )


def _shown(ex_date: dt.date, clock: dt.datetime, late: int) -> bool:
    return clock >= dt.datetime.combine(ex_date + dt.timedelta(days=late), dt.time(), dt.UTC) + EVENTS_AT


def _aware(known: pd.Timestamp) -> dt.datetime:
    return known.to_pydatetime().replace(tzinfo=dt.UTC)
