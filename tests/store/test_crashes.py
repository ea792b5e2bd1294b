"""A run that stops at any change it makes, or is killed at any moment, hurts no reader and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.read import open_dataset
from pipeline.store import publish_local
from pipeline.store.local_objects import LocalObjects
from pipeline.store.objects import StoreError
from pipeline.store.stage import Stage
from tests.gates import PATIENCE
from tests.store.family import FAMILY, bury, expected, live_bytes, publish, restate, symbols

pytestmark = pytest.mark.usefixtures("no_heartbeat")
Run = Callable[[LocalObjects, str], object]


class Stopped(BaseException):
    """The process is gone: nothing after it runs, so no handler of errors may catch it."""


class StopAt:
    """Counts changes and stops at the n-th, and at every later one, as a dead process would."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.changes: list[str] = []

    def __call__(self, verb: str, key: str) -> None:
        self.changes.append(f"{verb} {key}")
        if len(self.changes) >= self.n:
            raise Stopped(f"{verb} {key}")


def first(root: LocalObjects, run_id: str) -> object:
    return publish(root, run_id, 5, symbols(3))


def append(root: LocalObjects, run_id: str) -> object:
    return publish(root, run_id, 6, symbols(4))


def restatement(root: LocalObjects, run_id: str) -> object:
    return restate(root, run_id, 6, symbols(3))


SCENARIOS: dict[str, tuple[bool, Run]] = {
    "first": (False, first),
    "append": (True, append),
    "restatement": (True, restatement),
}


def prepared(tmp_path: Path, name: str, with_base: bool) -> Path:
    """A root with one publication, or an empty one."""
    root = tmp_path / name
    if with_base:
        publish(root, "base", 5, symbols(3))
    return root


def readable(root: Path, states: list[dict[str, str]]) -> int:
    """Which of the states a reader sees: every store opens and the bytes are exactly those of one state."""
    seen = live_bytes(root)
    assert seen in states, "readers see a mixture of two publications"
    for name in FAMILY if seen else ():
        open_dataset(name, root, as_of_manifest=True).load()
    return states.index(seen)


def every_step(tmp_path: Path, scenario: str, stride: int = 1) -> tuple[int, int]:
    """Stops a scenario at each change. Returns how many there are, and after how many stops readers saw the new."""
    with_base, run = SCENARIOS[scenario]
    undisturbed = prepared(tmp_path, "undisturbed", with_base)
    before = live_bytes(undisturbed)
    counter = StopAt(10**9)
    objects = LocalObjects(undisturbed)
    objects.on_change = counter
    run(objects, "run")
    states = [before, live_bytes(undisturbed)]
    base = prepared(tmp_path, "base", with_base)
    switched = 0
    last = len(counter.changes)
    for n in sorted({*range(1, last, stride), *range(last - 5, last + 1)}):
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        if with_base:
            shutil.copytree(base, root, symlinks=True)
        objects = LocalObjects(root)
        objects.on_change = StopAt(n)
        with pytest.raises(Stopped):
            run(objects, "run")
        switched += readable(root, states)
        bury(root)
        run(LocalObjects(root), "run")
        assert readable(root, states) == 1, f"after a stop at {objects.on_change.changes[-1]}"
        left = sorted(p.name for p in (root / ".publications").iterdir())
        assert left == sorted(p.name for p in (undisturbed / ".publications").iterdir())
        assert not (root / ".staging").exists()
    return last, switched


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_stopped_at_a_change_is_taken_up_by_the_next_as_if_nothing_had_been(
    tmp_path: Path, scenario: str
) -> None:
    steps, switched = every_step(tmp_path, scenario, stride=7)
    assert steps > 75
    assert switched >= 1


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_stopped_at_every_single_change_is_taken_up_by_the_next(tmp_path: Path, scenario: str) -> None:
    steps, switched = every_step(tmp_path, scenario)
    assert steps > 75
    assert 1 <= switched < 20


FAULTS = [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EACCES, "Permission denied")]


