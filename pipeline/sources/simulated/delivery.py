"""The simulated vendor: what happened, as the tables that a source delivers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.sources.knowledge import PRICE_DELAY
from pipeline.sources.simulated.factors import Array
from pipeline.sources.simulated.filings import filings
from pipeline.sources.simulated.identifiers import SPUN_OFF, cik, isin, share_class_figi, tickers
from pipeline.sources.simulated.industries import ETF_STARTS, MARKET_ETF, sector_etfs
from pipeline.sources.simulated.life import Life
from pipeline.sources.simulated.roster import NEVER, Company
from pipeline.sources.simulated.trading import bars
from pipeline.sources.simulated.walk import DIVIDEND_LEAD, to_tick
from pipeline.sources.simulated.world import ETF_VOL, Fund, World
from pipeline.sources.streams import stream
from pipeline.sources.tables import RawTable, SourceTables, check_tables, made_table

AFTER_CLOSE = np.timedelta64(60, "m")
"""Announcements come an hour after the close."""
SPIN_OFF_LEAD = 20

PRICE_COLUMNS = ("open", "high", "low", "close", "volume")


class _Book:
    """The tables as they grow: rows of the small ones, and the columns of the prices in pieces."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self._codes: list[str] = []
        self._ordinals: list[NDArray[np.int32]] = []
        self._pieces: dict[str, list[Array]] = {name: [] for name in PRICE_COLUMNS}

    def add(self, table: str, **row: Any) -> None:
        self.rows.setdefault(table, []).append(row)

    def add_prices(self, code: str, ordinals: NDArray[np.int64], columns: dict[str, Array]) -> None:
        self._codes.append(code)
        self._ordinals.append(ordinals.astype(np.int32))
        for name, pieces in self._pieces.items():
            pieces.append(columns[name])

    def tables(self) -> Iterator[RawTable]:
        """Every table, one at a time, so that no two copies of the prices are held longer than needed."""
        yield made_table("prices", self._price_columns())
        for name, rows in self.rows.items():
            keys = dict.fromkeys(key for row in rows for key in row)
            yield made_table(name, {key: [row.get(key) for row in rows] for key in keys})

    def _price_columns(self) -> dict[str, Any]:
        """The columns of the prices; the pieces are used up."""
        categories = sorted(set(self._codes))
        place = {code: k for k, code in enumerate(categories)}
        counts = [len(ordinals) for ordinals in self._ordinals]
        codes = np.repeat(np.array([place[code] for code in self._codes], np.int32), counts)
        dates = xnys().sessions.astype("datetime64[s]")[np.concatenate(self._ordinals)]
        self._ordinals.clear()
        columns: dict[str, Any] = {"vendor_code": pd.Categorical.from_codes(codes, pd.Index(categories)), "date": dates}
        return columns | {name: np.concatenate(self._pieces.pop(name)) for name in PRICE_COLUMNS}


def deliver(world: World) -> SourceTables:
    """The tables that a reader has a quarter of an hour after the close of the last session shown."""
    book = _Book()
    for fund in world.funds:
        _add_fund(book, world, fund)
    for life in world.lives():
        _add_company(book, world, life)
    _add_fx_rates(book, world)
    _add_factor_etfs(book, world)
    return check_tables(book.tables(), "simulated market").as_known(xnys().closes[world.last] + PRICE_DELAY)


def _add_company(book: _Book, world: World, life: Life) -> None:
    company = life.company
    _add_listing(book, world, life)
    opened, high, low, volume = bars(
        world.seed, company.key, company.start, life.path.close, life.returns, life.outstanding, company.vol
    )
    close, quiet = life.close, life.quiet
    stays = np.maximum.accumulate(np.where(quiet | life.halted, 0, np.arange(len(close))))  # the last trade's index
    printed = close[stays]
    columns = {name: np.where(quiet, printed, values) for name, values in
               (("open", opened), ("high", high), ("low", low), ("close", close))}  # fmt: skip
    columns["volume"] = np.where(quiet, 0.0, volume)
    _add_prices(book, world, company.start, ~life.halted, columns, company)
    _add_events(book, company.start, life.path, company)
    for session, ticker in company.renamings:
        if session <= world.end:
            book.add(
                "ticker_changes",
                vendor_code=company.code_on(session),
                effective_date=_day(session),
                old_ticker=company.ticker_on(session - 1),
                new_ticker=ticker,
            )
    if life.delisting is not None:
        book.add(
            "delistings",
            vendor_code=company.code_on(company.last),
            last_session=_day(company.last),
            reason=life.delisting.reason,
            cash=life.delisting.cash,
            successor_code=life.delisting.successor_code,
            successor_ratio=life.delisting.successor_ratio,
        )
    if company.spin_off[0] - company.start < len(life.returns):
        _add_spin_off(book, life)
    filed = filings(world.seed, life)
    at = xnys().on_or_before(filed.period_end)
    for k in range(len(filed.shares)):
        book.add(
            "shares",
            vendor_code=company.code_on(int(at[k])),
            period_end=filed.period_end[k],
            filed_at=filed.filed_at[k],
            shares=filed.shares[k],
        )
    _add_classification(book, world, company)


