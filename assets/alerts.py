"""Telling a person that a run failed: which check, the worst cells, and where the staged data is."""

from __future__ import annotations

import json
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPException
from typing import Any

import dagster as dg
import stamina

from assets.deployment import Deployment
from assets.names import PUBLICATION
from assets.partitions import RANGE_END, RANGE_START
from security_master.errors import ExplainedError

ATTEMPTS = 3
PAUSE_SECONDS = 2.0
TIMEOUT_SECONDS = 20.0
TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
ROWS_SHOWN = 5


class AlertNotSent(ExplainedError, RuntimeError):
    """The alert could not be delivered. The message holds no address."""


@dataclass(frozen=True)
class Alert:
    """What is said of a failed run.

    steps: for each step that failed: its name, the message, and figures such as the failed checks and the worst cells.
    published: whether the run had published its stores before it failed, in a report, say.
    """

    job: str
    run_id: str
    sessions: str
    steps: tuple[dict[str, Any], ...]
    published: bool = False

    @property
    def title(self) -> str:
        return f"ERM3: {self.job} failed for {self.sessions}"

    @property
    def text(self) -> str:
        became = "Its stores are published, it failed afterwards." if self.published else "Nothing of it is published."
        parts = [self.title, f"Dagster run {self.run_id}. {became} What now: docs/operations.md"]
        for step in self.steps:
            parts += ["", f"{step['step']}: {step['message']}"]
            parts += [f"{key}: {_lines(value)}" for key, value in step["figures"].items()]
        return "\n".join(parts) + "\n"

    def document(self) -> dict[str, Any]:
        """For a webhook; `text` is what chat services show."""
        return {**asdict(self), "title": self.title, "text": self.text}


def _lines(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return "".join("\n  " + ", ".join(f"{k} {v}" for k, v in row.items()) for row in value)


def alert_of(run: dg.DagsterRun, message: str, failures: Sequence[dg.DagsterEvent], published: bool = False) -> Alert:
    """The alert of a failed run, from the failures of its steps."""
    steps = []
    for event in failures:
        data = event.step_failure_data
        said, figures = str(event.message or ""), {}
        if data.user_failure_data is not None:
            said = data.user_failure_data.description or said
            figures = {
                name: _plain(value)
                for name, value in data.user_failure_data.metadata.items()
                if not isinstance(value, dg.UrlMetadataValue)  # forms of the page: an alert is read elsewhere
            }
        elif data.error is not None:
            said = data.error.message.strip()
        steps.append({"step": str(event.step_key), "message": said, "figures": figures})
    if not steps:
        steps.append({"step": "run", "message": message, "figures": {}})
    return Alert(run.job_name, run.run_id, _sessions(run.tags), tuple(steps), published)


def _sessions(tags: Mapping[str, str]) -> str:
    first = tags.get(RANGE_START, tags.get("dagster/partition", ""))
    last = tags.get(RANGE_END, first)
    return (first if first == last else f"{first} to {last}") or "no particular session"


def _plain(value: dg.MetadataValue) -> Any:
    if isinstance(value, dg.TableMetadataValue):
        return [dict(record.data) for record in value.records[:ROWS_SHOWN]]
    return value.value


def send(alert: Alert, deployment: Deployment) -> list[str]:
    """Delivers an alert to every target that is configured; what was done, in words. Raises AlertNotSent."""
    done = []
    if deployment.alert_webhook is not None:
        _post(deployment.alert_webhook.get_secret_value(), alert.document())
        done.append("posted to the webhook")
    if deployment.alert_command is not None:
        _run(deployment.alert_command, alert.text)
        done.append("handed to the alert command")
    return done


def _post(address: str, document: Mapping[str, Any]) -> None:
    """Errors are told without the address, which may hold a secret."""
    try:
        request = urllib.request.Request(
            address, json.dumps(document).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        for attempt in stamina.retry_context(
            _may_pass, attempts=ATTEMPTS, timeout=None, wait_initial=PAUSE_SECONDS, wait_jitter=0.0
        ):
            with attempt, urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
                return
    except urllib.error.HTTPError as error:
        problem = f"it answered with HTTP status {error.code}"
    except (OSError, ValueError, HTTPException) as error:
        problem = f"it cannot be reached ({type(error).__name__})"
    raise AlertNotSent(f"the webhook of ERM3_DAGSTER_ALERT_WEBHOOK did not take the alert: {problem}")


def _may_pass(error: Exception) -> bool:
    """Whether the webhook may take the same alert a moment later."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in TRY_AGAIN
    return isinstance(error, OSError)


def _run(command: str, text: str) -> None:
    words = shlex.split(command)
    try:
        subprocess.run(words, input=text, text=True, capture_output=True, timeout=TIMEOUT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        status = getattr(error, "returncode", None)
        why = f"exit status {status}" if status is not None else type(error).__name__
        raise AlertNotSent(f"the program of ERM3_DAGSTER_ALERT_COMMAND ({words[0]}) failed: {why}") from None


def _has_published(instance: dg.DagsterInstance, run_id: str) -> bool:
    steps = instance.get_run_step_stats(run_id, [PUBLICATION.to_python_identifier()])
    return any(step.status is not None and step.status.value == "SUCCESS" for step in steps)


def alert_sensor(deployment: Deployment) -> dg.SensorDefinition:
    """Off until a target is configured."""

    @dg.run_failure_sensor(
        name="alert",
        description="Tells the configured target (ERM3_DAGSTER_ALERT_WEBHOOK or ERM3_DAGSTER_ALERT_COMMAND) that a run "
        "failed, with the failing checks, the worst cells and where the staged data is.",
        default_status=dg.DefaultSensorStatus.RUNNING if deployment.alerts else dg.DefaultSensorStatus.STOPPED,
    )
    def alert(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        if not deployment.alerts:
            return dg.SkipReason("no target: set ERM3_DAGSTER_ALERT_WEBHOOK or ERM3_DAGSTER_ALERT_COMMAND and restart")
        run = context.dagster_run
        said = alert_of(
            run,
            str(context.failure_event.message),
            context.get_step_failure_events(),
            _has_published(context.instance, run.run_id),
        )
        context.log.info(f"{said.title}: {', '.join(send(said, deployment))}")
        return None

    return alert
