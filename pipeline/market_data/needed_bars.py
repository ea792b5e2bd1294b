"""Which bars a run needs of a delivery whose old ones are read only where asked for.

All recent ones; of a security whose past is plain its first bar, which dates the listing; and every bar of those about
which something may still be said: an event that the run learns of, a delisting after which there are bars, a code or a
company that is not always the same, bars that were late, early or of no session, trading after a silence. So what a run
finds and computes is what it would with all bars.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from pipeline.market_data.joining import Clock
from pipeline.sources.tables import SourceTables


def needed_bars(
    tables: SourceTables, listings: pd.DataFrame, clock: Clock, sessions: tuple[int, int] | None
) -> pd.DataFrame:
    """The bars that a run over `sessions` ([first, last], ordinals) needs, all for None or a restatement; in any order.

    listings: `SecurityMaster.listings()`.
    """
    if tables.earlier is None:
        return tables.prices
    listed, known = tables.prices["vendor_code"].cat.categories.to_numpy(object), set(tables.earlier.summary.index)
    whole = known
    if sessions is not None and clock.restated_as_of is None:
        whole = known & {code for codes in _asked(tables, listings, clock, *sessions) for code in codes}
    parts = [tables.earlier.of(whole, listed), tables.earlier.firsts(known - whole, listed), tables.prices]
    return pd.concat(parts, ignore_index=True)


def _asked(tables: SourceTables, listings: pd.DataFrame, clock: Clock, first: int, last: int) -> Iterator[set[str]]:
    """Vendor codes of which every bar is needed, by reason."""
    assert tables.earlier is not None
    summary = tables.earlier.summary
    late = summary["delay"] > np.timedelta64(clock.delay_minutes, "m")
    yield set(summary.index[late | summary["odd"]])
    yield set(summary.index) - _known_from_the_first_bar(summary, listings, clock)
    yield _not_always_one(listings)
    learnt = clock.visible(listings["known_from"])
    new = set(listings["vendor_code"][(learnt >= first) & (learnt <= last)])
    yield new
    yield _silent_before(tables.prices, clock, first)
    yield _ended_before_its_bars(tables)
    for events, other in ((tables.splits, None), (tables.dividends, None), (tables.spin_offs, "child_code")):
        ex = clock.calendar.on_or_after(events["ex_date"].to_numpy("datetime64[D]"))
        told = np.maximum(ex, clock.visible(events["known_from"]))
        rows = (told >= first) & (told <= last)
        if other:
            rows |= events[other].isin(new).to_numpy()
            yield set(events[other][rows])
        yield set(events["vendor_code"][rows])


def _known_from_the_first_bar(summary: pd.DataFrame, listings: pd.DataFrame, clock: Clock) -> set[str]:
    """Codes whose first bar was somebody's when it came."""
    days = summary["first"].to_numpy("datetime64[D]")
    bars = pd.DataFrame({"vendor_code": summary.index, "day": summary["first"].to_numpy()})
    bars["instant"] = clock.instants(clock.calendar.on_or_after(days))
    held = listings.merge(bars, on="vendor_code")
    held = held[(held["valid_from"] <= held["day"]) & (held["day"] < held["valid_to"])]
    return set(held["vendor_code"][(held["known_from"] <= held["instant"]) & (held["instant"] < held["known_to"])])


def _not_always_one(listings: pd.DataFrame) -> set[str]:
    """Codes that were believed to be of several securities, or whose security had another code."""
    pairs = listings[["vendor_code", "sec_id"]].drop_duplicates()
    several = pairs["vendor_code"].duplicated(keep=False) | pairs["sec_id"].duplicated(keep=False)
    return set(pairs["vendor_code"][several])


def _silent_before(prices: pd.DataFrame, clock: Clock, first: int) -> set[str]:
    """Codes with earlier bars and with bars of the run, and none on time between."""
    session = clock.calendar.on_or_after(prices["date"].to_numpy("datetime64[D]"))
    on_time = clock.visible(prices["known_from"]) <= session
    codes = prices["vendor_code"].cat
    own, before = (np.unique(codes.codes.to_numpy()[rows]) for rows in (session >= first, on_time & (session < first)))
    return set(codes.categories[np.setdiff1d(own, before)])


def _ended_before_its_bars(tables: SourceTables) -> set[str]:
    """Codes with a delisting after which there is a bar."""
    ends = tables.delistings
    last = tables.last_dates().reindex(ends["vendor_code"]).to_numpy()
    return set(ends["vendor_code"][(ends["last_session"] < last).to_numpy()])
