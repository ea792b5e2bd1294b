"""`erm3 security` on the world of real name changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.calendar import xnys
from pipeline.cli.security import app
from pipeline.store.filesystem import open_publications
from pipeline.store.promote import promote
from pipeline.store.stage import Stage
from security_master import MASTER_FILE, SecurityMaster
from tests.security_master.tables import WORLD


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a master of the world, built by the command itself."""
    path = tmp_path_factory.mktemp("root")
    built = run("build", "--source", "files", "--source-path", WORLD, "--root", path)
    assert built.exit_code == 0, built.output
    assert "42 new ids" in built.stdout
    return path


def run(*command: object) -> Result:
    return CliRunner().invoke(app, [str(part) for part in command])


@pytest.fixture
def asked(root: Path) -> Callable[..., Any]:
    """Runs a command with --json and gives its parsed output."""

    def ask(*command: object) -> Any:
        result = run(*command, "--root", root, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return ask


def test_a_second_build_from_the_same_source_changes_nothing(tmp_path: Path, root: Path) -> None:
    shutil.copy(root / MASTER_FILE, tmp_path / MASTER_FILE)
    before = (tmp_path / MASTER_FILE).read_bytes()
    again = run("build", "--source", "files", "--source-path", WORLD, "--root", tmp_path)
    assert "0 new ids" in again.stdout
    assert (tmp_path / MASTER_FILE).read_bytes() == before


def test_resolve_answers_with_the_security_or_with_nobody(asked: Callable[..., Any], root: Path) -> None:
    answer = asked("resolve", "FB", "--as-of", "2013-01-02")
    assert (answer["status"], answer["vendor_code"], answer["first_session"]) == ("ok", "META", "2012-05-18")
    assert asked("resolve", "FB", "--as-of", "2010-01-04")["status"] == "none"
    shown = run("resolve", "FB", "--as-of", "2010-01-04", "--root", root)
    assert shown.stdout.strip() == "Nobody had the ticker FB on 2010-01-04."
    then = asked("resolve", "FB", "--as-of", "2022-06-10", "--known-as-of", "2022-06-01T00:00:00Z")
    assert (then["sec_id"], then["known_as_of"]) == (answer["sec_id"], "2022-06-01T00:00:00Z")
    table = run("resolve", "brk/b", "--as-of", "2020-01-02", "--root", root)
    assert "Berkshire Hathaway Inc Class B" in table.stdout


def test_an_unknown_ticker_is_an_exit_status_and_near_spellings(root: Path) -> None:
    result = run("resolve", "GOGL", "--as-of", "2020-01-02", "--root", root)
    assert result.exit_code == 1
    assert "did you mean" in result.stderr
    told = run("resolve", "GOGL", "--as-of", "2020-01-02", "--root", root, "--json")
    assert told.exit_code == 1
    assert "GOOGL" in json.loads(told.stdout)["nearest"]


def test_an_instant_without_a_zone_is_explained(root: Path) -> None:
    result = run("resolve", "FB", "--as-of", "2020-01-02", "--known-as-of", "2020-01-02T10:00:00", "--root", root)
    assert result.exit_code == 1
    assert "no time zone" in result.stderr


def test_history_lineage_explain_and_changes_are_tables_or_json(asked: Callable[..., Any], root: Path) -> None:
    sec_id = asked("resolve", "DWDP", "--as-of", "2018-01-02")["sec_id"]
    tickers = [row["value"] for row in asked("history", sec_id)["rows"] if row["what"] == "ticker"]
    assert tickers == ["DWDP", "DD"]
    tickers = [r["value"] for r in asked("history", sec_id, "--as-of", "2018-01-02")["rows"] if r["what"] == "ticker"]
    assert tickers == ["DWDP"]
    assert {row["event"] for row in asked("lineage", sec_id)["rows"]} == {"merger", "spin_off"}
    steps = asked("explain", "DD", "--as-of", "2020-01-02")["rows"]
    assert {row["step"] for row in steps} == {"ticker", "listing", "identity"}
    learnt = asked("changes", "--from", "2019-06-01T00:00:00Z", "--to", "2019-06-04T00:00:00Z")["rows"]
    assert any('"ticker": "DD"' in row["fact"] for row in learnt)
    for command in (("history", sec_id), ("lineage", sec_id), ("explain", "DD", "--as-of", "2020-01-02")):
        table = run(*command, "--root", root)
        assert table.exit_code == 0
        assert sec_id in table.stdout or "DWDP" in table.stdout
    nobody = run("explain", "FB", "--as-of", "2010-01-04", "--root", root)
    assert "No row gives FB to anybody" in nobody.stdout


def test_an_id_that_does_not_exist_is_explained(root: Path) -> None:
    result = run("history", "SAAAAAAAA", "--root", root)
    assert result.exit_code == 1
    assert "resolve" in result.stderr


def test_a_question_is_listed_decided_and_gone(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    shutil.copytree(WORLD, source)
    listings = (source / "securities.csv").read_text().splitlines()
    listings.append("ABC,ABC,Abacus Inc,common,NYSE,USD,2006-01-03,2010-03-31,,,,,77,")
    listings.append("ABC,ABC,Abacus Inc,common,NYSE,USD,2013-04-01,,,,,,77,")
    (source / "securities.csv").write_text("\n".join(listings) + "\n")
    prices = (source / "prices.csv").read_text() + "ABC,2006-01-03,10\nABC,2013-04-01,10\n"
    (source / "prices.csv").write_text(prices)
    built = run("build", "--source", "files", "--source-path", source, "--root", root)
    assert "1 questions are open" in built.stdout
    [question] = json.loads(run("queue", "--root", root, "--json").stdout)["rows"]
    assert question["question_id"] == "ABC|2013-04-01"
    old = json.loads(question["candidates"])[0]
    decided = run(
        *("decide", "ABC|2013-04-01", old, "--by", "jane", "--reason", "same CUSIP", "--root", root),
        *("--known-from", "2013-05-01T12:00:00Z"),
    )
    assert decided.exit_code == 0, decided.output
    assert run("queue", "--root", root).stdout.strip() == "No question is open."
    with SecurityMaster.open(root / MASTER_FILE) as master:
        assert master.assign(["ABC"], ["2013-04-01"])[0] == old
    wrong = run("decide", "ABC|2013-04-02", "new", "--by", "jane", "--reason", "-", "--root", root)
    assert wrong.exit_code == 1
    assert "no question" in wrong.stderr
    # the decision outlives the next delivery
    run("build", "--source", "files", "--source-path", source, "--root", root)
    assert run("queue", "--root", root).stdout.strip() == "No question is open."


def test_a_truncated_source_stops_and_leaves_the_master(tmp_path: Path, root: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(root / MASTER_FILE, tmp_path / MASTER_FILE)
    before = (tmp_path / MASTER_FILE).read_bytes()
    for name in ("securities", "prices"):
        (source / f"{name}.csv").write_text((WORLD / f"{name}.csv").read_text())
    kept = [
        line for line in (source / "securities.csv").read_text().splitlines() if line[:4] in ("vend", "SPY,", "XLK,")
    ]
    (source / "securities.csv").write_text("\n".join(kept) + "\n")
    (source / "prices.csv").write_text("vendor_code,date,close\nSPY,2002-01-02,10\nXLK,2002-01-02,10\n")
    stopped = run("build", "--source", "files", "--source-path", source, "--root", tmp_path)
    assert stopped.exit_code == 1
    assert "28 of 42 known securities have not ended and are not in the delivery" in stopped.stderr
    assert (tmp_path / MASTER_FILE).read_bytes() == before


def test_a_root_without_a_master_is_explained(tmp_path: Path) -> None:
    result = run("queue", "--root", tmp_path)
    assert result.exit_code == 1
    assert "erm3 security build" in result.stderr


def published(tmp_path: Path, *, unclear: bool) -> Path:
    """A root in which a master is published, with an open question or without."""
    source, root = tmp_path / "source", tmp_path / "published"
    shutil.copytree(WORLD, source)
    if unclear:
        with (source / "securities.csv").open("a") as file:
            file.write("ABC,ABC,Abacus Inc,common,NYSE,USD,2006-01-03,2010-03-31,,,,,77,\n")
            file.write("ABC,ABC,Abacus Inc,common,NYSE,USD,2013-04-01,,,,,,77,\n")
        with (source / "prices.csv").open("a") as file:
            file.write("ABC,2006-01-03,10\nABC,2013-04-01,10\n")
    assert run("build", "--source", "files", "--source-path", source, "--root", tmp_path / "alone").exit_code == 0
    with Stage.begin(root, "first") as stage:
        stage.add_file(MASTER_FILE, tmp_path / "alone" / MASTER_FILE)
        assert promote(stage, [], xnys().sessions) is not None
    return root


def test_a_decision_about_a_published_master_is_a_publication_and_the_one_before_stays_openable(
    tmp_path: Path,
) -> None:
    root = published(tmp_path, unclear=True)
    before = open_publications(root).current()
    decided = run("decide", "ABC|2013-04-01", "new", "--by", "jane", "--reason", "prospectus", "--root", root)
    assert decided.exit_code == 0, decided.output
    assert open_publications(root).current() != before
    assert run("queue", "--root", root).stdout.strip() == "No question is open."
    [then] = json.loads(run("queue", "--root", root, "--publication", before, "--json").stdout)["rows"]
    assert then["question_id"] == "ABC|2013-04-01"
    missing = run("queue", "--root", root, "--publication", "000099-nothing")
    assert missing.exit_code == 1
    assert "erm3 history" in missing.stderr


def test_a_master_alone_is_not_built_over_a_published_one(tmp_path: Path) -> None:
    root = published(tmp_path, unclear=False)
    refused = run("build", "--source", "files", "--source-path", WORLD, "--root", root)
    assert refused.exit_code == 1
    assert "erm3 run" in refused.stderr
