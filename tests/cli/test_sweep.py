"""Every command on roots and arguments that are missing, empty or something else: a sentence and an exit status."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from pipeline.cli.runs import app
from security_master import MASTER_FILE
from tests.engine.conftest import whole  # noqa: F401 (fixture)
from tests.engine.published_market import seen_by_readers

SPAN = "--start 2020-01-02 --end 2020-01-03"
READING = {
    "touched": "touched --from 2020-01-02 --to 2020-01-03",
    "history": "history",
    "verify": "verify",
    "effectiveness": "effectiveness",
    "repair": "repair",
    "show": "show AAPL --on 2020-01-02",
    "quality list": "quality list",
    "quality release": "quality release AAPL 2020-01-02 --reason seen",
    "quality report": "quality report",
    "security resolve": "security resolve AAPL --as-of 2020-01-02",
    "security history": "security history S1",
    "security lineage": "security lineage S1",
    "security explain": "security explain AAPL --as-of 2020-01-02",
    "security changes": "security changes --from 2020-01-02T00:00:00Z --to 2020-01-03T00:00:00Z",
    "security queue": "security queue",
    "security decide": "security decide Q1 new --by me --reason seen",
    "security coverage": "security coverage",
    "metrics": "metrics AAPL",
    "decompose": "decompose AAPL",
    "returns": "returns AAPL",
    "lstar": "lstar AAPL",
    "panel": "panel",
    "bridge": "bridge AAPL",
    "screen": "screen mkt_cap",
    "restate": "restate --from 2020-01-02 --reason late",
    "tickers": "tickers",
    "plot": "plot betas AAPL",
    "portfolio": "portfolio held.csv",
    "nightly": "nightly --now 2020-01-03T12:00:00",
    "doctor": "doctor --now 2020-01-03T12:00:00",
    "quality confirm": "quality confirm AAPL 2020-01-02 --reason seen",
    "raw list": "raw list",
    "raw show": "raw show x",
    "raw verify": "raw verify",
    "raw stat": "raw stat",
}
"""Commands that work on what is in a root."""

DELIVERED = {
    "run": f"run {SPAN} --quiet",
    "backfill": "backfill --start 2020-01-02 --quiet",
    "security build": "security build",
    "quality late": "quality late --known-as-of 2020-01-03",
}
"""Commands that read a delivery."""

ALONE = {"serve", "fake-vendor", "practice", "demo", "new", "check", "fetch", "quality rules", "quality score",
         "quality alarms", "quality compare"}  # fmt: skip
"""Commands that ask no root and no configured delivery; wrong arguments of theirs are below."""

NO_TABLE = {"serve", "fake-vendor", "practice", "new", "fetch", "plot", "repair", "raw show", "raw verify",
            "quality release", "quality confirm", "quality report"}  # fmt: skip
"""Commands that print lines of text or write files; all others have `--json`."""


def every_command(command: Any = None, way: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(name, command) of all that can be asked."""
    command = command or get_command(app)
    for name, one in getattr(command, "commands", {}).items():
        yield from every_command(one, (*way, name))
    if not hasattr(command, "commands"):
        yield " ".join(way), command


def test_no_command_is_left_out_here() -> None:
    asked_here = [*READING, *DELIVERED, *ALONE]
    assert sorted(asked_here) == sorted(name for name, _ in every_command())


def test_every_command_that_prints_a_table_prints_json_too() -> None:
    without = {
        name for name, command in every_command() if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == NO_TABLE


def emptied(path: Path) -> None:
    path.mkdir()
    (path / MASTER_FILE).touch()


def foreign(path: Path) -> None:
    path.mkdir()
    with sqlite3.connect(path / MASTER_FILE) as other:
        other.execute("CREATE TABLE security (a)")


def no_database(path: Path) -> None:
    path.mkdir()
    (path / MASTER_FILE).write_bytes(b"not a database at all" * 100)


def directory_for_a_file(path: Path) -> None:
    (path / MASTER_FILE).mkdir(parents=True)


ROOTS: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: None,
    "empty": Path.mkdir,
    "a file": Path.touch,
    "an emptied master": emptied,
    "a database of another program": foreign,
    "no database": no_database,
    "a directory for a file": directory_for_a_file,
}

QUICK = ("absent", "a file", "an emptied master")
"""Roots on which every command is tried in the quick suite too."""


