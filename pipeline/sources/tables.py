"""The typed tables that every source delivers, checked.

A source reads its columns as Arrow tables (`RawTable`) and hands them to `check_tables`, which types and checks each
table, fills in `known_from`, and returns `SourceTables`. Nothing is repaired: a fault is an error that names its cell
(`SourceError`), except prices that cannot be true, which pass and are flagged by the returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.sources import checks
from pipeline.sources.cells import Place, SourceError
from pipeline.sources.kept.earlier import EarlierBars
from pipeline.sources.kept.parts import KeptPrices
from pipeline.sources.knowledge import as_instant, default_known_from, known_tables
from pipeline.sources.shipped import industry_of_gics
from pipeline.sources.specs import TABLES
from pipeline.sources.typed import RawTable, TypedTable, made_table, type_table

__all__ = [
    "BarsOf",
    "Notice",
    "Origin",
    "RawTable",
    "SourceError",
    "SourceTables",
    "check_table",
    "check_tables",
    "made_table",
]


BarsOf = Callable[[Collection[str]], pd.DataFrame]
"""Vendor codes -> all of their bars."""


@dataclass(frozen=True)
class Origin:
    """Where a table came from. rows: as delivered; duplicates: exact repetitions among them, which count once."""

    file: str
    sha256: str
    rows: int
    duplicates: int


@dataclass(frozen=True)
class Notice:
    """Something that a person should know and that is no error.

    table: its name, or that of an ignored file. rows: how many of it, the first being `first_row`.
    """

    table: str
    what: str
    rows: int
    first_row: int


@dataclass(frozen=True, eq=False)
class SourceTables:
    """One data frame per table of docs/sources.md; a table that was not delivered is an empty frame with its columns.

    Text is `str` (missing ""), dates datetime64[s], instants naive-UTC datetime64[us], numbers float64, ratios of
    splits int64, `prices.vendor_code` a category of the codes in `securities`. Every table but the last two has
    `known_from` and `known_assumed` (True where the source did not say). Rows stand in the order of their key and
    `known_from`; rows with one key and different `known_from` are corrections.

    origins: by table, for the delivered ones. notices: duplicates, unclassified rows. earlier: where `prices` begins
    on a later day than the delivery, the bars before it.
    """

    securities: pd.DataFrame
    prices: pd.DataFrame
    splits: pd.DataFrame
    dividends: pd.DataFrame
    spin_offs: pd.DataFrame
    delistings: pd.DataFrame
    ticker_changes: pd.DataFrame
    shares: pd.DataFrame
    classification: pd.DataFrame
    fx_rates: pd.DataFrame
    taxonomy: pd.DataFrame
    factor_etfs: pd.DataFrame
    origins: Mapping[str, Origin]
    notices: tuple[Notice, ...] = ()
    earlier: EarlierBars | None = None

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The data frames by table name."""
        return {name: getattr(self, name) for name in TABLES}

    def as_known(self, instant: Any) -> SourceTables:
        """What a reader at `instant` (a numpy datetime64 in UTC, or an aware datetime) would have had."""
        if self.earlier is not None:
            raise ValueError("tables without their earlier bars cannot be cut; load them whole")
        frames: dict[str, Any] = known_tables(self.frames, as_instant(instant))
        return SourceTables(**frames, origins=self.origins, notices=self.notices)

    def bars_of(self, codes: Collection[str]) -> pd.DataFrame:
        """All bars of some vendor codes, earlier ones too, in the order of `prices`."""
        own = self.prices[self.prices["vendor_code"].isin(codes)]
        if self.earlier is None:
            return own
        both = pd.concat([self.earlier.of(codes, self._listed), own], ignore_index=True)
        return both.sort_values(["vendor_code", "date", "known_from"], kind="stable", ignore_index=True)

    def first_dates(self) -> pd.Series:
        """By vendor code the date of its first bar."""
        first = self.prices.groupby("vendor_code", observed=True)["date"].min()
        first.index = first.index.astype("str")
        return first if self.earlier is None else self.earlier.summary["first"].combine_first(first)

    def last_dates(self) -> pd.Series:
        """By vendor code the date of its last bar."""
        last = self.prices.groupby("vendor_code", observed=True)["date"].max()
        last.index = last.index.astype("str")
        return last if self.earlier is None else last.combine_first(self.earlier.summary["last"])

    @property
    def _listed(self) -> NDArray[np.object_]:
        return self.prices["vendor_code"].cat.categories.to_numpy(object)


def check_table(raw: RawTable) -> pd.DataFrame:
    """One table on its own: the typed frame of its declared columns, in the delivered order. Raises SourceError."""
    return type_table(raw).frame


