"""`erm3 doctor`: each thing that can be wrong is one line that says what to do; what is well is `ok`."""

from __future__ import annotations

import json
import shutil
import socket
from collections import namedtuple
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.runs import app
from pipeline.store.filesystem import open_objects
from pipeline.store.lease import TTL_SECONDS, Lease
from tests.engine.conftest import EVE, NIGHT

MORNING = "2019-01-12T06:00:00"


def lines(root: Path | str, *more: object) -> dict[str, dict]:
    done = CliRunner().invoke(app, ["doctor", "--root", str(root), "--json", *map(str, more)])
    assert done.exit_code == (0 if all(line["ok"] for line in json.loads(done.stdout)) else 1)
    return {line["what"]: line for line in json.loads(done.stdout)}


def test_a_root_that_is_published_through_yesterday_is_well(published_eve, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = lines(published_eve, "--now", MORNING)
    assert all(line["ok"] for line in found.values()), found
    assert set(found) == {"setting", "versions", "kernels", "root", "published", "disk", "source", "schedules"}
    assert f"through {EVE}" in found["published"]["found"]


def test_what_is_due_is_said_by_date(published_eve):
    found = lines(published_eve, "--now", "2019-01-16T06:00:00")["published"]
    assert not found["ok"]
    assert f"2 sessions are due, {NIGHT} to 2019-01-15" in found["found"]
    assert "erm3 nightly" in found["do"]


def test_settings_are_said_with_the_place_they_come_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "erm3.toml").write_text('[model]\nwindow = 200\n[fetching]\nalert = ["curl", "https://x/hunter2"]\n')
    monkeypatch.setenv("ERM3_THREADS", "1")
    monkeypatch.setenv("ERM3_RULES__BARS", '{"sentinel": 5e5}')
    done = CliRunner().invoke(app, ["doctor", "--root", "r"])
    for said in ("model.window = 200, from erm3.toml", "threads = 1, from the variable ERM3_THREADS",
                 "rules.bars.sentinel = 500000.0, from the variable ERM3_RULES__BARS",
                 'root = "r", from the command line', "fetching.alert = set, from erm3.toml"):  # fmt: skip
        assert said in done.output
    assert "hunter2" not in done.output
    assert "min_obs" not in done.output


def test_a_root_that_somebody_writes_to_names_the_run(eve):
    lease = Lease(open_objects(eve), "night-of-somebody", lambda: datetime.now(UTC), TTL_SECONDS)
    lease.acquire()
    try:
        found = lines(eve)["root"]
    finally:
        lease.release()
    assert not found["ok"]
    assert "night-of-somebody" in found["found"]
    assert lines(eve)["root"]["ok"]


def test_a_first_backfill_is_asked_for(tmp_path):
    found = lines(tmp_path / "new")["published"]
    assert "erm3 backfill" in found["do"]


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100 << 30, 99 << 30, 1 << 30))
    assert "make room" in lines(tmp_path)["disk"]["do"]


@pytest.mark.parametrize("kind", ["absent", "without prices"])
def test_a_directory_that_lacks_a_table_is_said(kind, tmp_path, monkeypatch):
    where = tmp_path / "tables"
    if kind != "absent":
        where.mkdir()
        (where / "securities.csv").write_text("vendor_code,ticker,type\nA,A,common\n")
    monkeypatch.setenv("ERM3_SOURCE_PATH", str(where))
    found = lines(tmp_path, "--source", "files")
    assert not found["source"]["ok"]
    assert ("prices is not there" if kind != "absent" else str(where)) in found["source"]["do"]
    assert "nothing starts a night" in found["schedules"]["found"]


def test_a_vendor_is_asked_whether_it_listens_and_a_key_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("ERM3_EODHD_TOKEN", raising=False)
    assert "ERM3_EODHD_TOKEN" in lines(tmp_path, "--source", "eodhd")["source"]["do"]
    monkeypatch.setenv("ERM3_EODHD_TOKEN", "hunter2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        monkeypatch.setenv("ERM3_FETCHING__URLS", json.dumps({"eodhd": address}))
        assert lines(tmp_path, "--source", "eodhd")["source"]["found"] == "eodhd answers at 127.0.0.1"
    found = lines(tmp_path, "--source", "eodhd")["source"]
    assert "does not answer" in found["found"]
    assert "hunter2" not in json.dumps(found)


def test_dagster_is_asked_whether_its_schedules_are_on(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("ERM3_SOURCE_PATH", str(tmp_path))
    found = lines(tmp_path / "root", "--source", "files")["schedules"]
    assert "nightly and freshness are off: switch it on under Automation" in found["do"]
