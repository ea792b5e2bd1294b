"""Errors about companies: histories under another's code, late notices, share counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.random import Generator

from pipeline.calendar import xnys
from pipeline.sources.knowledge import PRICE_DELAY
from pipeline.sources.planted_faults.spoiled import Spoiled

FIRST_COUNT_DUE = 126
"""Sessions of trading after which a share count must have been filed: a quarter, and 90 days."""


def spliced_history(tables: Spoiled, rng: Generator, count: int) -> None:
    """A newcomer's history stands under the code of a dead company, and nothing says that it is another one."""
    securities = tables.tables["securities"]
    single = securities.drop_duplicates("vendor_code", keep=False)
    named = set(tables.tables["spin_offs"]["child_code"]) | set(tables.tables["delistings"]["successor_code"])
    single = single[
        ~single["vendor_code"].isin(named | tables.etfs | set(tables.tables["ticker_changes"]["vendor_code"]))
    ]
    dead = single[single["last_session"].notna()]
    for at in rng.permutation(len(dead))[: 4 * count].tolist():
        if count == 0:
            return
        old, last = dead["vendor_code"].iloc[at], tables.ordinal(dead["last_session"].iloc[at])
        late = single[
            (single["first_session"] > tables.day(last + 25)) & (single["first_session"] < tables.day(last + 500))
        ]
        for new in late["vendor_code"]:
            a, b = tables.rows_of(new)
            first_new, last_new = int(tables.ordinals[a]), int(tables.ordinals[b - 1])
            if b - a < 60 or not tables.take(new, first_new, last_new):
                continue
            if not tables.take(old, last, last_new):
                continue
            _recode(tables, new, old)
            tables.record(old, first_new, last_new, new, old)
            count -= 1
            break


def late_delisting(tables: Spoiled, rng: Generator, count: int) -> None:
    """The notice of a delisting comes days after the last session."""
    frame = tables.tables["delistings"]
    horizon = int(tables.ordinals.max())
    for at in rng.permutation(len(frame)).tolist():
        if count == 0:
            return
        code, last = frame["vendor_code"].iloc[at], tables.ordinal(frame["last_session"].iloc[at])
        late = last + int(rng.integers(5, 21))
        if late > horizon or not tables.take(code, last, last + 1):
            continue
        true = frame["known_from"].iloc[at]
        frame.loc[at, "known_from"] = xnys().closes[late] + PRICE_DELAY
        frame.loc[at, "known_assumed"] = False
        tables.record(code, last, last, true, frame["known_from"].iloc[at])
        count -= 1


def shares_x1000(tables: Spoiled, rng: Generator, count: int) -> None:
    """A share count is in thousands."""
    frame = tables.tables["shares"]
    filed_before = frame.groupby("vendor_code").cumcount().to_numpy() > 0
    candidates = np.flatnonzero(filed_before)
    for at in rng.permutation(candidates)[:count].tolist():
        true = frame["shares"].iloc[at]
        frame.loc[at, "shares"] = true / 1000
        ordinal = tables.ordinal(frame["period_end"].iloc[at])
        tables.record(frame["vendor_code"].iloc[at], ordinal, ordinal, true, true / 1000)


def missing_shares(tables: Spoiled, rng: Generator, count: int) -> None:
    """A company that has traded long enough to have filed has no share counts at all."""
    frame = tables.tables["shares"]
    spoiled = {entry[1] for entry in tables.entries if entry[0] == "shares_x1000"}
    spans = {code: tables.rows_of(code) for code in set(frame["vendor_code"]) - spoiled}
    codes = sorted(
        code
        for code, (a, b) in spans.items()
        if b > a and tables.ordinals[b - 1] - tables.ordinals[a] > FIRST_COUNT_DUE
    )
    lost = rng.permutation(codes)[:count].tolist()
    for code in lost:
        days = frame["period_end"][frame["vendor_code"] == code]
        tables.record(code, tables.ordinal(days.min()), tables.ordinal(days.max()), f"{len(days)} rows", "no row")
    tables.tables["shares"] = frame[~frame["vendor_code"].isin(lost)].reset_index(drop=True)


