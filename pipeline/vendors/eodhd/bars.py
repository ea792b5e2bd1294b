"""Bars and events with the instants at which they became known: what was said first, and each correction of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.sources.currencies import CURRENCIES
from pipeline.vendors.bar_versions import OHLC, BarParts, versions
from pipeline.vendors.contract import Reject, received
from pipeline.vendors.eodhd import endpoints as ask
from pipeline.vendors.eodhd.delivered import Delivered
from pipeline.vendors.eodhd.parse import Dividend, Split
from pipeline.vendors.eodhd.whose import Whose


def price_rows(delivered: Delivered, whose: Whose, splits: pd.DataFrame) -> pd.DataFrame:
    """Columns `vendor_code date open high low close volume known_from`: one row for each version of a bar.

    Volumes are in shares of their day: the vendor's are divided by the splits that it had applied by the receipt.
    splits: as `split_rows` gives them.
    """
    parts = BarParts()
    for history in delivered.histories:
        bars = history.columns
        read_on = dt.date.fromisoformat(history.line.received_at[:10])
        own = len(whose.every_code(history.code)) == 1
        parts.add(
            whose.twin_of.get(history.code, history.code) if own else whose.codes(history.code, history.days),
            bars,
            _in_units_of_day(bars, [s for s in history.splits if s.ex_date <= read_on]),
            history.known,
        )
    later = _later_splits(splits)
    closed = {line.batch_id: line for line in delivered.landed.lines}
    for day_ in delivered.days:
        if day_.why:
            continue
        frame = day_.bars
        twins = frame["code"].map(lambda code: whose.twin_of.get(code, code))
        frame = frame[(twins == frame["code"]) | ~twins.isin(set(frame["code"]))]
        codes = [whose.code_on(code, day_.session) for code in frame["code"]]
        told_by = received(closed[day_.line.batch_id])
        factor = np.array([later(code, day_.session, told_by) for code in codes], dtype=np.float64)
        parts.add(np.array(codes, dtype=object), frame, frame["volume"].to_numpy() / factor, day_.known)
    rows = parts.frame()
    rows["volume"] = rows["volume"].round()
    return versions(rows)


def rate_rows(delivered: Delivered) -> pd.DataFrame:
    """Columns `currency date usd_rate known_from`: the closes of the currencies, first said and corrected."""
    parts = [
        bars[["date", *OHLC, "volume"]].assign(
            vendor_code=currency, known_from=delivered.landed.known_from(line), order=order
        )
        for order, (line, currency, bars) in enumerate(delivered.rates)
    ]
    if not parts:
        return pd.DataFrame(columns=["currency", "date", "usd_rate", "known_from"])
    rows = pd.concat(parts, ignore_index=True)
    rows[[*OHLC[:3], "volume"]] = 0.0
    rows["vendor_code"] = rows["vendor_code"].astype("category")
    rows = versions(rows[rows["close"] > 0].reset_index(drop=True))
    rows["vendor_code"] = rows["vendor_code"].astype(object)
    return rows.rename(columns={"vendor_code": "currency", "close": "usd_rate"})[
        ["currency", "date", "usd_rate", "known_from"]
    ]


def _in_units_of_day(bars: Mapping[str, NDArray[Any]], splits: list[Split]) -> NDArray[np.float64]:
    volume = bars["volume"].astype(np.float64)
    for split in splits:
        volume[bars["date"] < np.datetime64(split.ex_date, "s")] /= float(split.ratio)
    return volume


def _later_splits(splits: pd.DataFrame) -> Any:
    """Function of (code, session, received): product of the ratios that went ex after the session and were told by the
    end of the night that received the bars."""
    by_code = {str(code): own for code, own in splits.groupby("vendor_code")} if len(splits) else {}

    def product(code: str, session: dt.date, received: pd.Timestamp) -> float:
        own = by_code.get(code)
        if own is None:
            return 1.0
        told = own["known_from"].isna() | (own["known_from"] <= received)
        inside = own[told & (own["ex_date"] > pd.Timestamp(session)) & (own["ex_date"] <= received)]
        inside = inside.drop_duplicates("ex_date", keep="last")
        return float(np.prod((inside["ratio_new"] / inside["ratio_old"]).to_numpy(dtype=float)))

    return product


def split_rows(delivered: Delivered, whose: Whose) -> pd.DataFrame:
    """Columns `vendor_code ex_date ratio_new ratio_old known_from`: first said, corrected, or withdrawn (1 for 1)."""
    book = _Book()
    for known, code, span, splits in _tellings(delivered, ask.DAY_SPLITS):
        told: dict[tuple[str, dt.date], Any] = {}
        for split in splits:
            assert isinstance(split, Split)
            told[whose.code_on(code or split.code, split.ex_date), split.ex_date] = split.ratio
        book.tell(known, told, whose, code, span, none=Fraction(1))
    rows = [
        (code, day, ratio.numerator, ratio.denominator, known)
        for (code, day), versions in book.of.items()
        for known, ratio in versions
    ]
    return _frame(rows, ["vendor_code", "ex_date", "ratio_new", "ratio_old", "known_from"])


def dividend_rows(delivered: Delivered, whose: Whose, rated: frozenset[str], native: dict[str, str]) -> pd.DataFrame:
    """Columns `vendor_code ex_date amount currency record_date known_from`, amounts as paid then.

    The vendor's amount is `unadjustedValue`, rounded back from the adjusted one; an amount of an earlier telling that
    lies within that rounding is kept, since it was the exact one. A currency without a rate is rejected.
    rated: currencies with exchange rates; native: by code, the currency of its prices.
    """
    book = _Book()
    strange: dict[str, int] = {}
    for known, code, span, dividends in _tellings(delivered, ask.DAY_DIVIDENDS):
        told: dict[tuple[str, dt.date], Any] = {}
        for paid in dividends:
            assert isinstance(paid, Dividend)
            key = (whose.code_on(code or paid.code, paid.ex_date), paid.ex_date)
            if paid.currency not in CURRENCIES or paid.currency not in (native.get(key[0], "USD"), *rated):
                strange[paid.currency] = strange.get(paid.currency, 0) + 1
                continue
            told[key] = (*told.get(key, ()), paid)
        book.tell(known, told, whose, code, span, none=(), same=_same_payments)
    for currency, count in sorted(strange.items()):
        delivered.rejects.append(Reject(f"dividends in {currency}", -1, f"{count} without an exchange rate"))
    rows = []
    for (code, day), tellings in book.of.items():
        for known, payments in tellings:
            for amount, currency, record in _distinct(payments):
                rows.append((code, day, amount, currency, record, known))
            if not payments:
                rows.append((code, day, 0.0, "USD", None, known))
    return _frame(rows, ["vendor_code", "ex_date", "amount", "currency", "record_date", "known_from"])


def _distinct(payments: tuple[Dividend, ...]) -> list[tuple[float, str, dt.date | None]]:
    """Amounts of one day: equal ones are one payment said twice."""
    found = {(float(amount_of(paid)), paid.currency): paid.record_date for paid in payments}
    return [(amount, currency, found[amount, currency]) for amount, currency in sorted(found)]


def amount_of(paid: Dividend) -> Decimal:
    return paid.value if paid.unadjusted is None else paid.unadjusted


def _same_payments(before: tuple[Dividend, ...], now: tuple[Dividend, ...]) -> bool:
    """Whether two tellings of a day's payments say the same, within the rounding of the adjusted amount."""
    if len(before) != len(now):
        return False
    pairs = zip(sorted(before, key=amount_of), sorted(now, key=amount_of), strict=True)
    return all(a.currency == b.currency and abs(amount_of(a) - amount_of(b)) <= _rounding(b) for a, b in pairs)


