"""The directory as a layer: evidence about the types of securities that the layers below list as common stock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pandas as pd

from pipeline.landing.fetcher import Access, Bundle
from pipeline.landing.ledger import Quota
from pipeline.landing.requests import Line, Request
from pipeline.settings import Settings
from pipeline.vendors.contract import Below, Landed, Need, Reject, VendorTables, columns_of
from pipeline.vendors.nasdaq.directory import by_code, parse_directory
from pipeline.vendors.rounds import Rounds
from security_master.universe import STOCK_TYPES

SOURCE, DIRECTORY = "nasdaq", "directory"
FILES = ("nasdaqlisted.txt", "otherlisted.txt")
ENOUGH = 1_000_000


class Nasdaq:
    """The source of type evidence, of what is listed now."""

    name = SOURCE
    units: int | None = None

    def access(self, settings: Settings, environment: Mapping[str, str]) -> Access:
        url = settings.fetching.urls.get(self.name, "https://www.nasdaqtrader.com").rstrip("/")
        return Access(self.name, url, Quota(ENOUGH, kept=0.0), timeout=settings.fetching.timeout_seconds)

    def usage(self) -> None:
        """Nobody counts."""

    def plan(self, need: Need, landed: Landed, settings: Settings, below: Below) -> list[Bundle]:
        plan = _Plan(need, landed)
        return plan.first_open([plan.files])

    def missing(self, session: dt.date, landed: Landed, settings: Settings) -> list[str]:
        """Evidence has no hour by which it is whole."""
        return []

    def coverage(self, landed: Landed, settings: Settings) -> dict[dt.date, float]:
        return {}

    def tables(self, landed: Landed, settings: Settings, below: Below) -> VendorTables:
        """`securities` of codes that are no common stock: their rows, and the type as of the reading of the file."""
        result = VendorTables()
        rows = None if below is None else below["securities"]
        if rows is None or rows.empty:
            return result
        stocks = set(rows.loc[rows["type"].isin(STOCK_TYPES), "vendor_code"].astype(str))
        told: dict[str, tuple[Line, str]] = {}
        for line in landed.of(DIRECTORY):
            types = landed.read(line, parse_types, result.rejects) or {}
            for code in stocks & types.keys():
                if types[code] not in STOCK_TYPES:
                    told.setdefault(code, (line, types[code]))
        parts = [_with_type(rows[rows["vendor_code"] == code], landed.known_from(line), kind)
                 for code, (line, kind) in sorted(told.items())]  # fmt: skip
        for code, (line, kind) in sorted(told.items()):
            result.rejects.append(Reject.of(line, -1, f"{code} is no common stock: {kind}"))
        if parts:
            result.columns = columns_of({"securities": pd.concat(parts, ignore_index=True)})
        return result


def parse_types(body: bytes) -> dict[str, str]:
    """Types by vendor code, where the directory says one."""
    types = {code: listing.type for code, listing in by_code(parse_directory(body)).items()}
    return {code: kind for code, kind in types.items() if kind}


def _with_type(rows: pd.DataFrame, known: pd.Timestamp, kind: str) -> pd.DataFrame:
    """The rows of one code, with a type that is known from an instant; NaT: from the beginning.

    Only what still lives: the directory says nothing about earlier owners of a code.
    """
    last = rows["first_session"] == rows["first_session"].max() if rows["first_session"].notna().any() else True
    living = rows["last_session"].isna() & last
    if pd.isna(known):
        return rows.assign(type=rows["type"].where(~living, kind))
    changed = rows[living].assign(type=kind)
    since = changed["known_from"].fillna(known)
    return pd.concat([rows, changed.assign(known_from=since.where(since > known, known))], ignore_index=True)


class _Plan(Rounds):
    def files(self) -> list[Bundle]:
        """Both files, once a week."""
        if self.lately(DIRECTORY):
            return []
        return [[Request(SOURCE, DIRECTORY, f"/dynamic/SymDir/{name}", form="text")] for name in FILES]
