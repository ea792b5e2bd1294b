"""A session's stocks held against the session before: who is not there, whose class or share count is another one.

Single changes are ordinary; what a slow table was rewritten with overnight changes many at once. Only members are
looked at: the `members` largest stocks by market cap that had a price the session before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.quality.deliveries import Names, listed
from pipeline.quality.findings import concat_findings, findings_frame
from pipeline.settings import DayBeforeRules


class Stocks(NamedTuple):
    """(n, 1 + T): the session before the first judged one, and those. close, cap, ret: NaN for none; industry: 0 for
    none; flag: ReturnFlag; shares: outstanding, NaN where none is known or the last one is too old."""

    sec_ids: NDArray[np.object_]
    close: NDArray[np.float64]
    cap: NDArray[np.float64]
    ret: NDArray[np.float64]
    industry: NDArray[np.integer]
    flag: NDArray[np.integer]
    shares: NDArray[np.float64]


def against_the_day_before(stocks: Stocks, first: int, named: Names, rules: DayBeforeRules) -> pd.DataFrame:
    """A flag for each member without a price today, and stops where too many are missing, or have another class or
    another count of shares or one that is not believed. first: ordinal of the first judged session."""
    found = []
    for t in range(1, stocks.close.shape[1]):
        found += _session(stocks, t, first + t - 1, named, rules)
    return concat_findings(found)


def _session(stocks: Stocks, t: int, session: int, named: Names, rules: DayBeforeRules) -> list[pd.DataFrame]:
    weight = np.where(np.isfinite(stocks.close[:, t - 1]) & (stocks.cap[:, t - 1] > 0), stocks.cap[:, t - 1], 0.0)
    members = np.argsort(-weight, kind="stable")[: rules.members]
    members = members[weight[members] > 0]
    if len(members) < rules.names:
        return []
    now, before = stocks.industry[members, t], stocks.industry[members, t - 1]
    cap, cap_before = stocks.cap[members, t], stocks.cap[members, t - 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        counts = np.abs(np.log(cap / cap_before) - np.log1p(stocks.ret[members, t]))
        counted = np.isfinite(counts) & (counts > np.log(rules.count_factor))
        known = np.isfinite(stocks.close[members, t] * stocks.shares[members, t])
        disbelieved = known & ~(cap > 0)
    checks = (
        ("missing_members", stocks.flag[members, t] == ReturnFlag.NO_PRICE, rules.missing, "have no price today"),
        ("classes_rewritten", (before > 0) & (now != before), rules.classes, "have another class than yesterday"),
        (
            "counts_rewritten",
            counted | disbelieved,
            rules.counts,
            "have another count of shares than yesterday, or one that cannot be",
        ),
    )
    found = []
    for rule, bad, bound, says in checks:
        who = members[bad]
        if rule == "missing_members" and len(who):
            found.append(_missing(stocks.sec_ids[who], session))
        share = max(len(who) / len(members), float(weight[who].sum() / weight[members].sum()))
        if len(who) > rules.few and share > bound:
            text = (
                f"{len(who):,} of {len(members):,} members, {weight[who].sum() / weight[members].sum():.1%} of their "
                f"market cap, {says}; at most {bound:.1%}: {listed(named(stocks.sec_ids[who].tolist()))}"
            )
            found.append(_finding("", session, rule, share, bound, [text]))
    return found


def _missing(sec_ids: NDArray[np.object_], session: int) -> pd.DataFrame:
    texts = ["a member of the universe with a price yesterday and none today"] * len(sec_ids)
    return _finding(sec_ids, session, "missing_member", np.nan, np.nan, texts)


def _finding(
    sec_id: str | NDArray[np.object_], session: int, rule: str, share: float, bound: float, texts: list[str]
) -> pd.DataFrame:
    return findings_frame(
        sec_id=sec_id,
        session=session,
        rule=rule,
        observed=share,
        expected=bound,
        evidence=texts,
        detected_at=session,
        index=range(len(texts)),
    )
