"""Older closes that a vendor rewrote, found without keeping them.

Beside the stores lies a digest of what was delivered for each vendor code and calendar year (`YEARS_FILE`), of the
sessions that the comparison of single bars (`pipeline.quality.drift`) no longer reaches. The next run makes the digests
of the same rows out of its own delivery, of which it holds the sums anyway: nothing more is read, and a year that
differs names the security and not the bar. A row with a later `known_from` is a declared correction and belongs to the
next digest.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipeline.quality.deliveries import listed
from pipeline.quality.findings import concat_findings, findings_frame, no_findings
from pipeline.quality.texts import among
from pipeline.settings import DriftRules
from pipeline.sources.closes import close_digests
from pipeline.sources.kept.earlier import EarlierBars

YEARS_FILE = "delivered_years.parquet"
_KEY = ["vendor_code", "year"]
_ROWS_AT_ONCE = 1 << 20
"""Rows whose digests are made at a time, which bounds the memory."""


def year_digests(
    prices: pd.DataFrame, until: np.datetime64, instant: np.datetime64, earlier: EarlierBars | None = None
) -> pd.DataFrame:
    """vendor_code, year, bars, digest of the closes of sessions up to `until` that were known at an instant (UTC).

    prices: the table of a source; earlier: its bars before those. The digest is a sum over rows, so that their order
    has no influence.
    """
    parts, listed = [_of_rows(prices, until, instant)], prices["vendor_code"].cat.categories
    if earlier is not None:
        sums, others = earlier.closes_by_year(until, instant, listed.to_numpy(object))
        parts += [sums, _of_rows(others, until, instant)]
    return _summed(pd.concat(parts, ignore_index=True), listed)


def _summed(rows: pd.DataFrame, listed: pd.Index) -> pd.DataFrame:
    """Bars and digests of each vendor code and year, in their order. listed: the codes, sorted, which `code` counts."""
    code, year, bars, digest = (rows[name].to_numpy() for name in ("code", "year", "bars", "digest"))
    order = np.lexsort((year, code))
    code, year = code[order], year[order]
    begins = np.flatnonzero(np.r_[True, (np.diff(code) != 0) | (np.diff(year) != 0)][: len(code)])
    if len(begins):
        bars, digest = (np.add.reduceat(values[order], begins) for values in (bars, digest))
    return pd.DataFrame(
        {
            "vendor_code": listed.take(code[begins]).astype("str"),
            "year": year[begins].astype(np.int16),
            "bars": bars.astype(np.int16),
            "digest": digest.astype(np.uint64),
        }
    )


def _of_rows(prices: pd.DataFrame, until: np.datetime64, instant: np.datetime64) -> pd.DataFrame:
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
        np.add.at(digest, at, close_digests(days, close[rows][use]))
    some = np.flatnonzero(bars)
    return pd.DataFrame(
        {
            "code": some // max(years, 1),
            "year": some % max(years, 1) + first + 1970,
            "bars": bars[some],
            "digest": digest[some],
        }
    )


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
    known = before[among(before["vendor_code"], tickers)]
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
