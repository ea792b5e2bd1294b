"""Small hand-made markets for the tests of returns and quality: dates in, `SourceTables` and `Facts` out.

Sessions are written as offsets from 2014-05-01, closes as lists from a first offset on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.datasets.return_flags import ReturnFlag
from pipeline.market_data.cleaning import clean_events
from pipeline.market_data.point_in_time import Facts, build_facts
from pipeline.returns.panel import DailyPanel, daily_panel
from pipeline.settings import DataRules
from pipeline.sources.tables import SourceTables, check_tables, made_table

RULES = DataRules()
ORIGIN = xnys().ordinal("2014-05-01")
"""Offset 0 of the small markets."""

LEAD = 90
"""Sessions of quiet history before offset 0 that `quiet` gives, enough to scale every bound."""


def day(offset: int) -> np.datetime64:
    return xnys().sessions[ORIGIN + offset].astype("datetime64[s]")


def close_of(offset: int) -> np.datetime64:
    """Instant of a session's close."""
    return xnys().closes[ORIGIN + offset]


class FakeMaster:
    """One security for each vendor code, or what `owners` says: code -> [(first date, sec_id), ...] ascending."""

    def __init__(self, tables: SourceTables, owners: dict[str, list[tuple[str, str]]] | None = None) -> None:
        self.tables, self.owners = tables, owners or {}

    def assign(self, vendor_codes: Any, dates: Any) -> Any:
        found = []
        for code, date in zip(np.asarray(vendor_codes, object), np.asarray(dates, "datetime64[D]"), strict=True):
            spans = self.owners.get(code, [("1900-01-01", code)])
            owner = [sec_id for start, sec_id in spans if np.datetime64(start) <= date]
            found.append(owner[-1] if owner and code else "")
        return np.array(found, dtype=object)

    def holders(self, vendor_codes: Any, dates: Any, assumed: Any = None) -> Any:
        """`assign`; every owner has always been known, and was listed under no other code."""
        sec_ids = self.assign(vendor_codes, dates)
        return pd.Categorical(np.where(sec_ids == "", None, sec_ids)), np.full(
            len(sec_ids), np.datetime64("1998-01-01", "us")
        )

    def roster(self) -> pd.DataFrame:
        rows = self.tables.securities
        rows = rows.assign(sec_id=self.assign(rows["vendor_code"], rows["first_session"]), sec_type=rows["type"])
        columns = ["sec_id", "sec_type", "currency", "exchange", "vendor_code", "first_session", "last_session"]
        return rows[columns].drop_duplicates("sec_id", ignore_index=True)

    def listings(self) -> pd.DataFrame:
        rows = self.roster()
        begins = {
            sec_id: max(start, "1998-01-01")
            for code in rows["vendor_code"]
            for start, sec_id in self.owners.get(code, [("1998-01-01", code)])
        }
        return rows[["sec_id", "vendor_code", "sec_type", "currency", "exchange"]].assign(
            valid_from=rows["sec_id"].map(begins).fillna("1998-01-01").astype("datetime64[s]"),
            valid_to=np.datetime64("9999-12-31", "s"),
            known_from=np.datetime64("1998-01-01", "us"),
            known_to=np.datetime64("9999-12-31", "us"),
        )


