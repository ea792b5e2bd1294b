"""Rules about single events, and about share counts that are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import ex_sessions
from pipeline.quality.bars import Bars, close_of, closes_before
from pipeline.quality.findings import findings_frame
from pipeline.settings import EventRules
from security_master.universe import STOCK_TYPES


def event_findings(
    prices: pd.DataFrame,
    splits: pd.DataFrame,
    dividends: pd.DataFrame,
    spin_offs: pd.DataFrame,
    rules: EventRules,
) -> list[pd.DataFrame]:
    """Findings about events one by one, each reported at the first session that can use the event."""
    kinds = (("split", splits), ("dividend", dividends), ("spin-off", spin_offs))
    return [
        *(_late(frame, name) for name, frame in kinds),
        _odd_ratios(splits, rules),
        *_odd_dividends(prices, splits, dividends, rules),
        _spin_off_values(prices, spin_offs),
    ]


def _dated(rows: pd.DataFrame, rule: str, observed: Any, expected: Any, evidence: list[str]) -> pd.DataFrame:
    """Findings about events; each is reported at the first session that knows the event, not before its ex-date."""
    return findings_frame(
        sec_id=rows["sec_id"].to_numpy(),
        session=rows["ex"].to_numpy(),
        rule=rule,
        observed=observed,
        expected=expected,
        evidence=evidence,
        detected_at=np.maximum(rows["ex"].to_numpy(), rows["visible"].to_numpy()),
        index=range(len(rows)),
    )


def _late(events: pd.DataFrame, name: str) -> pd.DataFrame:
    rows = events[events["visible"] > events["ex"]]
    delay = (rows["visible"] - rows["ex"]).to_numpy()
    evidence = [f"{name} became known {n} sessions after its ex-date" for n in delay]
    return _dated(rows, "late_event", delay, 0.0, evidence)


def _odd_ratios(splits: pd.DataFrame, rules: EventRules) -> pd.DataFrame:
    ratio = splits["ratio_new"].to_numpy() / splits["ratio_old"].to_numpy()
    odd = (ratio > rules.ratio) | (ratio < 1 / rules.ratio)
    return _dated(splits[odd], "ratio_out_of_bounds", ratio[odd], rules.ratio, [f"ratio {r:g}" for r in ratio[odd]])


def _odd_dividends(
    prices: pd.DataFrame, splits: pd.DataFrame, dividends: pd.DataFrame, rules: EventRules
) -> list[pd.DataFrame]:
    """Yield jumps, amounts off the payer's schedule, changes of currency, and a basis that matters."""
    rows = dividends.copy()
    rows["price"] = closes_before(prices, rows)
    regular = rows[rows["kind"] == "regular"].sort_values(["sec_id", "ex", "visible"], ignore_index=True)
    regular = regular.drop_duplicates(["sec_id", "ex"], keep="first", ignore_index=True)
    before = regular.shift()
    follows = (regular["sec_id"] == before["sec_id"]) & (before["visible"] <= regular[["ex", "visible"]].max(axis=1))
    same_money = regular["currency"] == before["currency"]
    return [
        _basis_that_matters(rows, splits, rules),
        _yield_jumps(regular, before, follows, same_money, rules),
        _off_schedule(regular, before, follows & same_money, rules),
        *_odd_currencies(regular, before, follows.to_numpy(), same_money.to_numpy()),
    ]


def _basis_that_matters(dividends: pd.DataFrame, splits: pd.DataFrame, rules: EventRules) -> pd.DataFrame:
    both = dividends.merge(splits[["sec_id", "ex", "ratio_new", "ratio_old"]], on=["sec_id", "ex"])
    ratio = (both["ratio_new"] / both["ratio_old"]).to_numpy()
    differs = both["amount"].to_numpy() * np.abs(ratio - 1) / both["price"].to_numpy()
    both, differs = both[differs > rules.basis], differs[differs > rules.basis]
    says = [
        f"{basis} basis used; the other differs by {d:.2%}" for basis, d in zip(both["basis"], differs, strict=True)
    ]
    return _dated(both, "basis_review", differs, rules.basis, says)


def _yield_jumps(
    regular: pd.DataFrame, before: pd.DataFrame, follows: pd.Series, same_money: pd.Series, rules: EventRules
) -> pd.DataFrame:
    """Regular dividends whose yield is out of the range of the last ones of the security."""
    yields = (regular["amount"] / regular["price"]).where(follows | (regular["sec_id"] != before["sec_id"]))
    owner, now = regular["sec_id"].to_numpy(object), yields.to_numpy()
    earlier = np.full((len(now), rules.yields), np.nan)
    for k in range(1, min(rules.yields, len(now) - 1) + 1):
        earlier[k:, k - 1] = np.where(owner[k:] == owner[:-k], now[:-k], np.nan)
    high, low = np.fmax.reduce(earlier, axis=1), np.fmin.reduce(earlier, axis=1)
    with np.errstate(invalid="ignore"):
        jumps = (follows & same_money).to_numpy() & ((now > rules.yield_jump * high) | (now * rules.yield_jump < low))
    now, low, high = now[jumps], low[jumps], high[jumps]
    evidence = [
        f"yield {y:.3%}, the last {rules.yields} had {a:.3%} to {b:.3%}" for y, a, b in zip(now, low, high, strict=True)
    ]
    return _dated(regular[jumps], "yield_jump", now, high, evidence)


