"""How well the quality rules find planted vendor errors, and how little they take away that was right.

    score = score_faults(clean_tables, planted_tables, ledger, rules)

Both markets go the same way: cleaning, security master, facts, panel. A planted error counts as caught when one of the
rules that are meant for it speaks about that security within a few sessions; recall is per kind. What is missing in the
planted market but not in the clean one, away from every planted error, is a clean cell taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.datasets.return_flags import FIRST_MISSING, ReturnFlag
from pipeline.reports.dry_run import DryRun, dry_run
from pipeline.settings import DataRules
from pipeline.sources.tables import SourceTables

DOUBTED = (ReturnFlag.BAD_PRINT, ReturnFlag.MISSING_SPLIT, ReturnFlag.EVENT_CONFLICT)
"""Flags that an outlying return gets when the rules do not believe it."""

REACH = 25
"""Sessions after a planted error within which it must be found."""

CAUGHT_BY: dict[str, tuple[str, ...]] = {
    "stale_day": ("stale_session",),
    "partial_day": ("coverage",),
    "spliced_history": ("no_security",),
    "date_shift": ("shifted_code", "bar_on_closed_day"),
    "long_gap": ("no_price",),
    "missing_day": ("no_price",),
    "price_x100": ("bad_print",),
    "price_sentinel": ("impossible_price",),
    "price_impossible": ("impossible_price",),
    "spin_off_as_split": ("spin_off_as_split",),
    "misdated_split": ("misdated_event", "event_not_in_price", "split_ratio_contradicted", "missing_split"),
    "wrong_ratio_fixed_later": ("split_ratio_contradicted", "event_not_in_price", "spin_off_as_split"),
    "missing_split": ("missing_split",),
    "duplicate_split": ("duplicate_split",),
    "wrong_currency": ("currency_change",),
    "duplicate_dividend": ("duplicate_dividend",),
    "stale_tail": ("no_security", "bar_after_delisting", "stale_price"),
    "when_issued": ("no_security",),
    "late_delisting": ("late_delisting",),
    "ohlc_inconsistent": ("ohlc_inconsistent",),
    "volume_overflow": ("impossible_volume",),
    "duplicated_row": ("duplicated_row",),
    "shares_x1000": ("share_count_jump",),
    "missing_shares": ("no_share_count",),
    "adjusted_dividend": ("yield_jump",),
    "missing_dividend": (),
    "shared_test_price": ("shared_price",),
    "placeholder_count": ("share_count_below_volume",),
    "count_of_another_class": ("share_count_contradicted",),
    "count_in_later_units": ("share_count_restated",),
}
"""Rules that are meant for each kind of planted error. `no_price` is the flag of the cell; `duplicated_row` is reported
by the source."""

OF_COUNTS = ("placeholder_count", "count_of_another_class", "count_in_later_units")
"""Kinds that touch no return: no cell is near them."""


@dataclass(frozen=True)
class Score:
    """kinds: per kind planted, caught, detectable (how many a single source can reveal), recall over those (NaN for
    none), harm (largest error of a published return near the planted ones). missed: detectable errors not found.

    recall: over the kinds that a single source can reveal. taken_away: share of clean cells that are missing.
    kept: share of genuine outlying returns that are published; jumps: how many there are.
    """

    kinds: pd.DataFrame
    missed: pd.DataFrame
    recall: float
    taken_away: float
    kept: float
    jumps: int


def score_faults(clean: SourceTables, planted: SourceTables, ledger: pd.DataFrame, rules: DataRules) -> Score:
    """Run both markets and compare. `ledger` is that of `pipeline.sources.planted_faults.plant.plant_faults`."""
    sane, faulty = dry_run(clean, rules), dry_run(planted, rules, caps=True)
    entries = ledger.copy()
    for end in ("first", "last"):
        entries[end] = xnys().on_or_after(entries[f"{end}_session"].to_numpy("datetime64[D]"))
    entries["caught"] = [_caught(entry, faulty, clean) for entry in entries.to_dict("records")]
    difference, near = _difference(sane, faulty, entries)
    entries["harm"] = [_harm(entry, faulty, difference) for entry in entries.to_dict("records")]
    by_kind = entries.groupby("kind", sort=True)
    kinds = by_kind.agg(planted=("id", "size"), caught=("caught", "sum"), harm=("harm", "max"))
    kinds["detectable"] = by_kind["detectable_from_single_source"].sum()
    counted = entries[entries["detectable_from_single_source"]]
    kinds["recall"] = counted.groupby("kind")["caught"].mean().reindex(kinds.index)
    genuine = sane.panel.flag == ReturnFlag.EXTREME_KEPT
    doubted = np.isin(sane.panel.flag, DOUBTED)
    withheld = sane.panel.flag >= ReturnFlag.REJECTED_PRICE
    published = np.isfinite(sane.panel.ret)
    lost = published & (_aligned(faulty, sane, "flag") >= FIRST_MISSING) & ~near
    return Score(
        kinds=kinds.reset_index()[["kind", "planted", "caught", "recall", "harm", "detectable"]],
        missed=counted[~counted["caught"]].reset_index(drop=True),
        recall=float(counted["caught"].mean()),
        taken_away=float((lost.sum() + withheld.sum()) / (published.sum() + withheld.sum())),
        kept=float(genuine.sum() / max(genuine.sum() + doubted.sum(), 1)),
        jumps=int(genuine.sum() + doubted.sum()),
    )


def _caught(entry: Mapping[Any, Any], run: DryRun, clean: SourceTables) -> bool:
    first, last, code = int(entry["first"]), int(entry["last"]), str(entry["vendor_code"])
    rules = CAUGHT_BY[str(entry["kind"])]
    if "duplicated_row" in rules:
        extra = run.tables.origins["prices"].duplicates
        return extra > clean.origins["prices"].duplicates
    mine = run.sec_ids_of.get(code, set())
    if "no_price" in rules:
        rows = [i for i, sec_id in enumerate(run.panel.sec_ids) if sec_id in mine]
        flag = run.panel.flag[rows, first - run.panel.first : last + 2 - run.panel.first]
        missing = (ReturnFlag.NO_PRICE, ReturnFlag.GAP_TOO_LONG, ReturnFlag.STALE_PRICE)
        return bool(np.isin(flag, missing).any())
    found = pd.concat([run.panel.quarantine, run.faults, run.facts.findings[run.facts.findings["sec_id"] == ""]])
    found = found[found["rule"].isin(rules) & (found["session"] <= last + REACH) & (found["detected_at"] >= first - 1)]
    if code and "no_security" in rules:
        named = found["evidence"].str.contains(f" of {code} ", regex=False)
        return bool((named | found["sec_id"].isin(mine)).any())
    if code:
        found = found[found["sec_id"].isin(mine)]
    return len(found) > 0


def _difference(sane: DryRun, faulty: DryRun, entries: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Published returns that differ (sec_id, session, size), and which cells of the clean panel lie near an error."""
    both = _aligned(faulty, sane, "ret")
    spans = _aligned(faulty, sane, "flag") == ReturnFlag.OVER_GAP  # another return by design, and flagged
    with np.errstate(invalid="ignore"):
        size = np.where(spans, np.nan, np.abs(both - sane.panel.ret))
    i, t = np.nonzero(size > 1e-12)
    differences = pd.DataFrame({"sec_id": sane.panel.sec_ids[i], "session": t + sane.panel.first, "size": size[i, t]})
    near = np.zeros(sane.panel.ret.shape, bool)
    position = {sec_id: k for k, sec_id in enumerate(sane.panel.sec_ids)}
    for entry in entries[~entries["kind"].isin(OF_COUNTS)].to_dict("records"):
        lo = max(int(entry["first"]) - 2 - sane.panel.first, 0)
        hi = int(entry["last"]) + REACH + 1 - sane.panel.first
        owned = sane.sec_ids_of.get(entry["vendor_code"], set()) | sane.sec_ids_of.get(str(entry["true_value"]), set())
        rows = [position[sec_id] for sec_id in owned if sec_id in position]
        near[rows if entry["vendor_code"] else slice(None), lo:hi] = True
    return differences, near


