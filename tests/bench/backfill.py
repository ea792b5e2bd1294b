"""`make bench-backfill`: from delivered tables to published stores; killed in the middle and resumed; a night on top.

    python -m tests.bench.backfill [--face cli|dagster|both] [--stocks 300] [--first 2006] [--last 2025] [--keep DIR]
                                   [--write]

The simulated market is delivered as Parquet, with its deaths, splits, dividends, renames, shares and classes. An
undisturbed `erm3 backfill` is the measure. A second root is filled by the same command from what was delivered before
the last session; it gets a `kill -9` in the middle and is started again. `erm3 run` then adds the two last sessions: a
first night, which keeps what it parses, and, once the rows of the last session are delivered, one as all that follow. A
third root is filled by the Dagster job on the instance of dagster.yaml: two range runs, the second one killed and
repeated, and a night. Every array of every store must then be the same, bit for bit. `tests.bench.targets` measures
what else was asked. Prints the section of docs/benchmarks.md, with processor seconds by phase; --write puts it there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

from pipeline.calendar import xnys
from pipeline.datasets.spec import ROW_CHUNK
from pipeline.read import read_manifest
from tests.bench import document, targets
from tests.bench.roots import (
    PATIENCE,
    REPOSITORY,
    Watch,
    deliver,
    differences,
    environment,
    erm3,
    finished,
    hold_back,
    measured,
    span,
)
from tests.bench.targets import Market, dagster_run, lay_instance

Figures = tuple[dict[str, Any], dict[str, Any], targets.Beside, str]


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


def command_line(base: Path, tables: Path, market: Market) -> Figures:
    """Figures of the backfill, of a night and beside them, and sentences about the backfill that was killed."""
    start, night, eve = span(market.first, market.last)
    before = str(xnys().between(start, eve)[-2])
    whole, broken, early, by_dagster = (base / name for name in ("undisturbed", "interrupted", "early", "by_dagster"))
    backfill = measured(base, environment(whole, tables), "backfill", "--start", start, "--end", night)

    part = hold_back(tables, early, eve)
    env, days = environment(broken, early), xnys().between(start, night)
    middle = str(days[ROW_CHUNK * max(len(days) // ROW_CHUNK // 2, 1) - 1])
    watch = Watch()
    at = kill_in_the_middle(erm3(env, "backfill", "--start", start, "--end", before), broken, middle, 3.0)
    finished(erm3(env, "backfill", "--start", start, "--end", before))
    said = f"Killed (`kill -9`) after {at} was published and resumed: {watch}. "
    first_night = targets.first_night(base, env, tables, part, eve)
    said += f"The first night after it, which keeps what it parses: {first_night:.1f} s of the processors. "
    shutil.copytree(broken, by_dagster, symlinks=True)
    of_night = measured(base, env, "run", "--start", night, "--end", night)
    _require(differences(whole, broken), "interrupted, resumed and a night on top")
    beside = targets.beside(base, market, whole, by_dagster, early, night)
    _require(differences(whole, by_dagster), "a night through Dagster on top")
    said += (
        f"With the night of {night} on top as well, by the command line or through Dagster, every array of every "
        "store is that of the undisturbed backfill, bit for bit."
    )
    return backfill, of_night, beside, said


def section(market: Market, rows: dict[str, int], figures: Figures) -> str:
    """The section of docs/benchmarks.md."""
    backfill, night, beside, killed = figures
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
        f"Made by `make bench-backfill STOCKS={market.stocks} FIRST={market.first}`: {market.stocks:,} simulated "
        f"stocks alive on the first session, {market.first} to {market.last}, delivered as Parquet with their deaths, "
        f"splits, dividends, renames, shares and classes ({rows['securities']:,} securities, {rows['prices']:,} bars, "
        "a year of warm-up included). One `erm3 backfill` reads these tables and publishes audited stores; one `erm3 "
        "run` adds the last session to a root that has all those before it, in a process of its own, as every night "
        "but the first: the newest half-year of the prices has changed since the one before it. Processor seconds by "
        "phase, start of the program included; the kernels are part of the phases. Seconds on the wall are of a "
        "machine that others used as well."
    )
    asked = (
        "What is asked is of 3,000 stocks and twenty years, on two idle cores. The night is the same one on the "
        "command line and through Dagster, each in a process that starts for it. Slopes are log-log, from the size "
        "named to the whole."
    )
    lines = "\n".join(["| phase | backfill | night |", "|---|---|---|", *table, *totals])
    told, killed, asked = (textwrap.fill(text, 100) for text in (told, killed, asked))
    return "\n\n".join([told, lines, killed, asked, targets.table(market, backfill, night, beside)]) + "\n"


def dagster(base: Path, tables: Path, market: Market) -> None:
    start, night, eve = span(market.first, market.last)
    whole, root, home = base / "undisturbed", base / "dagster", base / "dagster_home"
    lay_instance(home)
    env, days = environment(root, tables, home), xnys().sessions
    middle = xnys().ordinal(xnys().between(start, f"{(market.first + market.last) // 2}-12-31")[-1])

    watch = Watch()
    figures = [json.loads(finished(dagster_run(env, start, str(days[middle]))).splitlines()[-1])]
    process = dagster_run(env, str(days[middle + 1]), eve)
    kill_in_the_middle(process, root, str(days[middle]), 5.0)
    assert reached(root) == str(days[middle]), "a run that was killed has published nothing"
    figures.append(json.loads(finished(dagster_run(env, str(days[middle + 1]), eve)).splitlines()[-1]))
    print(f"Dagster, two range runs, the second one killed and repeated: {watch}")
    for one in figures:
        print(json.dumps(one))
    watch = Watch()
    finished(dagster_run(env, night, night))
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
        tables, market = base / "tables", Market(given.stocks, given.first, given.last)
        rows = deliver(tables, given.stocks, given.first, given.last)
        if given.face in ("cli", "both"):
            text = section(market, rows, command_line(base, tables, market))
            print(text)
            if given.write:
                report = REPOSITORY / document.REPORT
                report.write_text(document.from_tables(report.read_text(), text))
        if given.face in ("dagster", "both"):
            dagster(base, tables, market)


if __name__ == "__main__":
    main()