def _off_schedule(regular: pd.DataFrame, before: pd.DataFrame, follows: pd.Series, rules: EventRules) -> pd.DataFrame:
    """The amount of the dividend before once more, long before a payer with an even schedule would pay again."""
    interval = (regular["ex"] - before["ex"]).where(follows)
    earlier = interval.groupby(regular["sec_id"], observed=True)
    past = np.column_stack([earlier.shift(k) for k in range(1, int(rules.schedule) + 1)])
    usual = np.median(past, axis=1)  # NaN for too short a history
    even = (np.abs(past - usual[:, None]) <= rules.schedule_even * usual[:, None]).all(axis=1)
    now = interval.to_numpy()
    soon = even & (regular["amount"] == before["amount"]).to_numpy() & (now < rules.schedule_soon * usual)
    regular, now, usual = regular[soon], now[soon], usual[soon]
    evidence = [
        f"{amount:g} again after {n:.0f} sessions, {m:.0f} were usual: paid early, or one under two dates"
        for amount, n, m in zip(regular["amount"], now, usual, strict=True)
    ]
    return _dated(regular, "off_schedule", now, usual, evidence)


def _odd_currencies(
    regular: pd.DataFrame, before: pd.DataFrame, follows: NDArray[np.bool_], same_money: NDArray[np.bool_]
) -> list[pd.DataFrame]:
    """Dividends in another currency than the one before, or, the first of a security, than its price.

    When the second has another one than the first, either may be wrong: the first is named too, at that moment.
    """
    changed = follows & ~same_money
    first = (regular["sec_id"] != before["sec_id"]).to_numpy()
    alone = first & (regular["currency"] != regular["quoted"]).to_numpy()
    second = changed & np.r_[False, first[:-1]]
    earlier = before[second].astype({"ex": "int32"})
    moment = regular.loc[second, ["ex", "visible"]].max(axis=1).to_numpy()
    told = [
        f"paid in {now}, the one before in {then}"
        for now, then in zip(regular["currency"][changed], before["currency"][changed], strict=True)
    ]
    abroad = [
        f"the first one, paid in {paid}, the price is in {quoted}"
        for paid, quoted in zip(regular["currency"][alone], regular["quoted"][alone], strict=True)
    ]
    doubted = [
        f"paid in {then}, the next one in {now}"
        for now, then in zip(regular["currency"][second], earlier["currency"], strict=True)
    ]
    return [
        _dated(regular[changed], "currency_change", np.nan, np.nan, told),
        _dated(regular[alone], "currency_change", np.nan, np.nan, abroad),
        _dated(earlier, "currency_change", np.nan, np.nan, doubted).assign(detected_at=moment.astype(np.int32)),
    ]


def _spin_off_values(prices: pd.DataFrame, spin_offs: pd.DataFrame) -> pd.DataFrame:
    """How each spin-off is valued: from the child's first close, or as stated."""
    values, evidence, bars = [], [], Bars(prices)
    for row in spin_offs.to_dict("records"):
        close = close_of(bars.of(row["child_sec_id"]), row["ex"], max(row["ex"], row["visible"]))
        values.append(row["child_ratio"] * close if np.isfinite(close) else row["value"])
        evidence.append(
            f"{row['child_ratio']:g} * close {close:g}" if np.isfinite(close) else "as stated by the vendor"
        )
    return _dated(spin_offs, "spin_off_value", values, np.nan, evidence)


def off_record_findings(
    prices: pd.DataFrame, splits: pd.DataFrame, dividends: pd.DataFrame, rules: EventRules
) -> list[pd.DataFrame]:
    """Dividends, and stock dividends, whose ex-date is not the one that their `record_date` gives; none without one."""
    paid = dividends[dividends["record_date"].notna()]
    given = splits[splits["record_date"].notna() & (splits["kind"] == "split")]
    with np.errstate(invalid="ignore"):
        paid = paid[~(paid["amount"].to_numpy() >= rules.due_bill * closes_before(prices, paid))]
    ratio = given["ratio_new"] / given["ratio_old"]
    given = given[(ratio > 1) & (ratio < 1 + rules.due_bill)]
    found = []
    for rows in (paid, given):
        expected = ex_sessions(rows["record_date"])
        off = expected != rows["ex"].to_numpy()
        evidence = [
            f"record date {day:%Y-%m-%d}: {abs(by)} sessions too {'late' if by > 0 else 'early'}"
            for day, by in zip(rows["record_date"][off], (rows["ex"].to_numpy() - expected)[off], strict=True)
        ]
        found.append(_dated(rows[off], "ex_date_off_record", rows["ex"].to_numpy()[off], expected[off], evidence))
    return found


def missing_share_counts(
    prices: pd.DataFrame, securities: pd.DataFrame, shares: pd.DataFrame, rules: EventRules
) -> pd.DataFrame:
    """Stocks that still trade half a year after their first price while no share count of theirs is known.

    Found at the first session with a price from then on. Prices that came later than their session count for nothing:
    nobody had them then.
    """
    stocks = securities.loc[securities["sec_type"].isin(STOCK_TYPES), "sec_id"]
    bars = prices.loc[prices["visible"] <= prices["session"], ["sec_id", "session"]]
    begun = bars.groupby("sec_id", observed=True)["session"].transform("min")
    seen = bars[bars["session"] >= begun + rules.shares_after].drop_duplicates("sec_id")
    seen = seen[seen["sec_id"].isin(stocks)]
    known = shares.groupby("sec_id")["visible"].min().reindex(seen["sec_id"].astype("str")).to_numpy()
    late = seen[~(np.nan_to_num(known.astype(float), nan=np.inf) <= seen["session"].to_numpy())]
    return findings_frame(
        sec_id=late["sec_id"].astype("str").to_numpy(),
        session=late["session"].to_numpy(),
        rule="no_share_count",
        observed=0.0,
        expected=1.0,
        evidence=f"{rules.shares_after} sessions after the first price no share count is known",
        detected_at=late["session"].to_numpy(),
        index=range(len(late)),
    )
