"""Older closes that a vendor rewrote, found without keeping them.

Beside the stores lies a digest of what was delivered for each vendor code and calendar year (`YEARS_FILE`), of the
sessions that the comparison of single bars (`pipeline.quality.drift`) no longer reaches. The next run makes the digests
of the same rows out of its own delivery, which it holds in memory anyway: nothing more is read, and a year that differs
names the security and not the bar. A row with a later `known_from` is a declared correction and belongs to the next
digest.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.quality.deliveries import listed
from pipeline.quality.findings import concat_findings, findings_frame, no_findings
from pipeline.settings import DriftRules

YEARS_FILE = "delivered_years.parquet"
_KEY = ["vendor_code", "year"]
_ROWS_AT_ONCE = 1 << 20
"""Rows whose digests are made at a time, which bounds the memory."""


def year_digests(prices: pd.DataFrame, until: np.datetime64, instant: np.datetime64) -> pd.DataFrame:
    """vendor_code, year, bars, digest of the closes of sessions up to `until` that were known at an instant (UTC).

    prices: the table of a source. The digest is a sum over rows, so that their order has no influence.
    """
    codes = prices["vendor_code"].cat
    owner, day = codes.codes.to_numpy(), prices["date"].to_numpy("datetime64[D]")
    close, known = prices["close"].to_numpy(np.float64), prices["known_from"].to_numpy()
    first = day.min().astype("datetime64[Y]").astype(int) if len(day) else 0
    years = until.astype("datetime64[Y]").astype(int) - first + 1
    size = len(codes.categories) * max(years, 0)
    bars, digest = np.zeros(size, np.int64), np.zeros(size, np.uint64)
    for begin in range(0, len(day) if size else 0, _ROWS_AT_ONCE):
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        use = (day[rows] <= until) & (known[rows] <= instant) & np.isfinite(close[rows])
        days = day[rows][use]
        at = owner[rows][use].astype(np.int64) * years + (days.astype("datetime64[Y]").astype(np.int64) - first)
        bars += np.bincount(at, minlength=size)
        np.add.at(digest, at, _mixed(days.astype(np.uint64), close[rows][use].view(np.uint64)))
    some = np.flatnonzero(bars)
    return pd.DataFrame(
        {
            "vendor_code": codes.categories.to_numpy(object)[some // max(years, 1)],
            "year": (some % max(years, 1) + first + 1970).astype(np.int16),
            "bars": bars[some].astype(np.int16),
            "digest": digest[some],
        }
    ).astype({"vendor_code": "str"})


def _mixed(day: NDArray[np.uint64], close: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A number for each bar of which no bit can be told from another bar's (the finaliser of splitmix64)."""
    value = close + day * np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def rewritten_years(
    before: pd.DataFrame,
    now: pd.DataFrame,
    tickers: Mapping[str, str],
    through: str,
    at: int,
    rules: DriftRules,
) -> pd.DataFrame:
    """At the session `at` a flag for each year with closes that read differently, and a stop where there are too many.

    before, now: `year_digests` of the same rows, of the delivery when `through` was published and of today's;
    tickers: by vendor code what today's delivery calls it. Who is not among them has left the vendor's tables, which is
    another matter.
    """
    known = before[before["vendor_code"].isin(list(tickers))]
    both = known.merge(now, how="left", on=_KEY, suffixes=("_before", ""), indicator="there")
    both["changed"] = (both["there"] == "left_only") | (both["digest"] != both["digest_before"])
    found = []
    for year, rows in both.groupby("year"):
        who = rows.loc[rows["changed"], "vendor_code"].tolist()
        if who:
            share = len(who) / len(rows)
            stops = len(who) > rules.few_years and share > rules.years
            says = (
                f"closes of {len(who):,} of {len(rows):,} securities in {year} are others than those delivered when "
                f"{through} was published: {listed([f'{tickers[code]} ({code})' for code in who])}"
            )
            found.append(_finding("rewritten_years" if stops else "rewritten_year", share, says, at, rules))
    return concat_findings(found) if found else no_findings()


def _finding(rule: str, share: float, says: str, at: int, rules: DriftRules) -> pd.DataFrame:
    return findings_frame(
        sec_id="",
        session=at,
        rule=rule,
        observed=share,
        expected=rules.years,
        evidence=[says],
        detected_at=at,
        index=[0],
    )
