"""What every source delivers: the tables, their columns, types, keys and allowed values.

`TABLES` is the one place that says so; reading, checking and the documentation follow it (docs/sources.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.sources.currencies import CURRENCIES

Kind = Literal["text", "date", "number", "integer", "instant", "date_or_instant"]


@dataclass(frozen=True)
class Column:
    """One column.

    required: the column must be there, and no cell of it may be empty.
    values:   the allowed texts; `default` stands for an empty cell or an absent column.
    above / at_least: bound of a number; a number with a bound must be finite. Prices have none: a price that
              cannot be true is a fault of the data, which the returns flag, and not of the file.
    code:     the cell names a row of `securities` by its vendor_code (an empty cell names none).
    """

    name: str
    kind: Kind = "text"
    required: bool = False
    values: frozenset[str] | None = None
    default: str = ""
    above: float | None = None
    at_least: float | None = None
    code: bool = False


@dataclass(frozen=True)
class TableSpec:
    """One table: its columns, and the key under which two rows are versions of the same fact.

    dated: every row has `known_from` and `known_assumed`. Tables that override shipped configuration have not.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    required: bool = False
    dated: bool = True

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> list[str]:
        """Column names of the typed frame, in order."""
        tail = ["known_from", "known_assumed"] if self.dated else []
        return [column.name for column in self.columns] + tail


KNOWN_FROM = Column("known_from", "instant")

SECURITY_TYPES = frozenset(
    {"common", "adr", "reit", "etf", "unit", "preferred", "warrant", "when_issued", "other"},
)
DIVIDEND_KINDS = frozenset({"regular", "special", "roc"})
DIVIDEND_BASES = frozenset({"post", "pre"})
DELISTING_REASONS = frozenset({"merger", "exchange_drop", "bankruptcy", "liquidation", "voluntary", "unknown"})
REMOVALS = frozenset({"exchange_drop", "bankruptcy", "unknown"})
"""Reasons that count as performance delistings (CRSP 500, 520-584)."""
ETF_ROLES = frozenset({"market", "sector", "subsector"})

_CODE = Column("vendor_code", required=True, code=True)

_SPECS = (
    TableSpec(
        "securities",
        (
            Column("vendor_code", required=True),
            Column("ticker", required=True),
            Column("name"),
            Column("type", required=True, values=SECURITY_TYPES),
            Column("exchange"),
            Column("currency", values=CURRENCIES, default="USD"),
            Column("first_session", "date"),
            Column("last_session", "date"),
            Column("share_class_figi"),
            Column("composite_figi"),
            Column("isin"),
            Column("cusip"),
            Column("cik"),
        ),
        key=("vendor_code", "first_session"),
        required=True,
    ),
    TableSpec(
        "prices",
        (
            _CODE,
            Column("date", "date", required=True),
            Column("open", "number"),
            Column("high", "number"),
            Column("low", "number"),
            Column("close", "number"),
            Column("volume", "number"),
            Column("total_return_close", "number"),
        ),
        key=("vendor_code", "date"),
        required=True,
    ),
    TableSpec(
        "splits",
        (
            _CODE,
            Column("ex_date", "date", required=True),
            Column("ratio_new", "integer", required=True, above=0),
            Column("ratio_old", "integer", required=True, above=0),
            Column("record_date", "date"),
        ),
        key=("vendor_code", "ex_date"),
    ),
    TableSpec(
        "dividends",
        (
            _CODE,
            Column("ex_date", "date", required=True),
            Column("amount", "number", required=True, at_least=0),
            Column("currency", values=CURRENCIES, default="USD"),
            Column("kind", values=DIVIDEND_KINDS, default="regular"),
            Column("basis", values=DIVIDEND_BASES, default="post"),
            Column("record_date", "date"),
        ),
    ),
    TableSpec(
        "spin_offs",
        (
            _CODE,
            Column("ex_date", "date", required=True),
            Column("child_code", required=True, code=True),
            Column("child_ratio", "number", required=True, above=0),
            Column("value", "number", at_least=0),
        ),
        key=("vendor_code", "ex_date", "child_code"),
    ),
    TableSpec(
        "delistings",
        (
            _CODE,
            Column("last_session", "date", required=True),
            Column("reason", required=True, values=DELISTING_REASONS),
            Column("cash", "number", at_least=0),
            Column("successor_code", code=True),
            Column("successor_ratio", "number", above=0),
        ),
        key=("vendor_code", "last_session"),
    ),
    TableSpec(
        "ticker_changes",
        (
            _CODE,
            Column("effective_date", "date", required=True),
            Column("old_ticker", required=True),
            Column("new_ticker", required=True),
        ),
        key=("vendor_code", "effective_date"),
    ),
    TableSpec(
        "shares",
        (
            _CODE,
            Column("period_end", "date", required=True),
            Column("filed_at", "date_or_instant", required=True),
            Column("shares", "number", required=True, at_least=0),
        ),
        key=("vendor_code", "period_end", "filed_at"),
    ),
    TableSpec(
        "classification",
        (
            _CODE,
            Column("valid_from", "date", required=True),
            Column("fs_industry_code"),
            Column("gics_sub_industry"),
        ),
        key=("vendor_code", "valid_from"),
    ),
    TableSpec(
        "fx_rates",
        (
            Column("currency", required=True, values=CURRENCIES),
            Column("date", "date", required=True),
            Column("usd_rate", "number", required=True, above=0),
        ),
        key=("currency", "date"),
    ),
    TableSpec(
        "taxonomy",
        (
            Column("fs_industry_code", required=True),
            Column("industry", required=True),
            Column("fs_sector_code", required=True),
            Column("sector", required=True),
            Column("sector_etf", required=True),
            Column("subsector_etf"),
        ),
        key=("fs_industry_code",),
        dated=False,
    ),
    TableSpec(
        "factor_etfs",
        (
            Column("etf", required=True),
            Column("role", required=True, values=ETF_ROLES),
            Column("first_session", "date"),
            Column("proxy"),
            Column("note"),
        ),
        key=("etf",),
        dated=False,
    ),
)

TABLES: dict[str, TableSpec] = {spec.name: spec for spec in _SPECS}
