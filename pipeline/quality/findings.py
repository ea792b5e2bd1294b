"""Named data-quality rules and the rows in which they report.

A rule never edits: its outcome is a `flag` (the value stands, somebody should know), a `quarantine` (the value is not
used until a person releases it) or a `stop` (nothing of the delivery is computed). Every row carries its evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

FINDING_COLUMNS = {
    "sec_id": "str",
    "session": "int32",
    "rule": "str",
    "outcome": "str",
    "observed": "float64",
    "expected": "float64",
    "evidence": "str",
    "detected_at": "int32",
}
"""Columns and their types: sec_id ("" for the whole session), session and detected_at (ordinals), rule (a name of
RULES), outcome (flag or quarantine), observed and expected (numbers in the rule's unit), evidence (one sentence)."""

Level = Literal["bar", "event", "return", "panel", "drift"]
Outcome = Literal["flag", "quarantine", "stop"]


@dataclass(frozen=True)
class Rule:
    """One rule: what it looks at, what follows, and what it means. Its bounds are fields of `pipeline.quality`."""

    name: str
    level: Level
    outcome: Outcome
    meaning: str


_RULES = (
    Rule("bar_on_closed_day", "bar", "quarantine", "a bar dated on a day without a session"),
    Rule("bar_before_close", "bar", "quarantine", "a bar that was known before its session closed: not the day's last"),
    Rule("impossible_price", "bar", "quarantine", "zero, negative, infinite, or a sentinel"),
    Rule("shared_price", "bar", "quarantine", "one close for several securities that were far from it: a test"),
    Rule("ohlc_inconsistent", "bar", "flag", "not low <= open, close <= high"),
    Rule("impossible_volume", "bar", "flag", "negative or infinite volume (a 32-bit overflow); published as missing"),
    Rule("stale_price", "bar", "quarantine", "the same close again and again without volume, or with the same one"),
    Rule("bar_after_delisting", "bar", "quarantine", "a bar after the delisting return"),
    Rule("no_security", "bar", "flag", "rows of a vendor code that belong to no security on their date"),
    Rule("duplicate_split", "event", "flag", "a split delivered twice; counted once"),
    Rule("duplicate_dividend", "event", "flag", "a dividend delivered twice within a week; counted once"),
    Rule("spin_off_as_split", "event", "flag", "a ratio that no split has: a spin-off; the share count is untouched"),
    Rule("spin_off_paid_twice", "event", "flag", "a spin-off delivered as ratio and as dividend; counted once"),
    Rule("event_told_twice", "event", "flag", "a split or spin-off delivered as a dividend too; counted once"),
    Rule("event_on_closed_day", "event", "flag", "an ex-date without a session; used on the next one"),
    Rule("ex_date_off_record", "event", "flag", "an ex-date that its record date and the settlement then do not give"),
    Rule("late_event", "event", "flag", "an event learned after its ex-date; the published return is without it"),
    Rule("ratio_out_of_bounds", "event", "flag", "a split ratio beyond 1:1000"),
    Rule("basis_review", "event", "flag", "dividend and split on one ex-date, and the basis matters"),
    Rule("yield_jump", "event", "flag", "a regular dividend whose yield is far from that of the one before"),
    Rule("off_schedule", "event", "flag", "the same amount again, sooner than an even payer pays; both are counted"),
    Rule("currency_change", "event", "flag", "a dividend in another currency than the next one, or than the price"),
    Rule("no_fx_rate", "event", "quarantine", "a foreign dividend, or close, without an exchange rate"),
    Rule("spin_off_value", "event", "flag", "how a spin-off was valued"),
    Rule(
        "no_spin_off_value",
        "event",
        "quarantine",
        "a spin-off whose child has no close or stated value, or is not named",
    ),
    Rule("dividend_above_price", "event", "quarantine", "cash of one ex-date above the price before it"),
    Rule("event_not_in_price", "event", "quarantine", "a large event that the close did not follow"),
    Rule("misdated_event", "event", "flag", "an event that the close followed on a neighbouring session"),
    Rule("split_ratio_contradicted", "event", "quarantine", "an outlying return even with the session's split"),
    Rule("share_count_jump", "event", "quarantine", "a share count in another unit than the one before; left out"),
    Rule("share_count_below_volume", "event", "quarantine", "fewer shares than are traded day after day; no cap"),
    Rule("share_count_contradicted", "event", "quarantine", "a count at odds with splits or another class; no cap"),
    Rule("share_count_restated", "event", "flag", "a count in the units after a later split; read so"),
    Rule("no_share_count", "event", "flag", "no share count known half a year after the first price"),
    Rule("delisting_imputed", "event", "flag", "a delisting return imputed from the reason"),
    Rule("delisting_contradicted", "event", "flag", "a delisting withdrawn: the security was traded on after it"),
    Rule("late_delisting", "event", "flag", "a delisting learned late; booked when it was known"),
    Rule("missing_split", "return", "quarantine", "an outlying move by a customary split ratio, with no event"),
    Rule("bad_print", "return", "quarantine", "a close that cannot be, or that came back"),
    Rule("level_break", "return", "flag", "the price stayed at an impossible new level; taken as the level"),
    Rule("extreme_return", "return", "flag", "an outlying return without a sign of a fault; kept"),
    Rule("vendor_disagrees", "return", "flag", "the vendor's back-adjusted closes say something else"),
    Rule("zero_returns", "panel", "flag", "too many returns of exactly zero in one session"),
    Rule("median_move", "panel", "flag", "the median stock moved implausibly far"),
    Rule("event_count", "panel", "flag", "implausibly many events on one ex-date"),
    Rule("market_correlation", "panel", "flag", "the market ETF does not move with the stocks"),
    Rule("coverage", "panel", "stop", "far fewer names have a price than the session before"),
    Rule("stale_session", "panel", "stop", "the session repeats the one before"),
    Rule("no_volume", "panel", "stop", "far fewer names have a volume than the session before"),
    Rule("shifted_code", "panel", "stop", "the dates of one vendor code are shifted"),
    Rule("broken_session", "panel", "stop", "many names break by an impossible factor in one session"),
    Rule("unchanged_closes", "panel", "stop", "too many closes are exactly those of the session before"),
    Rule("moved_as_one", "panel", "stop", "all closes moved by one factor, as in another unit"),
    Rule("etf_off_market", "return", "quarantine", "a factor ETF that did not follow its stocks; no return"),
    Rule("market_etf_off", "return", "stop", "the market ETF did not follow the stocks, or the other factor ETFs"),
    Rule("missing_etf", "return", "flag", "a factor ETF with a price the session before and none today"),
    Rule("missing_member", "panel", "flag", "a member of the universe with a price yesterday and none today"),
    Rule("missing_members", "panel", "stop", "too many members have no price today"),
    Rule("classes_rewritten", "drift", "stop", "too many members have another class than the session before"),
    Rule("counts_rewritten", "drift", "stop", "too many members have another count of shares than the session before"),
    Rule("rewritten_bar", "drift", "flag", "the vendor rewrote a bar that was published; what is published stays"),
    Rule("rewritten_event", "drift", "flag", "the vendor rewrote the events of a session that was published"),
    Rule("drift", "drift", "stop", "the vendor rewrote too many of the bars, or events, that were published"),
    Rule("rewritten_year", "drift", "flag", "closes of a year long published were rewritten for few securities"),
    Rule("rewritten_years", "drift", "stop", "closes of a year long published were rewritten for many securities"),
    Rule("tickers_rewritten", "drift", "stop", "tickers were exchanged, or many are others, and no change was told"),
    Rule("lost_table", "drift", "stop", "a table, or much of it, that was delivered before is missing"),
    Rule("lost_securities", "drift", "stop", "many known securities are not delivered any more"),
    Rule("moved_identifier", "drift", "stop", "a delivered identifier is known to be another security's"),
)

RULES: dict[str, Rule] = {rule.name: rule for rule in _RULES}


def findings_frame(**columns: Any) -> pd.DataFrame:
    """A frame of FINDING_COLUMNS; scalars are repeated; `outcome` defaults to the rule's."""
    if "outcome" not in columns:
        rule = columns["rule"]
        columns["outcome"] = RULES[rule].outcome if isinstance(rule, str) else [RULES[name].outcome for name in rule]
    typed = {name: _typed(columns[name], dtype) for name, dtype in FINDING_COLUMNS.items()}
    return pd.DataFrame(typed, index=columns.get("index"))


def _typed(values: Any, dtype: Any) -> Any:
    if isinstance(values, pd.Series):
        return values.astype(dtype)
    if pd.api.types.is_scalar(values):
        return values if dtype == "str" else np.dtype(dtype).type(values)
    return pd.array(values, dtype) if dtype == "str" else np.asarray(values, dtype)


_NONE = findings_frame(**{name: [] for name in FINDING_COLUMNS})


def no_findings() -> pd.DataFrame:
    return _NONE.copy()


def concat_findings(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows, in an order that does not depend on how they were found."""
    kept = [frame for frame in frames if len(frame)]
    if not kept:
        return no_findings()
    order = ["detected_at", "session", "sec_id", "rule", "evidence"]
    return pd.concat(kept, ignore_index=True).sort_values(order, kind="stable", ignore_index=True)


FINDINGS_FILE = "quality_findings.parquet"