def placeholder_count(tables: Spoiled, rng: Generator, count: int) -> None:
    """All share counts of a company are a placeholder of the vendor's: fewer than change hands in a day."""
    frame = tables.tables["shares"]
    for code in rng.permutation(sorted(_counted(tables) - _miscounted(tables)))[:count].tolist():
        mine = frame["vendor_code"] == code
        _record_counts(tables, mine, 100.0)
        frame.loc[mine, "shares"] = 100.0


def count_of_another_class(tables: Spoiled, rng: Generator, count: int) -> None:
    """The second class of a company has the counts of the first."""
    frame, known = tables.tables["shares"], _counted(tables) - _miscounted(tables)
    securities = tables.tables["securities"].drop_duplicates("vendor_code").set_index("vendor_code")
    cik = securities["cik"]
    second = [code for code in sorted(known) if code.endswith(".B") and code[:-2] in known and cik[code] != ""]
    for code in rng.permutation([code for code in second if cik[code] == cik[code[:-2]]])[:count].tolist():
        first = frame[frame["vendor_code"] == code[:-2]].drop_duplicates("period_end", keep="last")
        mine = (frame["vendor_code"] == code) & frame["period_end"].isin(first["period_end"])
        theirs = frame.loc[mine, "period_end"].map(first.set_index("period_end")["shares"])
        _record_counts(tables, mine, float(theirs.iloc[0]))
        frame.loc[mine, "shares"] = theirs


def count_in_later_units(tables: Spoiled, rng: Generator, count: int) -> None:
    """A count filed after a split is in the new shares already, though it is that of a day before the split."""
    frame, splits = tables.tables["shares"], tables.tables["splits"]
    ratio = splits["ratio_new"] / splits["ratio_old"]
    told = splits.assign(ratio=ratio)[(ratio >= 2) | (ratio <= 0.5)]
    later = frame.reset_index().merge(told[["vendor_code", "ex_date", "ratio"]], on="vendor_code")
    filed = later["filed_at"].dt.tz_localize(None).dt.normalize()
    before = later.groupby("vendor_code")["period_end"].transform("min")
    later = later[
        (before < later["period_end"]) & (later["period_end"] < later["ex_date"]) & (later["ex_date"] < filed)
    ]
    others = {entry[1] for entry in tables.entries if entry[0] in ("wrong_ratio_fixed_later", "spin_off_as_split")}
    later = later[~later["vendor_code"].isin(_miscounted(tables) | others)]
    one_each = later.iloc[rng.permutation(len(later))].drop_duplicates("vendor_code")
    for row in one_each[:count].to_dict("records"):
        day, wrong = tables.ordinal(row["period_end"]), row["shares"] * row["ratio"]
        frame.loc[row["index"], "shares"] = wrong
        tables.record(row["vendor_code"], day, day, row["shares"], wrong)


def _counted(tables: Spoiled) -> set[str]:
    return set(tables.tables["shares"]["vendor_code"])


def _miscounted(tables: Spoiled) -> set[str]:
    """Codes whose counts are spoiled already."""
    kinds = ("shares_x1000", "missing_shares", "placeholder_count", "count_of_another_class", "count_in_later_units")
    return {code for kind, code, *_ in tables.entries if kind in kinds}


def _record_counts(tables: Spoiled, mine: pd.Series, wrong: float) -> None:
    """One entry for all counts of a code (where `mine`)."""
    rows = tables.tables["shares"][mine]
    first, last = (tables.ordinal(day) for day in (rows["period_end"].min(), rows["period_end"].max()))
    tables.record(rows["vendor_code"].iloc[0], first, last, rows["shares"].iloc[0], wrong)


def _recode(tables: Spoiled, code: str, to: str) -> None:
    """Write every row of one code under another one; its row in `securities` is gone."""
    place = {name: k for k, name in enumerate(tables.code_names)}
    a, b = tables.rows_of(code)
    categories = tables.tables["prices"]["vendor_code"].array
    codes = categories.codes.copy()
    codes[a:b] = place[to]
    tables.tables["prices"]["vendor_code"] = pd.Categorical.from_codes(codes, categories.categories)
    for name, frame in tables.tables.items():
        if "vendor_code" in frame and name not in ("prices", "securities"):
            frame.loc[frame["vendor_code"] == code, "vendor_code"] = to
    securities = tables.tables["securities"]
    tables.tables["securities"] = securities[securities["vendor_code"] != code].reset_index(drop=True)
