"""What was delivered before and is missing stops the night by name, until somebody accepts the delivery."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli.runs import app
from pipeline.engine import execution, operations
from pipeline.quality.decisions import QualityDecision, append_decision
from pipeline.quality.deliveries import counted, lost_tables
from pipeline.quality.session_rules import BatchFault
from pipeline.read import open_dataset, read_manifest
from pipeline.settings import DeliveryRules
from pipeline.sources import SourceTables
from tests.engine.conftest import NIGHT
from tests.engine.published_market import FIRST, Delivered, known_at, settings_for, tables_of

TABLES = ("dividends", "shares", "classification", "splits", "fx_rates", "delistings", "ticker_changes", "spin_offs")
AFTER = "2019-01-15"


def accept(root: Path, rule: str, night: str = NIGHT) -> None:
    append_decision(str(root), QualityDecision("*", night, "release", f"{night}T23:00:00", "anna", "as it is", rule))


def without(tables: SourceTables, name: str, share: float = 1.0, night: str = NIGHT) -> Delivered:
    """The delivery of a night without the first rows of a table."""
    delivered = known_at(tables, night).load()
    frame = getattr(delivered, name)
    return Delivered(
        replace(delivered, **{name: frame.iloc[int(np.ceil(share * len(frame))) :].reset_index(drop=True)})
    )


def silent_about(tables: SourceTables, count: int, night: str = NIGHT) -> Delivered:
    """The delivery of a night that does not mention the last `count` stocks of the list that still trade."""
    delivered = known_at(tables, night).load()
    trading = delivered.prices.loc[delivered.prices["date"] == night, "vendor_code"].astype(str)
    stocks = delivered.securities[delivered.securities["type"] == "common"]
    codes = stocks.loc[stocks["vendor_code"].astype(str).isin(trading), "vendor_code"].drop_duplicates().iloc[-count:]
    frames = {
        name: frame[~frame["vendor_code"].isin(codes)].reset_index(drop=True)
        for name, frame in delivered.frames.items()
        if "vendor_code" in frame
    }
    return Delivered(replace(delivered, **frames))


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in TABLES[:3] else pytest.mark.slow) for n in TABLES])
def test_a_table_that_is_gone_stops_the_night_and_a_table_that_never_was_does_not(tables, eve, name):
    had = len(getattr(known_at(tables, "2019-01-11").load(), name))
    if had == 0:
        execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=without(tables, name))
        return
    with pytest.raises(BatchFault) as stopped:
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=without(tables, name))
    said = str(stopped.value)
    assert f"lost_table: {name}: {had:,} rows" in said
    assert "when 2019-01-11 was published; today none" in said
    assert f"erm3 quality release '*' {NIGHT} --rule lost_table --reason" in said
    assert read_manifest(eve)["complete_through"] == "2019-01-11"


def test_a_tenth_of_the_dividends_missing_stops_the_night_and_a_few_rows_do_not(tables, eve):
    with pytest.raises(BatchFault, match="lost_table: dividends"):
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=without(tables, "dividends", 0.1))
    execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=without(tables, "dividends", 0.01))


def test_an_accepted_loss_is_published_as_a_finding_and_is_what_the_next_night_is_held_to(tables, eve):
    """A backfill stops as a night does, and the command that it prints lets it go on."""
    with pytest.raises(BatchFault, match="lost_table: dividends") as stopped:
        list(operations.backfill(settings_for(eve), FIRST, NIGHT, source=without(tables, "dividends")))
    for command in [line.strip() for line in str(stopped.value).splitlines() if "--rule" in line]:
        words = shlex.split(command.replace("...", "seen"))[1:]
        assert CliRunner().invoke(app, [*words, "--root", str(eve)]).exit_code == 0
    (outcome,) = operations.backfill(settings_for(eve), FIRST, NIGHT, source=without(tables, "dividends"))
    assert outcome.findings.counts["lost_table"] == 1
    assert "lost_table" in set(pd.read_parquet(eve / "quality_findings.parquet")["rule"])
    again = without(tables, "dividends", night=AFTER)
    execution.execute(settings_for(eve), AFTER, AFTER, until="ds_etf", source=again)


def with_swapped_identifiers(tables: SourceTables, night: str = NIGHT) -> Delivered:
    """The delivery of a night in which two stocks have each other's identifiers."""
    delivered = known_at(tables, night).load()
    rows = delivered.securities.copy()
    two = rows.index[rows["type"] == "common"][:2]
    columns = ["share_class_figi", "isin"]
    rows.loc[two, columns] = rows.loc[two[::-1], columns].to_numpy()
    return Delivered(replace(delivered, securities=rows))