def check_tables(raws: Iterable[RawTable], where: str, kept: KeptPrices | None = None) -> SourceTables:
    """All tables of a source, typed, and checked each and against each other.

    where: the source's name in errors that belong to no table. kept: the prices, where they are not among `raws`.
    Raises SourceError (docs/sources.md lists the faults).
    """
    typed = {raw.name: type_table(raw) for raw in raws}
    if kept is not None:
        typed["prices"] = kept.table
    for name, spec in TABLES.items():
        if spec.required and name not in typed:
            raise checks.missing_table(name, where)
        if spec.required and typed[name].frame.empty:
            typed[name].place.fail("the table has no row; expected at least one")
    checks.check_references(typed)
    if kept is not None and not kept.codes <= set(typed["securities"].frame["vendor_code"]):
        raise SourceError("bars of a vendor code that is not listed", where)
    checks.check_currencies(typed)
    checks.check_listings(typed["securities"])
    notices = _map_gics(typed["classification"]) if "classification" in typed else []
    if "delistings" in typed:
        checks.check_delistings(typed["delistings"], typed["securities"].frame)
    _fill_known_from(typed, kept)
    _order_codes(typed["prices"], typed["securities"])
    frames: dict[str, pd.DataFrame] = {}
    origins: dict[str, Origin] = {}
    for name in TABLES:
        table = typed.get(name)
        if table is None:
            frames[name] = _empty(name)
            continue
        order, repeated = checks.versions(table)
        in_order = len(order) == len(table.frame) and (order == np.arange(len(order))).all()
        frames[name] = table.frame if in_order else table.frame.iloc[order].reset_index(drop=True)
        rows = kept.rows if kept is not None and name == "prices" else len(table.frame)
        origins[name] = Origin(table.place.file, table.sha256, rows, len(repeated))
        if len(repeated):
            row = table.place.first_row + int(repeated[0])
            notices.append(Notice(name, "exact duplicates, counted once", len(repeated), row))
    whole: dict[str, Any] = frames
    earlier = None if kept is None else kept.earlier
    return SourceTables(**whole, origins=origins, notices=tuple(notices), earlier=earlier)


def _empty(name: str) -> pd.DataFrame:
    spec = TABLES[name]
    columns = {column.name: pa.nulls(0) for column in spec.columns}
    if name == "prices":
        raise checks.missing_table(name, name)
    return type_table(RawTable(name, pa.table(columns), Place(name, 0), "")).frame


def _map_gics(classification: TypedTable) -> list[Notice]:
    """Fill `fs_industry_code` from the GICS sub-industry where it is empty; unknown names stay unclassified, noted."""
    frame, place = classification.frame, classification.place
    given = frame["fs_industry_code"] != ""
    mapped = frame["gics_sub_industry"].map(industry_of_gics()).fillna("").astype("str")
    frame["fs_industry_code"] = frame["fs_industry_code"].where(given, mapped)
    unknown = np.flatnonzero(frame["fs_industry_code"] == "")
    if len(unknown) == 0:
        return []
    name = frame["gics_sub_industry"].iloc[unknown[0]]
    near = get_close_matches(name, industry_of_gics(), n=1)
    what = f"no industry code (GICS sub-industry {name!r}), unclassified"
    what += f"; the nearest known name is {near[0]!r}" if near else ""
    return [Notice("classification", what, len(unknown), place.first_row + int(unknown[0]))]


def _fill_known_from(typed: dict[str, TypedTable], kept: KeptPrices | None) -> None:
    for name, table in typed.items():
        if not table.spec.dated:
            continue
        frame = table.frame
        assumed = frame["known_assumed"].to_numpy()
        if not assumed.any():
            continue
        first_price = None
        if name == "securities" and frame["first_session"].isna().any():
            prices = typed["prices"].frame
            first_dates = prices["date"].groupby(prices["vendor_code"], observed=True).min()
            if kept is not None:
                first_dates.index = first_dates.index.astype("str")
                first_dates = kept.earlier.summary["first"].combine_first(first_dates)
            first_price = frame["vendor_code"].map(first_dates).to_numpy().astype("datetime64[s]")
        default = default_known_from(name, frame, first_price)
        frame["known_from"] = default if assumed.all() else frame["known_from"].where(~assumed, default)


def _order_codes(prices: TypedTable, securities: TypedTable) -> None:
    """Make `prices.vendor_code` a category of all listed codes in alphabetical order."""
    listed = sorted(set(securities.frame["vendor_code"]))
    place = {code: k for k, code in enumerate(listed)}
    coded = prices.codes["vendor_code"]
    positions = np.array([place.get(value, -1) for value in coded.values], dtype=np.int32)  # -1: no row has it
    prices.frame["vendor_code"] = pd.Categorical.from_codes(
        coded.map(positions), categories=pd.Index(listed, dtype="str")
    )
