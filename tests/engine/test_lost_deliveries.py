"""What was delivered before and is missing stops the night by name, until somebody accepts the delivery."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.engine import execution
from pipeline.quality.decisions import QualityDecision, append_decision
from pipeline.quality.session_rules import BatchFault
from pipeline.read import read_manifest
from pipeline.sources import SourceTables
from tests.engine.conftest import NIGHT
from tests.engine.published_market import Delivered, known_at, settings_for

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
    """The delivery of a night that does not mention the last `count` stocks of the list."""
    delivered = known_at(tables, night).load()
    codes = delivered.securities.loc[delivered.securities["type"] == "common", "vendor_code"].iloc[-count:]
    frames = {
        name: frame[~frame["vendor_code"].isin(codes)].reset_index(drop=True)
        for name, frame in delivered.frames.items()
        if "vendor_code" in frame
    }
    return Delivered(replace(delivered, **frames))


@pytest.mark.parametrize("name", TABLES)
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
    execution.execute(settings_for(eve), NIGHT, NIGHT, source=without(tables, "dividends", 0.01))


def test_an_accepted_loss_is_published_as_a_finding_and_is_what_the_next_night_is_held_to(tables, eve):
    accept(eve, "lost_table")
    execution.execute(settings_for(eve), NIGHT, NIGHT, source=without(tables, "dividends"))
    assert "lost_table" in set(pd.read_parquet(eve / "quality_findings.parquet")["rule"])
    execution.execute(settings_for(eve), AFTER, AFTER, source=without(tables, "dividends", night=AFTER))


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
    with pytest.raises(BatchFault, match="1 faults of whole deliveries"):  # what is not named still stops
        execution.execute(settings_for(eve), NIGHT, NIGHT, source=silent_about(tables, 4))
    accept(eve, "drift")
    execution.execute(settings_for(eve), NIGHT, NIGHT, source=silent_about(tables, 4))
    execution.execute(settings_for(eve), AFTER, AFTER, source=silent_about(tables, 4, AFTER))  # the same four
    with pytest.raises(BatchFault, match="lost_securities: securities: 3 of"):
        execution.execute(settings_for(eve), "2019-01-16", "2019-01-16", source=silent_about(tables, 7, "2019-01-16"))
