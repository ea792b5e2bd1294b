"""When a row became knowable: the defaults of `known_from`, and the tables as a reader at an instant had them.

Every comparison is between naive-UTC datetime64[us] instants.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.sources.specs import TABLES

PRICE_DELAY = np.timedelta64(15, "m")
"""A day's price, volume and exchange rate are taken to be known this long after the session's close."""

CODE_COLUMNS = {column.name for spec in TABLES.values() for column in spec.columns if column.code}

Instants = NDArray[np.datetime64]


def default_known_from(table: str, frame: pd.DataFrame, first_price: Instants | None = None) -> Instants:
    """The instant at which each row of a typed table became knowable when the source does not say.

    prices, fx_rates: the session's close plus 15 minutes. splits, dividends, spin_offs, ticker_changes,
    classification: the last close before the day on which they take effect. securities: the close of the first
    session (`first_price`, the date of the first price of each row's code, where that is not given). delistings:
    the close of the last session. shares: `filed_at`. A day on which the exchange is closed counts as the next session.
    """
    if table == "shares":
        return _values(frame["filed_at"])
    if table == "securities":
        first = _values(frame["first_session"])
        if first_price is not None:
            first = np.where(np.isnat(first), first_price, first)
        return _close(first)
    if table in ("prices", "fx_rates"):
        return _close(_values(frame["date"])) + PRICE_DELAY
    if table == "delistings":
        return _close(_values(frame["last_session"]))
    effective = {"ticker_changes": "effective_date", "classification": "valid_from"}.get(table, "ex_date")
    return _close(_values(frame[effective]), sessions_before=1)


def closes_of(dates: pd.Series) -> Instants:
    """Close of the session on or after each date; NaT for a missing date."""
    values = _values(dates)
    closes = _close(values)
    closes[np.isnat(values)] = np.datetime64("NaT")
    return closes


def as_instant(instant: Any) -> np.datetime64:
    """One instant as naive-UTC datetime64[us]. A numpy datetime is taken as UTC; anything else must have a zone."""
    if isinstance(instant, np.datetime64):
        return instant.astype("datetime64[us]")
    stamp = pd.Timestamp(instant)
    if stamp.tzinfo is None:
        raise ValueError(f"instant {instant!r} has no time zone; give an aware datetime, or a numpy datetime64 in UTC")
    return stamp.tz_convert("UTC").tz_localize(None).to_datetime64().astype("datetime64[us]")


def known_tables(frames: dict[str, pd.DataFrame], instant: np.datetime64) -> dict[str, pd.DataFrame]:
    """The typed tables as a reader at `instant` would have had them.

    Rows that became known later are gone. What a remaining row of `securities` says about a later time is undone:
    `last_session` is blank before that session has closed, and `ticker` is the one before changes not yet known.
    Rows about a security that is not known yet are gone too. The two configuration tables are no dated facts and stay.
    """
    known = {
        name: _rows(frame, _values(frame["known_from"]) <= instant) if "known_from" in frame else frame
        for name, frame in frames.items()
    }
    known["securities"] = without_the_future(known["securities"], frames["ticker_changes"], instant)
    listed = sorted(set(known["securities"]["vendor_code"]))
    for name in known.keys() - {"securities", "prices"}:
        for code in CODE_COLUMNS & set(known[name].columns):
            known[name] = _rows(known[name], known[name][code].isin(["", *listed]).to_numpy())
    codes = known["prices"]["vendor_code"]
    if list(codes.cat.categories) != listed:
        prices = known["prices"].assign(vendor_code=codes.cat.set_categories(listed))
        known["prices"] = _rows(prices, prices["vendor_code"].notna().to_numpy())
    return known


def without_the_future(securities: pd.DataFrame, changes: pd.DataFrame, instant: np.datetime64) -> pd.DataFrame:
    """Rows of `securities` that were known at an instant, with what they say about a later time undone."""
    open_still = closes_of(securities["last_session"]) > instant
    last = securities["last_session"].mask(open_still)
    ticker = securities["ticker"].to_numpy(object, copy=True)
    rows_of = securities.groupby("vendor_code").indices
    first = _values(securities["first_session"])
    known_keys = _values(changes["known_from"]) <= instant
    known = set(_renames(changes[known_keys], "vendor_code"))
    later = changes[~known_keys].sort_values("effective_date", ascending=False, kind="stable")
    for day, code, old, new in _renames(later, "vendor_code", "old_ticker", "new_ticker"):
        if (day, code) in known:
            continue  # an unknown correction of a known change
        for row in rows_of.get(code, ()):
            if ticker[row] == new and not first[row] > day:
                ticker[row] = old
    renamed = pd.Series(ticker, index=securities.index, dtype=securities["ticker"].dtype)
    return securities.assign(last_session=last, ticker=renamed)


def _renames(changes: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    """The effective date and some columns of each change."""
    return zip(_values(changes["effective_date"]), *(changes[name] for name in columns), strict=True)


def _rows(frame: pd.DataFrame, wanted: NDArray[np.bool_]) -> pd.DataFrame:
    return frame if wanted.all() else frame[wanted].reset_index(drop=True)


def _close(dates: Instants, sessions_before: int = 0) -> Instants:
    calendar = xnys()
    at = calendar.on_or_after(dates).astype(np.int64) - sessions_before
    return calendar.closes[np.clip(at, 0, len(calendar.closes) - 1)]


def _values(series: pd.Series) -> Instants:
    return series.to_numpy()
