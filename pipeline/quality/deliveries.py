"""What a delivery lacks of what the last one had: tables, rows, securities.

Beside the stores lies what the last delivery held (`TABLES_FILE`): of each table its rows, its securities and its last
date. A table that is not there any more, or has lost rows, is no table that never was: it is a finding that stops the
run until somebody accepts the delivery as it is. From then on the accepted delivery is what the next one is held to.

Who has ended (a delisting, a stated last session) may leave the vendor's files, with all rows: that is no loss. What
of a table is about them is counted beside the rest, so that a table whose every row spoke of the dead may go too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.quality.findings import findings_frame
from pipeline.quality.texts import among
from pipeline.settings import DeliveryRules
from pipeline.sources.tables import SourceTables

TABLES_FILE = "delivered_tables.json"
SHOWN = 10
"""Names that a message shows at most."""

Names = Callable[[Sequence[str]], Sequence[str]]
"""Permanent ids -> how a person calls them."""

Counts = Mapping[str, Any]
"""Of a table: `rows`, `securities` (or currencies) that they speak of, `last` date, "" for none; `ended`: rows by
vendor code of those that had ended."""

DATES = ("date", "ex_date", "last_session", "effective_date", "filed_at", "valid_from", "first_session")


def counted(tables: SourceTables, instant: np.datetime64) -> dict[str, Counts]:
    """`Counts` of every table of a source (by name), of the rows that were known at an instant (UTC)."""
    listed = {name: known_rows(tables.frames[name], instant) for name in ("securities", "delistings")}
    ended = ended_codes(listed, instant)
    counts = {name: _counts(frame, _known(frame, instant), ended) for name, frame in tables.frames.items()}
    if tables.earlier is not None:
        counts["prices"] = _with_earlier(known_rows(tables.prices, instant), tables, instant, ended)
    return counts


def known_rows(frame: pd.DataFrame, instant: np.datetime64) -> pd.DataFrame:
    """Rows of a table that were known at an instant (UTC)."""
    known = _known(frame, instant)
    return frame if known.all() else frame[known]


def _known(frame: pd.DataFrame, instant: np.datetime64) -> NDArray[np.bool_]:
    """(n,) whether each row was known at an instant (UTC), as what is no dated fact always is."""
    if "known_from" not in frame:
        return np.ones(len(frame), bool)
    return np.asarray(frame["known_from"].to_numpy() <= instant)


def ended_codes(frames: Mapping[str, pd.DataFrame], instant: np.datetime64) -> pd.Index:
    """Vendor codes whose last listing was over before an instant, as its row or a delisting says."""
    listings = frames["securities"][["vendor_code", "first_session", "last_session"]].astype({"vendor_code": "str"})
    listings = listings.sort_values("first_session", na_position="first").drop_duplicates("vendor_code", keep="last")
    listings = listings.set_index("vendor_code")
    told = frames["delistings"].groupby("vendor_code")["last_session"].max()
    told.index = told.index.astype("str")
    last = listings["last_session"].fillna(told.reindex(listings.index))
    over = (last <= instant) & ~(last < listings["first_session"])
    return listings.index[over.to_numpy()]


def _counts(frame: pd.DataFrame, known: NDArray[np.bool_], ended: pd.Index) -> Counts:
    """Of the known rows of a table, of which none is copied: there are millions of bars."""
    owner = next(name for name in ("vendor_code", "currency", *frame.columns) if name in frame)
    dates = [frame[name].where(known).max() for name in DATES if name in frame][:1]
    last = f"{dates[0]:%Y-%m-%d}" if dates and dates[0] is not pd.NaT and known.any() else ""
    of = frame[owner].array if isinstance(frame[owner].dtype, pd.CategoricalDtype) else pd.Categorical(frame[owner])
    rows = np.bincount(of.codes[known & (of.codes >= 0)], minlength=len(of.categories))
    names = of.categories.astype("str")
    there = (rows > 0) & among(names, ended) & (owner == "vendor_code")
    return {
        "rows": int(known.sum()),
        "securities": int((rows > 0).sum()),
        "last": last,
        "ended": dict(zip(names[there].tolist(), rows[there].tolist(), strict=True)),
    }


def _with_earlier(prices: pd.DataFrame, tables: SourceTables, instant: np.datetime64, ended: pd.Index) -> Counts:
    """`_counts` of the prices and of those before them, which are counted by code where all of a code are known."""
    assert tables.earlier is not None
    summary = tables.earlier.summary
    whole = summary[summary["known"] <= instant]
    listed = prices["vendor_code"].cat.categories.to_numpy(object)
    some = known_rows(tables.earlier.of(summary.index.difference(whole.index), listed), instant)
    parts = [whole["rows"]]
    for frame in (some, prices):
        rows = frame.groupby("vendor_code", observed=True).size()
        rows.index = rows.index.astype("str")
        parts.append(rows)
    by_code = pd.concat(parts).groupby(level=0).sum()
    last = max(day for day in (whole["last"].max(), some["date"].max(), prices["date"].max()) if day is not pd.NaT)
    return {
        "rows": int(by_code.sum()),
        "securities": len(by_code),
        "last": f"{last:%Y-%m-%d}",
        "ended": {str(code): int(n) for code, n in by_code[among(by_code.index, ended)].items()},
    }


def lost_tables(
    before: Mapping[str, Counts],
    now: Mapping[str, Counts],
    delivered: Collection[str],
    through: str,
    at: int,
    rules: DeliveryRules,
) -> pd.DataFrame:
    """A finding at the session `at` for each table that is gone, or has lost rows or securities.

    before: what was delivered when the session `through` was published; now: what is delivered today; delivered: the
    vendor codes of today's `securities`. Rows of those that had ended and are not among them are not missed.
    """
    rows = []
    for name, then in before.items():
        found = now.get(name, {"rows": 0, "securities": 0, "last": ""})
        left = [n for code, n in then.get("ended", {}).items() if code not in delivered]
        then = {**then, "rows": then["rows"] - sum(left), "securities": then["securities"] - len(left)}
        if then["rows"] == 0 or not _lost(then, found, rules):
            continue
        had, has = (f"{one['rows']:,} rows of {one['securities']:,} names, last {one['last']}" for one in (then, found))
        says = f"{name}: {had}, when {through} was published; today {has if found['rows'] else 'none'}"
        rows.append((found["rows"] / then["rows"], 1 - rules.shrunk, says))
    return stops("lost_table", rows, at)


def _lost(then: Counts, now: Counts, rules: DeliveryRules) -> bool:
    missing = {what: then[what] - now[what] for what in ("rows", "securities")}
    return now["rows"] == 0 or any(gone > max(rules.few, rules.shrunk * then[what]) for what, gone in missing.items())


def lost_securities(lost: Sequence[str], known: int, at: int, rules: DeliveryRules) -> pd.DataFrame:
    """A finding at the session `at` when a delivery is silent about too many of the `known` securities.

    lost: one text for each security that the last accepted delivery spoke of and this one does not.
    """
    share = len(lost) / max(known, 1)
    if share <= rules.lost_securities:
        return stops("lost_securities", [], at)
    says = (
        f"securities: {len(lost):,} of {known:,} known securities ({share:.1%}) are not delivered any more, at most "
        f"{rules.lost_securities:.1%} may be missing: {listed(lost)}"
    )
    return stops("lost_securities", [(share, rules.lost_securities, says)], at)


def moved_identifiers(moved: Sequence[str], at: int) -> pd.DataFrame:
    """A finding at the session `at` for each contradiction (a text) between delivered identifiers and known ids."""
    return stops("moved_identifier", [(1.0, 0.0, f"securities: {says}") for says in moved], at)


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """The first names of a list, and how many follow."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def stops(rule: str, rows: Iterable[tuple[float, float, str]], at: int) -> pd.DataFrame:
    """A finding about the whole delivery of the session `at` for each (observed, expected, evidence)."""
    frame = pd.DataFrame(list(rows), columns=["observed", "expected", "evidence"])
    return findings_frame(
        sec_id=[""] * len(frame),
        session=[at] * len(frame),
        rule=[rule] * len(frame),
        observed=frame["observed"],
        expected=frame["expected"],
        evidence=frame["evidence"],
        detected_at=[at] * len(frame),
        index=range(len(frame)),
    )