class Market:
    """Collects rows, then makes tables and facts of them."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.owners: dict[str, list[tuple[str, str]]] = {}

    def add(self, table: str, **row: Any) -> Market:
        self.rows.setdefault(table, []).append(row)
        return self

    def list(self, code: str, first: int = -LEAD, type: str = "common", exchange: str = "NYSE", **more: Any) -> Market:
        return self.add(
            "securities", vendor_code=code, ticker=code, type=type, exchange=exchange, first_session=day(first), **more
        )

    def bars(self, code: str, first: int, closes: list[float], **more: Any) -> Market:
        """Bars of consecutive sessions; NaN leaves the session out. `more` may hold lists or scalars."""
        more = {"volume": [1e6 + k for k in range(len(closes))]} | more  # no two sessions trade as many shares
        for k, close in enumerate(closes):
            if not np.isnan(close):
                extra = {name: value[k] if isinstance(value, list) else value for name, value in more.items()}
                self.add("prices", vendor_code=code, date=day(first + k), close=close, **extra)
        return self

    def quiet(self, code: str, level: float, first: int = -LEAD, last: int = -1) -> Market:
        """A calm history that ends exactly at `level`: a cent or two up and down each day."""
        wiggle = [level * (1 + 0.004 * (-1) ** k * (1 + k % 3)) for k in range(last - first)]
        return self.bars(code, first, [round(price, 4) for price in wiggle] + [level])

    def stock(self, code: str, closes: list[float], volume: Any = None, **listing: Any) -> Market:
        """A listed stock with a quiet history at its first close, which then closes at `closes` from offset 0 on."""
        more = {} if volume is None else {"volume": volume}
        return self.list(code, **listing).quiet(code, closes[0]).bars(code, 0, closes, **more)

    def split(self, code: str, ex: int, new: int, old: int, **more: Any) -> Market:
        return self.add("splits", vendor_code=code, ex_date=day(ex), ratio_new=new, ratio_old=old, **more)

    def dividend(self, code: str, ex: int, amount: float, **more: Any) -> Market:
        return self.add("dividends", vendor_code=code, ex_date=day(ex), amount=amount, **more)

    def spin_off(self, code: str, ex: int, child: str, ratio: float, **more: Any) -> Market:
        return self.add("spin_offs", vendor_code=code, ex_date=day(ex), child_code=child, child_ratio=ratio, **more)

    def delisting(self, code: str, last: int, reason: str, **more: Any) -> Market:
        return self.add("delistings", vendor_code=code, last_session=day(last), reason=reason, **more)

    def tables(self) -> SourceTables:
        raws = []
        for name, rows in self.rows.items():
            columns = {key: None for row in rows for key in row}
            raws.append(made_table(name, {key: [row.get(key) for row in rows] for key in columns}))
        return check_tables(raws, "test")

    def facts(self, restated_as_of: np.datetime64 | None = None, rules: DataRules = RULES) -> Facts:
        tables = self.tables()
        clean, master = clean_events(tables, rules.cleaning), FakeMaster(tables, self.owners)
        return build_facts(clean, master, xnys(), rules, restated_as_of)

    def panel(self, last: int, first: int = 0, codes: list[str] | None = None, **more: Any) -> DailyPanel:
        facts = self.facts(**{k: more.pop(k) for k in ("restated_as_of",) if k in more})
        roster = np.array(codes or list(facts.securities["sec_id"]), dtype=object)
        return daily_panel(facts, roster, ORIGIN + first, ORIGIN + last, RULES, **more)


def cell(panel: DailyPanel, sec_id: str, offset: int) -> tuple[float, ReturnFlag]:
    i = list(panel.sec_ids).index(sec_id)
    j = ORIGIN + offset - panel.first
    return float(panel.ret[i, j]), ReturnFlag(int(panel.flag[i, j]))


def returns(panel: DailyPanel, sec_id: str) -> list[float]:
    return panel.ret[list(panel.sec_ids).index(sec_id)].tolist()


def flags(panel: DailyPanel, sec_id: str) -> list[ReturnFlag]:
    return [ReturnFlag(int(flag)) for flag in panel.flag[list(panel.sec_ids).index(sec_id)]]


def found(panel: DailyPanel, rule: str) -> list[tuple[str, int, int]]:
    """(sec_id, offset, offset of detection) of the findings of one rule."""
    rows = panel.quarantine[panel.quarantine["rule"] == rule]
    return [(row["sec_id"], row["session"] - ORIGIN, row["detected_at"] - ORIGIN) for row in rows.to_dict("records")]


def equal(a: DailyPanel, b: DailyPanel) -> bool:
    """Bitwise equal values, flags and findings."""
    arrays = all(
        np.array_equal(getattr(a, n), getattr(b, n), equal_nan=True) for n in ("close", "volume", "ret", "flag")
    )
    return arrays and a.quarantine.equals(b.quarantine)


def until(facts: Facts, visible: int) -> Facts:
    """The rows of `facts` that are visible by an ordinal."""
    names = ["prices", "splits", "dividends", "spin_offs", "delistings", "fx_rates"]
    frames = {name: getattr(facts, name) for name in names}
    kept = {name: frame[frame["visible"] <= visible].reset_index(drop=True) for name, frame in frames.items()}
    findings = facts.findings[facts.findings["detected_at"] <= visible].reset_index(drop=True)
    return replace(facts, **kept, findings=findings)
