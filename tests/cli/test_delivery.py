"""`erm3 check`: a directory of tables before anything is computed."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli.runs import app
from tests.sources.conftest import directory  # noqa: F401 (fixture)


def erm3(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_a_whole_directory_is_described_and_a_spoiled_one_ends_with_status_1_and_its_cell(directory: Path) -> None:  # noqa: F811
    status, said = erm3("check", str(directory))
    assert status == 0
    assert "prices" in said
    assert "No fault: a run reads all of this." in said
    prices = directory / "prices.csv"
    prices.write_text(prices.read_text().replace("2020-01-06", "01/06/2020"))
    status, said = erm3("check", str(directory))
    assert status == 1
    assert "fault: prices.csv, row 4, column 'date'" in said
    status, said = erm3("check", str(directory), "--json")
    assert status == 1
    (fault,) = json.loads(said)["faults"]
    assert (fault["file"], fault["row"], fault["column"]) == ("prices.csv", 4, "date")


def test_a_directory_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    status, said = erm3("check", str(tmp_path / "nowhere"))
    assert status == 1
    assert "source_path must name the directory" in said
