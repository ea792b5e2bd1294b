"""One writer at a time: between threads, processes and machines."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.store.lease import LeaseHeld, LeaseLost, this_process
from pipeline.store.local_objects import LocalObjects
from pipeline.store.objects import StoreError
from pipeline.store.stage import Stage
from tests.store.family import (
    bury,
    clock,
    live_bytes,
    promote_family,
    publish,
    stage_family,
    symbols,
)

PATIENCE = 600
"""Seconds after which a process that should be quick counts as hanging, on a machine that is very busy."""


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
