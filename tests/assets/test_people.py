"""Decisions and restatements from the page: a form, kept with name and reason, and they work to the end."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pandas as pd
import pytest

from assets.definitions import build_definitions
from pipeline.quality.decisions import recorded_decisions
from pipeline.quality.deliveries import TABLES_FILE
from pipeline.read import history, open_dataset, published_master, read_manifest
from tests.assets.conftest import IMPATIENT
from tests.engine.conftest import EVE, NIGHT
from tests.engine.published_market import Delivered, known_at, settings_for


def submit(instance, settings, job: str, op: str, form: dict, source=None):
    made = build_definitions(settings, IMPATIENT, source).resolve_job_def(job)
    config = {"ops": {op: {"config": form}}}
    return made.execute_in_process(run_config=config, instance=instance, raise_on_error=False)


def partial(tables, share: float = 0.5) -> Delivered:
    """The delivery of the night in which the first stocks have no price."""
    delivered = known_at(tables, NIGHT).load()
    stocks = delivered.securities.loc[delivered.securities["type"] != "etf", "vendor_code"].drop_duplicates()
    gone = delivered.prices["vendor_code"].isin(stocks.iloc[: int(len(stocks) * share)])
    gone &= delivered.prices["date"] == NIGHT
    return Delivered(replace(delivered, prices=delivered.prices[~gone].reset_index(drop=True)))


@pytest.mark.slow
def test_a_partial_delivery_is_named_accepted_from_the_page_and_published(eve, tables, launch, instance):
    settings, source = settings_for(eve), partial(tables)
    failed = launch(settings, source, NIGHT)
    assert not failed.success
    assert failed.steps("STEP_FAILURE") == ["source_tables"], "one asset says it, the others wait"
    said = failed.failure("source_tables").description
    assert f"{NIGHT} coverage: 66.7% of the names priced the session before have one; without one: " in said
    (fault,) = failed.failure("source_tables").metadata["faults"].records
    assert fault.data["session"] == NIGHT
    form = failed.failure("source_tables").metadata[f"accept coverage of {NIGHT}"].url
    assert form.startswith("/locations/erm3/jobs/decide/playground/setup?config=ops:")
    filled = [line.strip() for line in parse_qs(urlsplit(form).query)["config"][0].splitlines()]
    assert filled == ["ops:", "record_decision:", "config:", "verdict: release", f"session: '{NIGHT}'", "security: '*'",
                      "rule: coverage", "by: ''", "reason: ''"]  # fmt: skip
    form = {
        "verdict": "release",
        "session": NIGHT,
        "rule": "coverage",
        "by": "anna",
        "reason": "half a day",
    }
    assert submit(instance, settings, "decide", "record_decision", form).success
    (kept,) = recorded_decisions(str(eve))
    assert (kept.by, kept.reason, kept.rule) == ("anna", "half a day", "coverage")
    assert launch(settings, source, NIGHT).success
    assert read_manifest(eve)["complete_through"] == NIGHT


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"by": ""}, "a decision needs by"),
        ({"reason": " "}, "a decision needs reason"),
        ({"rule": "nothing"}, "there is no rule"),
        ({"rule": ""}, "names what is accepted"),
        ({"session": "2019-01-13"}, "not an XNYS session"),
        ({"security": "NOBODY"}, "no security is known to have had the ticker"),
    ],
)
def test_a_form_that_says_too_little_is_a_sentence(eve, instance, change, says):
    form = {"verdict": "release", "session": NIGHT, "rule": "coverage", "by": "anna", "reason": "so"} | change
    done = submit(instance, settings_for(eve), "decide", "record_decision", form)
    assert not done.success
    assert says in done.failure_data_for_node("record_decision").user_failure_data.description
    assert recorded_decisions(str(eve)) == []


def test_a_value_that_is_confirmed_wrong_is_restated_from_the_page(eve, tables, instance):
    settings = settings_for(eve)
    with published_master(str(eve)) as master, open_dataset("ds_daily", eve) as daily:
        symbol = str(daily["symbol"].values[0])
        ticker = str(master.labels([symbol], EVE)[0][0])
    form = {"verdict": "confirm", "security": ticker, "session": EVE, "by": "anna", "reason": "a bad print"}
    assert submit(instance, settings, "decide", "record_decision", form).success
    (kept,) = recorded_decisions(str(eve))
    form = {"first_session": EVE, "reason": "a bad print", "known_as_of": kept.known_from}
    held = json.loads((eve / TABLES_FILE).read_text())["tables"]["prices"]
    done = submit(instance, settings, "restate", "restate_sessions", form, Delivered(tables))
    assert done.success
    now = json.loads((eve / TABLES_FILE).read_text())["tables"]["prices"]
    assert now == held, "the next night is held to what it can know, and not to what the restatement knew"
    assert history(eve)["kind"].iloc[-1] == "restatement"
    with open_dataset("ds_daily", eve) as daily:
        assert pd.isna(daily["close"].sel(symbol=symbol, teo=EVE).item())


def test_a_restatement_without_a_reason_is_a_sentence(eve, instance):
    done = submit(instance, settings_for(eve), "restate", "restate_sessions", {"first_session": EVE, "reason": " "})
    assert not done.success
    assert "needs a reason" in done.failure_data_for_node("restate_sessions").user_failure_data.description
    assert isinstance(done, dg.ExecuteInProcessResult)