def asked(command: str, *more: object) -> Result:
    return CliRunner().invoke(app, [*command.split(), *map(str, more)])


def is_a_sentence(done: Result, *, fails: bool = True) -> str:
    """What the command said; it must have ended by itself, and not with a fault of the program."""
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in ((1, 2) if fails else (0, 1)), done.output
    assert "Traceback" not in done.output
    assert done.output.strip()
    return done.output


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", READING.values(), ids=READING)
@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in ROOTS]
)
def test_a_command_says_what_is_wrong_with_a_root(command: str, kind: str, tmp_path: Path) -> None:
    root = tmp_path / "root[red]"
    ROOTS[kind](root)
    Path("held.csv").write_text("ticker,dollars\nAAPL,1\n")
    said = is_a_sentence(asked(command, "--root", root), fails=command != "repair")
    assert "Empty DataFrame" not in said
    asks_the_master = command.startswith("security") and command != READING["security coverage"]
    if asks_the_master and kind in ("an emptied master", "a database of another program", "no database"):
        assert str(root / MASTER_FILE) in said


@pytest.mark.parametrize("command", DELIVERED.values(), ids=DELIVERED)
@pytest.mark.parametrize("kind", ["absent", "empty", "a file", "a directory for a table", "no table"])
def test_a_command_says_what_is_wrong_with_a_delivery(command: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "delivery[b]"
    if kind == "a file":
        path.touch()
    elif kind != "absent":
        path.mkdir()
    if kind == "a directory for a table":
        (path / "securities.csv").write_text("vendor_code,ticker,type\nA,A,common\n")
        (path / "prices.parquet").mkdir()
    if kind == "no table":
        (path / "securities.parquet").write_bytes(b"no table")
    said = is_a_sentence(asked(command, "--source", "files", "--source-path", path, "--root", tmp_path / "root"))
    assert str(path) in said or "securities.parquet" in said


@pytest.mark.parametrize("command", DELIVERED.values(), ids=DELIVERED)
@pytest.mark.parametrize("kind", ["a file", "an emptied master", "no database"])
def test_a_delivery_is_not_built_on_a_root_that_is_something_else(
    command: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERM3_SIMULATED__STOCKS", "4")
    monkeypatch.setenv("ERM3_SIMULATED__LAST_SESSION", "2018-02-28")
    root = tmp_path / "root"
    ROOTS[kind](root)
    is_a_sentence(asked(command, "--root", root), fails=not command.startswith("quality late"))


@pytest.mark.parametrize(
    "wrong",
    [
        "run --start 2020-01-03 --end 2020-01-02",
        "run --start 2020-01-04 --end 2020-01-05",
        "run --start yesterday --end 2020-01-02",
        "run --start 2020-01-02 --end 2020-01-03 --until ds_nothing",
        "run --start 1950-01-02 --end 1950-01-03",
        "run --start 2090-01-02 --end 2090-01-03",
        "run",
        "nothing",
        "show A --on 2020-13-01",
        "quality list --rule nothing",
        "quality release A 2020-01-04 --reason r",
        "security resolve A --as-of 2020-01-02 --known-as-of whenever",
        "security changes --from x --to y",
        "repair --from s3://x/y",
        "history --root s3://x/y",
        "metrics AAPL --as-of 2020-13-01",
        "metrics AAPL --format xml",
        "returns AAPL --years 0",
        "portfolio nothing.csv",
        "run --start 2020-01-02 --end 2020-01-03 --source files",
        "serve --host 0.0.0.0",
        "serve --port 99999",
        "fake-vendor --now whenever",
        "fake-vendor --now 2020-01-02 --faults nothing.json",
        "fake-vendor --now 2020-01-02 --faults erm3.txt",
        "practice --root .",
        "new erm3.txt",
        "new .",
        "check nothing",
        "check erm3.txt",
        "fetch --start 2020-01-02 --end 2020-01-03",
        "fetch --start 2020-01-02 --end 2020-01-03 --source eodhd",
        "quality score --stocks 1",
        "quality score --scale -1",
        "quality alarms --source-path nothing",
        "quality compare --source-path nothing",
        "quality list --limit -1",
        "raw list --limit 0",
        "nightly --now whenever",
        "doctor --now whenever",
        "plot betas AAPL --out picture.txt",
        "restate --from 2020-13-01 --reason r",
    ],
)
def test_a_wrong_argument_is_a_sentence(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ERM3_EODHD_TOKEN", raising=False)
    (tmp_path / "erm3.txt").write_text("no plan and no directory")
    is_a_sentence(asked(wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        "show NOBODY",
        "show SPY",
        "show --on 2019-01-06",
        "show --on 1999-01-04",
        "show industries --level nothing",
        "history ds_nothing",
        "tickers --as-of 1999-01-04",
        "metrics NOBODY",
        "metrics XLK",
        "metrics NA#7",
        "decompose NA --as-of 1999-01-04",
        "returns NOBODY",
        "lstar SPY",
        "lstar NA --threshold 2",
        "panel --level nothing",
        "panel --change 1y",
        "portfolio .",
        "portfolio held.csv --level L9",
        "bridge NA --from 2019-03-01 --to 2019-02-01",
        "bridge .csv",
        "screen nothing",
        "screen mkt_cap --decile 11",
        "screen mkt_cap --sector NOBODY --window 7d",
        "plot nothing NA",
        "plot betas",
        "plot betas NOBODY",
        "plot betas NA --out nowhere/betas.png",
        "touched --from 2019-03-01 --to 2019-02-01",
        "touched --from 1999-01-04 --to 1999-01-05",
        "metrics NA --publication 000099-nothing",
        "verify --start 2030-01-02 --end 2030-01-03",
        "quality release NOBODY 2019-01-04 --reason seen",
        "quality release * 2019-01-04 --reason seen",
        "quality release * 2019-01-04 --rule nothing --reason seen",
        "security resolve NOBODY --as-of 2019-01-04",
        "security history S0000000",
        "security decide Q1 new --by me --reason seen",
        "security queue --publication nothing",
        "restate --from 2019-01-04 --reason=",
        "run --start 2019-06-03 --end 2019-06-03",
        "run --start 2010-01-04 --end 2010-01-05",
    ],
)
def test_a_wrong_question_to_a_published_root_is_a_sentence(wrong: str, whole: Path) -> None:  # noqa: F811
    Path("held.csv").write_text("ticker,dollars\nNA,1\n")
    before = seen_by_readers(whole)
    is_a_sentence(asked(wrong, "--root", whole))
    assert seen_by_readers(whole) == before


@pytest.mark.parametrize(
    "command",
    [
        "history",
        "show",
        "show industries",
        "tickers",
        "metrics NA",
        "decompose NA",
        "returns NA",
        "lstar NA",
        "panel",
        "portfolio held.csv",
        "bridge NA",
        "screen mkt_cap",
        "touched --from 2019-01-04 --to 2019-01-04",
        "quality list --flags",
        "quality rules",
        "security resolve NA --as-of 2019-01-04",
        "security explain NA --as-of 2019-01-04",
        "security queue",
        "security coverage",
        "doctor --now 2019-05-01T12:00:00",
    ],
)
def test_json_of_a_published_root_is_json(command: str, whole: Path) -> None:  # noqa: F811
    Path("held.csv").write_text("ticker,dollars\nNA,1\n")
    done = asked(command, "--json", *([] if command == "quality rules" else ["--root", whole]))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("toml", "name"),
    [
        ("password = 'hunter2'", "password"),
        ("[model]\npassword = 'hunter2'", "model.password"),
        ("[model]\nwindow = 'hunter2'", "model.window"),
        ("hunter2", "erm3.toml"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(toml: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "erm3.toml").write_text(toml)
    done = asked("history")
    assert done.exit_code == 2
    said = is_a_sentence(done)
    assert name in said
    assert "hunter2" not in said


def test_a_simulated_market_without_a_session_after_the_warm_up_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERM3_SIMULATED__LAST_SESSION", "2018-03-29")
    assert "61 sessions and the first 252" in is_a_sentence(asked("demo"))


def test_nested_settings_that_are_no_json_are_named_and_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERM3_MODEL", "hunter2")
    said = is_a_sentence(asked("history"))
    assert '"model"' in said
    assert "hunter2" not in said


def test_a_report_that_cannot_be_written_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        (tmp_path / "absent" / "quality.html").write_text("")

    monkeypatch.setattr("pipeline.reports.quality_report.published_findings", refuse)
    assert "quality.html: No such file or directory. Make room" in is_a_sentence(asked("quality report"))
