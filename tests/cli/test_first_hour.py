"""The commands that a newcomer finds in the documents work as they stand there, from an empty directory on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from docs.first_hour import MAY_SAY_DO, commands
from pipeline.cli.runs import app
from pipeline.read import open_dataset, read_manifest

README = Path(__file__).parents[2] / "README.md"


def asked(command: str) -> Result:
    return CliRunner().invoke(app, command.split()[1:])


@pytest.fixture(scope="module")
def first_hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the newcomer's hour ends: the directory with tables, a published root and a picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("first_hour"))
        for command in commands():
            if command.startswith("cd "):
                patch.chdir(command.removeprefix("cd "))
                continue
            done = asked(command)
            assert done.exit_code == (1 if command == MAY_SAY_DO else 0), f"{command}: {done.output}"
            assert done.output.strip()
        return Path.cwd()


@pytest.mark.slow
def test_ten_commands_lead_from_an_empty_directory_to_a_published_root_and_a_picture(first_hour: Path) -> None:
    assert len(commands()) <= 10
    assert read_manifest(first_hour / "published")["complete_through"] == "2019-06-28"
    betas = open_dataset("ds_erm3_betas_SPY_uni_mc_3000", first_hour / "published").factor_beta
    assert int(betas.isel(teo=-1).sel(level="market").notnull().sum()) > 30
    assert (first_hour / "betas.png").stat().st_size > 10_000


def test_the_commands_of_the_readme_work_on_own_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the directory, the dates and the tickers of the example in place of the reader's."""
    monkeypatch.chdir(tmp_path)
    assert asked("erm3 new mine").exit_code == 0
    text = README.read_text().partition("## With your own data")[2]
    (block,) = re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    ours = {"DIR": str(tmp_path / "mine" / "tables"), "2020-09-01": "2019-06-24", "2020-12-31": "2019-06-28",
            "AAPL": "IBED", "FB": "BIDE", "2010-01-04": "2018-06-01"}  # fmt: skip
    for line in block.splitlines():
        command = line.partition("#")[0].strip()
        for theirs, here in ours.items():
            command = re.sub(rf"\b{theirs}\b", here, command)
        done = asked(command)
        assert done.exit_code == 0, f"{command}: {done.output}"
