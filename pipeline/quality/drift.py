"""Bars that the vendor rewrote after they were published.

Beside the stores lies what the vendor delivered for the last sessions (`DELIVERED_FILE`, first prints), and what was
read for the warm-up (`WARM_UP_BARS`; in a file of its own, so that a year of bars does not dilute what a night's share
is of). The next run compares, with the warm-up as long as windows reach into it: each bar that now reads differently is
a finding, and when too many do, nothing is published before somebody has looked. A row with a later `known_from` is a
declared correction, which stands beside the first print, and no drift.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from pipeline.quality.findings import concat_findings, findings_frame, no_findings
from pipeline.settings import DriftRules

DELIVERED_FILE = "delivered_bars.parquet"
WARM_UP_BARS = "delivered_warm_up.parquet"
KEY, _VALUES = ["sec_id", "session"], ["close", "volume"]


@dataclass(frozen=True, eq=False)
class Drift:
    """What a vendor rewrote: `changed` (sec_id, session, close and volume before and after), of `compared` bars."""

    changed: pd.DataFrame
    compared: int

    @property
    def share(self) -> float:
        return len(self.changed) / max(self.compared, 1)


def first_prints(prices: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    """First prints of the sessions [first, last], as known at the last one: sec_id, session, close, volume.

    prices: those of `Facts`. Back-adjusted closes are left out: they are rewritten by definition.
    """
    session = prices["session"]
    rows = prices[(session >= first) & (session <= last) & (prices["visible"] <= last)]
    rows = rows[KEY + _VALUES].assign(sec_id=rows["sec_id"].astype("str"))
    return rows.drop_duplicates(KEY, keep="first").sort_values(KEY, ignore_index=True)


def drift(before: pd.DataFrame, prices: pd.DataFrame, left: Collection[str] = ()) -> Drift:
    """Bars of an earlier delivery (`first_prints`) that no row of `prices` says any more.

    left: securities that have ended and that the vendor left out of all tables; their bars were not rewritten.
    """
    before = before[~before["sec_id"].isin(list(left))]
    if before.empty:
        return Drift(before.iloc[:0], 0)
    now = prices.loc[prices["session"].between(before["session"].min(), before["session"].max()), KEY + _VALUES]
    now = now.assign(sec_id=now["sec_id"].astype("str"))
    both = before.merge(now, how="left", on=KEY, suffixes=("_before", "_after"))
    same = pd.Series(True, index=both.index)
    for name in _VALUES:
        was, is_now = both[f"{name}_before"], both[f"{name}_after"]
        same &= (was == is_now) | (was.isna() & is_now.isna())
    said = same.groupby([both[name] for name in KEY]).transform("any")
    changed = both[~said].drop_duplicates(KEY, keep="first", ignore_index=True)
    return Drift(changed, len(before))


def drift_findings(found: Drift, at: int, rules: DriftRules, of_warm_up: bool = False) -> pd.DataFrame:
    """One finding for each rewritten bar, and one that stops the session `at` when there are too many.

    of_warm_up: whether they are those of the warm-up.
    """
    rows = found.changed
    if rows.empty:
        return no_findings()
    bars = findings_frame(
        sec_id=rows["sec_id"].to_numpy(),
        session=rows["session"].to_numpy(),
        rule="rewritten_bar",
        observed=rows["close_after"].to_numpy(),
        expected=rows["close_before"].to_numpy(),
        evidence=[
            f"close {row.close_before:g}, volume {row.volume_before:g} when it was "
            f"{'read for the warm-up' if of_warm_up else 'published'}; now {row.close_after:g}, {row.volume_after:g}"
            for row in rows.itertuples()
        ],
        detected_at=at,
        index=range(len(rows)),
    )
    if found.share <= rules.share:
        return bars
    return concat_findings([bars, too_many(len(rows), found.compared, "bars", at, rules, of_warm_up)])


def too_many(changed: int, compared: int, what: str, at: int, rules: DriftRules, of_warm_up: bool) -> pd.DataFrame:
    """The finding that stops the session `at`: so many of `compared` bars or events were rewritten."""
    span = "the warm-up" if of_warm_up else f"the last {rules.sessions} sessions"
    return findings_frame(
        sec_id="",
        session=at,
        rule="drift",
        observed=changed / max(compared, 1),
        expected=rules.share,
        evidence=f"{changed} of {compared} {what} of {span} were rewritten",
        detected_at=at,
        index=[0],
    )
