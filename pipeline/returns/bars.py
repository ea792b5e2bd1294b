"""The bars of a roster after the rules about single bars: what is no price is blank and says why.

`roster_bars` keeps them in rows, with what the rules say; `lay_out` lays the first prints of a block of securities side
by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.quality.bar_rules import (
    closes_outside_range,
    impossible_volumes,
    inconsistent_bars,
    rejected_closes,
    shared_closes,
    stale_closes,
    without_placeholders,
)
from pipeline.quality.findings import concat_findings, findings_frame, no_findings
from pipeline.returns.cells import Cell, Found, Span
from pipeline.returns.roster import Roster
from pipeline.settings import DataRules

FIELDS = ("close", "total_return_close", "volume", "high", "low")
"""Columns of the bars that a return may be made from or judged by."""


def roster_bars(
    prices: pd.DataFrame, sec_ids: NDArray[np.object_], span: Span, withheld: NDArray[np.int64], rules: DataRules
) -> pd.DataFrame:
    """Bars of the roster in [span.start, span.last] by `row` (position in the roster) and `column`.

    prices: those of `Facts`; withheld: sessions whose delivery is no price as a whole. Added columns: why, ReturnFlag
    of a bar whose close is no price, and then both closes are blank; delivered, the close as it came; doubtful, it lies
    far outside the bar's own range; and what the rules of `bar_findings` say. Open, high and low that are no price are
    blank. Within a row the order is that of `prices`: by session, then `visible`.
    """
    session = prices["session"].to_numpy()
    categories = prices["sec_id"].cat.categories
    row_of_category = np.full(len(categories), -1, np.int64)
    category = categories.get_indexer(pd.Index(sec_ids))
    row_of_category[category[category >= 0]] = np.flatnonzero(category >= 0)
    at = np.flatnonzero((session >= span.start) & (session <= span.last))
    row = row_of_category[prices["sec_id"].cat.codes.to_numpy()[at]]
    at, row = at[row >= 0], row[row >= 0]
    order = np.argsort(row, kind="stable")
    bars = prices.iloc[at[order]].reset_index(drop=True)
    bars["row"] = row[order]
    bars["column"] = bars["session"].to_numpy() - span.start
    bars["shared"] = np.isin(at[order], shared_closes(prices, span.start, span.last, rules.max_gap + 1, rules.bars))
    return _with_what_the_rules_say(bars, withheld, rules)


def _with_what_the_rules_say(bars: pd.DataFrame, withheld: NDArray[np.int64], rules: DataRules) -> pd.DataFrame:
    bars["delivered"] = bars["close"].to_numpy()
    bars["impossible"] = rejected_closes(bars, rules.bars)
    no_price = bars["impossible"] | bars["shared"]
    bars["why"] = np.where(no_price, ReturnFlag.REJECTED_PRICE, 0).astype(np.int16)
    bars.loc[np.isin(bars["session"].to_numpy(), withheld), "why"] = int(ReturnFlag.BATCH_FAULT)
    bars["inconsistent"] = inconsistent_bars(bars, rules.bars)
    bars = without_placeholders(bars)
    bars["doubtful"] = closes_outside_range(bars, rules.outliers.outside_range)
    bars["impossible"] &= bars["why"] == ReturnFlag.REJECTED_PRICE
    bars["impossible_volume"] = impossible_volumes(bars)
    vendor = bars["total_return_close"].to_numpy()
    with np.errstate(invalid="ignore"):
        usable = (vendor > 0) & np.isfinite(vendor)
    rejected = bars["why"].to_numpy() != 0
    bars["close"] = np.where(rejected, np.nan, bars["close"].to_numpy())
    bars["total_return_close"] = np.where(usable & ~rejected, vendor, np.nan)
    bars["volume"] = bars["volume"].mask(bars["impossible_volume"])
    return bars


def bar_findings(bars: pd.DataFrame, sec_ids: NDArray[np.object_], first: int) -> pd.DataFrame:
    """What the bar rules say about `roster_bars`, each at the session that can see the bar, from `first` on."""
    seen = np.maximum(bars["session"].to_numpy(), bars["visible"].to_numpy())
    fresh = seen >= first
    tables = []
    for rule, column, field, says in (
        ("impossible_price", "impossible", "delivered", "close {:g} is not accepted as a price"),
        (
            "shared_price",
            "shared",
            "delivered",
            "close {:g}, which several securities have that closed far from it before",
        ),
        ("ohlc_inconsistent", "inconsistent", "delivered", "close {:g}, outside of or at odds with open, high and low"),
        ("impossible_volume", "impossible_volume", "volume", "a volume that cannot be"),
    ):
        hit = np.flatnonzero(bars[column].to_numpy() & fresh)
        rows = bars.iloc[hit]
        tables.append(
            findings_frame(
                sec_id=sec_ids[rows["row"].to_numpy()],
                session=rows["session"].to_numpy(),
                rule=rule,
                observed=rows[field].to_numpy(),
                expected=np.nan,
                evidence=[says.format(value) for value in rows[field]],
                detected_at=seen[hit],
                index=range(len(hit)),
            )
            if len(hit)
            else no_findings()
        )
    return concat_findings(tables)


@dataclass(frozen=True, eq=False)
class Grid:
    """First prints side by side, arrays (n, T): row i is `roster.sec_ids[i]`, column 0 the session `span.start`.

    close, vendor_close, volume: NaN for none, and for what is no price; high, low: the range of the bar, NaN unknown
    why:       int16, ReturnFlag of a bar that is no price, 0 for a good one or none
    doubtful:  the close lies far outside the bar's own range
    delisted:  a delisting return was booked and trading has not resumed
    late:      by row, the bars that became visible after their session, in the order of `visible`
    after_removal: close of the first session after a removal, by cell
    found:     what the rules said about these bars
    """

    span: Span
    close: NDArray[np.float64]
    vendor_close: NDArray[np.float64]
    volume: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    why: NDArray[np.int16]
    doubtful: NDArray[np.bool_]
    delisted: NDArray[np.bool_]
    late: dict[int, pd.DataFrame]
    after_removal: dict[Cell, float]
    found: tuple[Found, ...]

    def field(self, name: str) -> NDArray[np.float64]:
        """The array of one of FIELDS."""
        return self.vendor_close if name == "total_return_close" else getattr(self, name)


def lay_out(bars: pd.DataFrame, roster: Roster, span: Span, rules: DataRules) -> Grid:
    """Bars of a block (`roster_bars`, rows counted within the block) without what is no price."""
    row, column = bars["row"].to_numpy(), bars["column"].to_numpy()
    on_time = (bars["visible"] <= bars["session"]).to_numpy()
    replaced = np.zeros(len(bars), bool)
    replaced[:-1] = (row[1:] == row[:-1]) & (column[1:] == column[:-1]) & on_time[1:]
    use = on_time & ~replaced
    shape, at = (len(roster.sec_ids), span.width), (row[use], column[use])

    def laid(name: str, empty: NDArray) -> NDArray:
        empty[at] = bars[name].to_numpy()[use]
        return empty

    close, vendor, volume, high, low = (laid(name, np.full(shape, np.nan)) for name in FIELDS)
    delisted, after_removal, found = _after_delistings(close, volume, roster, span)
    close, vendor, volume = (np.where(delisted, np.nan, values) for values in (close, vendor, volume))
    stale = stale_closes(close, volume, rules.bars)
    evidence = f"{rules.bars.stale_sessions} sessions or more without volume, or with the same one"
    found += [Found(i, t, "stale_price", close[i, t], np.nan, evidence) for i, t in np.argwhere(stale).tolist()]
    why = laid("why", np.zeros(shape, np.int16))
    why[delisted] = 0
    why[stale] = ReturnFlag.STALE_PRICE
    late = bars[~on_time & (bars["visible"] <= span.last).to_numpy()]
    return Grid(
        span=span,
        close=np.where(stale, np.nan, close),
        vendor_close=np.where(stale, np.nan, vendor),
        volume=volume,
        high=high,
        low=low,
        why=why,
        doubtful=laid("doubtful", np.zeros(shape, bool)),
        delisted=delisted,
        late={int(i): late[late["row"] == i] for i in late["row"].unique()},
        after_removal=after_removal,
        found=tuple(found),
    )


def _after_delistings(
    close: NDArray[np.float64], volume: NDArray[np.float64], roster: Roster, span: Span
) -> tuple[NDArray[np.bool_], dict[Cell, float], list[Found]]:
    """Bars after a delisting return are no prices; the first one may be what a removed stock was worth."""
    delisted, after_removal, found = np.zeros(close.shape, bool), {}, []
    for i, delistings in roster.delistings.items():
        for one in delistings:
            lo, hi = max(one.booking - span.start, 0), min(one.resumes - span.start, span.width)
            on_time = one.booking == one.last + 1 and span.start <= one.booking <= span.last
            if one.performance and on_time and not delisted[i, lo] and volume[i, lo] > 0 and close[i, lo] > 0:
                after_removal[i, lo] = float(close[i, lo])
            if lo >= hi:
                continue
            still = ~delisted[i, lo:hi]
            for t in (np.flatnonzero(np.isfinite(close[i, lo:hi]) & still) + lo).tolist():
                evidence = f"last session was {one.last}"
                found.append(Found(i, t, "bar_after_delisting", close[i, t], np.nan, evidence))
            delisted[i, lo:hi] = True
    return delisted, after_removal, found
