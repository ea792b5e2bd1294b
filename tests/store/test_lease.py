"""One writer at a time: between threads, processes and machines."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.store import local_objects
from pipeline.store.lease import LeaseHeld, LeaseLost, this_process
from pipeline.store.local_objects import LocalObjects
from pipeline.store.objects import StoreError
from pipeline.store.stage import Stage
from tests.gates import PATIENCE
from tests.store.family import (
    bury,
    clock,
    live_bytes,
    promote_family,
    publish,
    stage_family,
    symbols,
)


def lease_of(root: Path) -> dict:
    return json.loads((root / ".lease").read_text())


def change_lease(root: Path, **changes: object) -> None:
    (root / ".lease").write_text(json.dumps({**lease_of(root), **changes}))


def test_a_second_writer_is_told_who_holds_the_lease_and_since_when(tmp_path: Path) -> None:
    with Stage.begin(tmp_path, "first", clock=clock):
        me = this_process()
        said = f"run first, process {me['pid']} on {me['host']}, since 2026-01-02T03:04:05Z"
        with pytest.raises(LeaseHeld, match=said):
            Stage.begin(tmp_path, "second", clock=clock)
        with pytest.raises(LeaseHeld, match="run first"):
            Stage.begin(tmp_path, "first", clock=clock)


def test_a_finished_run_leaves_no_lease(tmp_path: Path) -> None:
    publish(tmp_path, "first", 3, symbols(2))
    assert not (tmp_path / ".lease").exists()
    assert not (tmp_path / ".staging").exists()


def test_the_lease_of_a_dead_process_is_taken_over_at_once_and_said(tmp_path: Path) -> None:
    Stage.begin(tmp_path, "first", clock=clock)
    bury(tmp_path)
    with Stage.begin(tmp_path, "second", clock=clock) as stage:
        assert stage.notices[0].startswith("took over the expired lease of run first")
        assert "removed what run first had staged and not published" in stage.notices
    assert lease_of(tmp_path)["run_id"] == "second"


def test_the_lease_of_another_machine_expires_with_its_heartbeat(tmp_path: Path) -> None:
    Stage.begin(tmp_path, "first", clock=clock, lease_ttl=60)
    change_lease(tmp_path, processes=[{"host": "elsewhere", "machine": "other", "pid": 1, "started": "1"}])
    with pytest.raises(LeaseHeld, match=r"process 1 on elsewhere.* expires in 30 s without one"):
        Stage.begin(tmp_path, "second", clock=lambda: clock() + timedelta(seconds=30))
    stage = Stage.begin(tmp_path, "second", clock=lambda: clock() + timedelta(seconds=61))
    assert "elsewhere" in stage.notices[0]


def test_a_run_between_two_processes_keeps_its_lease_until_it_expires(tmp_path: Path) -> None:
    with Stage.begin(tmp_path, "first", clock=clock):
        pass
    assert lease_of(tmp_path)["processes"] == []
    with pytest.raises(LeaseHeld, match="between two processes"):
        Stage.begin(tmp_path, "second", clock=clock)
    with Stage.attach(tmp_path, "first", clock=clock) as stage:
        assert lease_of(tmp_path)["processes"] == [this_process()]
        assert stage.run_id == "first"


def test_the_heartbeat_keeps_a_lease_alive(tmp_path: Path) -> None:
    stage = Stage.begin(tmp_path, "first", lease_ttl=0.5)
    begun = lease_of(tmp_path)["heartbeat_utc"]
    until = time.monotonic() + PATIENCE
    while lease_of(tmp_path)["heartbeat_utc"] == begun:
        assert time.monotonic() < until, "no heartbeat"
        time.sleep(0.05)
    stage.abandon("test")


def test_whoever_can_read_a_lease_finds_it_held(tmp_path: Path) -> None:
    """Its processes would else count as gone, and a second writer would take over from one that lives."""
    objects, seen = LocalObjects(tmp_path), []
    hold = objects.hold

    def processes() -> list:
        return lease_of(tmp_path)["processes"] if (tmp_path / ".lease").exists() else []

    def watched(key: str) -> Callable[[], None]:
        let_go = hold(key)
        seen.append(("held", processes()))

        def letting_go() -> None:
            seen.append(("let go", processes()))
            let_go()

        return letting_go

    objects.hold = watched  # type: ignore[method-assign]
    with Stage.begin(objects, "first", clock=clock):
        assert lease_of(tmp_path)["processes"] == [this_process()]
    Stage.attach(objects, "first", clock=clock).abandon("test")
    assert seen == [("held", []), ("let go", [])] * 2


def test_a_writer_that_was_overtaken_publishes_nothing(tmp_path: Path) -> None:
    publish(tmp_path, "zero", 3, symbols(2))
    before = live_bytes(tmp_path)
    slow = Stage.begin(tmp_path, "slow", clock=clock)
    stage_family(slow, 4, symbols(2))
    change_lease(tmp_path, run_id="fast")
    with pytest.raises(LeaseLost, match=r"held by run fast.* run slow was silent"):
        promote_family(slow)
    assert live_bytes(tmp_path) == before
    assert lease_of(tmp_path)["run_id"] == "fast"


def test_a_run_that_another_publication_overtook_cannot_be_resumed(tmp_path: Path) -> None:
    with Stage.begin(tmp_path, "slow", clock=clock) as slow:
        stage_family(slow, 4, symbols(2))
    change_lease(tmp_path, heartbeat_utc="2020-01-01T00:00:00+00:00")
    fast = Stage.begin(tmp_path, "fast", clock=clock)
    stage_family(fast, 3, symbols(2))
    promote_family(fast)
    with pytest.raises(StoreError, match="no staged run 'slow'"):
        Stage.attach(tmp_path, "slow", clock=clock)


def test_a_failed_run_gives_the_lease_back_and_keeps_what_it_staged_until_the_next_publication(tmp_path: Path) -> None:
    def fail() -> None:
        with Stage.begin(tmp_path, "failed", clock=clock) as stage:
            stage_family(stage, 4, symbols(2))
            raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        fail()
    staged = tmp_path / ".staging/failed/stores/ds_prices.zarr/.zmetadata"
    assert staged.exists()
    with pytest.raises(StoreError, match="run failed was given up: ZeroDivisionError: division by zero"):
        Stage.attach(tmp_path, "failed", clock=clock)
    next_run = Stage.begin(tmp_path, "next", clock=clock)
    assert staged.exists()
    stage_family(next_run, 3, symbols(2))
    promote_family(next_run)
    assert not (tmp_path / ".staging").exists()


@pytest.mark.parametrize("run_id", ["", "a/b", "..", ".hidden", "a b"])
def test_a_run_id_must_be_able_to_name_a_directory(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(ValueError, match="run_id"):
        Stage.begin(tmp_path, run_id)


def test_a_restatement_needs_its_range_and_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs info with reason, to"):
        Stage.begin(tmp_path, "run", "restatement", {"from": "2023-01-03"})


def test_of_many_threads_that_begin_at_once_one_wins(tmp_path: Path) -> None:
    won: list[str] = []
    refused: list[str] = []
    barrier = threading.Barrier(8)

    def begin(name: str) -> None:
        barrier.wait()
        try:
            Stage.begin(tmp_path, name)
            won.append(name)
        except LeaseHeld as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin, args=(f"run{k}",)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(refused) == 7
    assert all(won[0] in message for message in refused)


PUBLISH_NEXT = """
import sys, time
from pathlib import Path
from pipeline.store.lease import LeaseHeld
from pipeline.store.stage import Stage
from tests.store.family import PRICES, clock, promote_family, stage_family, symbols

