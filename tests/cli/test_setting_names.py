"""A setting that is written wrongly is named with the right one, and with where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.runs import app
from pipeline.settings import Settings
from pipeline.settings.names import misspelt_variables


def says(tmp_path: Path) -> str:
    done = CliRunner().invoke(app, ["verify", "--root", str(tmp_path)])
    assert done.exit_code == 2
    return done.output


def test_a_misspelt_key_of_the_file_is_named_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "erm3.toml").write_text("[model]\nhalf_lif = 60\n")
    assert "model.half_lif: there is no such setting, found in erm3.toml; is 'model.half_life' meant?" in says(tmp_path)
    (tmp_path / "erm3.toml").write_text("sorce = 'files'\n")
    assert "sorce: there is no such setting, found in erm3.toml; is 'source' meant?" in says(tmp_path)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ERM3_SOURCEPATH", "ERM3_SOURCE_PATH"),
        ("ERM3_MODL__ESTIMATOR", "ERM3_MODEL__ESTIMATOR"),
        ("ERM3_MODEL_ESTIMATOR", "ERM3_MODEL__ESTIMATOR"),
        ("ERM3_MODEL__ESTIMATR", "model.estimator"),
    ],
)
def test_a_misspelt_variable_is_named_with_the_nearest(tmp_path, monkeypatch, given: str, meant: str) -> None:
    monkeypatch.setenv(given, "files")
    said = says(tmp_path)
    assert given in said
    assert meant in said


def test_variables_of_others_and_settings_are_left_alone() -> None:
    names = ("ERM3_API_KEY", "ERM3_EODHD_TOKEN", "ERM3_SCRATCH", "ERM3_DAGSTER_ALERT_COMMAND", "ERM3_DAGSTER_OWNERS",
             "ERM3_THREADS", "ERM3_MODEL", "ERM3_MODEL__WINDOW", "erm3_root", "HOME")  # fmt: skip
    assert misspelt_variables(Settings, dict.fromkeys(names, "1")) == []


def test_what_make_run_publishes_is_what_commands_without_a_root_read() -> None:
    from pipeline.cli.runs import demo

    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert f"ROOT   ?= {Settings().root}\n" in makefile
    assert demo.__defaults__ is not None
    assert demo.__defaults__[0] == Settings().root
    assert Settings(source="files", source_path="x").root == "data/erm3"
    assert Settings(source="files", source_path="x", root="data/simulated").root == "data/simulated"
