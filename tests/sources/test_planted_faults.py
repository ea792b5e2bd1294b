"""Planted vendor errors: what the ledger says is what was done, and nothing else was."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from pipeline.sources import SourceTables
from pipeline.sources.planted_faults import price_faults
from pipeline.sources.planted_faults.kinds import FAULTS
from pipeline.sources.planted_faults.plant import FULL_COUNTS, plant_faults, scaled_counts
from tests.sources.simulated_markets import small_tables

COUNT = 3

LEDGER_COLUMNS = (
    "id",
    "kind",
    "vendor_code",
    "first_session",
    "last_session",
    "true_value",
    "wrong_value",
    "expected_handling",
    "detectable_from_single_source",
)


@cache
def planted(kind: str) -> tuple[SourceTables, pd.DataFrame]:
    return plant_faults(small_tables(), seed=7, counts={kind: COUNT})


def merged(table: str, kind: str) -> pd.DataFrame:
    """Rows of a table that only one side has: `_merge` is left_only for the clean, right_only for the spoiled one."""
    clean, wrong = small_tables().frames[table], planted(kind)[0].frames[table]
    clean, wrong = (
        frame.assign(vendor_code=frame["vendor_code"].astype(str)) if "vendor_code" in frame else frame
        for frame in (clean, wrong)
    )
    both = clean.merge(wrong, how="outer", indicator=True)
    return both[both["_merge"] != "both"]


@pytest.mark.parametrize("kind", FAULTS)
def test_each_kind_changes_only_the_rows_of_its_ledger(kind: str) -> None:
    tables, ledger = planted(kind)
    assert 1 <= len(ledger) <= COUNT
    assert list(ledger.columns) == list(LEDGER_COLUMNS)
    assert set(ledger["kind"]) == {kind}
    assert ledger["id"].is_unique
    assert (ledger["first_session"] <= ledger["last_session"]).all()
    assert ledger["expected_handling"].isin(["reject", "quarantine", "accept-and-flag"]).all()
    if kind == "duplicated_row":
        assert tables.origins["prices"].duplicates == len(ledger)
        assert merged("prices", kind).empty
        return
    dated_by = {"prices": "date", "delistings": "last_session", "shares": "period_end"}
    touched = 0
    for table in ("prices", "splits", "dividends", "spin_offs", "delistings", "shares"):
        changes = merged(table, kind)
        touched += len(changes)
        for row in changes.itertuples():
            day = getattr(row, dated_by.get(table, "ex_date"))
            weekend = pd.Timedelta(days=3)
            inside = ledger["first_session"].le(day + weekend) & ledger["last_session"].ge(day - weekend)
            if kind.startswith("duplicate_") or kind == "wrong_ratio_fixed_later":
                inside = ledger["last_session"].ge(day) & ledger["first_session"].le(day + pd.Timedelta(days=20))
            if kind == "spliced_history":
                inside = pd.Series(True, ledger.index)
            codes = ledger["vendor_code"].isin(["", row.vendor_code]) | (ledger["true_value"] == row.vendor_code)
            assert (inside & codes).any(), (table, row)
    assert touched > 0


def test_planting_is_deterministic_and_depends_on_the_seed() -> None:
    again = plant_faults(small_tables(), seed=7, counts={"price_x100": COUNT})
    pd.testing.assert_frame_equal(again[1], planted("price_x100")[1])
    pd.testing.assert_frame_equal(again[0].prices, planted("price_x100")[0].prices)
    other = plant_faults(small_tables(), seed=8, counts={"price_x100": COUNT})[1]
    assert not other.equals(again[1])


def test_the_clean_tables_stay_clean() -> None:
    before = small_tables().prices["close"].sum(), len(small_tables().splits)
    plant_faults(small_tables(), seed=3, counts=scaled_counts(0.02))
    assert (small_tables().prices["close"].sum(), len(small_tables().splits)) == before


def test_faults_of_one_code_keep_apart_and_none_hits_an_etf() -> None:
    tables, ledger = plant_faults(small_tables(), seed=5, counts=scaled_counts(0.05))
    securities = small_tables().securities
    etfs = set(securities["vendor_code"][securities["type"] == "etf"])
    assert not set(ledger["vendor_code"]) & etfs
    missing = set(FULL_COUNTS) - set(ledger["kind"])
    assert missing <= {"count_in_later_units"}, "it needs a split that no other fault has taken"
    of_counts = [
        "shares_x1000",
        "missing_shares",
        "placeholder_count",
        "count_of_another_class",
        "count_in_later_units",
    ]
    rows = ledger[~ledger["kind"].isin(of_counts) & ledger["vendor_code"].ne("")]
    for _, mine in rows.sort_values("first_session").groupby("vendor_code"):
        gap = mine["first_session"].iloc[1:].to_numpy() - mine["last_session"].iloc[:-1].to_numpy()
        assert (gap > np.timedelta64(5, "D")).all()
    assert len(tables.prices) > 0


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\['typo'\]; known are spliced_history"):
        plant_faults(small_tables(), seed=1, counts={"typo": 1})


def test_a_glitch_is_a_hundredfold_price_on_one_day() -> None:
    changes = merged("prices", "price_x100").set_index(["vendor_code", "date"])
    for row in planted("price_x100")[1].itertuples():
        pair = changes.loc[(row.vendor_code, row.first_session)].set_index("_merge")["close"]
        ratio = pair["right_only"] / pair["left_only"]
        assert ratio == pytest.approx(100) or ratio == pytest.approx(0.01, rel=0.01)


def test_a_long_gap_and_a_missing_day_leave_no_rows() -> None:
    gaps = len(planted("long_gap")[1])
    assert (merged("prices", "long_gap")["_merge"] == "left_only").sum() == price_faults.LONG_GAP * gaps
    assert merged("prices", "missing_day")["_merge"].tolist() == ["left_only"] * COUNT


def test_a_shifted_block_stands_a_day_early_and_on_closed_days() -> None:
    ledger = planted("date_shift")[1]
    wrong = planted("date_shift")[0].prices
    days = pd.DatetimeIndex(wrong["date"][wrong["vendor_code"].isin(ledger["vendor_code"])])
    assert (days.day_of_week == 6).any()
    assert not (pd.DatetimeIndex(small_tables().prices["date"]).day_of_week > 4).any()


def test_a_spin_off_becomes_a_split_that_explains_the_price() -> None:
    tables, ledger = planted("spin_off_as_split")
    row = ledger.iloc[0]
    splits = tables.splits.set_index(["vendor_code", "ex_date"])
    ratio = splits.loc[(row.vendor_code, row.first_session)]
    assert ratio["ratio_old"] == 1000
    closes = small_tables().prices.set_index(["vendor_code", "date"])["close"][row.vendor_code]
    at = closes.index.get_loc(row.first_session)
    assert abs(closes.iloc[at] * ratio["ratio_new"] / 1000 / closes.iloc[at - 1] - 1) < 0.15
    assert len(tables.spin_offs) == len(small_tables().spin_offs) - len(ledger)


def test_a_test_price_is_one_close_of_three_stocks_far_from_it() -> None:
    ledger = planted("shared_test_price")[1]
    changes = merged("prices", "shared_test_price")
    wrong = changes[changes["_merge"] == "right_only"]
    assert len(ledger) == len(wrong) == COUNT
    assert wrong["close"].nunique() == wrong["date"].nunique() == 1
    right = changes[changes["_merge"] == "left_only"]["close"]
    assert (wrong["close"].iloc[0] > 2 * right).all()


def test_wrong_counts_are_those_of_the_other_class_of_a_later_unit_or_a_placeholder() -> None:
    tables, ledger = planted("count_of_another_class")
    for row in ledger.itertuples():
        own, first = (
            tables.shares[tables.shares["vendor_code"] == code].drop_duplicates("period_end", keep="last")
            for code in (row.vendor_code, str(row.vendor_code)[:-2])
        )
        both = own.merge(first, on="period_end")
        assert len(both) > 0
        assert (both["shares_x"] == both["shares_y"]).all()
    assert set(merged("shares", "placeholder_count").query("_merge == 'right_only'")["shares"]) == {100.0}
    for row in planted("count_in_later_units")[1].itertuples():
        ratios = small_tables().splits.query("vendor_code == @row.vendor_code")
        factor = float(row.wrong_value) / float(row.true_value)
        assert (ratios["ratio_new"] / ratios["ratio_old"]).sub(factor).abs().min() < 1e-9


def test_a_wrong_ratio_is_seen_first_and_the_right_one_later() -> None:
    tables, ledger = planted("wrong_ratio_fixed_later")
    for row in ledger.itertuples():
        both = tables.splits[
            (tables.splits["vendor_code"] == row.vendor_code) & (tables.splits["ex_date"] == row.first_session)
        ]
        said = [f"{new}:{old}" for new, old in zip(both["ratio_new"], both["ratio_old"], strict=True)]
        assert said == [row.wrong_value, row.true_value]
        then = tables.as_known(both["known_from"].iloc[1].to_datetime64() - np.timedelta64(1, "m"))
        assert len(then.splits[then.splits["vendor_code"] == row.vendor_code]) >= 1


def test_a_spliced_history_stands_under_the_dead_companys_code() -> None:
    tables, ledger = planted("spliced_history")
    for row in ledger.itertuples():
        assert row.true_value not in set(tables.securities["vendor_code"])
        spliced = tables.prices[tables.prices["vendor_code"] == row.vendor_code]
        listing = tables.securities.set_index("vendor_code").loc[row.vendor_code]
        assert (spliced["date"] > listing["last_session"]).sum() >= 60
