"""What the machine refuses: signals, address space, memory, files. A sentence, an exit status, the lease given back."""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.outside import machine
from pipeline.store.stage import Stage
from security_master.errors import FileRefused, at_file
from tests.gates import PATIENCE

PROGRAM = """
import sys
from pathlib import Path
from pipeline import __main__
from pipeline.cli import runs
from pipeline.store.stage import Stage

@runs.app.command()
def wait(root: str):
    with Stage.begin(root, "night"):
        Path(root, "begun").touch()
        import time
        time.sleep(600)

__main__.main()
"""


def as_in_a_terminal() -> None:
    """Tests may run in the background (`nohup`, `&`), where signals are ignored; the command shall not inherit that."""
    for number in machine.ENDINGS:
        signal.signal(number, signal.SIG_DFL)


def waiting(root: Path, before: str = "") -> subprocess.Popen[str]:
    """A command that has begun a run and is in the middle of it."""
    words = [sys.executable, "-c", before + PROGRAM, "wait", str(root)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, preexec_fn=as_in_a_terminal)
    while not (root / "begun").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("number", machine.ENDINGS, ids=lambda number: number.name)
def test_a_signal_ends_a_run_in_order(tmp_path: Path, number: signal.Signals) -> None:
    process = waiting(tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert said.startswith(f"ended by {number.name}: readers see a whole publication; the lease was given back")
    assert f"{tmp_path}/.staging/night" in said
    assert "Traceback" not in said
    assert not (tmp_path / ".lease").exists()
    assert f"ended by {number.name}" in (tmp_path / ".staging/night/stage.json").read_text()
    Stage.begin(tmp_path, "next").abandon("test")


def test_a_signal_that_was_ignored_stays_ignored(tmp_path: Path) -> None:
    process = waiting(tmp_path, "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=PATIENCE) == 128 + signal.SIGTERM


def limited(what: int, size: int, *words: object) -> subprocess.CompletedProcess[str]:
    """A command under a limit, without what `make coverage` would write in it and cannot then."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, words)],
        preexec_fn=lambda: resource.setrlimit(what, (size, size)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=env | {"ERM3_SIMULATED__STOCKS": "20", "ERM3_SIMULATED__LAST_SESSION": "2018-03-29"},
    )


@pytest.mark.parametrize("mib", [200, 800, 2000])
def test_with_too_little_address_space_the_process_ends_with_a_sentence(mib: int) -> None:
    done = limited(resource.RLIMIT_AS, mib << 20, "quality", "rules")
    assert done.returncode == 1
    assert done.stderr.startswith(f"erm3: this process may use {mib:,} MiB of address space, and needs 3,072")
    assert done.stderr.count("\n") == 1


def test_with_enough_address_space_a_command_runs() -> None:
    assert limited(resource.RLIMIT_AS, machine.ADDRESS_SPACE, "quality", "rules").returncode == 0


def test_a_limit_on_the_size_of_files_is_a_sentence_and_gives_the_lease_back(tmp_path: Path) -> None:
    importlib.import_module("pipeline.model")  # compiled kernels are files, too
    root = tmp_path / "root"
    words = ("run", "--start", "2018-03-01", "--end", "2018-03-05", "--quiet", "--root", root)
    done = limited(resource.RLIMIT_FSIZE, 20_000, *words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(root) in done.stderr
    assert not (root / ".lease").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EFBIG])
def test_what_the_machine_refuses_names_the_file_and_the_way_out(number: int) -> None:
    said = r"/here/facts\.parquet: .*\. Make room, mend"
    with pytest.raises(FileRefused, match=said), at_file("/here/facts.parquet"):
        raise OSError(number, os.strerror(number))


def test_memory_that_is_full_is_explained_and_a_broken_pipe_is_not() -> None:
    said = machine.explained(MemoryError("Unable to allocate 3 GiB"))
    assert said is not None
    assert "Unable to allocate 3 GiB" in said[1]
    assert machine.explained(BrokenPipeError(errno.EPIPE, "Broken pipe")) is None
    assert machine.explained(KeyError("column")) is None


THREADS_THAT_FREE = """
import sys, threading
from pipeline.outside import machine
if sys.argv[1] == "shared":
    machine.share_freed_memory()
large = bytearray(30 << 20)
del large  # from here on glibc does not ask the system for each large block
kept, done = [], threading.Event()

def work():
    large = bytearray(24 << 20)
    kept.append(bytearray(100_000))
    del large
    turn.set()
    done.wait()

for _ in range(8):
    turn = threading.Event()
    threading.Thread(target=work, daemon=True).start()
    turn.wait()
print(int(open("/proc/self/status").read().partition("VmRSS:")[2].split()[0]) // 1024)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_what_a_thread_has_freed_another_one_takes():
    held = {
        how: int(subprocess.run([sys.executable, "-c", THREADS_THAT_FREE, how], capture_output=True, check=True).stdout)
        for how in ("shared", "as it was")
    }
    assert held["as it was"] - held["shared"] > 100, f"MB: {held}"


BEGINNINGS = {
    "the command line": "import pipeline.__main__ as erm3; given = sys.argv; sys.argv = ['erm3', '--version']\n"
    "    try:\n        erm3.main()\n    finally:\n        sys.argv = given",
    "the page": "import assets",
}


TUNED = {"OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


@pytest.mark.parametrize("begin", BEGINNINGS.values(), ids=BEGINNINGS.keys())
@pytest.mark.parametrize("said", [{}, {"OPENBLAS_NUM_THREADS": "3", "ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}])
def test_libraries_are_tuned_before_they_are_there_unless_somebody_says_otherwise(begin, said):
    own = {name: value for name, value in os.environ.items() if name not in TUNED}
    told = f"import sys\ntry:\n    {begin}\nexcept SystemExit:\n    pass\n"
    told += "import os; print({'numpy', 'pyarrow'} & {*sys.modules}, *(os.environ[name] for name in sys.argv[1:]))"
    command = [sys.executable, "-c", told, *TUNED]
    done = subprocess.run(command, env=own | said, capture_output=True, check=True, text=True)
    assert done.stdout.splitlines()[-1] == " ".join(["set()", *(TUNED | said).values()])


def test_what_is_imported_stays_and_garbage_is_searched_for_afterwards():
    program = (
        "import gc\nfrom pipeline.outside.machine import importing\n"
        "before = gc.get_freeze_count()\n"
        "try:\n    with importing():\n        import decimal\n"
        "        assert not gc.isenabled()\n        raise KeyError\n"
        "except KeyError:\n    assert gc.isenabled() and gc.get_freeze_count() > before"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
