"""What is made of a delivery: one master, whoever asks, and the facts that the sessions of a run may use."""

from __future__ import annotations

import sqlite3
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli import security
from pipeline.engine.execution import begin, stage_inputs
from pipeline.market_data.cleaning import clean_events
from pipeline.market_data.delivery import Delivery, cut, load_facts, master_of, save_facts
from pipeline.market_data.point_in_time import Facts
from pipeline.quality.older_closes import year_digests
from pipeline.reports import dry_run
from pipeline.settings import CleaningRules, DataRules
from security_master import MASTER_FILE, BuildReport
from tests.engine.published_market import Delivered, settings_for, tables_of

FIRST, LAST = 10, 20


def facts() -> Facts:
    """Bars of A from session 1 on and of B from 9 on; B's bar of 15 is delivered late, and so is a split of A, which
    has one more before the first session."""
    bars = [("A", 1, 1), ("A", 9, 9), ("A", 10, 10), ("A", 20, 20), ("A", 21, 21), ("B", 8, 12), ("B", 9, 9)]
    bars += [("B", 15, 15), ("B", 15, 30)]
    prices = pd.DataFrame(bars, columns=["sec_id", "session", "visible"]).astype({"sec_id": "category"})
    splits = pd.DataFrame({"sec_id": ["A"] * 3, "ex": [5, 12, 15], "visible": [5, 25, 15]})
    empty = {field.name: pd.DataFrame({"visible": pd.Series(dtype="int32")}) for field in fields(Facts)}
    given = empty | {"prices": prices, "splits": splits, "securities": pd.DataFrame({"sec_id": ["A", "B"]})}
    return Facts(**{**given, "restated_as_of": None})


def test_rows_that_become_visible_after_the_last_session_are_left_out():
    kept = cut(facts(), FIRST, LAST)
    assert kept.prices["visible"].max() == LAST
    assert kept.splits[["ex", "visible"]].to_numpy().tolist() == [[15, 15]]


def test_events_before_the_first_session_are_left_out():
    splits = facts().splits
    assert splits["ex"].min() < FIRST
    assert cut(facts(), FIRST, LAST).splits["ex"].tolist() == [15]
    assert cut(facts(), 5, LAST).splits["ex"].tolist() == [5, 15]


def test_bars_before_the_first_session_are_left_out_but_for_the_first_one_on_time():
    kept = cut(facts(), FIRST, LAST)
    rows = list(kept.prices[["sec_id", "session"]].itertuples(index=False, name=None))
    assert rows == [("A", 1), ("A", 10), ("A", 20), ("B", 9), ("B", 15)]


def test_what_is_kept_is_what_the_steps_load(tmp_path):
    kept = cut(facts(), FIRST, LAST)
    save_facts(kept, tmp_path)
    for name in ("prices", "splits", "securities"):
        pd.testing.assert_frame_equal(getattr(load_facts(tmp_path), name), getattr(kept, name))


@pytest.fixture(scope="module")
def with_spin_off() -> Delivered:
    """A delivery in which a spin-off of a company with share counts is written as a split."""
    tables = tables_of()
    code = tables.shares["vendor_code"].iloc[0]
    ex = tables.prices.loc[tables.prices["vendor_code"] == code, "date"].iloc[40]
    row = tables.splits.iloc[:1].assign(vendor_code=code, ex_date=ex, known_from=ex, ratio_new=1253, ratio_old=1000)
    row["record_date"] = np.datetime64("NaT")
    return Delivered(replace(tables, splits=pd.concat([tables.splits, row], ignore_index=True)))


def test_digests_of_years_are_those_that_are_asked_for(with_spin_off: Delivered):
    tables = clean_events(with_spin_off.tables, CleaningRules())
    delivery, days = Delivery("files", tables), np.sort(tables.prices["date"].unique()).astype("datetime64[D]")
    early, late, instant = days[len(days) // 2], days[-1], days[-1].astype("datetime64[us]") + np.timedelta64(2, "D")
    assert delivery.year_digests(early, instant)["bars"].sum() < delivery.year_digests(late, instant)["bars"].sum()
    for until, at in ((early, instant), (early, instant), (late, instant), (late, late.astype("datetime64[us]"))):
        pd.testing.assert_frame_equal(delivery.year_digests(until, at), year_digests(tables.prices, until, at))


def rows(path: Path) -> dict[str, list[tuple]]:
    """Every row of every table of a master, without the name of the batch that brought it."""
    found = {}
    with sqlite3.connect(path) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = [column[1] for column in db.execute(f"PRAGMA table_info({name})") if column[1] != "batch_id"]
            found[name] = sorted(db.execute(f"SELECT {', '.join(columns)} FROM {name}"), key=repr)
    return found


def test_a_run_a_build_alone_and_a_dry_run_make_one_master_of_one_delivery(with_spin_off, tmp_path, monkeypatch):
    with begin(settings_for(tmp_path / "run"), "2019-04-29", "2019-04-30") as run:
        stage_inputs(run, with_spin_off)
        of_run = rows(run.scratch / MASTER_FILE)
    assert len(of_run["splits_row"]) == len(with_spin_off.tables.splits) - 1

    monkeypatch.setattr("pipeline.vendors.layers.open_source", lambda settings: with_spin_off)
    built = CliRunner().invoke(security.app, ["build", "--root", str(tmp_path / "alone")])
    assert built.exit_code == 0, built.output
    assert rows(tmp_path / "alone" / MASTER_FILE) == of_run

    of_dry_run = {}

    def kept_build(path: Path, *tables: Any, **more: Any) -> BuildReport:
        report = master_of(path, *tables, **more)
        of_dry_run.update(rows(path))
        return report

    monkeypatch.setattr(dry_run, "master_of", kept_build)
    dry_run.dry_run(with_spin_off.tables, DataRules())
    assert of_dry_run == of_run
