"""Dated facts as arrays: what was in force on a date, as known at an instant.

On a grid of sessions (the panels) sessions and instants ascend, so "valid and known" is one stretch of columns for each
fact. The attributes of listings are asked of (security, date, instant) one by one, or of all securities on one date.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from security_master.dates import dates_of, instants_of, new_york_dates

Grid = tuple[NDArray[np.datetime64], NDArray[np.datetime64]]
"""Sessions (T,) datetime64[D] and their knowledge instants (T,) datetime64[us]; see `grid`."""

ATTRIBUTES = ["sec_type", "currency", "exchange"]
"""What a listing says of a security that may change."""


def grid(sessions: ArrayLike, instants: ArrayLike) -> Grid:
    """Checked sessions (T,) datetime64[D], ascending, and their knowledge instants (T,) datetime64[us], never falling.

    Restated sessions share one instant.
    """
    days, known = np.asarray(sessions, "datetime64[D]"), np.asarray(instants, "datetime64[us]")
    if days.shape != known.shape or days.ndim != 1:
        raise ValueError(f"expected one instant for each session, found shapes {days.shape} and {known.shape}")
    if len(days) and not ((days[1:] > days[:-1]).all() and (known[1:] >= known[:-1]).all()):
        raise ValueError("sessions must ascend, and instants must not fall")
    return days, known


def classification_panel(facts: pd.DataFrame, sec_ids: Sequence[str], on: Grid) -> NDArray[np.int16]:
    """(n, T) industry code in force, 0 unclassified. facts: rows of classification_hist with scheme `fs`."""
    days, known = on
    panel = np.zeros((len(sec_ids), len(days)), dtype=np.int16)
    facts, rows = _rows_of(facts, sec_ids)
    first = np.maximum(
        np.searchsorted(days, dates_of(facts["valid_from"])),
        np.searchsorted(known, instants_of(_bare(facts["known_from"]))),
    )
    until = np.minimum(
        np.searchsorted(days, dates_of(facts["valid_to"])),
        np.searchsorted(known, instants_of(_bare(facts["known_to"]))),
    )
    for row, start, end, code in zip(rows, first, until, facts["code"].astype(int), strict=True):
        panel[row, start:end] = code
    return panel


FILING_COLUMNS = ("sec_id", "period_end", "filed_at", "shares_raw", "known_from", "known_to")


class Filings(NamedTuple):
    """Share counts by security, period and filing, each (m,).

    names: the securities, by which `who` counts. period, filed: dates, the latter in New York. known_from, known_to:
    instants between which the filing was believed.
    """

    names: NDArray[np.object_]
    who: NDArray[np.int64]
    period: NDArray[np.datetime64]
    filed: NDArray[np.datetime64]
    shares: NDArray[np.float64]
    known_from: NDArray[np.datetime64]
    known_to: NDArray[np.datetime64]


def filings_of(facts: pd.DataFrame) -> Filings:
    """The rows of shares_hist, which are text (FILING_COLUMNS)."""
    who, names = pd.factorize(facts["sec_id"])
    filed_at, period = instants_of(_bare(facts["filed_at"])), dates_of(facts["period_end"])
    order = np.lexsort((filed_at, period, who))
    return Filings(
        names=names.to_numpy(object),
        who=who[order],
        period=period[order],
        filed=new_york_dates(filed_at[order]),
        shares=facts["shares_raw"].to_numpy(float)[order],
        known_from=instants_of(_bare(facts["known_from"]))[order],
        known_to=instants_of(_bare(facts["known_to"]))[order],
    )


def shares_panel(
    filings: Filings, splits: pd.DataFrame, sec_ids: Sequence[str], on: Grid, max_age_days: int
) -> NDArray[np.float64]:
    """(n, T) shares outstanding of each class, NaN unknown.

    A filing can be used from the first session strictly after the New York date on which it was filed, and from the
    first knowledge instant at or after its `known_from`. Of the usable ones the latest period stands (of one period,
    the latest filing). Its count, in the share units of the period's end, is carried to the session through the splits
    with ex-date in (period_end, session] that were known by then. A count is stale, NaN, when its filing lies more than
    max_age_days before the session: annual reporters would have a hole each year if age were counted from the period.
    """
    days, known = on
    panel = np.full((len(sec_ids), len(days)), np.nan)
    row_of = pd.Index(np.asarray(sec_ids, dtype=object)).get_indexer(pd.Index(filings.names, dtype=object))
    rows = row_of[filings.who]
    first = np.maximum(np.searchsorted(days, filings.filed, side="right"), np.searchsorted(known, filings.known_from))
    until = np.searchsorted(known, filings.known_to)
    fresh = np.searchsorted(days, filings.filed + np.timedelta64(max_age_days, "D"), side="right")
    changes = _split_columns(splits, days, known)
    for at in _not_hidden(rows, first, until, panel.shape).tolist():
        row, start, end = rows[at], first[at], until[at]
        panel[row, start:end] = filings.shares[at]
        for ex, ratio, split_start, split_end in changes.get(sec_ids[row], ()):
            if ex > filings.period[at]:
                panel[row, max(start, split_start) : min(end, split_end)] *= ratio
        panel[row, max(start, fresh[at]) : end] = np.nan
    return panel


def _not_hidden(
    rows: NDArray[np.int64], first: NDArray[np.int64], until: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Positions of the filings of wanted securities (row -1: not wanted) that some session of a panel can show: not
    those before one that stands at every session."""
    used = np.flatnonzero((rows >= 0) & (first < until))
    whole = used[(first[used] == 0) & (until[used] == shape[1])]
    last = np.zeros(shape[0], np.int64)
    np.maximum.at(last, rows[whole], whole)
    return used[used >= last[rows[used]]]


