"""The same in a bucket: publish, append, restate, read; crashes are completed; two writers are one too many."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.read import history, open_dataset, read_manifest
from pipeline.store.filesystem import open_objects
from pipeline.store.layout import LEASE
from pipeline.store.lease import LeaseHeld, LeaseLost
from pipeline.store.objects import Objects, StoreError
from pipeline.store.publish_cloud import JOURNAL, RESTATEMENT_MARK
from pipeline.store.stage import Stage
from tests.gates import PATIENCE
from tests.store.conftest import Emulator
from tests.store.family import (
    FAMILY,
    clock,
    expected,
    live_bytes,
    promote_family,
    publish,
    restate,
    stage_family,
    symbols,
)
from tests.store.test_crashes import StopAt, Stopped, stores_of

NewRoot = Callable[[], str]


def bury(objects: Objects) -> None:
    """Makes the lease look as if its process had been killed."""
    data = objects.read(LEASE)
    if data:
        lease = json.loads(data)
        for process in lease["processes"]:
            process["started"] = "0"
        objects.write(LEASE, json.dumps(lease).encode())


def values(root: str, **options: Any) -> np.ndarray:
    return open_dataset("ds_prices", root, **options)["return"].values


def wanted(count: int, version: int = 0) -> np.ndarray:
    return expected("return", "float32", slice(0, count), slice(0, 3), version=version)


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def test_local_and_cloud_are_byte_equal_through_first_append_and_restatement(new_root: NewRoot, tmp_path: Path) -> None:
    root = new_root()
    for target in (root, tmp_path):
        publish(target, "first", 5, symbols(3))
        publish(target, "second", 6, symbols(3))
    assert live_bytes(root) == live_bytes(tmp_path)
    for target in (root, tmp_path):
        restate(target, "third", 6, symbols(3))
    assert live_bytes(root) == live_bytes(tmp_path)
    assert read_manifest(root) == read_manifest(tmp_path)
    for publication, count, version in (("000001-first", 5, 0), ("000002-second", 6, 0), ("000003-third", 6, 1)):
        for target in (root, str(tmp_path)):
            assert equal(values(target, publication=publication), wanted(count, version))
    kept = history(root).set_index("publication").kept
    assert kept.to_dict() == {"000001-first": False, "000002-second": True, "000003-third": True}
    assert open_objects(root).children("") == sorted(
        [".publications", ".spare", "digests.json", "ds_betas.zarr", "ds_prices.zarr", "manifest.json", "publish_log"]
    )


@pytest.mark.usefixtures("no_heartbeat")
def test_while_a_bucket_is_restated_readers_get_the_copy_of_what_was(new_root: NewRoot) -> None:
    root = new_root()
    publish(root, "base", 5, symbols(3))
    objects = open_objects(root)
    stop = StopAt(10**9)

    def stop_in_the_middle(verb: str, key: str) -> None:
        if key == "ds_prices.zarr/return/0.0":
            stop.n = 0
        stop(verb, key)

    objects.on_change = stop_in_the_middle
    with pytest.raises(Stopped):
        restate(objects, "run", 5, symbols(3))
    marked = json.loads(objects.read("ds_prices.zarr/.zmetadata") or b"")["metadata"][".zattrs"]
    assert marked[RESTATEMENT_MARK] == "000002-run"
    assert equal(values(root, as_of_manifest=True), wanted(5))
    clean = open_objects(root)
    clean.delete(".publications/000001-base/manifest.json")
    with pytest.raises(StoreError, match="ds_prices is being restated by 000002-run"):
        values(root, as_of_manifest=True)


def consistent(root: str, before: dict[str, str], after: dict[str, str], restates: bool) -> bool:
    """Reads every store as two kinds of readers do. Returns whether the manifest shows the new state."""
    objects = open_objects(root)
    live = live_bytes(objects)
    new = live.get("manifest.json") == after["manifest.json"]
    assert new or live.get("manifest.json") == before.get("manifest.json")
    for name, spec in FAMILY.items():
        document = objects.read(f"{name}.zarr/.zmetadata")
        if document is None:
            assert not before
            continue
        metadata = json.loads(document)["metadata"]
        marked = RESTATEMENT_MARK in metadata[".zattrs"]
        assert restates or not marked
        dataset = open_dataset(name, root) if before or new else None
        for var in spec.variables:
            rows = metadata[f"{var.name}/.zarray"]["shape"][0] if dataset is None else dataset.sizes["teo"]
            cols = metadata[f"{var.name}/.zarray"]["shape"][1]
            assert objects.keys(f"{name}.zarr/{var.name}"), "metadata come last, in a first publication too"
            if dataset is not None and var.dims == ("teo", "symbol"):
                found = dataset[var.name].values
                versions = [
                    np.array_equal(
                        found,
                        expected(var.name, var.dtype, slice(0, rows), slice(0, cols), version=version),
                        equal_nan=var.dtype == "float32",
                    )
                    for version in (0, 1)
                ]
                assert versions[0] or (versions[1] and restates), (name, var.name)
    return new


def stop_at_steps(
    root_for: NewRoot, base: bool, run: Callable[[Any, str], object], restates: bool, every_step: bool
) -> tuple[int, int]:
    """Stops a run at changes; the next run completes or repeats it. Returns (changes, how many were rolled forward)."""
    undisturbed = root_for()
    if base:
        publish(undisturbed, "base", 5, symbols(3))
    before = live_bytes(undisturbed)
    objects = open_objects(undisturbed)
    objects.on_change = counter = StopAt(10**9)
    run(objects, "run")
    after = live_bytes(undisturbed)
    last = len(counter.changes)
    journal = next(k for k, change in enumerate(counter.changes) if change == f"write {JOURNAL}") + 1
    rolled_forward = 0
    staging = [k for k, change in enumerate(counter.changes, 1) if change.startswith("write .staging/run/stores")]
    steps = [*staging[::5], *range(staging[-1], last + 1)] if every_step else [journal, journal + 8]
    for n in steps:
        root = root_for()
        if base:
            publish(root, "base", 5, symbols(3))
        objects = open_objects(root)
        objects.on_change = StopAt(n)
        with pytest.raises(Stopped):
            run(objects, "run")
        consistent(root, before, after, restates)
        clean = open_objects(root)
        bury(clean)
        interrupted = clean.exists(JOURNAL)
        with Stage.begin(root, "look", clock=clock) as stage:
            notices = stage.notices
            stage.finish()
        assert interrupted == any(notice.startswith("completed the interrupted") for notice in notices)
        if interrupted:
            rolled_forward += 1
            assert live_bytes(root) == after
        run(clean, "run")
        assert live_bytes(root) == after
        assert clean.children(".staging") == []
        clean.delete_tree("")
    return last, rolled_forward


SCENARIOS: dict[str, tuple[bool, Callable[[Any, str], object], bool]] = {
    "first": (False, lambda root, run_id: publish(root, run_id, 5, symbols(3)), False),
    "append": (True, lambda root, run_id: publish(root, run_id, 6, symbols(3)), False),
    "restatement": (True, lambda root, run_id: restate(root, run_id, 6, symbols(3)), True),
}


@pytest.mark.slow
@pytest.mark.usefixtures("no_heartbeat")
def test_a_publication_stopped_in_the_bucket_is_completed_by_the_next_run(new_root: NewRoot) -> None:
    base, run, restates = SCENARIOS["restatement"]
    steps, rolled_forward = stop_at_steps(new_root, base, run, restates, every_step=False)
    assert steps > 75
    assert rolled_forward == 1


@pytest.mark.slow
@pytest.mark.usefixtures("no_heartbeat")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_publication_stopped_in_the_bucket_at_every_change_after_staging_is_completed(
    new_root: NewRoot, scenario: str
) -> None:
    base, run, restates = SCENARIOS[scenario]
    steps, rolled_forward = stop_at_steps(new_root, base, run, restates, every_step=True)
    assert steps > 50
    assert rolled_forward > 10


def test_of_many_writers_to_a_bucket_one_wins(new_root: NewRoot) -> None:
    root = new_root()
    won: list[Stage] = []
    refused: list[str] = []
    barrier = threading.Barrier(6)

    def begin(name: str) -> None:
        barrier.wait()
        try:
            won.append(Stage.begin(root, name))
        except LeaseHeld as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin, args=(f"run{k}",)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(refused) == 5
    won[0].abandon("test")


def test_a_writer_to_a_bucket_that_was_overtaken_publishes_nothing(new_root: NewRoot) -> None:
    root = new_root()
    objects = open_objects(root)
    slow = Stage.begin(root, "slow", clock=clock)
    stage_family(slow, 4, symbols(2))
    lease = json.loads(objects.read(LEASE) or b"")
    objects.write(LEASE, json.dumps({**lease, "run_id": "fast"}).encode())
    with pytest.raises(LeaseLost, match="held by run fast"):
        promote_family(slow)
    assert live_bytes(root) == {}


def test_requests_that_fail_for_a_moment_are_repeated(new_root: NewRoot, emulator: Emulator) -> None:
    root = new_root()
    publish(root, "first", 5, symbols(3))
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_family(stage, 6, symbols(3))
        emulator.ask("/fail?count=2&status=503")
        promote_family(stage)
    assert equal(values(root), wanted(6))


def test_lost_permissions_stop_a_run_with_a_message_without_credentials(
    new_root: NewRoot, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = new_root()
    publish(root, "first", 5, symbols(3))
    objects: Any = open_objects(root)
    monkeypatch.setattr(
        objects.filesystem, "_get_headers", lambda headers, **_: {**(headers or {}), "Authorization": "Bearer SECRET"}
    )
    caplog.set_level(logging.DEBUG)
    stage = Stage.begin(objects, "second", clock=clock)
    emulator.ask("/fail?count=10000&status=403")
    with pytest.raises(
        StoreError, match=r"cannot .* under gs://market/.*Forbidden.*permissions, then run again"
    ) as refused:
        stage_family(stage, 6, symbols(3))
    assert "SECRET" not in str(refused.value)
    assert "SECRET" not in caplog.text
    emulator.ask("/fail?count=0&status=403")
    stage.abandon("lost permissions")
    assert equal(values(root), wanted(5))
    publish(root, "third", 6, symbols(3))
    assert equal(values(root), wanted(6))


def test_a_night_takes_a_bounded_number_of_requests_for_each_object(new_root: NewRoot, emulator: Emulator) -> None:
    root = new_root()
    publish(root, "first", 5, symbols(3))
    before = emulator.requests
    record = publish(root, "second", 6, symbols(3))
    assert record is not None
    objects = sum(store["objects"] for store in record.stores.values())
    assert emulator.requests - before < 12 * objects + 100, "staged, copied, and metadata looked at before"


def test_another_process_opens_the_bucket(new_root: NewRoot, emulator: Emulator) -> None:
    root = new_root()
    publish(root, "first", 5, symbols(3))
    code = (
        f"from pipeline.read import open_dataset; print(open_dataset('ds_prices', {root!r}, as_of_manifest=True).sizes)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert "'teo': 5" in said.stdout


def read_in_child(objects: Objects, answers: Any) -> None:
    try:
        objects.read("manifest.json")
        answers.put("read")
    except StoreError as error:
        answers.put(str(error))


def test_a_forked_process_gets_an_error_instead_of_hanging(new_root: NewRoot) -> None:
    objects = open_objects(new_root())
    assert objects.read("manifest.json") is None
    forked = multiprocessing.get_context("fork")
    answers = forked.Queue()
    child = forked.Process(target=read_in_child, args=(objects, answers))
    child.start()
    assert "not fork-safe" in answers.get(timeout=PATIENCE)
    child.join(timeout=PATIENCE)
    assert child.exitcode == 0


WRITER = """
import sys
from tests.store.family import publish, symbols
print("ready", flush=True)
sys.stdin.readline()
publish(sys.argv[1], "run", int(sys.argv[2]), symbols(3))
"""


@pytest.mark.slow
def test_killed_writers_leave_a_bucket_as_an_undisturbed_one(new_root: NewRoot, tmp_path: Path) -> None:
    root = new_root()
    publish(root, "base", 5, symbols(3))
    hit = 0
    for k in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, root, str(6 + k)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=os.environ,
        )  # fmt: skip
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        writer.stdin.write("\n")
        writer.stdin.flush()
        time.sleep(0.2 + 0.2 * k)
        writer.send_signal(signal.SIGKILL)
        hit += writer.wait() == -signal.SIGKILL
        publish(root, "run", 6 + k, symbols(3))
        assert equal(values(root, as_of_manifest=True), wanted(6 + k))
    assert hit >= 3
    publish(tmp_path, "base", 5, symbols(3))
    for k in range(12):
        publish(tmp_path, "run", 6 + k, symbols(3))
    assert stores_of(live_bytes(root)) == stores_of(live_bytes(tmp_path))