def test_identifiers_that_are_known_to_be_another_security_s_stop_the_night_by_name_until_accepted(tables, eve):
    with pytest.raises(BatchFault, match="moved_identifier: securities: ") as stopped:
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=with_swapped_identifiers(tables))
    said = str(stopped.value)
    assert said.count(", since 20") >= 2
    assert f"erm3 quality release '*' {NIGHT} --rule moved_identifier --reason" in said
    assert read_manifest(eve)["complete_through"] == "2019-01-11"
    with open_dataset("ds_daily", eve) as daily:
        before = daily["symbol"].values.tolist()
    accept(eve, "moved_identifier")
    execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=with_swapped_identifiers(tables))
    with open_dataset("ds_daily", eve) as daily:
        assert daily["symbol"].values.tolist() == before, "known ids stand"
    rows = pd.read_parquet(eve / "quality_findings.parquet")
    assert (rows["rule"] == "moved_identifier").sum() >= 1
    again = with_swapped_identifiers(tables, AFTER)
    execution.execute(settings_for(eve), AFTER, AFTER, until="ds_etf", source=again)


def test_a_night_without_any_volume_stops_and_one_with_some_zeros_does_not(tables, eve):
    delivered = known_at(tables, NIGHT).load()
    tonight = np.flatnonzero(delivered.prices["date"] == NIGHT)

    def zeros(count: int) -> Delivered:
        prices = delivered.prices.copy()
        prices.loc[prices.index[tonight[:count]], "volume"] = 0.0
        return Delivered(replace(delivered, prices=prices))

    with pytest.raises(BatchFault, match=f"{NIGHT} no_volume: 0.0% of the names"):
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=zeros(len(tonight)))
    execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=zeros(5))


def test_a_delivery_that_is_silent_about_many_securities_names_them_and_goes_on_when_accepted(tables, eve):
    with pytest.raises(BatchFault) as stopped:
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=silent_about(tables, 4))
    said = str(stopped.value)
    assert "lost_securities: securities: 4 of" in said
    assert said.count(", since 20") == 4
    assert f"erm3 quality release '*' {NIGHT} --rule lost_securities --reason" in said
    for rule in ("lost_securities", "lost_table"):
        accept(eve, rule)
    with pytest.raises(BatchFault, match=r"2 faults of the delivery(?s:.*) drift: "):  # what is not named still stops
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=silent_about(tables, 4))
    accept(eve, "drift")
    execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=silent_about(tables, 4))
    same = silent_about(tables, 4, AFTER)
    execution.execute(settings_for(eve), AFTER, AFTER, until="ds_etf", source=same)
    more, night = silent_about(tables, 7, "2019-01-16"), "2019-01-16"
    with pytest.raises(BatchFault, match="lost_securities: securities: 3 of"):
        execution.execute(settings_for(eve), night, night, until="ds_etf", source=more)


def merged(tables: SourceTables, code: str, last: str) -> SourceTables:
    """The market in which a stock ended by a merger after the session `last`, the only delisting that there is."""
    prices = tables.prices[(tables.prices["vendor_code"] != code) | (tables.prices["date"] <= last)]
    row = {
        "vendor_code": code,
        "last_session": pd.Timestamp(last),
        "reason": "merger",
        "cash": 40.0,
        "successor_code": "",
        "successor_ratio": np.nan,
        "known_from": pd.Timestamp(f"{last}T21:00:00"),
        "known_assumed": True,
    }
    delistings = pd.DataFrame([row])[list(tables.delistings.columns)].astype(tables.delistings.dtypes)
    return replace(tables, prices=prices.reset_index(drop=True), delistings=delistings)


def silent(tables: SourceTables, code: str) -> SourceTables:
    """The market as a vendor tells it that no longer lists a stock."""
    frames = {
        name: frame[frame["vendor_code"] != code].reset_index(drop=True)
        for name, frame in tables.frames.items()
        if "vendor_code" in frame
    }
    return replace(tables, **frames)


def test_a_vendor_may_leave_out_who_has_ended_and_not_who_has_not():
    """A table whose rows all spoke of the dead may go with them; the same rows of the living are missed."""
    tables = tables_of()
    codes = tables.securities.loc[tables.securities["type"] == "common", "vendor_code"].astype(str)
    code = codes.iloc[5]
    before = merged(tables, code, "2018-11-30")
    now, instant = silent(before, code), np.datetime64("2018-12-03T21:15:00")
    then, today = counted(before, instant), counted(now, instant)
    rules = DeliveryRules(few=0, shrunk=0.0)
    listed = set(now.securities["vendor_code"].astype(str))
    assert lost_tables(then, today, listed, "2018-11-30", 0, rules).empty
    missed = lost_tables(then, today, listed | {code}, "2018-11-30", 0, rules)
    assert any(text.startswith("delistings: 1 rows") for text in missed["evidence"])
    living = counted(tables, instant)
    assert not lost_tables(living, today, listed, "2018-11-30", 0, rules).empty