def pairs(keys: pd.DataFrame, sec_ids: Sequence[str] | NDArray[np.object_], on: Grid) -> tuple[NDArray, NDArray]:
    """(P, 2) rows of securities that share a key, and (P,) the first column of the grid that knew it of both.

    keys: sec_id, key, valid_from, known_from; pairs that no session knew are left out.
    """
    days, known = on
    rows, at = _rows_of(keys, sec_ids)
    first = np.maximum(
        np.searchsorted(days, dates_of(rows["valid_from"])),
        np.searchsorted(known, instants_of(_bare(rows["known_from"]))),
    )
    seen = pd.DataFrame({"key": rows["key"].to_numpy(object), "row": at, "first": first})
    seen = seen[seen["first"] < len(days)].sort_values("first", kind="stable").drop_duplicates(["key", "row"])
    several = seen[seen.duplicated("key", keep=False)]
    both = several.merge(several, on="key", suffixes=("", "_other"))
    both = both[both["row"] < both["row_other"]].assign(since=both[["first", "first_other"]].max(axis=1))
    found = both.sort_values(["row", "row_other", "since"]).drop_duplicates(["row", "row_other"])
    return found[["row", "row_other"]].to_numpy(np.int64), found["since"].to_numpy(np.int64)


def _split_columns(
    splits: pd.DataFrame, days: NDArray[np.datetime64], known: NDArray[np.datetime64]
) -> dict[str, list[tuple[np.datetime64, float, int, int]]]:
    """By security: (ex-date, ratio, first column, end column) in which a split counts."""
    ex_dates = dates_of(splits["ex_date"])
    first = np.maximum(
        np.searchsorted(days, ex_dates), np.searchsorted(known, instants_of(_bare(splits["known_from"])))
    )
    until = np.searchsorted(known, instants_of(_bare(splits["known_to"])))
    ratio = splits["ratio_num"].to_numpy(float) / splits["ratio_den"].to_numpy(float)
    found: dict[str, list[tuple[np.datetime64, float, int, int]]] = {}
    for sec_id, ex, value, start, end in zip(splits["sec_id"], ex_dates, ratio, first, until, strict=True):
        found.setdefault(sec_id, []).append((ex, value, int(start), int(end)))
    for rows in found.values():
        rows.sort()
    return found


def _rows_of(
    facts: pd.DataFrame, sec_ids: Sequence[str] | NDArray[np.object_]
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The facts of the wanted securities, and the panel row of each."""
    at = pd.Index(np.asarray(sec_ids, dtype=object)).get_indexer(facts["sec_id"])
    wanted = at >= 0
    return facts[wanted], at[wanted].astype(np.int64)


def _bare(instants: pd.Series) -> list[str]:
    return [instant[:-1] for instant in instants]


def attributes(listings: pd.DataFrame, sec_ids: ArrayLike, dates: ArrayLike, instants: ArrayLike) -> pd.DataFrame:
    """(n,) rows of ATTRIBUTES: those of each security's last stretch that had begun on a date, as known at an instant.

    listings: SecurityMaster.listings. sec_ids, dates, instants (UTC): (n,) each. "" where none is known.
    """
    asked = pd.DataFrame(
        {
            "sec_id": np.asarray(sec_ids, dtype=object),
            "date": np.asarray(dates, "datetime64[s]"),
            "instant": np.asarray(instants, "datetime64[us]"),
        }
    )
    asked["row"] = np.arange(len(asked))
    rows = asked.merge(listings.astype({"sec_id": object}), on="sec_id")
    rows = rows[
        (rows["valid_from"] <= rows["date"])
        & (rows["known_from"] <= rows["instant"])
        & (rows["instant"] < rows["known_to"])
    ]
    last = rows.sort_values(["row", "valid_from"]).drop_duplicates("row", keep="last").set_index("row")[ATTRIBUTES]
    return last.reindex(asked["row"]).fillna("").reset_index(drop=True)


def of_type(
    listings: pd.DataFrame, sec_ids: NDArray[np.object_], date: object, instant: object, types: Collection[str]
) -> NDArray[np.bool_]:
    """(n,) whether each security was of one of `types` on a date, as known at an instant: `attributes` of one date.

    listings: SecurityMaster.listings. sec_ids: (n,), each once.
    """
    day, known = np.datetime64(str(date), "s"), np.datetime64(str(instant), "us")
    valid_from = listings["valid_from"].to_numpy()
    begun = (valid_from <= day) & (listings["known_from"].to_numpy() <= known)
    rows = np.flatnonzero(begun & (known < listings["known_to"].to_numpy()))
    rows = rows[np.argsort(valid_from[rows], kind="stable")]
    at = pd.Index(sec_ids, dtype=object).get_indexer(pd.Index(listings["sec_id"].to_numpy(object)[rows], dtype=object))
    is_one = listings["sec_type"].isin(types).to_numpy()[rows]
    found = np.zeros(len(sec_ids), dtype=bool)
    found[at[at >= 0]] = is_one[at >= 0]  # the last stretch of a security stays
    return found