@pytest.mark.parametrize(
    ("scenario", "fault"),
    [("first", FAULTS[0]), ("append", FAULTS[1]), ("restatement", FAULTS[0])],
    ids=lambda value: getattr(value, "strerror", value),
)
def test_a_full_disk_or_lost_permissions_stop_a_run_with_a_message_and_hurt_nobody(
    tmp_path: Path, scenario: str, fault: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_base, run = SCENARIOS[scenario]
    undisturbed = prepared(tmp_path, "undisturbed", with_base)
    states = [live_bytes(undisturbed)]
    run(LocalObjects(undisturbed), "run")
    states.append(live_bytes(undisturbed))
    base = prepared(tmp_path, "base", with_base)
    calls = {name: getattr(os, name) for name in ("replace", "link", "symlink", "rename", "fsync")}
    refusals = 0
    for k, (name, call) in enumerate(calls.items()):
        for after in (0, 9):
            root = tmp_path / f"root{k}-{after}"
            if with_base:
                shutil.copytree(base, root, symlinks=True)
            left = [after]

            def failing(*args: object, call=call, left=left, **kwargs: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    raise fault
                return call(*args, **kwargs)

            monkeypatch.setattr(os, name, failing)
            said = refusal(run, root)
            monkeypatch.setattr(os, name, call)
            refusals += said is not None
            assert said is None or (fault.strerror in said and "again" in said)
            readable(root, states)
            bury(root)
            run(LocalObjects(root), "again")
            assert len(live_bytes(root)) == len(states[1])
    assert refusals >= 5


def not_on_disk(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What of the new publication could be lost in a power cut right after readers were switched to it."""
    synced: set[int] = set()
    lost: list[str] = []
    sync, replace = os.fsync, os.replace

    def switching(source: str | Path, target: str | Path) -> None:
        if Path(target).name == "current":
            new = Path(target).parent / os.readlink(source)
            below = [Path(folder) / name for folder, _, names in os.walk(new) for name in ("", *names)]
            held = [root, new.parent, *below]
            lost.extend(str(path.relative_to(root)) for path in held if path.stat().st_ino not in synced)
        replace(source, target)

    with monkeypatch.context() as watched:
        watched.setattr(os, "fsync", lambda number: (synced.add(os.fstat(number).st_ino), sync(number))[1])
        watched.setattr(os, "replace", switching)
        run(LocalObjects(root), "run")
    assert len(synced) > 20, "nothing was watched"
    return lost


def test_all_that_readers_will_see_is_on_the_disk_before_they_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not_on_disk(tmp_path / "first", first, monkeypatch) == []
    sync = publish_local._sync
    monkeypatch.setattr(publish_local, "_sync", lambda path: path.is_dir() and sync(path))
    lost = not_on_disk(tmp_path / "second", first, monkeypatch)
    assert any("/ds_prices.zarr/" in name for name in lost), "files that were not synced went unnoticed"


def refusal(run: Run, root: Path) -> str | None:
    """The message with which a run is refused, None when it is not."""
    try:
        run(LocalObjects(root), "run")
    except StoreError as error:
        return str(error)
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_on_a_disk_that_is_really_full_nothing_published_is_hurt(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not let tests mount")
    try:
        publish(disk / "root", "first", 5, symbols(3))
        before = live_bytes(disk / "root")
        free = shutil.disk_usage(disk).free
        (disk / "ballast").write_bytes(os.urandom(free - 20_000))
        with pytest.raises(StoreError, match="No space left on device"):
            publish(disk / "root", "second", 5 + 200, symbols(300))
        assert live_bytes(disk / "root") == before
        (disk / "ballast").unlink()
        publish(disk / "root", "third", 6, symbols(3))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(StoreError, match="Read-only file system"):
            publish(disk / "root", "fourth", 7, symbols(3))
        assert open_dataset("ds_prices", disk / "root").sizes["teo"] == 6
    finally:
        subprocess.run(["umount", disk], check=True)


WRITER = """
import sys
from tests.store.family import publish, restate, symbols
root, kind, count, version = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
if kind == "append":
    publish(root, "run", count, symbols(3))
else:
    restate(root, "run", count, symbols(3), version)
"""

READER = """
import sys
from pathlib import Path
import numpy as np, xarray as xr
from pipeline.read import open_dataset
from pipeline.store import publish_local
from pipeline.store.objects import StoreError
from tests.store.family import FAMILY, expected
root, plain, reads, pause = sys.argv[1], sys.argv[2] == "plain", 0, 0
while not Path(root, "stop").exists():
    for name, spec in FAMILY.items():
        try:
            dataset = open_dataset(name, root, as_of_manifest=True)
            if plain:
                dataset = xr.open_zarr(f"{root}/{name}.zarr", chunks=None)
        except StoreError as error:
            assert "nothing is published" in str(error)
            pause += 1
            continue
        rows, versions = dataset.sizes["teo"], {0, 1}
        for var in spec.variables:
            found = dataset[var.name].values
            matching = set()
            for version in versions:
                levels = [
                    expected(var.name, var.dtype, slice(0, rows), slice(0, found.shape[1]), level, version)
                    for level in range(len(spec.levels) or 1)
                ]
                wanted = np.stack(levels, -1) if "level" in var.dims else levels[0]
                if np.array_equal(found, wanted, equal_nan=var.dtype == "float32"):
                    matching.add(version)
            assert matching, (name, var.name, rows)
            versions &= matching
            reads += 1
print(reads)
"""

Step = tuple[str, int, int]


def do(root: Path, step: Step) -> None:
    kind, count, version = step
    if kind == "append":
        publish(root, "run", count, symbols(3))
    else:
        restate(root, "run", count, symbols(3), version)


def kill_at_random_moments(
    tmp_path: Path, steps: list[Step], base: bool, reader_kind: str, seed: int
) -> tuple[int, int]:
    """Kills a publishing process in each step while another process reads. Returns (kills that hit, reads)."""
    root = prepared(tmp_path, "root", base)
    root.mkdir(parents=True, exist_ok=True)
    reader = subprocess.Popen([sys.executable, "-c", READER, str(root), reader_kind], stdout=subprocess.PIPE, text=True)
    rng = random.Random(seed)
    hit = 0
    for step in steps:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), *map(str, step)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        writer.stdin.write("\n")
        writer.stdin.flush()
        time.sleep(rng.random() * 0.25)
        writer.send_signal(signal.SIGKILL)
        hit += writer.wait() == -signal.SIGKILL
        do(root, step)
        assert reader.poll() is None, "the reader saw something wrong"
    (root / "stop").touch()
    said, _ = reader.communicate(timeout=PATIENCE)
    assert reader.returncode == 0
    undisturbed = prepared(tmp_path, "undisturbed", base)
    for step in steps:
        do(undisturbed, step)
    assert stores_of(live_bytes(root)) == stores_of(live_bytes(undisturbed))
    return hit, int(said)


def stores_of(live: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in live.items() if ".zarr/" in key}


def test_a_killed_writer_leaves_readers_and_the_next_run_undisturbed(tmp_path: Path) -> None:
    steps: list[Step] = [("append", 6, 0), ("restate", 6, 1), ("restate", 6, 0)]
    hit, reads = kill_at_random_moments(tmp_path, steps, True, "resolved", seed=7)
    assert reads > 0
    assert hit >= 1


@pytest.mark.slow
def test_a_hundred_killed_appends_leave_plain_readers_undisturbed(tmp_path: Path) -> None:
    steps: list[Step] = [("append", 6 + k, 0) for k in range(100)]
    hit, reads = kill_at_random_moments(tmp_path, steps, True, "plain", seed=1)
    assert hit > 50
    assert reads > 1000


@pytest.mark.slow
def test_eighty_killed_restatements_leave_readers_on_one_publication(tmp_path: Path) -> None:
    steps: list[Step] = [("append", 6, 0), *(("restate", 6, 1 - k % 2) for k in range(80))]
    hit, reads = kill_at_random_moments(tmp_path, steps, True, "resolved", seed=2)
    assert hit > 40
    assert reads > 1000


@pytest.mark.slow
def test_twenty_killed_first_publications_leave_nothing_half_there(tmp_path: Path) -> None:
    hits = [kill_at_random_moments(tmp_path / str(k), [("append", 5, 0)], False, "plain", seed=k)[0] for k in range(20)]
    assert sum(hits) > 10


def test_abandoned_staging_and_unfinished_publications_are_cleared_with_a_message(tmp_path: Path) -> None:
    root = prepared(tmp_path, "root", True)
    objects = LocalObjects(root)

    dead = []

    def stop_at_the_switch(verb: str, key: str) -> None:
        if dead or verb == "switch":
            dead.append(key)
            raise Stopped

    objects.on_change = stop_at_the_switch
    with pytest.raises(Stopped):
        append(objects, "run")
    bury(root)
    with Stage.begin(root, "next") as stage:
        assert [notice.split(" of ")[0] for notice in stage.notices] == [
            "took over the expired lease",
            "removed the unfinished publication 000002-run",
            "removed what run run had staged and not published",
        ]
        assert np.array_equal(
            stage.create_or_open(FAMILY["ds_prices"]).read("return"),
            expected("return", "float32", slice(0, 5), slice(0, 3)),
            equal_nan=True,
        )
