"""`dagster dev` on a small published root, with what a test asks it besides the page."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.outside import SHOW
from assets.partitions import range_tags
from pipeline.engine import execution
from pipeline.settings import Settings
from pipeline.sources import SourceTables
from tests.assets.browser import free_port, wait_until_it_answers
from tests.assets.deliveries_of_a_night import lay
from tests.engine.conftest import EVE
from tests.engine.published_market import AUDIT, FIRST, MODEL, settings_for
from tests.gates import PATIENCE

REPOSITORY = Path(__file__).parents[2]
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
LAUNCH = """mutation($asked: ExecutionParams!) {launchPipelineExecution(executionParams: $asked) {
    ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""


@dataclass(frozen=True)
class Server:
    """`dagster dev` on a root that is published from the files in `delivered`."""

    address: str
    home: Path
    root: Path
    delivered: Path

    @property
    def settings(self) -> Settings:
        return settings_for(self.root, source="files", source_path=str(self.delivered))

    def ask(self, query: str, **variables: Any) -> Any:
        """An answer of the page's own interface."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.address}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["data"]

    def runs(self, of_publications: bool = False) -> list[dict[str, Any]]:
        """Runs, the newest first; those that show what other faces published, or all the others."""
        query = "{runsOrError{... on Runs{results{runId jobName status tags{key value}}}}}"
        runs = self.ask(query)["runsOrError"]["results"]
        return [run for run in runs if (run["jobName"] == SHOW) == of_publications]

    def wait_until_the_root_is_shown(self) -> None:
        """Until the sensor has shown what the command line published before the page was opened."""
        until = time.monotonic() + PATIENCE
        while not any(run["status"] == "SUCCESS" for run in self.runs(of_publications=True)):
            assert time.monotonic() < until, "the sensor shows no publication"
            time.sleep(1)

    def start_a_night(self, night: str) -> str:
        """The nightly job over a session, as its schedule starts it; the run."""
        tags = [{"key": key, "value": value} for key, value in range_tags(night, night).items()]
        job = {"repositoryLocationName": "erm3", "repositoryName": "__repository__", "pipelineName": "nightly"}
        asked = {"selector": job, "mode": "default", "executionMetadata": {"tags": tags}}
        return str(self.ask(LAUNCH, asked=asked)["launchPipelineExecution"]["run"]["runId"])

    def wait_for_the_end(self, run_id: str, patience: float = 300.0) -> str:
        """How a run ended."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            status = next((str(run["status"]) for run in self.runs() if run["runId"] == run_id), "")
            if status in ENDED:
                return status
            time.sleep(1)
        raise AssertionError(f"run {run_id} did not end within {patience:.0f} s: {self.runs()}")


@contextmanager
def served(work: Path, tables: SourceTables) -> Iterator[Server]:
    """A server on a root that is published through EVE from these tables."""
    home, root, delivered = work / "home", work / "root", work / "tables"
    home.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", home)
    lay(tables, delivered)
    execution.execute(settings_for(root, source="files", source_path=str(delivered)), FIRST, EVE)
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "ERM3_ROOT": str(root),
        "ERM3_SOURCE": "files",
        "ERM3_SOURCE_PATH": str(delivered),
        "ERM3_MODEL": MODEL.model_dump_json(),
        "ERM3_AUDIT": AUDIT.model_dump_json(),
    }
    port = free_port()
    with open(work / "dagster.log", "w") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("dagster"), "dev", "--port", str(port)],
            cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_it_answers(f"{address}/server_info", process)
        server = Server(address, home, root, delivered)
        server.wait_until_the_root_is_shown()
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
