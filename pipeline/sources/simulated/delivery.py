"""The simulated vendor: what happened, as the tables a source delivers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.sources.knowledge import PRICE_DELAY
from pipeline.sources.simulated.filings import filings
from pipeline.sources.simulated.industries import ETF_STARTS, MARKET_ETF, PROXY_OF_SECTOR, sector_etfs
from pipeline.sources.simulated.life import Life
from pipeline.sources.simulated.streams import stream
from pipeline.sources.simulated.trading import bars
from pipeline.sources.simulated.walk import DIVIDEND_LEAD, Path, to_tick
from pipeline.sources.simulated.world import ETF_VOL, Fund, World
from pipeline.sources.tables import SourceTables, check_tables, made_table

Rows = dict[str, list[Any]]

PRICE_COLUMNS = ("open", "high", "low", "close", "volume")


class _Book:
    """Tables as they grow: rows of the small ones, columns in pieces of the prices."""

    def __init__(self) -> None:
        self.small: dict[str, list[dict[str, Any]]] = {}
        self.codes: list[str] = []
        self.counts: list[int] = []
        self.starts: list[int] = []
        self.pieces: dict[str, list[NDArray[np.float64]]] = {name: [] for name in PRICE_COLUMNS}

    def add(self, table: str, **row: Any) -> None:
        self.small.setdefault(table, []).append(row)

    def add_prices(self, code: str, start: int, columns: dict[str, NDArray[np.float64]]) -> None:
        self.codes.append(code)
        self.starts.append(start)
        self.counts.append(len(columns["close"]))
        for name, pieces in self.pieces.items():
            pieces.append(columns[name])

    def prices(self) -> dict[str, Any]:
        categories = sorted(set(self.codes))
        of_code = {code: k for k, code in enumerate(categories)}
        counts = np.array(self.counts)
        codes = np.repeat(np.array([of_code[code] for code in self.codes], np.int32), counts)
        columns: dict[str, Any] = {
            "vendor_code": pd.Categorical.from_codes(codes, categories=pd.Index(categories, dtype="str"))
        }
        del codes
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        ordinals = np.repeat(np.array(self.starts), counts) + within
        columns["date"] = xnys().sessions.astype("datetime64[s]")[ordinals]
        for name in PRICE_COLUMNS:
            columns[name] = np.concatenate(self.pieces.pop(name))
        return columns


def deliver(world: World) -> SourceTables:
    """The tables that a reader has a quarter of an hour after the close of the last session shown."""
    book = _Book()
    for fund in world.funds:
        _add_fund(book, world, fund)
    for life in world.lives():
        _add_company(book, world, life)
    _add_factor_etfs(book, world)
    raws = [made_table("prices", book.prices())]
    for name, rows in book.small.items():
        raws.append(made_table(name, {key: [row[key] for row in rows] for key in rows[0]}))
    now = xnys().closes[world.last] + PRICE_DELAY
    return check_tables(raws, "simulated market").as_known(now)


def _add_company(book: _Book, world: World, life: Life) -> None:
    company, T = life.company, len(life.returns)
    ended = company.last <= world.end
    renamed = company.renamed_at <= world.end
    book.add(
        "securities",
        vendor_code=company.vendor_code,
        ticker=company.new_ticker if renamed else company.ticker,
        name=f"Company {company.key}",
        type=company.sec_type,
        exchange=company.exchange,
        first_session=_day(company.start),
        last_session=_day(company.last) if ended else None,
        share_class_figi=company.share_class_figi,
        cik=company.cik,
    )
    opened, high, low, volume = bars(
        world.seed, company.key, company.start, life.path.close, life.returns, life.outstanding, company.vol
    )
    shown = max(0, min(T, world.last - company.start + 1))
    columns = {"open": opened, "high": high, "low": low, "close": life.close, "volume": volume}
    book.add_prices(company.vendor_code, company.start, {name: values[:shown] for name, values in columns.items()})
    _add_events(book, company.vendor_code, company.start, life.path)
    if renamed:
        book.add(
            "ticker_changes",
            vendor_code=company.vendor_code,
            effective_date=_day(company.renamed_at),
            old_ticker=company.ticker,
            new_ticker=company.new_ticker,
        )
    if life.delisting is not None:
        book.add(
            "delistings",
            vendor_code=company.vendor_code,
            last_session=_day(company.last),
            reason=life.delisting.reason,
            cash=life.delisting.cash,
            successor_code=life.delisting.successor_code,
            successor_ratio=life.delisting.successor_ratio,
        )
    filed = filings(world.seed, life)
    for k in range(len(filed.shares)):
        book.add(
            "shares",
            vendor_code=company.vendor_code,
            period_end=filed.period_end[k],
            filed_at=filed.filed_at[k],
            shares=filed.shares[k],
        )
    _add_classification(book, world, life)


def _add_classification(book: _Book, world: World, life: Life) -> None:
    company = life.company
    first = {"vendor_code": company.vendor_code, "fs_industry_code": company.industry}
    book.add("classification", valid_from=_day(company.start), known_from=None, **first)
    if company.reclassified_at <= world.end:
        late = int(stream(world.seed, "classification", company.key).integers(-5, 20))  # most are seen late
        book.add(
            "classification",
            valid_from=_day(company.reclassified_at),
            known_from=xnys().closes[company.reclassified_at + late] + np.timedelta64(90, "m"),
            vendor_code=company.vendor_code,
            fs_industry_code=company.new_industry,
        )


def _add_fund(book: _Book, world: World, fund: Fund) -> None:
    T = len(fund.returns)
    book.add(
        "securities",
        vendor_code=fund.ticker,
        ticker=fund.ticker,
        name=f"{fund.ticker} (simulated)",
        type="etf",
        exchange="ARCA",
        first_session=_day(fund.start),
        last_session=None,
        share_class_figi="",
        cik="",
    )
    outstanding = fund.shares * fund.path.shares
    opened, high, low, volume = bars(
        world.seed, fund.ticker, fund.start, fund.path.close, fund.returns, outstanding, ETF_VOL
    )
    shown = max(0, min(T, world.last - fund.start + 1))
    columns = {"open": opened, "high": high, "low": low, "close": to_tick(fund.path.close), "volume": volume}
    book.add_prices(fund.ticker, fund.start, {name: values[:shown] for name, values in columns.items()})
    _add_events(book, fund.ticker, fund.start, fund.path)


def _add_events(book: _Book, code: str, start: int, path: Path) -> None:
    closes = xnys().closes
    for t in np.flatnonzero(path.decided >= 0).tolist():
        book.add(
            "splits",
            vendor_code=code,
            ex_date=_day(start + t),
            ratio_new=path.new[t],
            ratio_old=path.old[t],
            known_from=closes[start + path.decided[t]] + np.timedelta64(60, "m"),
        )
    for kind, amounts in (("regular", path.regular), ("special", path.special)):
        for t in np.flatnonzero(amounts).tolist():
            book.add(
                "dividends",
                vendor_code=code,
                ex_date=_day(start + t),
                amount=amounts[t],
                kind=kind,
                known_from=closes[start + t - DIVIDEND_LEAD] + np.timedelta64(60, "m"),
            )


def _add_factor_etfs(book: _Book, world: World) -> None:
    """The registry of this market's ETFs: its own starts and proxies."""
    for etf in (MARKET_ETF, *world.factors.of_etf):
        if etf in PROXY_OF_SECTOR:
            continue
        role = "market" if etf == MARKET_ETF else "sector" if etf in sector_etfs() else "subsector"
        start, proxy = ETF_STARTS.get(etf, (None, ""))
        book.add(
            "factor_etfs",
            etf=etf,
            role=role,
            first_session=np.datetime64(start, "s") if start else _day(world.first),
            proxy=proxy,
            note="",
        )


def _day(ordinal: int) -> np.datetime64:
    return xnys().sessions[ordinal].astype("datetime64[s]")