def _aligned(faulty: DryRun, sane: DryRun, name: str) -> NDArray[Any]:
    """An array of the planted market's panel in the rows and columns of the clean one; 0 or NaN where it has none."""
    values = getattr(faulty.panel, name)
    out = np.full(sane.panel.ret.shape, np.nan if values.dtype.kind == "f" else 0, values.dtype)
    place = _places(faulty, sane)
    rows = np.flatnonzero(place >= 0)
    first, last = max(faulty.panel.first, sane.panel.first), min(faulty.panel.last, sane.panel.last)
    mine, theirs = (slice(first - run.panel.first, last + 1 - run.panel.first) for run in (sane, faulty))
    out[rows, mine] = values[place[rows], theirs]
    return out


def _places(faulty: DryRun, sane: DryRun) -> NDArray[np.int64]:
    """Row of each security of the clean market in the planted one, by vendor code and listing; -1 for none."""
    names = {sec_id: key for key, sec_id in _listings(faulty).items()}
    position = {names[sec_id]: k for k, sec_id in enumerate(faulty.panel.sec_ids) if sec_id in names}
    keys = {sec_id: key for key, sec_id in _listings(sane).items()}
    return np.array([position.get(keys.get(sec_id, ("", "")), -1) for sec_id in sane.panel.sec_ids], np.int64)


def _listings(run: DryRun) -> dict[tuple[str, str], str]:
    return {(code, str(sorted(ids).index(sec_id))): sec_id for code, ids in run.sec_ids_of.items() for sec_id in ids}


def _harm(entry: Mapping[Any, Any], run: DryRun, differences: pd.DataFrame) -> float:
    first, last = int(entry["first"]), int(entry["last"])
    rows = differences[differences["session"].between(first - 1, last + 2)]
    if entry["vendor_code"]:
        rows = rows[rows["sec_id"].isin(run.sec_ids_of.get(str(entry["vendor_code"]), set()))]
    return float(rows["size"].max()) if len(rows) else 0.0
