"""Deliveries of vendors as assets: fetched, figured, checked, and named when they fail."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.definitions import build_definitions
from assets.deployment import Deployment
from assets.names import delivery_key
from assets.schedules import begins
from pipeline.settings import Settings
from tests.assets.conftest import IMPATIENT, Done, decoded
from tests.vendors.practice import TOKEN, Practice, morning_after, practice, session

LAST, NIGHT = session(277), session(278)
NAMES = ("BIDE", "CEFI", "TEXA", "DOPE")
BULK = f"/eod-bulk-last-day/US?date={NIGHT}&fmt=json$"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("history") / "root"
    with practice(root, morning_after(LAST), fetching={"names": NAMES}) as made:
        made.backfill(LAST)
    return root


@pytest.fixture
def vendor(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Practice]:
    shutil.copytree(history, tmp_path / "root")
    monkeypatch.setenv("ERM3_EODHD_TOKEN", TOKEN)
    with practice(tmp_path / "root", morning_after(NIGHT), fetching={"names": NAMES}) as made:
        yield made


def delivered(vendor: Practice, **options: Any) -> Done:
    settings = vendor.settings
    definitions = build_definitions(settings, IMPATIENT, clock=lambda: vendor.clock)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("nightly").execute_in_process(
            instance=instance,
            partition_key=str(NIGHT),
            asset_selection=[delivery_key("eodhd")],
            raise_on_error=False,
        )
        return Done(result, instance)


def test_a_delivery_is_an_asset_with_its_figures_a_picture_and_passed_checks(vendor: Practice) -> None:
    done = delivered(vendor)
    assert done.success
    (made,) = [e.step_materialization_data.materialization for e in done.result.get_asset_materialization_events()]
    figures = {name: value.value for name, value in made.metadata.items()}
    asked = [line for line in vendor.vendor.log if "user" not in line.path]
    assert figures["requests"] == len(asked) + 1
    assert figures["bytes"] > sum(line.bytes for line in asked)
    assert figures["coverage against the session before"] == 1.0
    assert figures["units left today"] == 100_000 - sum(line.units for line in vendor.vendor.log)
    assert decoded(made.metadata["nights over time"]).std() > 0.01
    assert all(check.passed for check in done.result.get_asset_check_evaluations())


def test_a_request_that_failed_is_named_by_a_check_and_does_not_stop_a_whole_delivery(vendor: Practice) -> None:
    vendor.faults({"match": "/symbol-change-history", "fault": "error_200", "times": -1})
    done = delivered(vendor)
    assert done.success
    checks = {check.check_name: check for check in done.result.get_asset_check_evaluations()}
    assert checks["whole"].passed
    assert not checks["answered"].passed
    assert "symbol-changes (ERROR_IN_200)" in checks["answered"].description


def test_a_key_that_the_vendor_repeats_is_in_no_event_log_or_alert(
    vendor: Practice, capfd: pytest.CaptureFixture[str]
) -> None:
    vendor.faults({"match": "/symbol-change-history", "fault": "echo_secret", "argument": TOKEN, "times": -1})
    done = delivered(vendor)
    checks = {check.check_name: check for check in done.result.get_asset_check_evaluations()}
    assert "symbol-changes (CORRUPT)" in checks["answered"].description
    recorded = [dg.serialize_value(event) for event in done.result.all_events]
    assert len(recorded) > 10
    printed = "".join(capfd.readouterr())
    assert not [text for text in (*recorded, printed) if TOKEN in text]


@pytest.mark.slow
def test_half_a_delivery_fails_at_the_deadline_and_says_what_is_missing(vendor: Practice) -> None:
    vendor.faults({"match": "/eod-bulk-last-day", "fault": "partial_bulk", "times": -1})
    done = delivered(vendor)
    assert not done.success
    said = done.result.failure_data_for_node(delivery_key("eodhd").to_python_identifier())
    assert "expected 95%" in str(said.user_failure_data.description)
    assert not {check.check_name: check.passed for check in done.result.get_asset_check_evaluations()}["whole"]
    assert sum(vendor.clock.slept) >= 60 * 150


def test_deliveries_come_before_the_tables_and_a_night_begins_when_they_may_be_there(vendor: Practice) -> None:
    both = vendor.settings.model_copy(update={"sources": ("eodhd", "edgar")})
    graph = build_definitions(both, Deployment()).resolve_asset_graph()
    assert graph.get(dg.AssetKey("source_tables")).parent_keys == {delivery_key("eodhd"), delivery_key("edgar")}
    assert graph.get(delivery_key("edgar")).parent_keys == {delivery_key("eodhd")}
    assert str(begins(both, Deployment())) == "04:30:00"
    assert str(begins(Settings(), Deployment())) == "00:30:00"
