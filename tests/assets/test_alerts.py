"""An alert says which check failed, where the data is, and never says the secret."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from assets import alerts
from assets.alerts import Alert, AlertNotSent, alert_of, alert_sensor, send
from assets.deployment import Deployment
from security_master import MASTER_FILE, SecurityMaster
from tests.engine import faults
from tests.engine.conftest import NIGHT
from tests.engine.published_market import FACTOR_SET, known_at, settings_for

SECRET = "T0KEN-in-the-path"
ALERT = Alert("nightly", "0123abcd", NIGHT, ({"step": "ds_daily", "message": "it broke", "figures": {"a": 1}},))


class Receiver(HTTPServer):
    """A webhook that keeps what it gets and answers with the statuses that it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[dict] = []
        self.statuses: list[int] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{SECRET}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def webhook(monkeypatch) -> Iterator[Receiver]:
    monkeypatch.setattr(alerts, "PAUSE_SECONDS", 0.0)
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def posting_to(address: str) -> Deployment:
    return Deployment(alert_webhook=address)


def test_the_alert_of_a_failed_audit_names_the_check_the_worst_cells_and_the_staged_data(
    launch, eve, tables, webhook, monkeypatch
):
    faults.no_cross_term(monkeypatch)
    done = launch(settings_for(eve), known_at(tables, NIGHT), NIGHT)
    failure = next(e for e in done.result.all_events if e.event_type_value == "PIPELINE_FAILURE")
    context = dg.build_run_status_sensor_context(
        "alert", failure, done.instance, done.instance.get_run_by_id(done.result.run_id)
    ).for_run_failure()
    alert_sensor(posting_to(webhook.address))(context)
    (document,) = webhook.got
    assert document["title"] == f"ERM3: nightly failed for {NIGHT}"
    (step,) = document["steps"]
    assert step["figures"]["store"] == f"ds_erm3_hedge_weights_{FACTOR_SET}"
    assert step["figures"]["failed checks"] == "net_market_beta"
    assert step["figures"]["staged data"].startswith(str(eve / ".staging"))
    cells = step["figures"]["worst cells of net_market_beta"]
    assert {"ticker", "teo", "symbol", "error"} <= set(cells[0])
    with SecurityMaster.open(eve / MASTER_FILE) as master:
        assert master.resolve(cells[0]["ticker"], cells[0]["teo"]) == cells[0]["symbol"]
    for said in ("net_market_beta", str(eve / ".staging"), cells[0]["ticker"], "Nothing of it is published"):
        assert said in document["text"]


def test_an_alert_goes_to_a_command_as_text(tmp_path):
    script = tmp_path / "mail.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())")
    command = f"{sys.executable} {script} '{tmp_path / 'a letter'}'"
    assert send(ALERT, Deployment(alert_command=command)) == ["handed to the alert command"]
    assert (tmp_path / "a letter").read_text() == ALERT.text


def test_a_webhook_that_fails_for_a_moment_is_tried_again(webhook):
    webhook.statuses = [503, 500]
    assert send(ALERT, posting_to(webhook.address)) == ["posted to the webhook"]
    assert len(webhook.got) == 3


@pytest.mark.parametrize(
    ("why", "status", "posts"),
    [
        ("refuses", 403, 1),
        ("stays_away", 503, alerts.ATTEMPTS),
        ("no_server", 0, 0),
        ("no_address", 0, 0),
        ("typo", 0, 0),
    ],
)
def test_an_alert_that_cannot_be_sent_says_why_without_the_address(why, status, posts, webhook, caplog, capfd):
    unreachable = {"no_server": f"http://127.0.0.1:9/{SECRET}", "no_address": SECRET, "typo": f"http://a b/{SECRET}\n"}
    webhook.statuses = [status] * alerts.ATTEMPTS
    with caplog.at_level(logging.DEBUG), pytest.raises(AlertNotSent) as raised:
        send(ALERT, posting_to(unreachable.get(why, webhook.address)))
    assert "ERM3_DAGSTER_ALERT_WEBHOOK" in str(raised.value)
    assert len(webhook.got) == posts
    printed = capfd.readouterr()
    assert SECRET not in "".join([str(raised.value), repr(raised.value), caplog.text, printed.out, printed.err])
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


def test_a_command_that_fails_says_its_name_and_status_and_not_its_arguments():
    with pytest.raises(AlertNotSent, match="exit status 3") as raised:
        send(ALERT, Deployment(alert_command=f"sh -c 'exit 3' {SECRET}"))
    assert SECRET not in str(raised.value)


def test_the_secret_is_not_in_what_deployment_shows(monkeypatch):
    monkeypatch.setenv("ERM3_DAGSTER_ALERT_WEBHOOK", f"https://hooks.example.com/{SECRET}")
    deployment = Deployment()
    assert deployment.alerts
    assert SECRET not in repr(deployment) + str(deployment) + deployment.model_dump_json()


def test_alerts_are_off_until_a_target_is_configured():
    assert alert_sensor(Deployment()).default_status == dg.DefaultSensorStatus.STOPPED
    assert alert_sensor(Deployment(alert_command="mail")).default_status == dg.DefaultSensorStatus.RUNNING


def test_a_run_that_dies_without_a_failed_step_is_told_too():
    run = dg.DagsterRun("nightly", tags={"dagster/partition": NIGHT})
    said = alert_of(run, "the run's process was killed", [])
    assert "the run's process was killed" in said.text
    assert NIGHT in said.title


def test_a_run_that_fails_after_its_publication_says_that_it_is_published(webhook):
    """A report whose process dies, say: readers have the session, and nobody should run the night again for it."""

    @dg.asset
    def publication() -> None:
        """Succeeds."""

    @dg.asset(deps=[publication])
    def report() -> None:
        raise dg.Failure("killed")

    with dg.instance_for_test() as instance:
        job = dg.Definitions([publication, report], jobs=[dg.define_asset_job("nightly", "*")])
        done = job.resolve_job_def("nightly").execute_in_process(instance=instance, raise_on_error=False)
        failure = next(e for e in done.all_events if e.event_type_value == "PIPELINE_FAILURE")
        run = instance.get_run_by_id(done.run_id)
        alert_sensor(posting_to(webhook.address))(
            dg.build_run_status_sensor_context("alert", failure, instance, run).for_run_failure()
        )
    (document,) = webhook.got
    assert "Its stores are published" in document["text"]
    assert "Nothing of it is published" not in document["text"]