root, run_id = sys.argv[1:]
Path(root, f"ready-{run_id}").touch()
while not Path(root, "go").exists():
    time.sleep(0.01)
try:
    with Stage.begin(root, run_id, clock=clock) as stage:
        if len(stage.create_or_open(PRICES).teo) == 5:
            print("nothing to do")
            stage.finish()
        else:
            stage_family(stage, 5, symbols(3))
            time.sleep(0.3)
            print("published", promote_family(stage).publication)
except LeaseHeld as error:
    print("refused:", error)
"""


@pytest.mark.slow
def test_of_eight_processes_that_publish_the_next_session_exactly_one_does(tmp_path: Path) -> None:
    publish(tmp_path, "first", 4, symbols(3))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISH_NEXT, str(tmp_path), f"run{k}"], stdout=subprocess.PIPE, text=True
        )
        for k in range(8)
    ]
    while len(list(tmp_path.glob("ready-*"))) < 8:
        assert all(child.poll() is None for child in children)
        time.sleep(0.05)
    (tmp_path / "go").touch()
    said = [child.communicate(timeout=PATIENCE)[0].strip() for child in children]
    assert sum(line.startswith("published 000002-") for line in said) == 1, said
    winner = next(line for line in said if line.startswith("published")).rpartition("-")[2]
    for line in said:
        assert line.startswith(("published", "nothing to do")) or f"by run {winner}, process" in line, line
    other = tmp_path / "undisturbed"
    publish(other, "first", 4, symbols(3))
    publish(other, winner, 5, symbols(3))
    assert live_bytes(tmp_path) == live_bytes(other)


def test_times_in_the_lease_are_utc(tmp_path: Path) -> None:
    stage = Stage.begin(tmp_path, "run")
    since = datetime.fromisoformat(lease_of(tmp_path)["since_utc"])
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=1)
    stage.abandon("test")


def test_a_heartbeat_from_the_future_is_no_sign_of_life(tmp_path: Path) -> None:
    publish(tmp_path, "zero", 3, symbols(2))
    Stage.begin(tmp_path, "first", clock=lambda: clock() + timedelta(days=365), lease_ttl=60)
    change_lease(tmp_path, processes=[{"host": "elsewhere", "machine": "other", "pid": 1, "started": "1"}])
    stage = Stage.begin(tmp_path, "second", clock=clock)
    assert stage.notices[0].startswith("took over the expired lease of run first")
    stage.abandon("test")


def test_a_clock_that_is_a_little_ahead_is_a_sign_of_life(tmp_path: Path) -> None:
    Stage.begin(tmp_path, "first", clock=lambda: clock() + timedelta(seconds=30), lease_ttl=60)
    change_lease(tmp_path, processes=[{"host": "elsewhere", "machine": "other", "pid": 1, "started": "1"}])
    with pytest.raises(LeaseHeld):
        Stage.begin(tmp_path, "second", clock=clock)


@pytest.mark.parametrize("age", [30, 301])
def test_a_heartbeat_without_a_zone_is_utc(tmp_path: Path, age: int) -> None:
    Stage.begin(tmp_path, "first", clock=clock)
    said = (clock() - timedelta(seconds=age)).replace(tzinfo=None).isoformat()
    elsewhere = {"host": "elsewhere", "machine": "other", "pid": 1, "started": "1"}
    change_lease(tmp_path, processes=[elsewhere], heartbeat_utc=said)
    if age < 300:
        with pytest.raises(LeaseHeld, match="last sign of life 30 s ago"):
            Stage.begin(tmp_path, "second", clock=clock)
    else:
        Stage.begin(tmp_path, "second", clock=clock).abandon("test")


def in_another_container() -> dict[str, object]:
    """This process as one of a container on the same kernel would call itself."""
    kernel = str(this_process()["machine"]).partition("/")[0]
    return {"host": "container", "machine": f"{kernel}/pid:[1]", "pid": 1, "started": "1"}


def test_the_lease_of_a_dead_container_is_taken_over_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    if "/" not in this_process()["machine"]:
        pytest.skip("the system does not tell containers apart")
    first = Stage.begin(tmp_path, "first", clock=clock)
    change_lease(tmp_path, processes=[in_another_container()])
    with pytest.raises(LeaseHeld, match="process 1 on container"):
        Stage.begin(tmp_path, "second", clock=clock)
    first.lease._let_go()  # what the kernel does when the container dies
    stage = Stage.begin(tmp_path, "second", clock=clock)
    assert "process 1 on container" in stage.notices[0]
    stage.abandon("test")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run_id": "first"}', "\x00\xff"])
def test_a_lease_that_cannot_be_read_stops_a_run_and_says_how_to_go_on(tmp_path: Path, content: str) -> None:
    publish(tmp_path, "zero", 3, symbols(2))
    (tmp_path / ".lease").write_text(content, "latin-1")
    if content == "":  # no bytes are no lease
        Stage.begin(tmp_path, "first", clock=clock).abandon("test")
        return
    with pytest.raises(StoreError, match=r"\.lease under .* cannot be read.*erm3 repair"):
        Stage.begin(tmp_path, "first", clock=clock)


HOLD = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def test_a_stopped_process_that_holds_the_lock_is_said_and_waited_for_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_objects, "LOCK_PATIENCE", 0.2)
    words = [sys.executable, "-c", HOLD, str(tmp_path / ".lease.lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            os.kill(holder.pid, signal.SIGSTOP)
            with pytest.raises(StoreError, match=r"another process has held \.lease\.lock.*fuser.*End it"):
                Stage.begin(tmp_path, "first", clock=clock)
        finally:
            holder.kill()
    Stage.begin(tmp_path, "first", clock=clock).abandon("test")


def test_a_run_that_cannot_note_its_end_gives_the_lease_back_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage.begin(tmp_path, "first", clock=clock)

    def refuse(verb: str, key: str) -> None:
        if key.endswith("stage.json"):
            raise OSError(errno.EROFS, "Read-only file system")

    stage.objects.on_change = refuse
    stage.abandon("test")
    assert not (tmp_path / ".lease").exists()
    assert "could not note" in caplog.text
    Stage.begin(tmp_path, "second", clock=clock).abandon("test")


def test_a_note_that_is_damaged_does_not_keep_the_lease(tmp_path: Path) -> None:
    stage = Stage.begin(tmp_path, "first", clock=clock)
    (tmp_path / ".staging/first/stage.json").write_text("{")
    stage.abandon("test")
    assert not (tmp_path / ".lease").exists()


def test_of_nights_that_fail_the_last_one_keeps_what_it_staged(tmp_path: Path) -> None:
    for k in range(4):
        stage = Stage.begin(tmp_path, f"night{k}", clock=lambda k=k: clock() + timedelta(days=k))
        stage_family(stage, 4, symbols(2))
        stage.abandon("a check failed")
    assert sorted(path.name for path in (tmp_path / ".staging").iterdir()) == ["night2", "night3"]
    Stage.begin(tmp_path, "next", clock=clock)
    assert {path.name for path in (tmp_path / ".staging").iterdir()} == {"night3", "next"}


@pytest.mark.parametrize("kind", ["notes", "audits"])
def test_what_a_run_noted_and_cannot_read_is_named(tmp_path: Path, kind: str) -> None:
    stage = Stage.begin(tmp_path, "first", clock=clock)
    stage.note("ds_prices", {"rows": 1})
    (tmp_path / ".staging/first" / kind).mkdir(exist_ok=True)
    (tmp_path / f".staging/first/{kind}/ds_prices.json").write_text('{"half": ')
    with pytest.raises(StoreError, match=rf"{kind}/ds_prices\.json cannot be read"):
        stage.notes("ds_prices") if kind == "notes" else stage.audit("ds_prices")
    stage.abandon("test")


def test_the_lease_and_what_a_run_is_are_on_the_disk_before_they_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("on disk"), sync(number))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(Path(b).name), replace(a, b))[1])
    stage = Stage.begin(tmp_path, "first", clock=clock)
    stage.abandon("test")
    for name in (".lease", "stage.json"):
        assert all(done[k - 1] == "on disk" for k, what in enumerate(done) if what == name), done
    assert {".lease", "stage.json"} <= set(done)


def test_what_may_not_be_listed_or_looked_at_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    objects = local_objects.LocalObjects(tmp_path)
    for name in ("scandir", "listdir", "stat"):
        monkeypatch.setattr(os, name, refuse)
    for ask in (objects.keys, objects.children, objects.exists, objects.fingerprint):
        with pytest.raises(StoreError, match="Permission denied"):
            ask("ds_daily.zarr")
