"""The instance of deploy/postgres on a real PostgreSQL: a throw-away server from the distribution's packages."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy

from assets.partitions import sessions
from pipeline.engine import execution, family
from pipeline.settings import Settings
from tests.assets.conftest import IMPATIENT, NEXT_NIGHT, Done, asset_of, build_definitions, range_tags
from tests.engine.conftest import NIGHT
from tests.engine.faults import tampered
from tests.engine.published_market import known_at, seen_by_readers, settings_for, stored_values

pytestmark = pytest.mark.postgres

DEPLOY = Path(__file__).parents[2] / "deploy" / "postgres"
VARIABLE = "ERM3_DAGSTER_POSTGRES"


@dataclass(frozen=True)
class Server:
    port: int
    password: str

    def url(self, password: str | None = None, database: str = "postgres") -> str:
        return f"postgresql+psycopg2://erm3:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def url_of_new_database(self) -> str:
        name = f"erm3_{secrets.token_hex(4)}"
        engine = sqlalchemy.create_engine(self.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        execution.dispose()
        return self.url(database=name)


def binary(name: str) -> str:
    """A program of the server; Debian keeps those of each version in a directory of its own."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(places[-1]) if places else None)
    assert found, f"there is no {name}: install PostgreSQL with the system's packages (apt-get install postgresql)"
    return found


def as_server(*command: str) -> None:
    """Runs a program as a user under whom the server starts, which root is not."""
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*as_user, *command], cwd="/", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A cluster in a directory of its own, that asks for the password also on the local interface."""
    place = Path(tempfile.mkdtemp(prefix="erm3-postgres-"))
    password, secret = secrets.token_hex(16), place / "password"
    secret.write_text(password)
    if os.geteuid() == 0:
        for path in (place, secret):
            shutil.chown(path, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(place / "data")
    initdb = ("--username=erm3", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "--encoding=UTF8")
    as_server(binary("initdb"), "-D", data, *initdb)
    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
    as_server(binary("pg_ctl"), "-D", data, "-o", options, "-l", str(place / "log"), "-w", "start")
    try:
        yield Server(port, password)
    finally:
        as_server(binary("pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(place)


@pytest.fixture
def home(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the file of deploy/postgres, and the address of an empty database in the environment."""
    place = tmp_path / "dagster_home"
    place.mkdir()
    shutil.copy(DEPLOY / "dagster.yaml", place)
    monkeypatch.setenv("DAGSTER_HOME", str(place))
    monkeypatch.setenv(VARIABLE, server.url_of_new_database())
    return place


def nightly(settings: Settings, source, first: str, last: str) -> Done:
    with dg.DagsterInstance.get() as instance:
        job = build_definitions(settings, IMPATIENT, source).resolve_job_def("nightly")
        return Done(
            job.execute_in_process(instance=instance, tags=range_tags(first, last), raise_on_error=False), instance
        )


def test_a_range_is_recorded_and_gives_the_bytes_of_the_command_line(home, eve, published_eve, tables, tmp_path):
    done = nightly(settings_for(eve), known_at(tables, NEXT_NIGHT), NIGHT, NEXT_NIGHT)
    assert done.success
    with dg.DagsterInstance.get() as instance:  # what another process would find
        kinds = [type(s).__name__ for s in (instance.event_log_storage, instance.run_storage)]
        assert kinds == ["PlannedPostgresEventLog", "PostgresRunStorage"]
        run = instance.get_run_by_id(done.result.run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.SUCCESS
        for name in ("source_tables", *family.stores(settings_for(eve)), "publication"):
            assert instance.get_materialized_partitions(asset_of(name)) == {NIGHT, NEXT_NIGHT}, name
        checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [evaluation.asset_check_key for evaluation in done.checks().values()]
        )
        assert len(checks) == len(done.checks()) > 20
        failed = {key.name for key, record in checks.items() if record.status.value != "SUCCEEDED"}
        assert failed <= {"is_fresh"}, "that one is about today, and the market's last session is years ago"
        with instance.event_log_storage.index_connection() as connection:
            rows = "SELECT check_name, count(*) FROM asset_check_executions GROUP BY asset_key, check_name"
            planned = connection.execute(sqlalchemy.text(rows)).fetchall()
        assert len(planned) >= len(checks)
        assert {count for _, count in planned} == {1}, "a row for each verdict, and none for each session"
        pools = instance.get_concurrency_config().pool_config
        assert (pools.pool_granularity.value, pools.default_pool_limit) == ("run", 1)
    assert not list(home.glob("**/*.db")), "nothing is kept in SQLite files"
    root = Path(shutil.copytree(published_eve, tmp_path / "by_command", symlinks=True))
    execution.execute(settings_for(root), NIGHT, NEXT_NIGHT, source=known_at(tables, NEXT_NIGHT))
    assert stored_values(eve) == stored_values(root)


def test_a_failed_check_is_recorded_and_nothing_is_published(home, eve, tables, monkeypatch):
    before = seen_by_readers(eve)
    tampered("ds_erm3_betas", "factor_beta", lambda beta: beta * 1.01)(monkeypatch)
    done = nightly(settings_for(eve), known_at(tables, NIGHT), NIGHT, NIGHT)
    assert not done.success
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(done.result.run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.FAILURE
        betas = "ds_erm3_betas_SPY_uni_mc_3000"
        key = done.checks()[betas, "betas_recomputed"].asset_check_key
        (record,) = instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).values()
        assert record.status.value == "FAILED"
        assert NIGHT not in instance.get_materialized_partitions(asset_of(betas))
        assert NIGHT not in instance.get_materialized_partitions(asset_of("publication"))
        for name in (betas, "publication"):
            status = instance.get_status_by_partition(asset_of(name), [NIGHT], sessions())
            assert [(day, found.value) for day, found in status.items()] == [(NIGHT, "FAILED")], name
    assert seen_by_readers(eve) == before


@pytest.mark.parametrize("command", [["instance", "info"], ["run", "list"]])
def test_a_wrong_password_is_refused_and_never_printed(home, server, command):
    wrong = f"wrong-{getpass.getuser()}-{secrets.token_hex(8)}"
    env = {**os.environ, VARIABLE: server.url(wrong)}
    program = [sys.executable, "-m", "dagster", *command]
    done = subprocess.run(program, env=env, cwd=home, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "password authentication failed" in done.stderr
    for secret in (wrong, server.password):
        assert secret not in done.stdout + done.stderr


def test_the_right_password_is_not_printed_either(home, server):
    program = [sys.executable, "-m", "dagster", "instance", "info"]
    done = subprocess.run(program, cwd=home, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "PostgresRunStorage" in done.stdout or "postgres" in done.stdout
    assert server.password not in done.stdout + done.stderr
