"""`make bench-backfill`: from delivered tables to published stores; killed in the middle and resumed; a night on top.

    python -m tests.bench.backfill [--face cli|dagster|both] [--stocks 300] [--first 2006] [--last 2025] [--keep DIR]
                                   [--write]

The simulated market is delivered as Parquet, with its deaths, splits, dividends, renames, shares and classes. An
undisturbed `erm3 backfill` is the measure. A second root is filled by the same command from what was delivered before
the last session; it gets a `kill -9` in the middle and is started again. `erm3 run` then adds the two last sessions: a
first night, which keeps what it parses, and, once the rows of the last session are delivered, one as all that follow. A
third root is filled by the Dagster job on the instance of dagster.yaml: two range runs, the second one killed and
repeated, and a night. Every array of every store must then be the same, bit for bit. Prints the section of
docs/benchmarks.md, with processor seconds by phase; --write puts it there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.datasets.spec import ROW_CHUNK
from pipeline.read import open_dataset, read_manifest
from pipeline.settings import SimulatedMarket
from pipeline.sources import SimulatedSource
from tests.bench import document
from tests.laid import lay

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 3600.0

Figures = tuple[dict[str, Any], dict[str, Any], str]


def deliver(tables: Path, stocks: int, first: int, last: int) -> dict[str, int]:
    """The simulated market as Parquet files, the prices in parts, with a year of warm-up; rows by table."""
    days = xnys().between(f"{first - 1}-01-01", f"{last}-12-31")
    market = SimulatedMarket(stocks=stocks, first_session=str(days[0]), last_session=str(days[-1]))
    frames = {name: frame for name, frame in SimulatedSource(market).load().frames.items() if len(frame)}
    lay(tables, frames)
    return {name: len(frame) for name, frame in frames.items()}


def hold_back(tables: Path, early: Path, eve: str) -> Path:
    """`tables` at `early` as they were delivered on the eve of their last session. The part that lacks its rows."""
    shutil.copytree(tables, early)
    part = max((early / "prices.parquet").iterdir())
    rows = pd.read_parquet(part)
    rows[rows["date"] <= pd.Timestamp(eve)].to_parquet(part, index=False)
    return part


def environment(root: Path, tables: Path, home: Path | None = None) -> dict[str, str]:
    """The settings of a root, as environment variables."""
    return {
        **os.environ,
        "ERM3_ROOT": str(root),
        "ERM3_SOURCE": "files",
        "ERM3_SOURCE_PATH": str(tables),
        **({} if home is None else {"DAGSTER_HOME": str(home)}),
    }


def erm3(env: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments], cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True
    )


def finished(process: subprocess.Popen[str]) -> str:
    """Waits for a process. Raises CalledProcessError unless it ended well."""
    said, _ = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args, said)
    return said


def reached(root: Path) -> str:
    """The session through which a root is published, "" for none."""
    try:
        return str(read_manifest(root)["complete_through"])
    except Exception:  # not there yet
        return ""


def kill_in_the_middle(process: subprocess.Popen[str], root: Path, middle: str, pause: float) -> str:
    """`kill -9` a while after the session `middle` was published; what was published then."""
    until = time.monotonic() + PATIENCE
    while reached(root) < middle:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the backfill ended at {reached(root)!r}, before {middle}")
        time.sleep(0.2)
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return reached(root)


def differences(a: Path, b: Path) -> list[str]:
    """Arrays that are not the same in two roots, bit for bit, by store and name."""
    found = []
    names = set(read_manifest(a)["stores"])
    if names != set(read_manifest(b)["stores"]):
        return ["the stores"]
    for name in sorted(names):
        with open_dataset(name, a) as one, open_dataset(name, b) as other:
            if set(one.variables) != set(other.variables):
                found.append(f"{name}: its variables")
                continue
            found += [f"{name}/{key}" for key in one.variables if not _same(one[key], other[key])]
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two arrays of stores are the same bit for bit. A block at a time: all of a family is more than memory."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    for at in range(0, one.shape[0], ROW_CHUNK):
        x, y = (np.ascontiguousarray(array[at : at + ROW_CHUNK].values) for array in (one, other))
        if not (np.array_equal(x, y) if x.dtype.kind in "OUT" else x.tobytes() == y.tobytes()):
            return False
    return True


def measured(base: Path, env: dict[str, str], *arguments: str) -> dict[str, Any]:
    """What `tests.bench.measured` says of an `erm3` command."""
    file = base / "measured.json"
    command = [sys.executable, "-m", "tests.bench.measured", str(file), *arguments]
    finished(subprocess.Popen(command, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True))
    return dict(json.loads(file.read_text()))


def command_line(base: Path, tables: Path, first: int, last: int) -> Figures:
    """Figures of the backfill and of a night, and sentences about the backfill that was killed and the first night."""
    start, night, eve = _span(first, last)
    before = str(xnys().between(start, eve)[-2])
    whole, broken = base / "undisturbed", base / "interrupted"
    backfill = measured(base, environment(whole, tables), "backfill", "--start", start, "--end", night)

    early = base / "early"
    part = hold_back(tables, early, eve)
    env, days = environment(broken, early), xnys().between(start, night)
    middle = str(days[ROW_CHUNK * max(len(days) // ROW_CHUNK // 2, 1) - 1])
    watch = Watch()
    at = kill_in_the_middle(erm3(env, "backfill", "--start", start, "--end", before), broken, middle, 3.0)
    finished(erm3(env, "backfill", "--start", start, "--end", before))
    said = f"Killed (`kill -9`) after {at} was published and resumed: {watch}. "
    first_night = measured(base, env, "run", "--start", eve, "--end", eve)
    said += (
        f"The first night after it, which keeps what it parses: {first_night['processor']:.1f} s of the processors. "
    )
    shutil.copyfile(tables / "prices.parquet" / part.name, part)
    of_night = measured(base, env, "run", "--start", night, "--end", night)
    _require(differences(whole, broken), "interrupted, resumed and a night on top")
    said += (
        f"With the night of {night} on top as well, every array of every store is that of the undisturbed backfill, "
    )
    return backfill, of_night, f"{said}bit for bit."


def section(stocks: int, first: int, last: int, rows: dict[str, int], figures: Figures) -> str:
    """The section of docs/benchmarks.md."""
    backfill, night, killed = figures
    kernels = sum(backfill["kernels"].values())
    named = sorted({*backfill["phases"], *night["phases"]}, key=lambda phase: -backfill["phases"].get(phase, 0.0))
    table = [
        f"| {phase} | {backfill['phases'].get(phase, 0.0):.1f} | {night['phases'].get(phase, 0.0):.2f} |"
        for phase in named
    ]
    totals = [
        f"| **processor seconds** | **{backfill['processor']:.0f}** | **{night['processor']:.1f}** |",
        f"| of these in our kernels | {kernels:.1f} | {sum(night['kernels'].values()):.2f} |",
        f"| seconds on the wall | {backfill['wall']:.0f} | {night['wall']:.0f} |",
        f"| peak memory, GB | {backfill['peak'] / 1e9:.1f} | {night['peak'] / 1e9:.1f} |",
    ]
    told = (
        f"Made by `make bench-backfill STOCKS={stocks} FIRST={first}`: {stocks:,} simulated stocks alive on the first "
        f"session, {first} to {last}, delivered as Parquet with their deaths, splits, dividends, renames, shares and "
        f"classes ({rows['securities']:,} securities, {rows['prices']:,} bars, a year of warm-up included). One "
        "`erm3 backfill` reads these tables and publishes audited stores; one `erm3 run` adds the last session to a "
        "root that has all those before it, in a process of its own, as every night but the first: the newest "
        "half-year of the prices has changed since the one before it. Processor seconds by phase, start of the program "
        "included; the kernels are part of the phases. Seconds on the wall are of a machine that others used as well."
    )
    ratio = f"A backfill costs {backfill['processor'] / kernels:.1f} times what its kernels cost."
    lines = ["| phase | backfill | night |", "|---|---|---|", *table, *totals]
    paragraphs = [textwrap.fill(text, 100) for text in (told, f"{ratio} {killed}")]
    return "\n\n".join([paragraphs[0], "\n".join(lines), paragraphs[1]]) + "\n"


def dagster(base: Path, tables: Path, first: int, last: int) -> None:
    start, night, eve = _span(first, last)
    whole, root, home = base / "undisturbed", base / "dagster", base / "dagster_home"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text((REPOSITORY / "dagster.yaml").read_text())
    env = environment(root, tables, home)
    days = xnys().sessions
    middle = xnys().ordinal(xnys().between(start, f"{(first + last) // 2}-12-31")[-1])

    def one_run(a: str, b: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.bench.backfill", "--run", a, b],
            cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    watch = Watch()
    figures = [json.loads(finished(one_run(start, str(days[middle]))).splitlines()[-1])]
    process = one_run(str(days[middle + 1]), eve)
    kill_in_the_middle(process, root, str(days[middle]), 5.0)
    assert reached(root) == str(days[middle]), "a run that was killed has published nothing"
    figures.append(json.loads(finished(one_run(str(days[middle + 1]), eve)).splitlines()[-1]))
    print(f"Dagster, two range runs, the second one killed and repeated: {watch}")
    for one in figures:
        print(json.dumps(one))
    watch = Watch()
    finished(one_run(night, night))
    print(f"the night of {night} on top, in a process of its own: {watch}", flush=True)
    if whole.exists():
        _require(differences(whole, root), "Dagster")


def one_dagster_run(first: str, last: str) -> None:
    """Materialise every asset over a range in one run of the job, and print where the seconds went."""
    import dagster as dg

    from assets.definitions import build_definitions
    from assets.event_log import BatchedSqliteEventLog
    from assets.partitions import range_tags

    spent = {"events": 0, "event log": 0.0}

    def counted(name: str) -> None:
        inner = getattr(BatchedSqliteEventLog, name)

        def store(self: Any, given: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(self, given)
            finally:
                spent["event log"] += time.perf_counter() - began
                spent["events"] += len(given) if isinstance(given, list) else 1

        setattr(BatchedSqliteEventLog, name, store)

    counted("store_event_batch")
    began = time.perf_counter()
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, BatchedSqliteEventLog)
        done = (
            build_definitions()
            .resolve_job_def("nightly")
            .execute_in_process(instance=instance, tags=range_tags(first, last))
        )
        assert done.success
        total = time.perf_counter() - began
        stats = instance.get_run_step_stats(done.run_id)
        steps = {s.step_key: round((s.end_time or 0) - (s.start_time or 0), 1) for s in stats}
    figures = {
        "range": [first, last],
        "seconds": round(total, 1),
        "before and after the steps": round(total - sum(steps.values()), 1),
        "event log": round(spent["event log"], 1),
        "events": spent["events"],
        "steps": steps,
    }
    print(json.dumps(figures))


def _span(first: int, last: int) -> tuple[str, str, str]:
    """First session, last session, and the one before the last."""
    days = xnys().between(f"{first}-01-01", f"{last}-12-31")
    return str(days[0]), str(days[-1]), str(days[-2])


class Watch:
    """Seconds on the wall, and of the processors in the processes that have ended."""

    def __init__(self) -> None:
        self.began, self.used = time.perf_counter(), _processor_seconds()

    def __str__(self) -> str:
        used = _processor_seconds() - self.used
        return f"{time.perf_counter() - self.began:.0f} s ({used:.0f} s of the processors)"


def _processor_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _require(found: list[str], what: str) -> None:
    if found:
        raise SystemExit(f"{what}: {len(found)} arrays differ from the undisturbed backfill: {', '.join(found[:8])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--face", choices=["cli", "dagster", "both"], default="cli")
    parser.add_argument("--stocks", type=int, default=300)
    parser.add_argument("--first", type=int, default=2006, help="first published year")
    parser.add_argument("--last", type=int, default=2025, help="last published year")
    parser.add_argument("--keep", type=Path, help="directory for the roots, which then stay")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        one_dagster_run(*given.run)
        return
    with tempfile.TemporaryDirectory() as temporary:
        base = given.keep or Path(temporary)
        base.mkdir(parents=True, exist_ok=True)
        tables = base / "tables"
        rows = deliver(tables, given.stocks, given.first, given.last)
        if given.face in ("cli", "both"):
            text = section(
                given.stocks, given.first, given.last, rows, command_line(base, tables, given.first, given.last)
            )
            print(text)
            if given.write:
                report = REPOSITORY / document.REPORT
                report.write_text(document.from_tables(report.read_text(), text))
        if given.face in ("dagster", "both"):
            dagster(base, tables, given.first, given.last)


if __name__ == "__main__":
    main()
