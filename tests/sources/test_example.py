"""`erm3 new`: the example is complete, is read as it was made, and overwrites nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli.runs import app
from pipeline.settings import Settings
from pipeline.sources import FilesSource, SimulatedSource, SourceError
from pipeline.sources.checked import check_directory
from pipeline.sources.example import MARKET, write_example
from pipeline.sources.specs import TABLES


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("example") / "mine"
    write_example(directory)
    return directory


def test_every_table_is_there_and_says_what_the_simulated_market_says(example: Path) -> None:
    read, made = FilesSource(example / "tables").load().frames, SimulatedSource(MARKET).load().frames
    assert {name for name in TABLES if read[name].empty} == {"taxonomy"}  # it would override the shipped one
    for name in TABLES:
        pd.testing.assert_frame_equal(read[name], made[name], check_dtype=False)


def test_it_has_no_fault_and_its_settings_are_read(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example)
    checked = check_directory("tables")
    assert not checked.faults
    assert not checked.hints
    settings = Settings()
    assert (settings.source, settings.source_path, settings.root) == ("files", "tables", "published")


def test_nothing_is_overwritten(example: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="new or empty"):
        write_example(example)
    (tmp_path / "file").touch()
    done = CliRunner().invoke(app, ["new", str(tmp_path / "file")])
    assert done.exit_code == 1
    assert "new or empty" in done.output