def _add_listing(book: _Book, world: World, life: Life) -> None:
    """A row per vendor code that the company had, and a correction per change of its ISIN."""
    company, path = life.company, life.path
    changes = [company.start + int(t) for t in np.flatnonzero(path.new < path.old)]  # reverse splits change the ISIN
    if company.redomiciled_at <= world.end:
        changes.append(company.redomiciled_at)
    changes.sort()
    moved_at = company.code_moves_at if company.code_moves_at <= world.end else NEVER
    spans = [(company.start, min(company.last, moved_at - 1))]
    if moved_at != NEVER:
        spans.append((moved_at, company.last))
    for first, last in spans:
        row = {
            "vendor_code": company.code_on(first),
            "ticker": company.ticker_on(min(last, world.end)),
            "name": f"Company {company.key}",
            "type": company.sec_type,
            "exchange": company.exchange,
            "first_session": _day(first),
            "last_session": _day(last) if last <= world.end else None,
            "share_class_figi": share_class_figi(company.number),
            "cik": cik(company.issuer),
        }
        before = sum(session <= first for session in changes)
        book.add("securities", isin=isin(company.number, before), **row)
        for version, session in enumerate(changes, start=1):
            if first < session <= last:
                known = xnys().closes[session]
                book.add("securities", isin=isin(company.number, version), known_from=known, **row)


def _add_spin_off(book: _Book, life: Life) -> None:
    company = life.company
    session, _, ratio = company.spin_off
    value = float(np.round(life.path.spun_off[session - company.start], 4))
    book.add(
        "spin_offs",
        vendor_code=company.code_on(session),
        ex_date=_day(session),
        child_code=tickers(company.slot, SPUN_OFF + company.generation)[0],
        child_ratio=ratio,
        value=value if company.slot % 2 == 0 else None,
        known_from=xnys().closes[max(session - SPIN_OFF_LEAD, company.start)] + AFTER_CLOSE,
    )


def _add_classification(book: _Book, world: World, company: Company) -> None:
    book.add(
        "classification",
        vendor_code=company.code_on(company.start),
        valid_from=_day(company.start),
        fs_industry_code=company.industry,
    )
    if company.code_moves_at <= world.end:
        book.add(
            "classification",
            vendor_code=company.code_on(company.code_moves_at),
            valid_from=_day(company.code_moves_at),
            fs_industry_code=company.industry,
        )
    session = company.reclassified_at
    if session <= world.end:
        late = int(stream(world.seed, "classification", company.key).integers(-5, 20))  # most are seen late
        book.add(
            "classification",
            vendor_code=company.code_on(session),
            valid_from=_day(session),
            fs_industry_code=company.new_industry,
            known_from=xnys().closes[session + late] + AFTER_CLOSE,
        )


def _add_fund(book: _Book, world: World, fund: Fund) -> None:
    book.add(
        "securities",
        vendor_code=fund.ticker,
        ticker=fund.ticker,
        name=f"{fund.ticker} (simulated)",
        type="etf",
        exchange="ARCA",
        first_session=_day(fund.start),
    )
    opened, high, low, volume = bars(
        world.seed, fund.ticker, fund.start, fund.path.close, fund.returns, fund.shares * fund.path.shares, ETF_VOL
    )
    columns = {"open": opened, "high": high, "low": low, "close": to_tick(fund.path.close), "volume": volume}
    _add_prices(book, world, fund.start, np.ones(len(volume), bool), columns, fund)
    _add_events(book, fund.start, fund.path, fund)


def _add_prices(
    book: _Book, world: World, start: int, printed: NDArray[np.bool_], columns: dict[str, Array], of: Company | Fund
) -> None:
    """The printed rows up to the last session shown, under the code that the vendor has on each."""
    ordinals = start + np.flatnonzero(printed)
    ordinals = ordinals[ordinals <= world.last]
    moved_at = of.code_moves_at if isinstance(of, Company) else NEVER
    for part in (ordinals[ordinals < moved_at], ordinals[ordinals >= moved_at]):
        if len(part):
            rows = {name: values[part - start] for name, values in columns.items()}
            book.add_prices(_code(of, int(part[0])), part, rows)


def _add_events(book: _Book, start: int, path: Any, of: Company | Fund) -> None:
    closes = xnys().closes
    for t in np.flatnonzero(path.decided >= 0).tolist():
        book.add(
            "splits",
            vendor_code=_code(of, start + t),
            ex_date=_day(start + t),
            ratio_new=path.new[t],
            ratio_old=path.old[t],
            known_from=closes[start + path.decided[t]] + AFTER_CLOSE,
        )
    currency = of.currency if isinstance(of, Company) else "USD"
    extra = "roc" if isinstance(of, Company) and of.sec_type == "reit" else "special"
    for kind, amounts in (("regular", path.regular), (extra, path.special)):
        for t in np.flatnonzero(amounts).tolist():
            ratio = path.new[t] / path.old[t]
            before_split = ratio != 1 and t % 2 == 1  # some companies declare per share before the split of that day
            book.add(
                "dividends",
                vendor_code=_code(of, start + t),
                ex_date=_day(start + t),
                amount=amounts[t] * ratio if before_split else amounts[t],
                currency=currency,
                kind=kind,
                basis="pre" if before_split else "post",
                known_from=closes[start + t - DIVIDEND_LEAD] + AFTER_CLOSE,
            )


def _add_fx_rates(book: _Book, world: World) -> None:
    for currency, rates in world.fx_rates.items():
        for k, rate in enumerate(rates):
            book.add("fx_rates", currency=currency, date=_day(world.first + k), usd_rate=rate)


def _add_factor_etfs(book: _Book, world: World) -> None:
    """The registry of this market's ETFs: its own starts and proxies."""
    for etf in (MARKET_ETF, *world.factors.of_etf):
        role = "market" if etf == MARKET_ETF else "sector" if etf in sector_etfs() else "subsector"
        start, proxy = ETF_STARTS.get(etf, ("", ""))
        first = np.datetime64(start, "s") if start else _day(world.first)
        book.add("factor_etfs", etf=etf, role=role, first_session=first, proxy=proxy)


def _code(of: Company | Fund, session: int) -> str:
    return of.code_on(session) if isinstance(of, Company) else of.ticker


def _day(ordinal: int) -> np.datetime64:
    return xnys().sessions[ordinal].astype("datetime64[s]")