def _rounding(paid: Dividend) -> Decimal:
    """Half a unit of the last digit of the adjusted amount, in units of the unadjusted one."""
    exponent = paid.value.as_tuple().exponent
    assert isinstance(exponent, int)
    unit = Decimal(1).scaleb(min(exponent, -4)) / 2
    return unit * (amount_of(paid) / paid.value if paid.value else Decimal(1)) + Decimal("1e-9")


class _Book:
    """Versions of facts by (code, day), in the order of their tellings."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, dt.date], list[tuple[pd.Timestamp, Any]]] = {}
        self._days: dict[str, list[dt.date]] = {}

    def tell(
        self,
        known: pd.Timestamp,
        told: dict[tuple[str, dt.date], Any],
        whose: Whose,
        code: str,
        span: tuple[dt.date, dt.date],
        *,
        none: Any,
        same: Any = None,
    ) -> None:
        """A telling of all facts of a code ("" for all codes) in a span of days; what it omits is withdrawn.

        The telling of a day withdraws nothing: it comes early, and others follow.
        """
        if code:
            for own in whose.every_code(code):
                for day in self._days.get(own, ()):
                    if (own, day) not in told and span[0] <= day <= span[1] and own == whose.code_on(code, day):
                        told[own, day] = none
        for key, value in told.items():
            versions = self.of.get(key, [])
            if not versions:
                if value == none:
                    continue
                self.of[key] = versions
                self._days.setdefault(key[0], []).append(key[1])
            last = versions[-1][1] if versions else None
            if versions and (last == value or (same is not None and last != none and same(last, value))):
                continue
            if versions and pd.isna(known) and pd.isna(versions[-1][0]):
                versions[-1] = (known, value)  # two first tellings: the later one counts
            else:
                versions.append((known, value))


Telling = tuple[pd.Timestamp, str, tuple[dt.date, dt.date], list[Any]]


def _tellings(delivered: Delivered, endpoint: str) -> list[Telling]:
    """(known, code or "", span, rows) of histories and of days, in the order of receipt."""
    found = []
    for history in delivered.histories:
        rows: Any = history.splits if endpoint == ask.DAY_SPLITS else history.dividends
        found.append((history.line.received_at, history.known, history.code, ask.span_of(history.line), list(rows)))
    for line, day, events in delivered.day_events(endpoint):
        found.append((line.received_at, delivered.landed.known_from(line), "", (day, day), list(events)))
    return [entry[1:] for entry in sorted(found, key=lambda entry: entry[0])]


def _frame(rows: list[tuple[Any, ...]], columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns)
    for name in ("ex_date", "record_date"):
        if name in frame:
            frame[name] = frame[name].to_numpy().astype("datetime64[s]")
    frame["known_from"] = frame["known_from"].to_numpy().astype("datetime64[us]")
    return frame
